"""Messages: append to a conversation, or to a new one; read the newest, a window, or page by page."""

from __future__ import annotations

from typing import Any, Final

from common.checks.conversations import first_title
from common.checks.errors import FieldError
from common.domain.ids import now_ms
from common.domain.messages import Message
from common.domain.paging import Window
from common.domain.publishing import Appended
from common.ports import HistoryPort, PublisherPort
from common.settings import LimitsSettings
from services.gateway import examples, problems
from services.gateway.bodies import read_json
from services.gateway.conversation_input import chosen_id, first_state, new_conversation
from services.gateway.conversations import KEY_HEADER, REPLAY_HEADER
from services.gateway.idempotency import message_ids, request_key
from services.gateway.messages_input import ready, recognise
from services.gateway.operations import Body, Call, Reply, Success, operation
from services.gateway.problems import invalid
from services.gateway.queries import AppendQuery, MessagesQuery, within
from services.gateway.replies import REPLAYED, appended, message_list, pagination, with_member
from services.gateway.schemas import AppendedMessages, MessageBatch, MessageList, Submission

TAG: Final = "messages"
OF_ONE: Final = "/api/conversations/{conversation_id}/messages"
_OF_NEW_ONES: Final = ("title", "model", "metadata")
_APPENDED: Final = {
    201: Success("Appended.", AppendedMessages, examples.APPENDED, REPLAY_HEADER),
    202: Success("On the log; not in PostgreSQL before the wait ended.", AppendedMessages, examples.ACCEPTED),
}
_REFUSED: Final = (
    problems.MESSAGE_ID_CONFLICT,
    problems.MESSAGE_DELETED,
    problems.IDEMPOTENCY_KEY_CONFLICT,
)


class Messages:
    """The messages of a user's conversations. `persisted_wait_seconds` bounds `ack=persisted`."""

    def __init__(
        self,
        history: HistoryPort,
        publisher: PublisherPort,
        limits: LimitsSettings,
        *,
        persisted_wait_seconds: float,
    ) -> None:
        self._history = history
        self._publisher = publisher
        self._limits = limits
        self._persisted_wait_seconds = persisted_wait_seconds

    @operation(
        "POST",
        OF_ONE,
        summary="Append messages",
        tag=TAG,
        query=AppendQuery,
        headers=KEY_HEADER,
        body=Body((Message, MessageBatch), {"one": examples.MESSAGE, "several": examples.BATCH}),
        successes=_APPENDED,
        problems=(problems.CONVERSATION_NOT_FOUND, *_REFUSED),
    )
    async def append_messages(self, call: Call[AppendQuery]) -> Reply:
        """One message, or `{"messages": […]}` of up to 1,000, all or none; the key `messages` tells which,
        so a single message with a field of that name must be sent as a batch. Every field is kept as it is
        sent, except `sequence_number`, which is always ours. A message's `id` makes the append idempotent:
        the same id with the same content is appended once, with other content refused (409), and so is the
        id of a message that was deleted. A conversation without a title takes one from the first user message
        that comes."""
        raw, body = await read_json(call.req, self._limits)
        submitted = recognise(body)
        if submitted.beside:
            raise invalid(*(FieldError(name, "is not known beside `messages`") for name in submitted.beside))
        at_ms = now_ms()
        key = request_key(call.req, call.user)
        messages = ready(submitted, at_ms=at_ms, limits=self._limits, derived=message_ids(key))
        result = await self._publisher.append(
            call.user,
            call.conversation_id,
            messages,
            at_ms=at_ms,
            idempotency=key.of_request(call.req, raw) if key else None,
            title=first_title(messages),
        )
        return await self._appended(call, result)

    @operation(
        "POST",
        "/api/conversations/messages",
        summary="Append messages, to a new conversation if need be",
        tag=TAG,
        query=AppendQuery,
        headers=KEY_HEADER,
        body=Body((Message, Submission), {"one": examples.MESSAGE, "several": examples.SUBMISSION}),
        successes=_APPENDED,
        problems=(problems.CONVERSATION_NOT_FOUND, *_REFUSED),
    )
    async def submit_messages(self, call: Call[AppendQuery]) -> Reply:
        """As for one conversation, which `conversation_id` in the body names; without it a conversation is
        made in the same step, titled from its first user message. `title`, `model` and `metadata` of the new
        conversation stand beside `messages`. Of a single message only `conversation_id` is taken out: its
        other fields are the message's own."""
        raw, body = await read_json(call.req, self._limits)
        submitted = recognise(body, taken_out=("conversation_id",))
        wanted = new_conversation(submitted.beside, self._limits)
        existing = chosen_id(wanted)
        at_ms = now_ms()
        key = request_key(call.req, call.user)
        messages = ready(submitted, at_ms=at_ms, limits=self._limits, derived=message_ids(key))
        idempotency = key.of_request(call.req, raw) if key else None
        if existing is not None:
            _refuse_state(submitted.beside)
            result = await self._publisher.append(
                *(call.user, existing, messages),
                at_ms=at_ms,
                idempotency=idempotency,
                title=first_title(messages),
            )
        else:
            result = await self._publisher.append_to_new(
                call.user,
                key.conversation_id("append") if key else None,
                first_state(wanted, at_ms=at_ms, messages=messages),
                messages,
                at_ms=at_ms,
                idempotency=idempotency,
            )
        return await self._appended(call, result)

    @operation(
        "GET",
        OF_ONE,
        summary="Read messages",
        tag=TAG,
        query=MessagesQuery,
        successes={200: Success("In the order asked for.", MessageList, examples.MESSAGE_LIST)},
        problems=(problems.CONVERSATION_NOT_FOUND,),
    )
    async def get_messages(self, call: Call[MessagesQuery]) -> Reply:
        """The `limit` most recent; with `after` the first `limit` past that sequence number, with `before`
        the last `limit` below it; with `page` and `page_size` the full history, page 1 at `order`'s start."""
        query = call.query
        if query.paged:
            return await self._page(call)
        limit = within(query.limit, self._limits.max_read_limit)
        if query.before is None and query.after is None:
            found = await self._history.recent(call.user, call.conversation_id, limit)
        else:
            window = Window(limit, after=query.after, before=query.before)
            found = await self._history.window(call.user, call.conversation_id, window)
        ordered = found[::-1] if query.order == "desc" else found
        return Reply(200, message_list(call.conversation_id, ordered))

    async def _page(self, call: Call[MessagesQuery]) -> Reply:
        query = call.query
        query.refuse_mixing("limit", "before", "after")
        size = query.size(self._limits.max_page_size)
        number = query.page or 1
        page = await self._history.page(
            call.user,
            call.conversation_id,
            page=number,
            page_size=size,
            descending=query.order == "desc",
        )
        where = pagination(total=page.total, page=number, page_size=size)
        body = message_list(call.conversation_id, page.items)
        return Reply(200, with_member(body, b"pagination", where))

    async def _appended(self, call: Call[AppendQuery], result: Appended) -> Reply:
        persisted: bool | None = None
        if call.query.ack == "persisted":
            persisted = await self._publisher.wait_persisted(
                call.user, result, within=self._persisted_wait_seconds
            )
        return Reply(
            202 if persisted is False else 201,
            appended(result.conversation_id, result.messages, result.position, persisted),
            REPLAYED if result.replayed else {},
        )


def _refuse_state(beside: dict[str, Any]) -> None:
    named = [name for name in _OF_NEW_ONES if name in beside]
    if named:
        text = "is for a new conversation only: leave conversation_id out, or change it with PATCH"
        raise invalid(*(FieldError(name, text) for name in named))
