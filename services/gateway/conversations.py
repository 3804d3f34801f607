"""Conversations: begin, list, read, change, delete."""

from __future__ import annotations

import asyncio
from typing import Final

from pydantic_core import to_json

from common.domain.conversations import metadata_json
from common.domain.ids import now_ms
from common.domain.publishing import UNSET
from common.ports import HistoryPort, ListingPort, PublisherPort
from common.settings import LimitsSettings
from services.gateway import examples, problems
from services.gateway.bodies import read_json
from services.gateway.conversation_input import (
    chosen_id,
    conversation_change,
    first_state,
    new_conversation,
)
from services.gateway.idempotency import HEADER, request_key
from services.gateway.operations import Body, Call, Reply, Success, operation
from services.gateway.queries import ConversationQuery, ConversationsQuery, Query, within
from services.gateway.replies import REPLAYED, array, pagination, with_member
from services.gateway.schemas import (
    Conversation,
    ConversationChange,
    ConversationList,
    ConversationWithMessages,
    NewConversation,
)

TAG: Final = "conversations"
ONE: Final = "/api/conversations/{conversation_id}"
DAY_MS: Final = 86_400_000
KEY_HEADER: Final = {HEADER: "Makes the call safe to repeat: the same key does the same thing once."}
REPLAY_HEADER: Final = {"Idempotent-Replayed": "`true` where an earlier call had done this already."}


class Conversations:
    """A user's conversations. A list goes back `history_days` where nothing is said; 0: all the way."""

    def __init__(
        self,
        history: HistoryPort,
        listing: ListingPort,
        publisher: PublisherPort,
        limits: LimitsSettings,
        *,
        history_days: int,
    ) -> None:
        self._history = history
        self._listing = listing
        self._publisher = publisher
        self._limits = limits
        self._history_days = history_days

    @operation(
        "POST",
        "/api/conversations",
        summary="Begin a conversation",
        tag=TAG,
        headers=KEY_HEADER,
        body=Body((NewConversation,), {"titled": examples.NEW_CONVERSATION, "empty": {}}),
        successes={
            201: Success(
                "Begun, or there already.",
                Conversation,
                examples.CONVERSATION,
                {"Location": "Its path.", **REPLAY_HEADER},
            )
        },
        problems=(problems.CONVERSATION_DELETED, problems.IDEMPOTENCY_KEY_CONFLICT),
    )
    async def create_conversation(self, call: Call[Query]) -> Reply:
        """With a `conversation_id` of yours (or an `Idempotency-Key`) repeating the call is safe: the
        conversation that is there is the answer, as it is by now, with `Idempotent-Replayed: true`. The id
        of a deleted conversation cannot be used again (409)."""
        raw, fields = await read_json(call.req, self._limits)
        wanted = new_conversation(fields, self._limits)
        key = request_key(call.req, call.user)
        conversation_id = chosen_id(wanted) or (key.conversation_id("create") if key else None)
        at_ms = now_ms()
        state = first_state(wanted, at_ms=at_ms)
        header, replayed = await self._publisher.create(
            call.user,
            state,
            at_ms=at_ms,
            conversation_id=conversation_id,
            idempotency=key.of_request(call.req, raw) if key else None,
        )
        location = {"Location": f"/api/conversations/{header.id}"}
        return Reply(201, header.served(), location | REPLAYED if replayed else location)

    @operation(
        "GET",
        "/api/conversations",
        summary="List conversations",
        tag=TAG,
        query=ConversationsQuery,
        successes={200: Success("Last modified first.", ConversationList, examples.CONVERSATION_LIST)},
    )
    async def list_conversations(self, call: Call[ConversationsQuery]) -> Reply:
        """`limit` and `cursor` follow a list that changes meanwhile without missing what stays; `page` and
        `page_size` number it. What is older than `days` is not in the list; it can be read all the same."""
        query = call.query
        days = self._history_days if query.days is None else query.days
        since_ms = now_ms() - days * DAY_MS if days else 0
        if query.paged:
            query.refuse_mixing("limit", "cursor")
            size = query.size(self._limits.max_page_size)
            number = query.page or 1
            page = await self._listing.page(call.user, page=number, page_size=size, since_ms=since_ms)
            where = pagination(total=page.total, page=number, page_size=size)
            return Reply(200, b'{"conversations":%b,"pagination":%b}' % (array(page.items), where))
        found = await self._listing.after_cursor(
            call.user, limit=query.limit, cursor=query.cursor, since_ms=since_ms
        )
        return Reply(
            200,
            b'{"conversations":%b,"next_cursor":%b}' % (array(found.items), to_json(found.next_cursor)),
        )

    @operation(
        "GET",
        ONE,
        summary="Read a conversation",
        tag=TAG,
        query=ConversationQuery,
        successes={
            200: Success("It and its newest messages.", ConversationWithMessages, examples.WITH_MESSAGES)
        },
        problems=(problems.CONVERSATION_NOT_FOUND,),
    )
    async def get_conversation(self, call: Call[ConversationQuery]) -> Reply:
        """Its title, model and metadata, and its `limit` most recent messages, oldest first."""
        limit = within(call.query.limit, self._limits.max_read_limit)
        header, messages = await asyncio.gather(
            self._history.header(call.user, call.conversation_id),
            self._history.recent(call.user, call.conversation_id, limit),
        )
        return Reply(200, with_member(header.served(), b"messages", array(messages)))

    @operation(
        "PATCH",
        ONE,
        summary="Change a conversation",
        tag=TAG,
        body=Body((ConversationChange,), {"rename": {"title": "Paris, in May"}}),
        successes={200: Success("As it is now.", Conversation, examples.CONVERSATION)},
        problems=(problems.CONVERSATION_NOT_FOUND,),
    )
    async def change_conversation(self, call: Call[Query]) -> Reply:
        """Title, model or metadata: what is left out stays, null clears, `metadata` is replaced whole."""
        _, fields = await read_json(call.req, self._limits)
        change = conversation_change(fields, self._limits)
        named = change.model_fields_set
        header = await self._publisher.update(
            call.user,
            call.conversation_id,
            title=change.title if "title" in named else UNSET,
            model=change.model if "model" in named else UNSET,
            metadata=metadata_json(change.metadata) if "metadata" in named else UNSET,
            at_ms=now_ms(),
        )
        return Reply(200, header.served())

    @operation(
        "DELETE",
        ONE,
        summary="Delete a conversation",
        tag=TAG,
        successes={204: Success("It is gone.")},
        problems=(problems.CONVERSATION_NOT_FOUND,),
    )
    async def delete_conversation(self, call: Call[Query]) -> Reply:
        """For ever, with all its messages: nothing brings it back, and its id cannot be used again."""
        await self._publisher.delete(call.user, call.conversation_id, at_ms=now_ms())
        return Reply(204, b"")
