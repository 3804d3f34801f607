"""What of the servers' settings may lose messages, in lines for people."""

from __future__ import annotations

from contextlib import suppress

from common.domain.durability import Weakness
from common.domain.errors import TurnlogError
from common.postgres.durability import postgres_weaknesses
from common.postgres.pool import open_pool
from common.redis.connect import connect
from common.redis.durability import redis_weaknesses
from common.settings import Settings


async def durability_notes(settings: Settings) -> list[str]:
    """One line for each setting that is weaker than ours; none of a server that cannot be asked."""
    found: list[Weakness] = []
    if settings.uses_redis:
        client = connect(settings.redis)
        with suppress(TurnlogError):
            found += await redis_weaknesses(client)
        await client.aclose()
    with suppress(TurnlogError):
        async with open_pool(settings.postgres, application_name="turnlog-durability") as pool:
            found += await postgres_weaknesses(pool)
    return [f"{weakness.name}: {weakness}" for weakness in found if not weakness.minor]
