"""The Idempotency-Key header: the same key names the same ids, and the same request, for one user."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from falcon.asgi import Request

from common.checks.errors import FieldError
from common.domain.ids import ConversationId, MessageId, UserId, derived_id
from common.domain.publishing import Idempotency
from services.gateway.problems import invalid

HEADER: Final = "Idempotency-Key"
_KEY = re.compile(r"[\x21-\x7e]{1,255}\Z")


@dataclass(frozen=True, slots=True)
class RequestKey:
    """One request's key, and what is derived from it."""

    user: UserId
    key: str

    def conversation_id(self, made_by: str) -> ConversationId:
        """The id of the conversation that the request makes: another for each kind of request, so that a
        key that is used twice cannot lead from one into the other's."""
        return ConversationId(derived_id(self.user, self.key, "conversation", made_by))

    def message_id(self, index: int) -> MessageId:
        """The id of the request's message at `index`, where the client gave none."""
        return MessageId(derived_id(self.user, self.key, str(index)))

    def of_request(self, req: Request, raw: bytes) -> Idempotency:
        """The key with a digest of the method, the path and the body: all that makes a request another."""
        digest = hashlib.blake2b(f"{req.method} {req.path}\n".encode(), digest_size=16)
        digest.update(raw)
        return Idempotency(self.key, digest.hexdigest())


def request_key(req: Request, user: UserId) -> RequestKey | None:
    """The request's key, if it has one. Raises Problem (422) for one that is no key."""
    key = req.get_header(HEADER)
    if key is None:
        return None
    if not _KEY.match(key):
        raise invalid(FieldError(HEADER, "must be 1 to 255 printable ASCII characters without spaces"))
    return RequestKey(user, key)


def message_ids(key: RequestKey | None) -> Callable[[int], MessageId] | None:
    """How messages without an id are named: from the key, or (None) freshly."""
    return key.message_id if key else None
