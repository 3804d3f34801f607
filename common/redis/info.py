"""Reading what a server says of itself."""

from __future__ import annotations

from typing import Any


def parse_info(text: Any) -> dict[str, str]:
    """The reply of INFO as a dict."""
    lines = (line.partition(":") for line in bytes(text).decode().splitlines())
    return {name: value for name, separator, value in lines if separator}
