"""The options of `turnlog replay`, checked together: what makes no sense is refused with one line."""

from __future__ import annotations

import hashlib
import re
from dataclasses import asdict, dataclass
from enum import StrEnum

from pydantic_core import to_json

from common.domain.ids import Position, parse_conversation_id, parse_user_id
from common.domain.messages import timestamp_ms
from tools.errors import CommandError
from tools.replay.selection import Selection

_POSITION = re.compile(r"[0-9]{1,19}(-[0-9]{1,19})?")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


class From(StrEnum):
    """Where events come from."""

    LOG = "log"
    RECORD = "record"


class To(StrEnum):
    """Where they go."""

    CACHES = "caches"
    RECORD = "record"
    STREAM = "stream"
    STDOUT = "stdout"


@dataclass(frozen=True, slots=True)
class Route:
    """Whence and where to."""

    source: From
    target: To
    database_url: str | None = None
    redis_url: str | None = None

    @property
    def needs_log(self) -> bool:
        """Whether the instance's own Redis is used."""
        onto_own = self.target is To.STREAM and not self.redis_url
        return self.source is From.LOG or self.target is To.CACHES or onto_own

    def check(self) -> None:
        """Raises CommandError for what cannot be."""
        if self.database_url and self.target is not To.RECORD:
            raise CommandError("--target-database-url is for --to record")
        if self.redis_url and self.target is not To.STREAM:
            raise CommandError("--target-redis-url is for --to stream")
        if self.target is To.STREAM and self.source is From.LOG and not self.redis_url:
            raise CommandError("--to stream needs --target-redis-url: a log is never replayed onto itself")
        if self.target is To.RECORD and self.source is From.RECORD and not self.database_url:
            raise CommandError("the record into itself changes nothing; name a --target-database-url")


def selection_of(
    route: Route,
    *,
    partition: int | None,
    user: str | None,
    conversation: str | None,
    since: str | None,
    until: str | None,
    first: str | None,
    last: str | None,
) -> Selection:
    """What the options select. Raises CommandError."""
    owner = parse_user_id(user) if user is not None else None
    if user is not None and owner is None:
        raise CommandError("--user must be 1 to 200 characters, none of them a control character")
    about = parse_conversation_id(conversation) if conversation is not None else None
    if conversation is not None and about is None:
        raise CommandError("--conversation must be a UUID, written with its hyphens")
    if (first or last) and route.source is From.RECORD:
        raise CommandError("--first and --last are positions on the log; the record has none (use --since)")
    chosen = Selection(
        partition,
        owner,
        about,
        _time("--since", since),
        _time("--until", until),
        _position("--first", first),
        _position("--last", last),
    )
    if chosen.since_ms and chosen.until_ms is not None and chosen.since_ms > chosen.until_ms:
        raise CommandError("--since is later than --until")
    return chosen


def run_of(route: Route, selection: Selection, database: str, log: str | None) -> str:
    """A name for this very replay, without a secret in it."""
    text = to_json([asdict(route), asdict(selection), database, log])
    return hashlib.blake2b(text, digest_size=8).hexdigest()


def _time(option: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return max(0, timestamp_ms(f"{text}T00:00:00Z" if _DATE.fullmatch(text) else text))
    except ValueError as error:
        raise CommandError(f"{option} {error}, or a date") from None


def _position(option: str, text: str | None) -> Position | None:
    if text is None:
        return None
    if not _POSITION.fullmatch(text):
        raise CommandError(f"{option} must be a position on the log, such as 1760000000000-0")
    return Position(text)
