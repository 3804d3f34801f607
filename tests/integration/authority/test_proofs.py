"""What the record shows of what was on the log: each proof counts for its own conversation, and no other."""

from __future__ import annotations

from common.postgres.authority import AuthorityStore, Proof
from common.settings import Settings
from tests.keeping import without_redis
from tests.redis_parts import ALICE, NOW
from tests.stage import scene_of


@without_redis
async def test_each_proof_is_of_its_own_conversation(kept: Settings) -> None:
    """In whatever order they come, and however many there are of one conversation."""
    async with scene_of(kept) as scene:
        settled = AuthorityStore(scene.pool).settled
        one, two = sorted([await scene.conversation(), await scene.conversation()])
        await scene.append(one, "there")
        created, first = Proof("state", 1), Proof("message", 0)

        assert await settled([((ALICE, two), first), ((ALICE, one), first)]) == {1}
        several = [((ALICE, one), created), ((ALICE, one), first), ((ALICE, two), first)]
        assert await settled(several) == {0, 1}


@without_redis
async def test_a_delete_settles_all_that_came_before_it(kept: Settings) -> None:
    """Its messages are gone from the record, and nothing can come to it any more."""
    async with scene_of(kept) as scene:
        conversation = await scene.conversation(messages=1)
        await scene.parts.publisher.delete(ALICE, conversation, at_ms=NOW)
        proofs = [((ALICE, conversation), proof) for proof in (Proof("message", 0), Proof("deleted"))]
        assert await AuthorityStore(scene.pool).settled(proofs) == {0, 1}
