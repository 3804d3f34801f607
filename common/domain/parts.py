"""Conversations part by part: as much at a time as a process can hold of any of them."""

from __future__ import annotations

from dataclasses import dataclass

from common.domain.conversations import Header
from common.domain.messages import Numbered


@dataclass(frozen=True, slots=True)
class Part:
    """Messages that follow one another, ascending, and the conversation's header when they were read. No
    messages: there are no more."""

    header: Header
    messages: list[Numbered]
