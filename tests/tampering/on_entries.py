"""Attacks on the entries: each on one in the middle of the log, or on where it begins or ends."""

import unicodedata

from tampering.attack import (
    ANOTHER_KEY,
    CAN_RECORD,
    NOT_TRIED,
    TRUNCATED,
    By,
    Section,
    altered,
    in_vain,
)
from tampering.files import Files, json_text

CHOSEN = 149  # an event of bob's, with everything that an event can have
OTHER = 147  # another one of bob's
BARE = 150  # one with neither payload nor task
LAST = 281  # of the plain log
EVERY = 10  # each tenth entry is such a one

ENTRIES = Section("Entries")
change = ENTRIES.change


@change("a payload is edited", altered(CHOSEN))
def payload(files: Files) -> None:
    files.change(CHOSEN, payload=json_text(amount=1))


@change("a payload is edited, with a hash that fits", altered(CHOSEN))
def payload_and_hash(files: Files) -> None:
    files.change_payload(CHOSEN, json_text(amount=1))


@change("a payload is written with other whitespace", altered(CHOSEN))
def whitespace(files: Files) -> None:
    files.change(CHOSEN, payload=files.entry(CHOSEN)["payload"].replace(":", ": "))


@change("a payload is put into another Unicode normal form", altered(CHOSEN))
def normal_form(files: Files) -> None:
    text = files.entry(CHOSEN)["payload"]
    files.change(CHOSEN, payload=unicodedata.normalize("NFD", text))
    assert files.entry(CHOSEN)["payload"] != text


@change("a payload is emptied: `{}`", altered(CHOSEN))
def empty_payload(files: Files) -> None:
    files.change_payload(CHOSEN, "{}")


@change("a payload is taken away as if there had never been one", altered(CHOSEN))
def no_payload(files: Files) -> None:
    files.change(CHOSEN, payload=None, salt=None, payload_hash=None)


@change("an event without payload gets one", altered(BARE))
def new_payload(files: Files) -> None:
    assert files.entry(BARE)["payload_hash"] is None
    files.change_payload(BARE, json_text(amount=1))


@change("a salt is edited", altered(CHOSEN))
def salt(files: Files) -> None:
    files.change(CHOSEN, salt=bytes(16))


@change("a payload_hash is edited", altered(CHOSEN), NOT_TRIED)
def payload_hash(files: Files) -> None:
    files.change(CHOSEN, payload_hash=bytes(32))


@change("a time is set back by a second", altered(CHOSEN))
def created_at(files: Files) -> None:
    files.change(CHOSEN, created_at=files.entry(CHOSEN)["created_at"] - 10**9)


@change("an actor is edited", altered(CHOSEN))
def actor(files: Files) -> None:
    files.change(CHOSEN, actor="agent:8")


@change("an actor is taken away", altered(CHOSEN))
def no_actor(files: Files) -> None:
    files.change(CHOSEN, actor=None)


@change("an event without actor gets an empty one", altered(BARE))
def empty_actor(files: Files) -> None:
    assert files.entry(BARE)["actor"] is None
    files.change(BARE, actor="")


@change("an actor is made of bytes that are no text", altered(CHOSEN), NOT_TRIED)
def no_text(files: Files) -> None:
    files.force("UPDATE entries SET actor = CAST(x'ff' AS TEXT) WHERE seq = ?", CHOSEN)


@change("a number is stored as text, past STRICT", altered(CHOSEN), NOT_TRIED)
def number_as_text(files: Files) -> None:
    entry = files.entry(CHOSEN)
    with files.without_types("entries"):
        files.change(CHOSEN, created_at=str(entry["created_at"]))


@change("a payload is stored as bytes, past STRICT", altered(CHOSEN), NOT_TRIED)
def payload_as_bytes(files: Files) -> None:
    """The same ones; but SQLite takes bytes for JSON of another kind."""
    with files.without_types("entries"):
        files.change(CHOSEN, payload=files.entry(CHOSEN)["payload"].encode())


@change("a producer is stored as text, past STRICT", altered(), NOT_TRIED)
def producer_as_text(files: Files) -> None:
    with files.without_types("entries"):
        files.change(CHOSEN, producer="bob")


@change("a level is edited", altered(CHOSEN))
def level(files: Files) -> None:
    files.change(CHOSEN, level="debug")


@change("an event_type is edited", altered(CHOSEN))
def event_type(files: Files) -> None:
    files.change(CHOSEN, event_type="payment.refused")


@change("an entry is moved to another task", altered(CHOSEN))
def task_id(files: Files) -> None:
    files.change(CHOSEN, task_id="T2")


@change("actor and task are exchanged", altered(CHOSEN))
def fields_exchanged(files: Files) -> None:
    entry = files.entry(CHOSEN)
    files.change(CHOSEN, actor=entry["task_id"], task_id=entry["actor"])


@change("a producer_seq is edited", altered(CHOSEN))
def producer_seq(files: Files) -> None:
    files.change(CHOSEN, producer_seq=7)


@change("an entry is given to another producer", altered(CHOSEN))
def producer(files: Files) -> None:
    assert files.entry(CHOSEN)["producer"] == 2
    files.change(CHOSEN, producer=1)


@change(
    "an entry is given to a producer that there is not", altered(CHOSEN), in_vain(altered(CHOSEN))
)
def producer_unknown(files: Files) -> None:
    files.change(CHOSEN, producer=99)


@change("two entries are exchanged", altered(OTHER, CHOSEN))
def exchanged(files: Files) -> None:
    _exchange(files, ["producer", "producer_seq", "created_at", "event_type", "level", "actor",
                      "task_id", "payload", "salt", "payload_hash"])  # fmt: skip


@change("two entries exchange payload, salt and hash", altered(OTHER, CHOSEN))
def payloads_exchanged(files: Files) -> None:
    _exchange(files, ["payload", "salt", "payload_hash"])


@change("an entry is made a copy of another one", altered(CHOSEN))
def copied(files: Files) -> None:
    other = files.entry(OTHER)
    del other["seq"]
    files.change(CHOSEN, **other)


@change("an entry in the middle is deleted", altered(CHOSEN), in_vain(altered(CHOSEN)))
def deleted(files: Files) -> None:
    files.force("DELETE FROM entries WHERE seq = ?", CHOSEN)


@change("one is deleted, and the others move up", altered(*range(CHOSEN, LAST + 1)))
def deleted_and_closed(files: Files) -> None:
    with files.without_triggers():
        files.execute("DELETE FROM entries WHERE seq = ?", CHOSEN)
        for entry in files.entries("WHERE seq > ?", CHOSEN):
            seq = entry["seq"]
            files.execute("UPDATE entries SET seq = ? WHERE seq = ?", seq - 1, seq)


@change("the first entry is deleted", altered(1), in_vain(altered(1)))
def first_deleted(files: Files) -> None:
    files.force("DELETE FROM entries WHERE seq = 1")


@change("the last entries are deleted", TRUNCATED, (ANOTHER_KEY, TRUNCATED.given(By.CHECKPOINT)))
def last_deleted(files: Files) -> None:
    files.force("DELETE FROM entries WHERE seq > (SELECT max(seq) - 40 FROM entries)")


@change("all entries are deleted", TRUNCATED, NOT_TRIED)
def all_deleted(files: Files) -> None:
    files.force("DELETE FROM entries")


@change("one is inserted, and the others move down", altered(*range(BARE, LAST + 2)))
def inserted(files: Files) -> None:
    with files.without_triggers():
        entry = files.entry(CHOSEN)
        for each in reversed(files.entries("WHERE seq > ?", CHOSEN)):
            seq = each["seq"]
            files.execute("UPDATE entries SET seq = ? WHERE seq = ?", seq + 1, seq)
        files.insert(**(entry | {"seq": CHOSEN + 1}))


@change("an entry is given the number 0, before all others", altered(0), NOT_TRIED)
def numbered_zero(files: Files) -> None:
    files.insert(**(files.entry(CHOSEN) | {"seq": 0}))


@change("an entry is put far behind the end", altered(), NOT_TRIED)
def numbered_far(files: Files) -> None:
    files.insert(**(files.entry(CHOSEN) | {"seq": 10_000}))


@change(
    "an entry is put behind the end, and the tree does not know it",
    altered(LAST + 1),
    (ANOTHER_KEY, CAN_RECORD),
)
def appended(files: Files) -> None:
    files.append("payment.made", json_text(amount=1))


def _exchange(files: Files, columns: list[str]) -> None:
    one, two = files.entry(OTHER), files.entry(CHOSEN)
    files.change(OTHER, **{name: two[name] for name in columns})
    files.change(CHOSEN, **{name: one[name] for name in columns})
