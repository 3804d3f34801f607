"""Puts the parts together for a process that reads and changes conversations."""

from __future__ import annotations

from dataclasses import dataclass

from common.direct.editing import DirectEditor
from common.direct.history import DirectHistory
from common.direct.listing import DirectListing
from common.direct.publisher import DirectPublisher
from common.direct.searching import DirectSearch
from common.direct.transactions import Guards, Transactions
from common.editing import Editor
from common.history import History
from common.listing import Listing
from common.loading import Asker, CacheCounts, Loader
from common.ports import EditorPort, HistoryPort, ListingPort, PublisherPort, SearchPort
from common.postgres.pool import Pool
from common.postgres.store import Store
from common.publisher import Publisher
from common.rebuild import Rebuilder
from common.redis.cache import Cache
from common.redis.functions import Functions
from common.redis.keys import Keys
from common.redis.log import EventLog
from common.searching import Search
from common.settings import Settings


@dataclass(frozen=True, slots=True)
class Conversations:
    """All that can be done with conversations, wherever they are kept."""

    publisher: PublisherPort
    editor: EditorPort
    history: HistoryPort
    listing: ListingPort
    search: SearchPort


@dataclass(frozen=True, slots=True)
class LoggedConversations(Conversations):
    """Conversations on the log, its caches and PostgreSQL, over one connection to each server."""

    publisher: Publisher
    editor: Editor
    history: History
    listing: Listing
    search: Search
    loader: Loader
    rebuilder: Rebuilder
    counts: CacheCounts


def keys_for(settings: Settings) -> Keys:
    """The key names of the log that `settings` name."""
    return Keys(settings.redis.key_prefix, settings.redis.partitions)


def assemble(
    settings: Settings,
    functions: Functions,
    store: Store,
    *,
    asker: Asker | None = None,
    log: EventLog | None = None,
) -> LoggedConversations:
    """Wire publisher, reads and rebuilds. Without an `asker` this process does every rebuild itself. `log`
    is one that does more than to write the log."""
    redis = settings.redis
    keys = keys_for(settings)
    cache = Cache(functions, keys, redis)
    rebuilder = Rebuilder(
        cache,
        store,
        length=redis.session_max_messages,
        list_length=redis.list_max_conversations,
        lease_ms=int(settings.cache_builder.lease_seconds * 1000),
    )
    loader = Loader(rebuilder, asker)
    counts = CacheCounts()
    history = History(cache, store, rebuilder, loader, counts, length=redis.session_max_messages)
    events = log or EventLog(functions, keys, redis)
    return LoggedConversations(
        publisher=Publisher(events, store, rebuilder, history),
        editor=Editor(events, cache, store, rebuilder),
        history=history,
        listing=Listing(cache, store, loader, counts),
        search=Search(cache, store),
        loader=loader,
        rebuilder=rebuilder,
        counts=counts,
    )


def assemble_direct(settings: Settings, pool: Pool, *, guards: Guards | None = None) -> Conversations:
    """Wire changes and reads on PostgreSQL alone. `guards` may refuse each of them; see `Transactions`."""
    transactions = Transactions(pool, guards)
    ttl = settings.redis.idempotency_ttl_seconds
    return Conversations(
        publisher=DirectPublisher(transactions, key_ttl_seconds=ttl),
        editor=DirectEditor(transactions, key_ttl_seconds=ttl),
        history=DirectHistory(transactions),
        listing=DirectListing(transactions),
        search=DirectSearch(transactions),
    )
