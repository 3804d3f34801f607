"""A status for people: tables on a terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tools.status.report import PartitionStatus, PostgresStatus, RedisStatus, Status, percent


def render(status: Status, *, partitions: bool) -> RenderableType:
    """Everything, and each partition of the log on a line of its own where asked for."""
    parts: list[RenderableType] = [Text(f"{status.url}  mode {status.mode}"), _services(status)]
    if status.redis is not None:
        parts += [_log(status.redis), _cache(status.redis)]
        if partitions:
            parts.append(_partitions(status.redis.partitions))
    if status.postgres is not None:
        parts.append(_record(status.postgres))
    parts += [Text(f"! {problem}", style="bold red") for problem in status.problems]
    parts += [Text(f"note: {note}", style="dim") for note in status.notes]
    return Group(*parts)


def _services(status: Status) -> Table:
    table = _table("services")
    for service in status.services:
        style = "green" if service.up else "bold red"
        table.add_row(service.name, Text("up" if service.up else "down", style=style), service.detail)
    return table


def _log(redis: RedisStatus) -> Table:
    table = _table("log")
    oldest = [p.oldest_seconds for p in redis.partitions if p.oldest_seconds is not None]
    table.add_row("events on it", f"{sum(p.events for p in redis.partitions):,}", "kept for replay, too")
    table.add_row("lag", f"{sum(p.not_read for p in redis.partitions):,}", "not yet read by a persister")
    table.add_row("pending", f"{sum(p.pending for p in redis.partitions):,}", "read, not yet in PostgreSQL")
    table.add_row("bytes of these", size(sum(p.waiting_bytes for p in redis.partitions)), "about")
    table.add_row("oldest of these", f"{max(oldest):,.1f} s" if oldest else "-", "")
    table.add_row("parked", f"{sum(p.parked for p in redis.partitions):,}", "refused by PostgreSQL")
    return table


def _cache(redis: RedisStatus) -> Table:
    table = _table(f"Redis {redis.version}")
    limit = f"{redis.used_percent:.1f} % of {size(redis.max_bytes)}" if redis.used_percent else "no limit set"
    table.add_row("memory", size(redis.used_bytes), limit)
    table.add_row("keys", f"{redis.keys:,}", f"{redis.evicted_keys:,} evicted")
    for node in redis.nodes:
        name = node.name.removeprefix("Redis at ")
        if node.away:
            table.add_row(name, Text("away", style="bold red"), "")
        else:
            table.add_row(name, size(node.used_bytes or 0), f"{node.keys or 0:,} keys")
    table.add_row("hit rate, last hour", *_rate(redis.hits_last_hour, redis.misses_last_hour))
    table.add_row("hit rate, last day", *_rate(redis.hits_last_day, redis.misses_last_day))
    return table


def _rate(hits: int, misses: int) -> tuple[str, str]:
    rate = percent(hits, misses)
    return "-" if rate is None else f"{rate:.1f} %", f"of {hits + misses:,} reads"


def _record(postgres: PostgresStatus) -> Table:
    table = _table("PostgreSQL")
    table.add_row("users", f"{postgres.users:,}", "")
    deleted = f"{postgres.deleted_conversations:,} of them deleted"
    table.add_row("conversations", f"{postgres.conversations:,}", deleted)
    table.add_row("messages", f"{postgres.messages:,}", "")
    table.add_row("tombstones", f"{postgres.tombstones:,}", "ranges of deleted messages")
    table.add_row("query logs", f"{postgres.query_logs:,}", "")
    table.add_row("database", size(postgres.database_bytes), "")
    table.add_row("last commit", postgres.last_commit or "-", "")
    authority = postgres.authority
    in_charge = {"log": "Redis", "record": "PostgreSQL"}.get(authority.holder, "changing")
    table.add_row("in charge", in_charge, f"for {authority.since_seconds:,.0f} s")
    return table


def _partitions(partitions: list[PartitionStatus]) -> Table:
    names = ("partition", "events", "lag", "pending", "oldest", "parked", "committed up to")
    table = Table(*names, title_justify="left", title="partitions", box=None, pad_edge=False)
    for p in partitions:
        oldest = "-" if p.oldest_seconds is None else f"{p.oldest_seconds:,.1f} s"
        counts = (f"{n:,}" for n in (p.partition, p.events, p.not_read, p.pending))
        table.add_row(*counts, oldest, f"{p.parked:,}", p.committed_position or "-")
    return table


def _table(title: str) -> Table:
    table = Table(title=f"\n{title}", title_justify="left", title_style="bold", box=None, show_header=False)
    table.add_column(min_width=20)
    table.add_column(justify="right", min_width=12)
    table.add_column(style="dim")
    return table


def size(count: int) -> str:
    """Bytes for people."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:,.0f} {unit}" if unit == "B" else f"{amount:,.1f} {unit}"
        amount /= 1024
    return f"{amount:,.1f} GiB"
