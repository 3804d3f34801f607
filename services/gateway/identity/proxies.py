"""Users that a proxy of ours has let in: its headers count where it, and nobody else, is who sends them."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from common.domain.ids import parse_user_id
from services.gateway.identity.credentials import SSO_ID, Credentials
from services.gateway.identity.principal import IdentityKind, Principal
from services.gateway.identity.refusals import Reason, unauthenticated


class TrustedProxies:
    """Believes SSO headers from connections that come from `networks`."""

    def __init__(self, networks: Sequence[IPv4Network | IPv6Network]) -> None:
        self._networks = tuple(networks)
        self._trusts = lru_cache(maxsize=1024)(self._is_inside)

    def identify(self, found: Credentials) -> Principal:
        """The user that the proxy names. Raises Problem (401) for anybody else's headers, and unfit ones."""
        if not self._trusts(found.peer):
            raise unauthenticated(
                Reason.UNTRUSTED_PROXY, "Only a trusted proxy may say who somebody is", field=SSO_ID
            )
        user = parse_user_id(_text(found.sso_id))
        if user is None:
            raise unauthenticated(Reason.INVALID_SSO, "Not a user id", field=SSO_ID)
        return Principal(user, parse_user_id(_text(found.sso_name)) or user, IdentityKind.SSO)

    def _is_inside(self, peer: str | None) -> bool:
        address = _address(peer)
        return address is not None and any(address in network for network in self._networks)


def _address(peer: str | None) -> IPv4Address | IPv6Address | None:
    """The address of a connection's other end; None for what is none, such as a Unix socket's."""
    try:
        address = ipaddress.ip_address(peer or "")
    except ValueError:
        return None
    # A gateway that listens on both kinds of address sees an IPv4 peer as an IPv6 one.
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _text(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None
