"""Full text search over a user's messages."""

from __future__ import annotations

from typing import Any, Final

from pydantic_core import to_json

from common.domain.messages import message_text, parse_body
from common.domain.search.hits import Hit
from common.domain.search.snippet import snippet
from common.domain.search.wanted import Wanted, parse_wanted
from common.ports import SearchPort
from services.gateway import examples
from services.gateway.operations import Call, Reply, Success, operation
from services.gateway.queries import SearchQuery
from services.gateway.schemas import SearchHits

TAG: Final = "search"


class Search:
    """The search."""

    def __init__(self, search: SearchPort) -> None:
        self._search = search

    @operation(
        "GET",
        "/api/search",
        summary="Search messages",
        tag=TAG,
        query=SearchQuery,
        successes={200: Success("Best first.", SearchHits, examples.SEARCH_HITS)},
    )
    async def search_messages(self, call: Call[SearchQuery]) -> Reply:
        """Finds your messages that have all the words of `q` in their text, in any language; case and accents
        do not count. Best are those in which the words stand near each other and often, of equal ones the
        newest. What was acknowledged is found at once; deleted is gone at once."""
        wanted = parse_wanted(call.query.q)
        found = await self._search.find(call.user, wanted, limit=call.query.limit, cursor=call.query.cursor)
        hits = [_shown(hit, wanted) for hit in found.items]
        return Reply(200, to_json({"hits": hits, "next_cursor": found.next_cursor}))


def _shown(hit: Hit, wanted: Wanted) -> dict[str, Any]:
    fields = parse_body(hit.body)
    parts = snippet(message_text(fields.get("content")), wanted)
    return {
        "conversation_id": hit.place.conversation,
        "title": hit.title,
        "sequence_number": hit.place.sequence_number,
        "id": fields["id"],
        "role": fields.get("role"),
        "created_at": fields["created_at"],
        "score": hit.place.score,
        "snippet": [{"text": part.text, "match": part.match} for part in parts],
    }
