"""The schema: one SQL file for each step, `NNNN_name.sql`, applied in order and only ever forward.

A file that was released never changes: what is wrong with it is mended by a later one.
"""

from common.postgres.migrations.runner import (
    Migration,
    SchemaMismatch,
    SchemaOutdated,
    check_schema,
    migrate,
    program_migrations,
)

__all__ = [
    "Migration",
    "SchemaMismatch",
    "SchemaOutdated",
    "check_schema",
    "migrate",
    "program_migrations",
]
