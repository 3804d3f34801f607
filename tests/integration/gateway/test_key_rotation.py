"""A gateway process and an issuer whose keys change, who answers badly, slowly, or not at all."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from services.gateway.identity.key_fetch import MAX_BYTES, fetcher
from services.gateway.identity.key_sets import KeySetUnavailable
from services.gateway.identity.refusals import Reason
from tests.gateway_processes import GatewayProcess, gateway_process
from tests.integration.gateway.test_identity_matrix import NOWHERE
from tests.issuer import (
    Answer,
    Issuer,
    claims_of,
    compact,
    http_reply,
    public_jwk,
    rsa_key,
    running_issuer,
    signed_by,
)
from tests.waiting import wait_until

OLD, NEW = rsa_key("old"), rsa_key("new")


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    """With one key."""
    async with running_issuer() as issuer:
        issuer.publish(old=OLD)
        yield issuer


def token(key_id: str = "old") -> str:
    key = {"old": OLD}.get(key_id, NEW)
    return compact({"alg": "RS256", "kid": key_id}, claims_of(), signed_by(key))


async def ask(gateway: GatewayProcess, sent: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=gateway.url, verify=False) as client:
        return await client.get("/api/me", headers={"Authorization": f"Bearer {sent}"}, timeout=30)


def settings_of(issuer: Issuer, **more: str) -> dict[str, str]:
    return {
        "CHAT_HISTORY_MODE": "postgres",
        "JWT_ALGORITHMS": "RS256",
        "JWT_JWKS_URL": issuer.url,
        **more,
    }


async def test_keys_rotate_while_tokens_come(issuer: Issuer, tmp_path: Path) -> None:
    """A new key's tokens are good at once; a withdrawn key's are not, though they were before."""
    often = settings_of(issuer, JWT_JWKS_REFETCH_SECONDS="0.1", JWT_JWKS_CACHE_SECONDS="1")
    with gateway_process(NOWHERE, tmp_path, **often) as gateway:
        await gateway.ready("/healthz")
        remembered = token()
        assert (await ask(gateway, remembered)).status_code == 200
        issuer.publish(old=OLD, new=NEW)
        await wait_until(lambda: _is(gateway, token("new"), 200))
        assert (await ask(gateway, remembered)).status_code == 200
        issuer.publish(new=NEW)
        await wait_until(lambda: _is(gateway, remembered, 401))
        assert (await ask(gateway, remembered)).json()["reason"] == Reason.UNKNOWN_KEY
        assert (await ask(gateway, token("new"))).status_code == 200


async def _is(gateway: GatewayProcess, sent: str, status: int) -> bool:
    return (await ask(gateway, sent)).status_code == status


async def test_made_up_key_ids_ask_the_issuer_once(issuer: Issuer, tmp_path: Path) -> None:
    """A hundred of them: one fetch at the start, one more for all of them."""
    with gateway_process(NOWHERE, tmp_path, **settings_of(issuer, JWT_JWKS_REFETCH_SECONDS="600")) as gateway:
        await gateway.ready("/healthz")
        assert (await ask(gateway, token())).status_code == 200
        before = issuer.asked
        for _ in range(5):
            replies = await asyncio.gather(*(ask(gateway, token(f"made-up-{n}")) for n in range(20)))
            assert {reply.json()["reason"] for reply in replies} == {Reason.UNKNOWN_KEY}
        assert issuer.asked == before + 1


async def test_while_the_issuer_is_away_known_keys_go_on_within_a_bound(
    issuer: Issuer, tmp_path: Path
) -> None:
    """Then every token is a 503 and the gateway is not ready, until the issuer is back."""
    brief = {"JWT_JWKS_CACHE_SECONDS": "1", "JWT_JWKS_STALE_SECONDS": "2", "JWT_JWKS_REFETCH_SECONDS": "0.1"}
    with gateway_process(NOWHERE, tmp_path, **settings_of(issuer, **brief)) as gateway:
        await gateway.ready("/healthz")
        assert (await ask(gateway, token())).status_code == 200
        failed = issuer.asked

        async def down(writer: asyncio.StreamWriter) -> None:
            writer.write(http_reply(b"{}", "500 Internal Server Error"))

        issuer.answer = down
        await wait_until(lambda: issuer.asked >= failed + 2)
        assert (await ask(gateway, token())).status_code == 200
        unknown = await ask(gateway, token("new"))
        assert (unknown.status_code, unknown.headers["Retry-After"]) == (503, "1")
        await wait_until(lambda: _is(gateway, token(), 503))
        async with httpx.AsyncClient(base_url=gateway.url, verify=False) as client:
            ready = await client.get("/readyz")
        assert "keys" in [error["field"] for error in ready.json()["errors"]]
        issuer.answer = None
        await wait_until(lambda: _is(gateway, token(), 200))
        assert issuer.url not in gateway.log.read_text()


async def test_a_gateway_starts_without_its_issuer(issuer: Issuer, tmp_path: Path) -> None:
    """It says 503 to tokens, since they may be good, and 401 to what could never be; then it goes on."""
    issuer.answer = _hang_up
    with gateway_process(NOWHERE, tmp_path, **settings_of(issuer, JWT_JWKS_REFETCH_SECONDS="0.1")) as gateway:
        await gateway.ready("/healthz")
        assert (await ask(gateway, token())).status_code == 503
        assert (await ask(gateway, "nonsense")).status_code == 401
        issuer.answer = None
        await wait_until(lambda: _is(gateway, token(), 200))


async def _hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()


async def _redirect(writer: asyncio.StreamWriter) -> None:
    port = writer.get_extra_info("sockname")[1]
    writer.write(http_reply(b"", "302 Found", f"Location: http://127.0.0.1:{port}/other"))


async def _endless(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    for _ in range(4 * MAX_BYTES // 65_536):
        writer.write(b" " * 65_536)
        await writer.drain()


async def _drop_by_drop(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while not writer.is_closing():
        writer.write(b"X-More: header\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)


async def _says_nothing(writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


async def _compressed(writer: asyncio.StreamWriter) -> None:
    body = gzip.compress(json.dumps({"keys": [public_jwk(OLD, "old")]}).encode())
    writer.write(http_reply(body, "200 OK", "Content-Encoding: gzip"))


async def _page(writer: asyncio.StreamWriter) -> None:
    writer.write(http_reply(b"<html>Log in, please</html>", "200 OK", "Content-Type: text/html"))


async def _no_http(writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 mail.example ESMTP\r\n\r\n")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (_hang_up, "RemoteProtocolError"),
        (_redirect, "status 302"),
        (_endless, f"more than {MAX_BYTES} bytes"),
        (_drop_by_drop, "no answer within"),
        (_says_nothing, "no answer within"),
        (_compressed, "compressed"),
        (_page, "not JSON"),
        (_no_http, "RemoteProtocolError"),
    ],
)
async def test_a_bad_answer_ends_soon_and_changes_nothing(issuer: Issuer, answer: Answer, said: str) -> None:
    """No redirect is followed, no answer is longer or takes longer than its bound."""
    issuer.answer = answer
    async with asyncio.timeout(10):
        with pytest.raises(KeySetUnavailable, match=said):
            await fetcher(issuer.url, timeout_seconds=0.5)()
    assert issuer.asked == 1


async def test_a_key_set_of_this_machine_is_not_asked_for_through_a_proxy(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes over http, and a proxy could put in keys of its own."""
    async with running_issuer() as proxy:
        proxy.publish(proxys=NEW)
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert list(await fetcher(issuer.url, timeout_seconds=5)()) == [("RS256", "old")]
        assert proxy.asked == 0


async def test_nobody_is_there() -> None:
    """Nor does the reason say where."""
    async with running_issuer() as issuer:
        url = issuer.url
    with pytest.raises(KeySetUnavailable) as caught:
        await fetcher(url, timeout_seconds=0.5)()
    assert str(issuer.port) not in str(caught.value)
