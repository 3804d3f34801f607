"""What of a status needs somebody's attention."""

from __future__ import annotations

from typing import Final

from tools.status.report import AuthorityStatus, RedisStatus, Service, percent

FULL_PERCENT: Final = 80.0
HIT_RATE_PERCENT: Final = 80.0
READS_FOR_A_RATE: Final = 100
OLD_SECONDS: Final = 60.0
_REFUSALS: Final = {
    "events": "too many events wait for PostgreSQL",
    "bytes": "too many bytes wait for PostgreSQL",
    "age": "an event has waited for PostgreSQL too long",
    "memory": "Redis is short of memory",
}


def problems_of(services: list[Service], redis: RedisStatus | None) -> list[str]:
    """One line for each, the limits being those of the alert rules."""
    found = [f"{service.name}: {service.detail}" for service in services if not service.up]
    if redis is None:
        return found
    found += [
        f"{node.away}: its users are answered 503, the others go on" for node in redis.nodes if node.away
    ]
    parked = sum(partition.parked for partition in redis.partitions)
    if parked:
        found.append(f"{parked:,} events are parked: PostgreSQL could not take them")
    if redis.breaker is not None:
        found.append(
            f"the persister's breaker is open since {redis.breaker.open_seconds:,.0f} s ago: PostgreSQL"
            f" refuses most events ({redis.breaker.error}), {redis.breaker.held:,} are held back; mend the"
            " cause and it goes on by itself, or park them with `turnlog dead park`"
        )
    for reason in sorted({p.refuses for p in redis.partitions if p.refuses}):
        where = [str(p.partition) for p in redis.partitions if p.refuses == reason]
        found.append(f"{_REFUSALS[reason]}: changes are refused with 503 (partition {', '.join(where)})")
    oldest = max((p.oldest_seconds for p in redis.partitions if p.oldest_seconds is not None), default=0.0)
    if oldest > OLD_SECONDS:
        found.append(f"an event has been waiting for PostgreSQL for {oldest:,.0f} s")
    if redis.used_percent is not None and redis.used_percent > FULL_PERCENT:
        found.append(f"Redis has used {redis.used_percent:.0f} % of its memory")
    if redis.evicted_keys:
        found.append(f"Redis has evicted {redis.evicted_keys:,} keys for lack of memory")
    rate = percent(redis.hits_last_hour, redis.misses_last_hour)
    reads = redis.hits_last_hour + redis.misses_last_hour
    if rate is not None and reads >= READS_FOR_A_RATE and rate < HIT_RATE_PERCENT:
        found.append(f"only {rate:.0f} % of the last hour's reads were answered from the cache")
    if not redis.append_only:
        found.append("Redis has no append-only file: a crash loses what is not yet in PostgreSQL")
    return found


def notes_of(redis: RedisStatus | None) -> list[str]:
    """What happened and was made good."""
    if redis is None or not redis.rollbacks:
        return []
    times = "once" if redis.rollbacks == 1 else f"{redis.rollbacks:,} times"
    return [
        f"a partition of the log came back older than PostgreSQL {times}, and was made good; what had not"
        " reached PostgreSQL by then may be lost (redis_rolled_back in the logs)"
    ]


def problems_of_authority(authority: AuthorityStatus, *, uses_log: bool) -> list[str]:
    """What keeps the log, or the record, from being used as it should be."""
    since, waiting = authority.since_seconds, ""
    if authority.unsettled:
        waiting = f"; {authority.unsettled:,} conversations wait for it, the others go on in PostgreSQL"
    match authority.holder:
        case "record" if uses_log:
            return [f"Redis has been out of reach, and PostgreSQL in charge, for {since:,.0f} s{waiting}"]
        case "leaving":
            silent = ", because a process that used Redis is silent" if authority.silent_sessions else ""
            return [
                f"Redis has been out of reach for {since:,.0f} s, and PostgreSQL cannot take over{silent}"
            ]
        case _:
            return []
