"""Messages that are there: edit one, delete one, cut a conversation off behind one."""

from __future__ import annotations

from typing import Final

from pydantic import TypeAdapter

from common.checks.fields import validate
from common.domain.ids import now_ms
from common.domain.messages import StoredMessage
from common.identity.scopes import Scope
from common.ports import EditorPort
from common.settings import LimitsSettings
from services.gateway import examples, problems
from services.gateway.bodies import read_json
from services.gateway.conversations import KEY_HEADER, REPLAY_HEADER
from services.gateway.idempotency import request_key
from services.gateway.messages import OF_ONE, TAG
from services.gateway.messages_input import revision
from services.gateway.operations import Body, Call, Reply, Success, operation
from services.gateway.queries import Query
from services.gateway.replies import REPLAYED
from services.gateway.schemas import Conversation, MessageChange, Truncation

ONE: Final = OF_ONE + "/{message_id}"
_TRUNCATION: Final = TypeAdapter(Truncation)


class MessageChanges:
    """Changes of a user's messages."""

    def __init__(self, editor: EditorPort, limits: LimitsSettings) -> None:
        self._editor = editor
        self._limits = limits

    @operation(
        "PATCH",
        ONE,
        summary="Edit a message",
        tag=TAG,
        headers=KEY_HEADER,
        body=Body((MessageChange,), {"text": {"content": "What is the weather in Rome?"}}),
        successes={200: Success("As it is now.", StoredMessage, examples.EDITED, REPLAY_HEADER)},
        problems=(
            problems.CONVERSATION_NOT_FOUND,
            problems.MESSAGE_NOT_FOUND,
            problems.IDEMPOTENCY_KEY_CONFLICT,
        ),
    )
    async def edit_message(self, call: Call[Query]) -> Reply:
        """Each field that is named is replaced whole, by null too; what is left out stays. The id and the
        sequence number never change. An edit that changes nothing is answered the same."""
        raw, body = await read_json(call.req, self._limits)
        at_ms = now_ms()
        key = request_key(call.req, call.user)
        edited = await self._editor.edit(
            call.user,
            call.conversation_id,
            call.message_id,
            revision(body, call.message_id, at_ms=at_ms, limits=self._limits),
            at_ms=at_ms,
            idempotency=key.of_request(call.req, raw) if key else None,
        )
        return Reply(200, edited.message, REPLAYED if edited.replayed else {})

    @operation(
        "DELETE",
        ONE,
        summary="Delete a message",
        tag=TAG,
        successes={204: Success("It is gone.")},
        problems=(problems.CONVERSATION_NOT_FOUND, problems.MESSAGE_NOT_FOUND),
    )
    async def delete_message(self, call: Call[Query]) -> Reply:
        """For ever: its sequence number stays a gap, and its id cannot be used again."""
        await self._editor.delete(call.user, call.conversation_id, call.message_id, at_ms=now_ms())
        return Reply(204, b"")

    @operation(
        "POST",
        "/api/conversations/{conversation_id}/truncate",
        summary="Cut a conversation off",
        tag=TAG,
        scope=Scope.ADMIN,  # as a deletion does
        headers=KEY_HEADER,
        body=Body((Truncation,), {"regenerate": {"after_sequence_number": 4}}),
        successes={200: Success("As it is now.", Conversation, examples.CONVERSATION, REPLAY_HEADER)},
        problems=(problems.CONVERSATION_NOT_FOUND, problems.IDEMPOTENCY_KEY_CONFLICT),
    )
    async def truncate_conversation(self, call: Call[Query]) -> Reply:
        """Delete all messages with higher sequence numbers, for ever, to go on from there: what is appended
        then gets new numbers. Where there are none, nothing changes. With an `Idempotency-Key` repeating the
        call is safe even after such appends."""
        raw, body = await read_json(call.req, self._limits)
        wanted = validate(_TRUNCATION, body)
        key = request_key(call.req, call.user)
        truncated = await self._editor.truncate(
            call.user,
            call.conversation_id,
            wanted.after_sequence_number,
            at_ms=now_ms(),
            idempotency=key.of_request(call.req, raw) if key else None,
        )
        return Reply(200, truncated.header.served(), REPLAYED if truncated.replayed else {})
