"""Who am I."""

from __future__ import annotations

from pydantic_core import to_json

from common.settings import ChatHistoryMode
from services.gateway import examples
from services.gateway.operations import Call, Reply, Success, operation
from services.gateway.queries import Query
from services.gateway.schemas import Me as MeSchema


class Me:
    """The user of the request."""

    def __init__(self, mode: ChatHistoryMode) -> None:
        self._mode = mode

    @operation(
        "GET",
        "/api/me",
        summary="Who am I",
        tag="identity",
        successes={200: Success("You.", MeSchema, examples.ME)},
    )
    async def get_me(self, call: Call[Query]) -> Reply:
        """Your user id, how we know it, and the mode this server runs in."""
        who = call.principal
        body = {
            "user_id": who.user_id,
            "name": who.name,
            "identity": who.kind,
            "department": who.department,
            "service": who.service,
            "scopes": None if who.scopes is None else sorted(who.scopes),
            "mode": self._mode,
        }
        return Reply(200, to_json(body))
