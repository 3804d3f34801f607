"""What can go wrong, in the caller's terms. Edges (HTTP, command line) turn these into replies."""

from collections.abc import Sequence


class TurnlogError(Exception):
    """Any failure Turnlog itself reports; its text may be shown to the caller."""


class ConversationNotFound(TurnlogError):
    """Absent, deleted, or another user's: these are the same thing to a caller."""


class ConversationDeleted(TurnlogError):
    """A conversation of this user was deleted, and its id cannot be used again."""


class MessageIdConflict(TurnlogError):
    """A message id that is taken came with another body."""

    def __init__(self, message_id: str) -> None:
        super().__init__(f"message id {message_id!r} is taken by a message with another body")
        self.message_id = message_id


class MessageRemoved(TurnlogError):
    """Messages that were deleted came again. Their ids cannot be used again; nothing was stored."""

    def __init__(self, message_ids: Sequence[str]) -> None:
        super().__init__(f"message {message_ids[0]!r} was deleted, and its id cannot be used again")
        self.message_ids = list(message_ids)


class MessageNotFound(TurnlogError):
    """The conversation is there, and has no such message (any more)."""


class IdempotencyKeyConflict(TurnlogError):
    """An idempotency key that was used came with another request."""


class InvalidCursor(TurnlogError):
    """A list's cursor that no reply gave."""


class InvalidSearch(TurnlogError):
    """Nothing can be looked for by this; the text says why and may be shown to the caller."""


class Busy(TurnlogError):
    """Nothing was done; the same call may go through in `retry_after` seconds."""

    def __init__(self, reason: str, retry_after: float = 1.0) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class LogUnavailable(Busy):
    """Redis cannot be reached, or refuses writes.

    Where `outcome_unknown`, a command was sent and its reply was lost: it may have been carried out.
    """

    def __init__(self, reason: str, retry_after: float = 1.0, *, outcome_unknown: bool = False) -> None:
        super().__init__(reason, retry_after)
        self.outcome_unknown = outcome_unknown


class LogRefusesWrites(LogUnavailable):
    """Redis is there and answers reads; its memory is full, or it cannot write its disk."""


class Overloaded(Busy):
    """More waits than is good for it. Nothing was stored; the text may be shown to the caller."""


class StoreUnavailable(Busy):
    """PostgreSQL cannot be reached or did not answer in time."""


class UnsupportedVersion(TurnlogError):
    """An event written by a contract version this program does not know."""


class MalformedEvent(TurnlogError):
    """A stream entry that is not an event of the contract."""


class UnsafeConfiguration(TurnlogError):
    """A set-up that could lose or leak data; the text says what to change."""
