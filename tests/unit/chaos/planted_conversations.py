"""Histories in which one thing is wrong with a conversation or a list. Each returns the record at its end."""

from __future__ import annotations

from dataclasses import replace

from tests.chaos.history import Outcome, Reply
from tests.chaos.stored import Record
from tests.unit.chaos.model import BOB, Fate, Model
from tests.unit.chaos.planting import change, stored, story


def lost_with_its_conversation(model: Model) -> Record:
    first, _ = story(model)
    return Record(tuple(c for c in model.record().conversations if c.id != first))


def twice_in_a_list(model: Model) -> Record:
    story(model)
    listed = model.listing()
    rows = (listed.reply.rows[0], *listed.reply.rows)
    change(model, listed, reply=replace(listed.reply, rows=rows))
    return model.record()


def not_found(model: Model) -> Record:
    first, _ = story(model)
    read = model.recent(first)
    change(model, read, outcome=Outcome.REFUSED, status=404, reply=Reply())
    return model.record()


def stale_list(model: Model) -> Record:
    story(model)
    listed = model.listing()
    change(model, listed, reply=replace(listed.reply, rows=listed.reply.rows[1:]))
    return model.record()


def stale_first_page(model: Model) -> Record:
    """The conversation that was changed last is not on top."""
    first, _ = story(model)
    model.rename(first)
    listed, rest = model.listing(limit=1), model.listing(limit=2)
    change(model, listed, reply=replace(listed.reply, rows=rest.reply.rows[1:]))
    return model.record()


def backward_list(model: Model) -> Record:
    """A row from before the last append."""
    first, _ = story(model)
    earlier = model.listing()
    model.append(first)
    later = model.listing()
    change(model, later, reply=earlier.reply)
    return model.record()


def old_title(model: Model) -> Record:
    first, _ = story(model)
    model.rename(first)
    before = model.kept[first].row
    model.rename(first)
    listed = model.listing()
    rows = tuple(
        row._replace(title=before.title) if row.conversation == first else row for row in listed.reply.rows
    )
    change(model, listed, reply=replace(listed.reply, rows=rows))
    return model.record()


def stale_final_title(model: Model) -> Record:
    first, _ = story(model)
    model.listing(walk=True, final=True)
    return stored(model.record(), first, title="another")


def read_after_delete(model: Model) -> Record:
    first, _ = story(model)
    read = model.recent(first)
    deleted = model.delete(first)
    change(model, read, invoked_ns=deleted.completed_ns + 1, completed_ns=deleted.completed_ns + 2)
    return model.record()


def append_after_delete(model: Model) -> Record:
    first, _ = story(model)
    sent, deleted = model.append(first), model.delete(first)
    change(model, sent, invoked_ns=deleted.completed_ns + 1, completed_ns=deleted.completed_ns + 2)
    return model.record()


def listed_after_delete(model: Model) -> Record:
    first, _ = story(model)
    listed = model.listing()
    deleted = model.delete(first)
    change(model, listed, invoked_ns=deleted.completed_ns + 1, completed_ns=deleted.completed_ns + 2)
    return model.record()


def rows_after_delete(model: Model) -> Record:
    first, _ = story(model)
    messages = tuple(model.kept[first].messages)
    model.delete(first)
    return stored(model.record(), first, messages=messages)


def undecided_delete(model: Model) -> Record:
    """Nobody was told of the delete; it was seen once, and then not."""
    first, _ = story(model)
    kept = model.kept[first]
    messages = list(kept.messages)
    model.delete(first, fate=Fate.LOST_REPLY)
    model.recent(first)
    kept.deleted, kept.messages = False, messages
    model.recent(first)
    kept.deleted, kept.messages = True, []
    return model.record()


def deleted_in_the_record_only(model: Model) -> Record:
    first, _ = story(model)
    model.delete(first, fate=Fate.NEVER)
    model.recent(first, final=True)
    return stored(model.record(), first, deleted=True, messages=())


def anothers_conversation(model: Model) -> Record:
    first, _ = story(model)
    read = model.recent(first)
    change(model, read, user=BOB)
    return model.record()


def anothers_row(model: Model) -> Record:
    story(model)
    alices, bobs = model.listing(), model.listing(BOB)
    rows = (*bobs.reply.rows, alices.reply.rows[0])
    change(model, bobs, reply=replace(bobs.reply, rows=rows))
    return model.record()


def disordered_list(model: Model) -> Record:
    story(model)
    listed = model.listing()
    change(model, listed, reply=replace(listed.reply, rows=listed.reply.rows[::-1]))
    return model.record()


def refused_without_reason(model: Model) -> Record:
    first, _ = story(model)
    sent = model.append(first, fate=Fate.NEVER)
    change(model, sent, outcome=Outcome.REFUSED, status=409)
    return model.record()


def miscounted(model: Model) -> Record:
    first, _ = story(model)
    return stored(model.record(), first, count=7)


def would_be_reused(model: Model) -> Record:
    first, _ = story(model)
    return stored(model.record(), first, next_number=3)


def another_refusal_than_for_what_is_not_there(model: Model) -> Record:
    """To another user it is as if it did not exist: 404, whatever is asked."""
    first, _ = story(model)
    change(model, model.append(first, user=BOB), status=403)
    return model.record()


def a_good_token_refused(model: Model) -> Record:
    first, _ = story(model)
    change(model, model.append(first, fate=Fate.NEVER), outcome=Outcome.REFUSED, status=401)
    return model.record()


def nothing_and_more_to_come(model: Model) -> Record:
    """A first page of no conversation at all, that says there are more."""
    story(model)
    listed = model.listing()
    change(model, listed, reply=replace(listed.reply, rows=(), more=True))
    return model.record()


def more_than_asked_for(model: Model) -> Record:
    story(model)
    listed = model.listing()
    change(model, listed, arguments=replace(listed.arguments, limit=1))
    return model.record()


def unlisted_at_the_end_and_nobody_was_told(model: Model) -> Record:
    story(model)
    begun = model.create(fate=Fate.LOST_REPLY)
    listed = model.listing(walk=True, final=True)
    rows = tuple(row for row in listed.reply.rows if row.conversation != begun)
    change(model, listed, reply=replace(listed.reply, rows=rows))
    return model.record()


def deleted_and_still_listed_at_the_end(model: Model) -> Record:
    """Nobody was told of the delete, and a cached list does not know of it."""
    first, _ = story(model)
    listed = model.listing(walk=True, final=True)
    model.delete(first, fate=Fate.LOST_REPLY)
    last = model.listing(walk=True, final=True)
    change(model, last, reply=listed.reply)
    del model.operations[model.operations.index(listed)]
    return model.record()


def another_time_at_the_end(model: Model) -> Record:
    first, _ = story(model)
    model.listing(walk=True, final=True)
    return stored(model.record(), first, modified_ms=model.now + 1)
