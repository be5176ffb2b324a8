"""A log from before the proof: its entries get salts, hashes and leaves when it is migrated."""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw
import msgpack
import pytest

import rfc6962
from frames import Chain, event
from hansard_writer import schema
from hansard_writer.intake import Intake
from hansard_writer.migrating import migrate
from hansard_writer.proof import earlier_entries, leaves
from hansard_writer.proof.merkle_hash_tree import root
from hansard_writer.proof.stored_tree import READ_ROW, StoredTree
from hansard_writer.store import Store
from hansard_writer.unusable import LogUnusable

PRODUCERS = [(0, b"\0" * 32), (1, b"\1" * 32), (2, b"\2" * 32)]


def log_of_version_2(path: Path, entries: int) -> None:
    """As the release before the proof has left it."""
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA journal_mode = wal")
    for migration in schema.MIGRATIONS[:2]:
        for statement in migration:
            connection.execute(statement).fetchall()
    connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
    connection.execute("PRAGMA user_version = 2")
    connection.executemany(
        "INSERT INTO producers(id, producer_hash, host, pid, started_at, watermark, crc, dropped)"
        " VALUES(?, ?, 'h', 1, 0, 0, 0, 0)",
        PRODUCERS,
    )
    connection.execute("BEGIN")
    connection.executemany(
        "INSERT INTO entries(seq, producer, producer_seq, created_at, event_type, level, actor,"
        " task_id, payload) VALUES(?,?,?,?,?,?,?,?,?)",
        (
            (seq, seq % 3, seq, 10**18 + seq, "a.b", "info", "ü" if seq % 5 else None, None,
             f'{{"n":{seq},"s":"ü"}}' if seq % 4 else None)
            for seq in range(1, entries + 1)
        ),
    )  # fmt: skip
    connection.execute("COMMIT")
    connection.close()


def open_store(path: Path) -> Store:
    migrate(path.parent, backup=False)
    return Store(path, 0o600, dead_letters_max=10, dead_letters_bytes_max=1_000)


def rows(store: Store, statement: str) -> list[Any]:
    return store.connection.execute(statement).fetchall()


def leaves_of(store: Store) -> list[bytes]:
    """The leaves, from the stored columns, with what hides each payload checked."""
    found = []
    for salt, payload, *facts, hidden in rows(
        store,
        "SELECT salt, payload, producer_hash, producer_seq, created_at, event_type, level, actor,"
        " task_id, payload_hash FROM entries AS e JOIN producers AS p ON p.id = e.producer"
        " ORDER BY seq",
    ):
        if payload is None:
            assert (salt, hidden) == (None, None)
        else:
            assert hidden == hashlib.sha256(salt + payload.encode()).digest()
        entry = [1, len(found) + 1, *facts, hidden]
        found.append(rfc6962.leaf(msgpack.packb(entry)))
    return found


@pytest.mark.parametrize("entries", [0, 1, 16, 257, 1_234])
def test_its_tree_is_the_definitions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entries: int
) -> None:
    monkeypatch.setattr(earlier_entries, "PIECE_ENTRIES", 100)
    log_of_version_2(tmp_path / "log.db", entries)
    store = open_store(tmp_path / "log.db")
    found = leaves_of(store)
    assert len(found) == entries == store.size
    tree = StoredTree(lambda *row: store.connection.execute(READ_ROW, row).get)
    assert root(store._position.edge) == rfc6962.Tree(found).root(entries) == tree.root(entries)
    assert rows(store, "PRAGMA user_version") == [(schema.VERSION,)]
    store.close()


def test_no_more_payloads_are_held_at_once_than_memory_is_meant_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(earlier_entries, "PIECE_CHARS", 100)
    pieces: list[int] = []
    hide = leaves.hide

    def hide_and_note(payloads: Sequence[str | None]) -> Any:
        pieces.append(sum(len(payload or "") for payload in payloads))
        return hide(payloads)

    monkeypatch.setattr(leaves, "hide", hide_and_note)
    log_of_version_2(tmp_path / "log.db", 300)
    store = open_store(tmp_path / "log.db")
    assert max(pieces) < 130
    assert root(store._position.edge) == rfc6962.Tree(leaves_of(store)).root(300)
    store.close()


def test_equal_payloads_get_salts_of_their_own(tmp_path: Path) -> None:
    log_of_version_2(tmp_path / "log.db", 400)
    store = open_store(tmp_path / "log.db")
    assert rows(store, "SELECT count(DISTINCT salt) FROM entries") == [(300,)]
    store.close()


def test_what_was_entered_before_and_what_comes_after_is_one_tree(tmp_path: Path) -> None:
    log_of_version_2(tmp_path / "log.db", 30)
    store = open_store(tmp_path / "log.db")
    taking = Intake(store.find_producer, store.next_producer_id, store.own_producer())
    chain = Chain()
    state = taking.greet(chain.hello(1, 0), 0.0, 5)
    taking.take(state, chain.frame(*(event(f'{{"n":{n}}}') for n in range(50))), 0.0, 5)
    store.write(taking.batch, 5)
    found = leaves_of(store)
    assert len(found) == 80
    assert root(store._position.edge) == rfc6962.Tree(found).root(80)
    store.close()


def test_entries_are_append_only_again_behind_it(tmp_path: Path) -> None:
    log_of_version_2(tmp_path / "log.db", 3)
    store = open_store(tmp_path / "log.db")
    for statement in ("UPDATE entries SET salt = NULL", "DELETE FROM entries"):
        with pytest.raises(apsw.ConstraintError, match="append-only"):
            store.connection.execute(statement)
    store.close()


def test_it_happens_once_and_says_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(earlier_entries, "PIECE_ENTRIES", 50)
    monkeypatch.setattr(earlier_entries, "PROGRESS_ENTRIES", 100)
    log_of_version_2(tmp_path / "log.db", 320)
    with caplog.at_level(logging.INFO):
        store = open_store(tmp_path / "log.db")
    said = [record.getMessage() for record in caplog.records]
    assert [each for each in said if "hashed" in each] == [
        f"the log gets its proof: {entries} entries are hashed" for entries in (100, 200, 300)
    ]
    before = rows(store, "SELECT * FROM tree")
    store.close()
    caplog.clear()
    with caplog.at_level(logging.INFO):
        store = open_store(tmp_path / "log.db")
    assert "hashed" not in caplog.text
    assert rows(store, "SELECT * FROM tree") == before
    store.close()


def test_a_migration_that_fails_leaves_the_log_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log.db"
    log_of_version_2(path, 30)
    with monkeypatch.context() as patch:
        bad = (*schema.MIGRATIONS[2], "CREATE TABLE meta(a TEXT) STRICT")
        patch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS[:2], bad))
        with pytest.raises(LogUnusable, match=r"cannot get schema 3 \(.*meta.*still 2\)"):
            open_store(path)
    connection = apsw.Connection(str(path))
    assert connection.pragma("user_version") == 2
    assert connection.execute("SELECT count(*), count(salt) FROM entries").fetchall() == [(30, 0)]
    assert connection.execute("SELECT count(*) FROM tree").get == 0
    with pytest.raises(apsw.ConstraintError, match="append-only"):
        connection.execute("UPDATE entries SET salt = NULL")
    connection.close()
    store = open_store(path)
    assert store.size == 30
    store.close()
