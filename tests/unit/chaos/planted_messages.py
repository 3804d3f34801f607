"""Histories in which one thing is wrong with messages. Each returns the record at its end."""

from __future__ import annotations

from dataclasses import replace

from tests.chaos.history import MALFORMED, Message, Outcome, Reply
from tests.chaos.stored import Record
from tests.unit.chaos.model import BOB, Fate, Model
from tests.unit.chaos.planting import change, show, stored, story


def lost_in_the_record(model: Model) -> Record:
    first, _ = story(model)
    messages = model.kept[first].messages
    return stored(model.record(), first, messages=tuple(messages[:2] + messages[3:]))


def lost_in_a_final_read(model: Model) -> Record:
    first, _ = story(model)
    read = model.recent(first, final=True)
    show(model, read, *read.reply.messages[:3])
    return model.record()


def lost_after_it_was_only_seen(model: Model) -> Record:
    first, _ = story(model)
    model.append(first, fate=Fate.LOST_REPLY)
    model.recent(first)
    return stored(model.record(), first, messages=tuple(model.kept[first].messages[:4]))


def twice_in_the_record(model: Model) -> Record:
    first, _ = story(model)
    messages = model.kept[first].messages
    again = Message(4, messages[3].tag, "another-id")
    return stored(model.record(), first, messages=(*messages, again), next_number=5)


def twice_in_a_read(model: Model) -> Record:
    first, _ = story(model)
    read = model.recent(first)
    show(model, read, *read.reply.messages, Message(4, read.reply.messages[3].tag, "another-id"))
    return model.record()


def one_id_for_two(model: Model) -> Record:
    first, _ = story(model)
    sent = model.append(first, fate=Fate.NEVER)
    messages = model.kept[first].messages
    messages.append(Message(4, sent.arguments.tags[0], messages[0].id))
    return model.record()


def twice_by_a_retry(model: Model) -> Record:
    first, _ = story(model)
    sent = model.append(first)
    again = model.append(first, again=sent)
    show(model, again, Message(5, sent.arguments.tags[0], "another-id"))
    return model.record()


def twice_in_two_conversations(model: Model) -> Record:
    first, second = story(model)
    sent = model.append(first, 1, fate=Fate.LOST_REPLY)
    arguments = replace(sent.arguments, conversation=None)
    change(model, sent, arguments=arguments)
    tag = sent.arguments.tags[0]
    messages = (*model.kept[second].messages, Message(2, tag, "another-id"))
    return stored(model.record(), second, messages=messages, next_number=3)


def stale_read(model: Model) -> Record:
    first, _ = story(model)
    read = model.recent(first)
    show(model, read, *read.reply.messages[:1])
    return model.record()


def stale_full_read(model: Model) -> Record:
    first, _ = story(model)
    read = model.recent(first, 2)
    model.append(first)
    change(model, read, invoked_ns=model.now + 50, completed_ns=model.now + 60)
    return model.record()


def stale_window(model: Model) -> Record:
    first, _ = story(model)
    show(model, model.window(first, after=0))
    return model.record()


def stale_page(model: Model) -> Record:
    first, _ = story(model)
    read = model.page(first)
    show(model, read, *read.reply.messages[:1], total=1)
    return model.record()


def backward_read(model: Model) -> Record:
    first, _ = story(model)
    model.append(first, fate=Fate.LOST_REPLY)
    earlier = model.recent(first)
    later = model.recent(first)
    show(model, later, *earlier.reply.messages[:-1])
    return model.record()


def reordered_read(model: Model) -> Record:
    first, _ = story(model)
    read = model.recent(first)
    a, b, *rest = read.reply.messages
    show(model, read, b, a, *rest)
    return model.record()


def renumbered(model: Model) -> Record:
    first, _ = story(model)
    a, b, c, d = model.kept[first].messages
    swapped = (a, b, c._replace(number=3), d._replace(number=2))
    return stored(model.record(), first, messages=tuple(sorted(swapped)))


def reordered_batch(model: Model) -> Record:
    first, _ = story(model)
    sent = model.append(first, 2)
    a, b = sent.reply.messages
    swapped = (Message(a.number, b.tag, b.id), Message(b.number, a.tag, a.id))
    model.kept[first].messages[-2:] = swapped
    show(model, sent, *swapped)
    return model.record()


def against_real_time(model: Model) -> Record:
    """What was sent later has the lower number."""
    first, _ = story(model)
    a, b = model.append(first), model.append(first)
    change(model, a, invoked_ns=b.invoked_ns, completed_ns=b.completed_ns)
    change(model, b, invoked_ns=a.invoked_ns, completed_ns=a.completed_ns)
    return model.record()


def reused(model: Model) -> Record:
    """Two messages had one number, in a conversation that was then deleted."""
    first, _ = story(model)
    model.append(first, fate=Fate.LOST_REPLY)
    one, other = model.recent(first), model.recent(first)
    sent = model.append(first, fate=Fate.NEVER)
    last = Message(4, sent.arguments.tags[0], "its-id")
    show(model, other, *one.reply.messages[:4], last)
    for read in model.operations[-3:-1]:
        change(model, read, invoked_ns=one.invoked_ns, completed_ns=sent.completed_ns)
    model.delete(first)
    return model.record()


def gap_in_the_record(model: Model) -> Record:
    first, _ = story(model)
    sent = model.append(first, fate=Fate.LOST_REPLY)
    messages = (*model.kept[first].messages[:4], Message(5, sent.arguments.tags[0], "its-id"))
    return stored(model.record(), first, messages=messages, next_number=6)


def gap_in_a_read(model: Model) -> Record:
    """A number that nobody knows is left out, though a higher one is there."""
    first, _ = story(model)
    sent = model.append(first, fate=Fate.LOST_REPLY)
    read = model.recent(first)
    skipped = Message(5, sent.arguments.tags[0], read.reply.messages[-1].id)
    show(model, read, *read.reply.messages[:-1], skipped)
    model.delete(first)
    return model.record()


def torn_in_the_record(model: Model) -> Record:
    first, _ = story(model)
    model.append(first, 3, fate=Fate.LOST_REPLY)
    return stored(model.record(), first, messages=tuple(model.kept[first].messages[:6]), next_number=6)


def torn_in_a_read(model: Model) -> Record:
    first, _ = story(model)
    model.append(first, 3, fate=Fate.LOST_REPLY)
    read = model.recent(first)
    show(model, read, *read.reply.messages[:6])
    return model.record()


def anothers_message(model: Model) -> Record:
    first, _ = story(model)
    (bobs,) = (kept for kept in model.kept.values() if kept.owner == BOB)
    message = bobs.messages[0]._replace(number=4)
    messages = (*model.kept[first].messages, message)
    return stored(model.record(), first, messages=messages, next_number=5)


def unsent(model: Model) -> Record:
    first, _ = story(model)
    messages = (*model.kept[first].messages, Message(4, "!something else", "its-id"))
    return stored(model.record(), first, messages=messages, next_number=5)


def refused_and_there(model: Model) -> Record:
    first, _ = story(model)
    sent = model.append(first, fate=Fate.LOST_REPLY)
    change(model, sent, outcome=Outcome.REFUSED, status=429)
    return model.record()


def in_the_wrong_conversation(model: Model) -> Record:
    first, second = story(model)
    sent = model.append(second, fate=Fate.NEVER)
    messages = (*model.kept[first].messages, Message(4, sent.arguments.tags[0], "its-id"))
    return stored(model.record(), first, messages=messages, next_number=5)


def outside_the_window(model: Model) -> Record:
    first, _ = story(model)
    read = model.window(first, after=1)
    show(model, read, *model.kept[first].messages)
    return model.record()


def under_another_id(model: Model) -> Record:
    """A rebuilt list has it at its number, with an id that nobody was told."""
    first, _ = story(model)
    read = model.recent(first)
    *rest, last = read.reply.messages
    show(model, read, *rest, last._replace(id="another-id"))
    return model.record()


def missing_at_the_end_and_nobody_was_told(model: Model) -> Record:
    """It came to PostgreSQL; the cached list is without it, and only what is read without caches has it."""
    first, _ = story(model)
    model.append(first, fate=Fate.LOST_REPLY)
    cached, rebuilt = model.recent(first, final=True), model.recent(first, final=True)
    show(model, cached, *rebuilt.reply.messages[:4])
    return model.record()


def missing_from_every_read_and_nobody_was_told(model: Model) -> Record:
    first, _ = story(model)
    model.append(first, fate=Fate.LOST_REPLY)
    page = model.page(first, final=True)
    show(model, page, *page.reply.messages[:4], total=4)
    return model.record()


def of_another_conversation(model: Model) -> Record:
    """An empty answer, which would tell nothing else."""
    first, second = story(model)
    read = model.window(first, after=3)
    show(model, read, conversation=second)
    return model.record()


def unreadable(model: Model) -> Record:
    """Success, and a body that is none: as a call, its outcome is unknown."""
    first, _ = story(model)
    read = model.recent(first)
    error = f"{MALFORMED}: KeyError('conversation_id')"
    change(model, read, outcome=Outcome.UNKNOWN, reply=Reply(), error=error)
    return model.record()


def failed_inside(model: Model) -> Record:
    first, _ = story(model)
    change(model, model.append(first, fate=Fate.NEVER), status=500)
    return model.record()
