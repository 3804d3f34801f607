"""Anything a client may do, compared with a model that is three dicts; and what may befall it meanwhile."""

from __future__ import annotations

import itertools
import random
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import asyncpg
import httpx
import redis
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from common.settings import Settings
from tests.servers import run_apart
from tests.waiting import wait_until
from tools.token import mint_token

TEXT = st.text(alphabet=st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=30)
LISTS = ("messages", "conversations", "summaries", "header", "everything")


@dataclass
class Known:
    """What the model knows of one conversation: its messages as they were answered."""

    id: str
    messages: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    deleted: bool = False
    next_number: int = 0
    gone: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def remove(self, gone: list[dict[str, Any]]) -> None:
        """These messages are deleted."""
        self.messages = [message for message in self.messages if message not in gone]
        self.gone += gone

    @property
    def preview(self) -> str | None:
        texts = (" ".join(m["content"].split()) for m in reversed(self.messages))
        return next((text for text in texts if text), None)


class Clients(RuleBasedStateMachine):
    """One user against the model, and another who must see nothing of it."""

    urls: ClassVar[Sequence[str]]
    settings: ClassVar[Settings]
    numbers: ClassVar[Iterator[int]] = itertools.count()
    conversations = Bundle("conversations")

    def __init__(self) -> None:
        super().__init__()
        self.user = f"user-{next(self.numbers)}-{uuid.uuid4().hex[:8]}"
        self.known: dict[str, Known] = {}
        self._clients = [self._client(url, self.user) for url in self.urls]
        self._chance = random.Random(0)
        self.stranger = self._client(self.urls[0], f"stranger-{uuid.uuid4().hex[:8]}")

    def _client(self, url: str, user: str) -> httpx.Client:
        token = mint_token(self.settings.identity, user)
        # No connection is kept: each request may reach another worker.
        return httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {token}", "Connection": "close"},
            timeout=20,
            verify=False,  # plain HTTP: what TLS would need takes longer to load than a test to run
        )

    @property
    def http(self) -> httpx.Client:
        """The user's client of one gateway or another."""
        return self._chance.choice(self._clients)

    @initialize(target=conversations)
    def begin(self) -> Known:
        """There is always one conversation to do something with."""
        return self._create()

    @rule(target=conversations)
    def create(self) -> Known:
        return self._create()

    def _create(self) -> Known:
        created = self._ok(self.http.post("/api/conversations", json={"title": "T"}), 201)
        known = Known(created["conversation_id"])
        self.known[known.id] = known
        return known

    @rule(target=conversations, text=TEXT)
    def create_by_appending(self, text: str) -> Known:
        reply = self.http.post("/api/conversations/messages", json={"role": "user", "content": text})
        answer = self._ok(reply, 201)
        known = Known(answer["conversation_id"])
        self.known[known.id] = known
        self._learn(known, answer, first=0, count=1)
        return known

    @rule(known=conversations, texts=st.lists(TEXT, min_size=1, max_size=7))
    def append(self, known: Known, texts: list[str]) -> None:
        self.append_to(known, texts)

    def append_to(self, known: Known, texts: list[str]) -> None:
        """A batch of texts."""
        batch = {"messages": [{"role": "user", "content": text} for text in texts]}
        reply = self.http.post(f"/api/conversations/{known.id}/messages", json=batch)
        if known.deleted:
            assert reply.status_code == 404
            return
        self._learn(known, self._ok(reply, 201), first=known.next_number, count=len(texts))

    @rule(known=conversations, data=st.data())
    def append_again(self, known: Known, data: st.DataObject) -> None:
        """The same message, by its id: answered as it was the first time."""
        if not known.messages or known.deleted:
            return
        old = data.draw(st.sampled_from(known.messages))
        sent = {key: value for key, value in old.items() if key != "sequence_number"}
        answer = self._ok(self.http.post(f"/api/conversations/{known.id}/messages", json=sent), 201)
        assert answer["messages"] == [old]

    @rule(known=conversations, data=st.data(), text=TEXT)
    def edit(self, known: Known, data: st.DataObject, text: str) -> None:
        if not known.messages or known.deleted:
            return
        old = data.draw(st.sampled_from(known.messages))
        new = {**old, "content": text}
        url = f"/api/conversations/{known.id}/messages/{old['id']}"
        assert self._ok(self.http.patch(url, json={"content": text}), 200) == new
        known.messages[known.messages.index(old)] = new
        self.expect_newest(known)

    @rule(known=conversations, data=st.data())
    def delete_message(self, known: Known, data: st.DataObject) -> None:
        if not known.messages or known.deleted:
            return
        old = data.draw(st.sampled_from(known.messages))
        url = f"/api/conversations/{known.id}/messages/{old['id']}"
        assert self.http.delete(url).status_code == 204
        known.remove([old])
        self.expect_newest(known)

    @rule(known=conversations, back=st.integers(0, 8))
    def truncate(self, known: Known, back: int) -> None:
        after = max(-1, known.next_number - 1 - back)
        url = f"/api/conversations/{known.id}/truncate"
        reply = self.http.post(url, json={"after_sequence_number": after})
        if known.deleted:
            assert reply.status_code == 404
            return
        known.remove([message for message in known.messages if message["sequence_number"] > after])
        answer = self._ok(reply, 200)
        assert (answer["message_count"], answer["preview"]) == (len(known.messages), known.preview)

    @rule(known=conversations, data=st.data())
    def append_what_is_gone(self, known: Known, data: st.DataObject) -> None:
        """Late, or by mistake: refused, with all that comes with it."""
        if not known.gone or known.deleted:
            return
        gone = data.draw(st.sampled_from(known.gone))
        url = f"/api/conversations/{known.id}/messages"
        assert self.http.post(url, json={"messages": [{"content": "new"}, gone]}).status_code == 409
        assert self.http.patch(f"{url}/{gone['id']}", json={"content": "back"}).status_code == 404
        assert self.http.delete(f"{url}/{gone['id']}").status_code == 404

    @rule(known=conversations, limit=st.integers(1, 12))
    def read_recent(self, known: Known, limit: int) -> None:
        reply = self.http.get(f"/api/conversations/{known.id}/messages", params={"limit": limit})
        self._expect_messages(known, reply, known.messages[-limit:])

    @rule(known=conversations, after=st.integers(-1, 12), limit=st.integers(1, 8))
    def read_after(self, known: Known, after: int, limit: int) -> None:
        query = {"after": max(after, 0), "limit": limit}
        reply = self.http.get(f"/api/conversations/{known.id}/messages", params=query)
        expected = [m for m in known.messages if m["sequence_number"] > query["after"]][:limit]
        self._expect_messages(known, reply, expected)

    @rule(known=conversations, before=st.integers(0, 14), limit=st.integers(1, 8))
    def read_before(self, known: Known, before: int, limit: int) -> None:
        query = {"before": before, "limit": limit}
        reply = self.http.get(f"/api/conversations/{known.id}/messages", params=query)
        expected = [m for m in known.messages if m["sequence_number"] < before][-limit:]
        self._expect_messages(known, reply, expected)

    @rule(known=conversations, page=st.integers(1, 4), size=st.integers(1, 6), descending=st.booleans())
    def read_page(self, known: Known, page: int, size: int, descending: bool) -> None:
        query = {"page": page, "page_size": size, "order": "desc" if descending else "asc"}
        reply = self.http.get(f"/api/conversations/{known.id}/messages", params=query)
        ordered = known.messages[::-1] if descending else known.messages
        self._expect_messages(known, reply, ordered[(page - 1) * size : page * size])
        if not known.deleted:
            assert reply.json()["pagination"]["total"] == len(known.messages)

    @rule(limit=st.integers(1, 4))
    def list_by_cursor(self, limit: int) -> None:
        rows: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            query = {"limit": limit} | ({"cursor": cursor} if cursor else {})
            answer = self._ok(self.http.get("/api/conversations", params=query), 200)
            rows += answer["conversations"]
            cursor = answer["next_cursor"]
            if cursor is None:
                break
        self._expect_rows(rows)

    @rule(size=st.integers(1, 4))
    def list_by_page(self, size: int) -> None:
        rows: list[dict[str, Any]] = []
        for page in itertools.count(1):
            query = {"page": page, "page_size": size}
            answer = self._ok(self.http.get("/api/conversations", params=query), 200)
            rows += answer["conversations"]
            assert answer["pagination"]["total"] == len(self._alive())
            if not answer["pagination"]["has_next"]:
                break
        self._expect_rows(rows)

    @rule(known=conversations)
    def read_header(self, known: Known) -> None:
        reply = self.http.get(f"/api/conversations/{known.id}")
        if known.deleted:
            assert reply.status_code == 404
            return
        answer = self._ok(reply, 200)
        assert answer["message_count"] == len(known.messages)
        assert answer["messages"] == known.messages[-len(answer["messages"]) :][: len(answer["messages"])]

    @rule(known=conversations, title=TEXT.filter(bool))
    def rename(self, known: Known, title: str) -> None:
        reply = self.http.patch(f"/api/conversations/{known.id}", json={"title": title})
        if known.deleted:
            assert reply.status_code == 404
            return
        assert self._ok(reply, 200)["title"] == title
        assert self._ok(self.http.get(f"/api/conversations/{known.id}"), 200)["title"] == title

    @rule(known=conversations)
    def delete(self, known: Known) -> None:
        reply = self.http.delete(f"/api/conversations/{known.id}")
        assert reply.status_code == (404 if known.deleted else 204)
        known.deleted, known.messages = True, []
        self._expect_messages(known, self.http.get(f"/api/conversations/{known.id}/messages"), [])
        again = self.http.post(f"/api/conversations/{known.id}/messages", json={"content": "late"})
        assert again.status_code == 404

    @rule(known=conversations)
    def a_stranger_finds_nothing(self, known: Known) -> None:
        assert self.stranger.get(f"/api/conversations/{known.id}/messages").status_code == 404
        assert self.stranger.get("/api/conversations").json()["conversations"] == []

    @invariant()
    def the_newest_message_is_always_there(self) -> None:
        """The shortest form of the promise, after every step."""
        for known in self._alive()[-1:]:
            self.expect_newest(known)

    def expect_newest(self, known: Known) -> None:
        """A reader sees the newest message; or that the conversation is gone."""
        reply = self.http.get(f"/api/conversations/{known.id}/messages", params={"limit": 1})
        self._expect_messages(known, reply, known.messages[-1:])

    def teardown(self) -> None:
        """All of it ends in PostgreSQL, each row once."""
        self.set_right()
        run_apart(self._compare_with_postgresql())
        for client in (*self._clients, self.stranger):
            client.close()

    def set_right(self) -> None:
        """End what keeps anything from PostgreSQL."""

    async def _compare_with_postgresql(self) -> None:
        connection = await asyncpg.connect(self.settings.postgres.dsn)
        expected = sorted(
            (known.id, m["sequence_number"], m["id"], m["content"])
            for known in self._alive()
            for m in known.messages
        )
        rows: list[tuple[Any, ...]] = []

        async def agrees() -> bool:
            found = await connection.fetch(
                "SELECT conversation_id::text, sequence_number, id, payload ->> 'content' FROM messages"
                " WHERE user_id = $1 ORDER BY 1, 2",
                self.user,
            )
            rows[:] = map(tuple, found)
            return rows == expected

        try:
            await wait_until(agrees, message=lambda: f"PostgreSQL has {rows}, the model {expected}")
        finally:
            await connection.close()

    def _alive(self) -> list[Known]:
        return [known for known in self.known.values() if not known.deleted]

    def _learn(self, known: Known, answer: dict[str, Any], *, first: int, count: int) -> None:
        assert answer["conversation_id"] == known.id
        numbers = [m["sequence_number"] for m in answer["messages"]]
        assert numbers == list(range(first, first + count))
        known.messages += answer["messages"]
        known.next_number = first + count

    def _expect_messages(self, known: Known, reply: httpx.Response, expected: list[dict[str, Any]]) -> None:
        if known.deleted:
            assert reply.status_code == 404
        else:
            assert self._ok(reply, 200)["messages"] == expected

    def _expect_rows(self, rows: list[dict[str, Any]]) -> None:
        assert len(rows) == len({row["conversation_id"] for row in rows})
        times = [row["last_modified"] for row in rows]
        assert times == sorted(times, reverse=True)
        found = {row["conversation_id"]: (row["message_count"], row["preview"]) for row in rows}
        assert found == {known.id: (len(known.messages), known.preview) for known in self._alive()}

    def _ok(self, reply: httpx.Response, status: int) -> dict[str, Any]:
        assert reply.status_code == status, reply.text
        return reply.json()


class ClientsOfRedis(Clients):
    """What is cached in Redis may be gone at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.redis = redis.Redis.from_url(self.settings.redis.dsn)

    @rule(what=st.sampled_from(LISTS), share=st.floats(0.3, 1), seed=st.integers(0, 2**16))
    def lose_cache(self, what: str, share: float, seed: int) -> None:
        """Eviction: any part of what may expire, never what may not."""
        chance = random.Random(seed)
        for key in self._volatile(what):
            if chance.random() < share:
                self.redis.delete(key)

    @rule(what=st.sampled_from(LISTS))
    def expire(self, what: str) -> None:
        """The TTL runs out."""
        for key in self._volatile(what):
            self.redis.pexpire(key, 1)
        time.sleep(0.003)

    def _volatile(self, what: str) -> list[bytes]:
        keys: list[bytes] = list(self.redis.scan_iter(match=f"chat:*{self.user}*"))
        chosen = [
            key
            for key in keys
            if what == "everything"
            or key.endswith(f":{what}".encode())
            or (what == "header" and len(key.split(b":")) == 4 and len(key.split(b":")[3]) == 36)
        ]
        return [key for key in chosen if self.redis.pttl(key) >= 0]

    def teardown(self) -> None:
        super().teardown()
        self.redis.close()
