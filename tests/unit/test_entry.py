"""The caller's handle on an event, as people see it."""

from hansard.entry import Entry


def test_an_entry_shows_its_key_in_hex() -> None:
    entry = Entry(-1, "queued", (bytes(range(32)), 12), "task.created", 1_700_000_000_000_000_000)
    assert repr(entry) == (
        "Entry(id=-1, status='queued', key=(00010203…, 12), event_type='task.created', "
        "created_at=1700000000000000000)"
    )


def test_an_entry_without_a_key_says_so() -> None:
    assert "id=None, status='dropped', key=None" in repr(Entry(None, "dropped", None, "a", 1))


def test_an_entry_made_of_anything_can_be_shown() -> None:
    assert "key='x'" in repr(Entry(1, "committed", "x", "a", 1))  # type: ignore[arg-type]
