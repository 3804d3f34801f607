"""What calls of the functions that change a conversation have in common."""

from __future__ import annotations

from typing import Any

from common.domain.errors import IdempotencyKeyConflict, Overloaded
from common.domain.ids import ConversationId, UserId
from common.domain.publishing import Idempotency
from common.redis.functions import Functions
from common.redis.keys import Keys
from common.settings import RedisSettings


class Cold(Exception):
    """The conversation is not in Redis; it must be loaded (or found absent) first."""


class Gone(Exception):
    """The conversation is deleted, and Redis still knows."""


class Moved(Exception):
    """The conversation has changed since it was looked at; look again."""


class Calls:
    """Keys and arguments of a call."""

    def __init__(self, functions: Functions, keys: Keys, settings: RedisSettings) -> None:
        self._functions = functions
        self._keys = keys
        self._settings = settings

    def _call_keys(
        self, user: UserId, conversation: ConversationId, idempotency: Idempotency | None
    ) -> tuple[str, ...]:
        keys = self._keys.conversation(user, conversation)
        if idempotency is None:
            return keys
        return (*keys, self._keys.idempotency(user, idempotency.key))

    def _idempotency_arguments(self, idempotency: Idempotency | None) -> tuple[str, int]:
        digest = idempotency.digest if idempotency else ""
        return digest, self._settings.idempotency_ttl_seconds * 1000

    def _call(self, user: UserId, conversation: ConversationId, at_ms: int) -> list[Any]:
        settings = self._settings
        return [
            user,
            conversation,
            at_ms,
            settings.ttl_seconds * 1000,
            settings.session_max_messages,
            settings.list_max_conversations,
        ]


def refusal(reply: list[bytes]) -> Exception:
    """What a reply that is no answer says."""
    match reply[0]:
        case b"cold":
            return Cold()
        case b"missing":
            return Gone()
        case b"moved":
            return Moved()
        case b"key_conflict":
            return IdempotencyKeyConflict("this idempotency key was used for another request")
        case b"busy":
            return _overloaded(reply[1])
        case other:
            return AssertionError(f"unknown reply {other!r}")


def _overloaded(reason: bytes) -> Overloaded:
    if reason == b"memory":
        return Overloaded("The log is short of memory; nothing was stored", retry_after=5.0)
    return Overloaded("The log is too far behind; nothing was stored", retry_after=2.0)
