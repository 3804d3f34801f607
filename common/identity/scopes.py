"""What a service's token may let it do."""

from enum import StrEnum


class Scope(StrEnum):
    """What a service's token lets it do. A user may do everything with what is theirs."""

    PUBLISH = "publish"
    READ = "read"
    ADMIN = "admin"
    """Everything: change, delete, and what the other two are for."""
