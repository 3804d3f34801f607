"""Reading what a server says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

A_CLUSTER: Final = "this Redis is a node of a cluster: set REDIS_CLUSTER=true"
NO_CLUSTER: Final = "REDIS_CLUSTER is true, but this Redis is no cluster: set REDIS_CLUSTER=false"


def parse_info(text: Any) -> dict[str, str]:
    """The reply of INFO as a dict."""
    lines = (line.partition(":") for line in bytes(text).decode().splitlines())
    return {name: value for name, separator, value in lines if separator}


def is_node(facts: Mapping[str, str]) -> bool:
    """Whether a server, by its INFO, is a node of a cluster; Valkey calls it so by another name."""
    return (facts.get("redis_mode") or facts.get("server_mode")) == "cluster"


def wrong_kind(facts: Mapping[str, str], *, clustered: bool) -> str:
    """What to set where a server, by its INFO, is a cluster's node and should not be, or the reverse; ''."""
    if is_node(facts) == clustered:
        return ""
    return NO_CLUSTER if clustered else A_CLUSTER
