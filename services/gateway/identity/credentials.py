"""What a request says about who sends it: the headers that matter and the true address, read once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from services.gateway.identity.refusals import repeated

ACT_FOR: Final = "Turnlog-User"
SSO_ID: Final = "X-MS-CLIENT-PRINCIPAL-ID"
SSO_NAME: Final = "X-MS-CLIENT-PRINCIPAL-NAME"
_SSO_PREFIX: Final = b"x-ms-client-principal"
_AUTHORIZATION, _HOST, _ACT_FOR, _SSO_ID, _SSO_NAME = (
    name.lower().encode() for name in ("Authorization", "Host", ACT_FOR, SSO_ID, SSO_NAME)
)
_ONCE: Final = {
    _AUTHORIZATION: "Authorization",
    _HOST: "Host",
    _ACT_FOR: ACT_FOR,
    _SSO_ID: SSO_ID,
    _SSO_NAME: SSO_NAME,
}


class Credentials(NamedTuple):
    """The headers that say who somebody is, and `peer`, the address at the other end of the connection.

    `sso` is whether there is any header that only a proxy may set.
    """

    authorization: str | None = None
    host: str | None = None
    act_for: str | None = None
    sso_id: bytes | None = None
    sso_name: bytes | None = None
    sso: bool = False
    peer: str | None = None


def credentials_of(scope: Mapping[str, Any]) -> Credentials:
    """The credentials in an ASGI scope. Raises Problem (400) where one of the headers comes twice.

    The peer is that of the connection: what X-Forwarded-For and its like say is never looked at.
    """
    found: dict[bytes, bytes] = {}
    sso = False
    for name, value in scope["headers"]:
        if name in _ONCE:
            if name in found:
                raise repeated(_ONCE[name])
            found[name] = value
        sso = sso or name.startswith(_SSO_PREFIX)
    client = scope.get("client")
    return Credentials(
        authorization=_text(found.get(_AUTHORIZATION)),
        host=_text(found.get(_HOST)),
        act_for=_text(found.get(_ACT_FOR)),
        sso_id=found.get(_SSO_ID),
        sso_name=found.get(_SSO_NAME),
        sso=sso,
        peer=client[0] if client else None,
    )


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")
