"""Wiping a database of what SQLite left in its pages, while others write."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from hansard_writer import wiping
from hansard_writer.store import Store
from hansard_writer.wiping import Wiping

KEYS = 1_200


def key(number: int) -> str:
    """Of many sizes: of one size, SQLite overwrites nearly all by itself."""
    random = Random(number)
    return f"k{random.getrandbits(160):040x}" + "p" * random.randint(0, 900)


@pytest.fixture
def store(directory: Path) -> Iterator[Store]:
    """One that also has a table whose pages were split and joined, with much that was deleted."""
    (directory / "spool").mkdir(parents=True)
    store = Store(directory / "log.db", 0o600, dead_letters_max=10, dead_letters_bytes_max=1_000)
    store.connection.execute("CREATE TABLE mine(key TEXT PRIMARY KEY, n INTEGER) WITHOUT ROWID")
    with store.transaction() as connection:
        rows = [(key(number), 0) for number in range(KEYS)]
        connection.executemany("INSERT INTO mine VALUES(?, ?)", rows)
    for part in (1, 2, 3):
        delete(store, range(part, KEYS, 4))
    store.handle.checkpoint_truncate()
    yield store
    store.close()


def delete(store: Store, numbers: range) -> None:
    with store.transaction() as connection:
        gone = [(key(number),) for number in numbers]
        connection.executemany("DELETE FROM mine WHERE key = ?", gone)


def touch_every_page(store: Store) -> None:
    with store.transaction() as connection:
        connection.execute("UPDATE mine SET n = n + 1")
    store.handle.checkpoint_truncate()


def left(store: Store) -> list[int]:
    """Which deleted keys are in the file."""
    data = store.path.read_bytes()
    return [number for number in range(KEYS) if number % 4 and key(number)[:41].encode() in data]


def wipe(store: Store) -> None:
    wiper = Wiping(store)
    while not (wiped := wiper.piece()).is_done:
        assert not wiped.held_up_by


def test_nothing_that_was_deleted_is_left(store: Store) -> None:
    assert left(store), "SQLite has overwritten it all: this shows nothing"
    wipe(store)
    assert left(store) == []
    assert store.connection.execute("PRAGMA integrity_check").get == "ok"
    assert store.connection.execute("SELECT count(*) FROM mine").get == KEYS / 4


def test_sqlites_own_copies_of_the_pages_bring_nothing_back(store: Store) -> None:
    touch_every_page(store)  # all are in its cache, with what is left in them
    wipe(store)
    touch_every_page(store)
    assert left(store) == []


def test_pages_written_between_two_pieces_are_wiped_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wiping, "PIECE_PAGES_MAX", 5)
    wiper = Wiping(store)
    pieces = 0
    while not (wiped := wiper.piece()).is_done:
        assert not wiped.held_up_by
        pieces += 1
        if pieces % 7 == 3:
            touch_every_page(store)
    touch_every_page(store)
    assert left(store) == []


def test_it_waits_for_a_wal_that_cannot_be_emptied(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    wiper = Wiping(store)
    wiper.piece()
    monkeypatch.setattr(store.handle, "checkpoint_truncate", lambda: False)
    monkeypatch.setattr(wiping.wal_readers, "readers", lambda _: {1})
    (why,) = wiper.piece().held_up_by
    assert "pid 1" in why
    monkeypatch.undo()
    assert wiper.piece().held_up_by == []


def test_a_database_whose_pages_cannot_be_told_apart_is_not_touched(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wiping, "TELLABLE_PAGES_MAX", 10)
    before = store.path.read_bytes()
    wiper = Wiping(store)
    wiper.piece()
    (why,) = wiper.piece().held_up_by
    assert "cannot be told apart" in why
    assert store.path.read_bytes() == before


def test_a_database_that_somebody_laid_out_anew_is_not_touched(store: Store) -> None:
    """A part of a page may look like a whole one: cleared, the database would be damaged."""
    store.handle.checkpoint_truncate()
    store.handle.connection.execute("PRAGMA journal_mode = DELETE").fetchall()
    store.handle.connection.execute("PRAGMA page_size = 8192").fetchall()
    store.handle.connection.execute("VACUUM").fetchall()
    store.handle.connection.execute("PRAGMA journal_mode = WAL").fetchall()
    before = store.path.read_bytes()
    wiper = Wiping(store)
    wiper.piece()
    (why,) = wiper.piece().held_up_by
    assert "another page size" in why
    assert store.path.read_bytes() == before
