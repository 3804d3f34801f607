"""What the gateway says about itself: health, who you are, the OpenAPI document, pages for people."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
from typing import Any, cast

import httpx
import pytest
from falcon.asgi import App
from openapi_pydantic import OpenAPI
from pydantic import TypeAdapter

from common.redis.client import RedisClient
from common.settings import ChatHistoryMode, Settings
from services.gateway.conversations import Conversations
from services.gateway.health import Health
from services.gateway.me import Me
from services.gateway.message_changes import MessageChanges
from services.gateway.messages import Messages
from services.gateway.operations import Bound, operations_of
from services.gateway.pages import Pages
from services.gateway.search import Search
from services.gateway.worker import open_gateway
from tests.gateways import RunningGateway, problem_fields, running_gateway
from tests.keeping import with_redis
from tests.waiting import wait_until

RESOURCES = (Conversations, Messages, MessageChanges, Search, Me, Health, Pages)
DESCRIBED = operations_of([cls.__new__(cls) for cls in RESOURCES])
PRIVATE = [bound.operation for bound in DESCRIBED if not bound.operation.public]


async def test_it_is_alive_and_ready(gateway: RunningGateway, client: httpx.AsyncClient) -> None:
    """PostgreSQL is there, and Redis where it is used."""
    assert (await client.get("/healthz")).json()["status"] == "ok"
    ready = await client.get("/readyz")
    assert ready.status_code == 200
    needed = ["redis", "postgres"] if gateway.settings.uses_redis else ["postgres"]
    assert ready.json() == {"status": "ready", "checks": dict.fromkeys(needed, "ok")}


async def test_http_1_0_is_spoken(gateway: RunningGateway) -> None:
    """Some probes and proxies still do."""
    url = httpx.URL(gateway.url)
    for path, header in (("/healthz", b""), ("/api/me", b"Host: localhost\r\n")):
        reader, writer = await asyncio.open_connection(url.host, url.port)
        writer.write(b"GET %b HTTP/1.0\r\n%b\r\n" % (path.encode(), header))
        async with asyncio.timeout(10):
            reply = await reader.read()
        writer.close()
        assert reply.startswith(b"HTTP/1.0 200 "), reply


async def test_head_is_answered_as_get_is(client: httpx.AsyncClient) -> None:
    """By the whole of it, without a body."""
    for path in ("/readyz", "/docs", "/api/conversations", "/api/conversations/nonsense"):
        got, head = await client.get(path), await client.head(path)
        assert (head.status_code, head.content) == (got.status_code, b"")
        assert head.headers["Content-Length"] == got.headers["Content-Length"]


@with_redis
async def test_functions_that_were_lost_are_put_back(
    gateway: RunningGateway, client: httpx.AsyncClient
) -> None:
    """As after Redis came back without its data."""
    redis = RedisClient(gateway.settings.redis.dsn)
    await redis.call("FUNCTION", "FLUSH")
    assert (await client.get("/readyz")).status_code == 200
    assert await redis.call("FUNCTION", "LIST")
    await redis.aclose()


async def test_not_ready_names_what_is_missing(settings: Settings) -> None:
    """Started all the same: it becomes ready when they are there."""
    from pydantic import SecretStr

    nowhere = settings.redis.model_copy(update={"url": SecretStr("redis://127.0.0.1:1/0")})
    nobody = settings.postgres.model_copy(update={"url": SecretStr("postgresql://x:y@127.0.0.1:1/x")})
    async with running_gateway(settings):
        pass  # A Redis that has just been started is inspected, and that takes PostgreSQL.
    for change, missing in (({"redis": nowhere}, "redis"), ({"postgres": nobody}, "postgres")):
        async with running_gateway(settings.model_copy(update=change)) as gateway, gateway.client() as client:
            reply = await client.get("/readyz")
            assert reply.status_code == 503
            assert reply.headers["Retry-After"]
            assert problem_fields(reply) == [missing]
            assert (await client.get("/healthz")).status_code == 200


async def test_who_am_i(client: httpx.AsyncClient, alice: httpx.AsyncClient) -> None:
    """The test user without a token, the token's user with one."""
    me = (await client.get("/api/me")).json()
    assert (me["user_id"], me["identity"], me["mode"]) == ("local-test-client", "test-user", "local")
    her = (await alice.get("/api/me")).json()
    assert (her["user_id"], her["identity"]) == ("alice", "token")


async def test_every_call_needs_a_token_where_there_is_no_test_user(settings: Settings) -> None:
    """All but the public ones, before anything else is looked at."""
    strict = settings.model_copy(update={"mode": ChatHistoryMode.REDIS})
    async with running_gateway(strict) as gateway, gateway.client() as client:
        for described in PRIVATE:
            path = described.path.replace("{conversation_id}", "nonsense")
            reply = await client.request(described.method, path)
            assert reply.status_code == 401, described
            assert reply.headers["WWW-Authenticate"].startswith("Bearer")
            assert problem_fields(reply) == ["Authorization"]
        assert (await client.get("/healthz")).status_code == 200
        async with gateway.client("alice") as alice:
            assert (await alice.get("/api/me")).json()["mode"] == "redis"


async def test_the_document_and_the_routes_are_the_same(settings: Settings) -> None:
    """Every path and method that is routed is documented, and the other way round."""
    async with open_gateway(settings) as app:
        routed = _routes(app)
        document = json.loads((await Pages([]).openapi(cast(Any, None))).data)
        assert "/openapi.json" in document["paths"]
    async with running_gateway(settings) as gateway, gateway.client() as client:
        document = (await client.get("/openapi.json")).json()
    documented = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    assert documented == routed


def _routes(app: App[Any, Any]) -> set[tuple[str, str]]:
    """What Falcon's own router knows."""
    found: set[tuple[str, str]] = set()

    def walk(nodes: Any) -> None:
        for node in nodes:
            if node.resource is not None:
                # HEAD is GET's shadow.
                handlers = {name for name in dir(node.resource) if name.startswith("on_")} - {"on_head"}
                path = node.uri_template.replace(":path}", "}")  # of a parameter that may have slashes
                found.update((name.removeprefix("on_").upper(), path) for name in handlers)
            walk(node.children)

    walk(cast(Any, app)._router._roots)
    return found


async def test_the_document_is_openapi_with_examples_that_are_true(client: httpx.AsyncClient) -> None:
    """Valid OpenAPI 3.1; each example of a body or a reply fits its model."""
    text = (await client.get("/openapi.json")).text
    document = OpenAPI.model_validate_json(text)
    assert document.openapi.startswith("3.1")
    for path, item in json.loads(text)["paths"].items():
        for method, described in item.items():
            assert described["summary"], (method, path)
            assert described["description"], (method, path)
            body = described.get("requestBody")
            assert body is None or body["content"]["application/json"]["examples"]


@pytest.mark.parametrize("bound", DESCRIBED, ids=lambda bound: bound.operation.name)
def test_examples_fit_their_models(bound: Bound) -> None:
    """What the documentation shows is what the models accept."""
    described = bound.operation
    for success in described.successes.values():
        if success.model is not None:
            TypeAdapter(success.model).validate_python(success.example)
    if described.body is not None:
        union: Any = described.body.models[0]
        for model in described.body.models[1:]:
            union = union | model
        for example in described.body.examples.values():
            TypeAdapter(union).validate_python(example)


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_pages_load_nothing_from_elsewhere(client: httpx.AsyncClient, path: str) -> None:
    """They work without the internet, and their policy lets nothing else in."""
    reply = await client.get(path)
    assert reply.headers["Content-Type"].startswith("text/html")
    assert not re.findall(r"https?://|(?:src|href)=[\"']//", reply.text)
    policy = reply.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    for inline in re.findall(r"<(?:script|style)>(.*?)</(?:script|style)>", reply.text, re.DOTALL):
        digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy


async def test_it_becomes_ready_when_redis_is_safe_to_use(settings: Settings, redis_url: str) -> None:
    """A policy that could evict the log is refused at the start."""
    from common.domain.errors import UnsafeConfiguration

    redis = RedisClient(redis_url)
    await redis.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    with pytest.raises(UnsafeConfiguration, match="maxmemory-policy"):
        async with open_gateway(settings):
            pass
    await redis.call("CONFIG", "SET", "maxmemory-policy", "noeviction")
    await redis.aclose()
    async with running_gateway(settings) as gateway, gateway.client() as client:

        async def ready() -> bool:
            return (await client.get("/readyz")).status_code == 200

        await wait_until(ready)


@pytest.mark.parametrize("moments", [0, 1, 2, 5])
async def test_it_can_stop_while_it_is_still_starting(settings: Settings, moments: int) -> None:
    """Whatever it was about to do."""
    async with asyncio.timeout(10):
        async with open_gateway(settings):
            for _ in range(moments):
                await asyncio.sleep(0)
