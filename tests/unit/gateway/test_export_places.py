"""How many exports a process has in progress: in all, and for one user."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from common.domain.errors import Overloaded
from common.domain.ids import UserId
from services.gateway.exports import Places

ALICE, BOB, CAROL = UserId("alice"), UserId("bob"), UserId("carol")


def test_one_user_has_half_of_the_places_at_most() -> None:
    """The others get one all the same; one that is given back is free again."""
    places = Places(4)
    with ExitStack() as held:
        for user in (ALICE, ALICE, BOB):
            held.enter_context(places.hold(user))
        with pytest.raises(Overloaded, match="of yours"), places.hold(ALICE):
            pass
        held.enter_context(places.hold(BOB))
        with pytest.raises(Overloaded, match="in progress"), places.hold(CAROL):
            pass
    with places.hold(ALICE), places.hold(ALICE):
        pass


def test_there_is_a_place_for_somebody_always() -> None:
    """Half of one is one."""
    with Places(1).hold(ALICE):
        pass
