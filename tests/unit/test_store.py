"""The one connection that writes the log: its transaction, its limits, what it refuses to open."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from frames import Chain, event
from hansard import wire
from hansard.errors import ConfigError
from hansard_writer import schema
from hansard_writer.decoding import Refused
from hansard_writer.intake import Batch, Intake, ProducerState
from hansard_writer.migrating import migrate
from hansard_writer.retries import StoreBusy, StoreFull
from hansard_writer.store import OWN_PRODUCER, Store
from hansard_writer.unusable import LogUnusable

AN_ENTRY = (
    "INTO entries(seq, producer, producer_seq, created_at, event_type, level)"
    " VALUES(1, 1, 1, 1, 'x', 'info')"
)


def open_store(path: Path, **changed: Any) -> Store:
    limits = {"dead_letters_max": 1_000, "dead_letters_bytes_max": 1 << 20, **changed}
    return Store(path, limits.pop("mode", 0o600), **limits)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    store = open_store(path)
    yield store
    store.close()


@pytest.fixture
def taking(store: Store) -> Intake:
    return Intake(store.find_producer, store.next_producer_id, store.own_producer())


def rows(store: Store, statement: str, *bindings: Any) -> list[Any]:
    return store._connection.execute(statement, bindings).fetchall()


def feed(taking: Intake, chain: Chain, *events: bytes) -> ProducerState:
    state = taking.greet(chain.hello(chain.seq + 1, chain.crc), 0.0, 5)
    taking.take(state, chain.frame(*events), 0.0, 5)
    return state


def commit(store: Store, taking: Intake) -> None:
    store.write(taking.batch, 5)
    taking.fresh_batch()


# --- opening ---


@pytest.mark.parametrize("version", ["3.51.2", "3.50.99", "3.6.0", "2.8.17"])
def test_a_sqlite_that_corrupts_the_wal_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: version)
    with pytest.raises(ConfigError, match=rf"SQLite {version} .* 3\.51\.3 .* apsw"):
        open_store(path)
    assert not path.exists()


@pytest.mark.parametrize("version", ["3.51.3", "3.52.0", "3.100.0", "4.0.0"])
def test_a_sqlite_without_that_bug_is_used(
    path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: version)
    open_store(path).close()


def test_importing_the_writer_never_loads_the_stdlibs_sqlite() -> None:
    """A second SQLite in the process that closes log.db drops the first one's locks. What others'
    processes load, frameworks and the view's pages, no module of the writer's loads."""
    program = (
        "import importlib, sys, hansard, hansard_writer\n"
        "from pathlib import Path\n"
        "elsewhere = ('hansard.integrations', 'hansard_writer.viewing')\n"
        "for package in (hansard, hansard_writer):\n"
        "    root = Path(package.__file__).parent\n"
        "    for path in sorted(root.rglob('*.py')):\n"
        "        parts = path.relative_to(root.parent).with_suffix('').parts\n"
        "        name = '.'.join(parts).removesuffix('.__init__')\n"
        "        if not name.startswith(elsewhere) and not name.endswith('__main__'):\n"
        "            importlib.import_module(name)\n"
        "assert 'apsw' in sys.modules\n"
        "print([name for name in sorted(sys.modules)\n"
        "       if name in ('sqlite3', '_sqlite3', 'datasette') or name.startswith(elsewhere[0])])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.stdout == "[]\n", done.stderr


def test_a_new_database_has_the_mode_it_is_given(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        for mode in (0o600, 0o640):
            path = tmp_path / f"{mode:o}.db"
            open_store(path, mode=mode).close()
            assert stat.S_IMODE(path.stat().st_mode) == mode
    finally:
        os.umask(before)


def test_the_wal_has_the_mode_of_the_database(path: Path) -> None:
    store = open_store(path, mode=0o640)
    for name in ("log.db-wal", "log.db-shm"):
        assert stat.S_IMODE((path.parent / name).stat().st_mode) == 0o640
    store.close()


def test_the_database_is_told_to_be_careful(store: Store) -> None:
    def pragma(name: str) -> Any:
        return rows(store, f"PRAGMA {name}")[0][0]

    assert pragma("journal_mode") == "wal"
    assert pragma("synchronous") == 2
    assert pragma("secure_delete") == 1
    assert pragma("recursive_triggers") == 1
    assert pragma("trusted_schema") == 0
    assert pragma("wal_autocheckpoint") == 0
    assert pragma("busy_timeout") == 0
    assert pragma("application_id") == schema.APPLICATION_ID
    assert pragma("user_version") == schema.VERSION


def test_secure_delete_is_on_from_creation(path: Path) -> None:
    """Before the first table, so nothing was ever deleted without it."""
    store = open_store(path)
    store.close()
    assert open_store(path)._connection.execute("PRAGMA secure_delete").get == 1


def other_database(path: Path, *statements: str) -> bytes:
    connection = apsw.Connection(str(path))
    for statement in statements:
        connection.execute(statement).fetchall()
    connection.close()
    return path.read_bytes()


@pytest.mark.parametrize(
    "statements",
    [
        pytest.param(["CREATE TABLE t(a)"], id="without an application id"),
        pytest.param(["CREATE TABLE t(a)", "PRAGMA application_id = 5"], id="of another"),
    ],
)
def test_a_database_of_another_program_is_refused_and_left_alone(
    path: Path, statements: list[str]
) -> None:
    before = other_database(path, *statements)
    with pytest.raises(LogUnusable, match=r"another program .* move it away"):
        open_store(path)
    assert path.read_bytes() == before


def test_a_newer_schema_is_refused_and_left_alone(path: Path) -> None:
    open_store(path).close()
    before = other_database(path, f"PRAGMA user_version = {schema.VERSION + 1}")
    with pytest.raises(LogUnusable, match=rf"newer release \(schema {schema.VERSION + 1}"):
        open_store(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"no database at all, but text " * 100, b"x" * 5_000])
def test_a_file_that_is_no_database_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(LogUnusable, match=r"damaged or no database: move .* away"):
        open_store(path)
    assert path.read_bytes() == content


def test_an_empty_file_becomes_a_log(path: Path) -> None:
    path.touch()
    store = open_store(path)
    assert store.size == 0
    store.close()


def test_a_database_that_is_locked_for_a_moment_while_the_writer_starts_is_waited_for(
    path: Path,
) -> None:
    """A backup or a reader's recovery holds it; a writer that gave up would not come back."""
    import threading

    open_store(path).close()
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.2, lambda: other.execute("ROLLBACK"))
    timer.start()
    try:
        open_store(path).close()
    finally:
        timer.join()
        other.close()


def test_a_log_keeps_its_id_and_every_start_is_a_new_epoch(path: Path) -> None:
    seen = []
    for _ in range(4):
        store = open_store(path)
        seen.append((store.log_id, store.epoch))
        store.close()
    assert [epoch for _, epoch in seen] == [1, 2, 3, 4]
    assert len({log_id for log_id, _ in seen}) == 1
    assert len(seen[0][0]) == 16


def test_two_logs_have_two_ids(tmp_path: Path) -> None:
    stores = [open_store(tmp_path / name) for name in ("a.db", "b.db")]
    assert stores[0].log_id != stores[1].log_id
    assert stores[0].own_producer().hash != stores[1].own_producer().hash
    for store in stores:
        store.close()


def test_the_writer_itself_is_producer_zero(store: Store) -> None:
    own = store.own_producer()
    assert (own.id, own.watermark, own.is_stored) == (OWN_PRODUCER, 0, True)


# --- migrations ---


def test_migrations_apply_one_after_the_other_and_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_store(path)
    taking = Intake(first.find_producer, first.next_producer_id, first.own_producer())
    feed(taking, Chain(), event())
    commit(first, taking)
    first.close()
    more = (
        ("ALTER TABLE tasks ADD COLUMN colour TEXT",),
        (
            "CREATE TABLE later(a) STRICT".replace("(a)", "(a TEXT)"),
            "INSERT INTO later VALUES('x')",
        ),
    )
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, *more))
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 2)
    monkeypatch.setattr(schema, "SUMMARIES", (*schema.SUMMARIES, "colours tasks", "goes later"))
    for _ in range(2):
        migrate(path.parent)
        store = open_store(path)
        assert rows(store, "PRAGMA user_version") == [(schema.VERSION,)]
        assert rows(store, "SELECT a FROM later") == [("x",)]
        assert rows(store, "SELECT count(colour) FROM tasks") == [(0,)]
        assert store.size == 1
        store.close()


def test_a_log_of_version_1_knows_what_it_has_refused_and_lost(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each number is accounted for, also behind a replay of what was refused before."""
    chain, other = Chain(), Chain(b"o" * wire.PRODUCER_ID_BYTES)
    with apsw.Connection(str(path)) as connection:
        for statement in schema.MIGRATIONS[0]:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 1")
        for number, hash_ in enumerate((chain.hash, other.hash), 1):
            connection.execute(
                "INSERT INTO producers VALUES(?, ?, 'host', 7, 1, 20, 5, 3)", (number, hash_)
            )
        connection.execute("INSERT INTO producers VALUES(0, x'00', '', 0, 1, 2, 0, 0)")
        lost = {"producer": chain.hash.hex(), "reason": "the log went back in time", "count": 5}
        full = {"producer": chain.hash.hex(), "reason": "the queue stayed full", "count": 3}
        for seq, payload in enumerate((lost, full), 1):
            connection.execute(
                "INSERT INTO entries VALUES(?, 0, ?, 1, 'hansard.lost', 'warning', 'hansard', NULL,"
                " ?, NULL, NULL)",
                (seq, seq, json.dumps(payload)),
            )
        for producer, number, count in ((1, 1, 1), (1, 4, 2), (2, 7, 1), (None, None, 0)):
            connection.execute(
                "INSERT INTO dead_letters(received_at, producer, producer_seq, count, reason,"
                " detail, frame) VALUES(1, ?, ?, ?, 'invalid', '', x'')",
                (producer, number, count),
            )
    connection.close()
    migrate(path.parent)
    store = open_store(path)
    assert rows(store, "SELECT refused, returned, orphaned, lost FROM producers WHERE id > 0") == [
        (3, 0, 0, 5),
        (1, 0, 0, 0),
    ]
    totals = store.totals()
    assert (totals["appended"], totals["dead_lettered"]) == (40 - 5 - 4, 4)
    store.close()


def test_a_migration_that_fails_changes_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_store(path).close()
    bad = ("CREATE TABLE half(a TEXT) STRICT", "CREATE TABLE half(a TEXT) STRICT")
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, bad))
        patch.setattr(schema, "SUMMARIES", (*schema.SUMMARIES, "fails"))
        patch.setattr(schema, "VERSION", schema.VERSION + 1)
        with pytest.raises(LogUnusable, match=r"half.* already exists"):
            migrate(path.parent)
    store = open_store(path)
    assert rows(store, "PRAGMA user_version") == [(schema.VERSION,)]
    assert rows(store, "SELECT count(*) FROM sqlite_schema WHERE name = 'half'") == [(0,)]
    assert store.epoch == 2
    store.close()


def test_every_migration_is_one_statement_an_element() -> None:
    """apsw runs several in one string lazily, and stops at the first row."""
    connection = apsw.Connection(":memory:")
    for migration in schema.MIGRATIONS:
        executed = []
        connection.set_exec_trace(lambda _cursor, sql, _b: executed.append(sql) or True)  # noqa: B023
        for statement in migration:
            connection.execute(statement)
        assert len(executed) == len(migration)


def test_every_table_but_sqlites_own_is_strict(store: Store) -> None:
    loose = rows(
        store, "SELECT name FROM pragma_table_list WHERE type = 'table' AND NOT strict"
        " AND name NOT LIKE 'sqlite_%'"
    )  # fmt: skip
    assert loose == []


# --- writing ---


def test_a_batch_is_in_the_database_with_its_watermarks(store: Store, taking: Intake) -> None:
    chain = Chain()
    feed(taking, chain, event('{"n":1}'), event(None, actor=None, task_id=None))
    commit(store, taking)
    common = (1_700_000_000_000_000_000, "task.done", "info")
    *columns, salt, payload_hash = rows(store, "SELECT * FROM entries WHERE seq = 1")[0]
    assert columns == [1, 1, 1, *common, "agent:7", "T1", '{"n":1}']
    assert (len(salt), len(payload_hash)) == (16, 32)
    assert rows(store, "SELECT * FROM entries WHERE seq = 2") == [
        (2, 1, 2, *common, None, None, None, None, None)
    ]
    assert rows(store, "SELECT watermark, crc, dropped FROM producers WHERE id = 1") == [
        (2, chain.crc, 0)
    ]
    assert (store.size, store.commits) == (2, 1)


def test_seq_goes_on_after_a_restart(path: Path) -> None:
    chain = Chain()
    for _ in range(3):
        store = open_store(path)
        taking = Intake(store.find_producer, store.next_producer_id, store.own_producer())
        feed(taking, chain, event(), event())
        commit(store, taking)
        store.close()
    store = open_store(path)
    assert [row[0] for row in rows(store, "SELECT seq FROM entries ORDER BY seq")] == [*range(1, 7)]
    assert rows(store, "SELECT count(*) FROM producers WHERE id > 0") == [(1,)]
    store.close()


def test_the_secret_id_of_a_producer_is_nowhere_in_the_database(path: Path) -> None:
    store = open_store(path)
    taking = Intake(store.find_producer, store.next_producer_id, store.own_producer())
    chain = Chain(b"SECRET-PRODUCER!")
    state = feed(taking, chain, event())
    taking.take(state, chain.frame(b"\xc1"), 0.0, 5)
    commit(store, taking)
    content = path.read_bytes() + (path.parent / "log.db-wal").read_bytes()
    assert b"SECRET-PRODUCER!" not in content
    assert wire.producer_hash(b"SECRET-PRODUCER!") in content
    store.close()


def test_consecutive_batches_of_one_producer_are_one_run(store: Store, taking: Intake) -> None:
    chain = Chain()
    for _ in range(5):
        feed(taking, chain, event(), event())
        feed(taking, chain, event())
        commit(store, taking)
    assert rows(store, "SELECT * FROM runs") == [(1, 1, 15, 1)]


def test_a_run_ends_where_another_producer_or_a_refused_event_comes_between(
    store: Store, taking: Intake
) -> None:
    chain, other = Chain(), Chain(b"q" * 16)
    feed(taking, chain, event(), event())
    commit(store, taking)
    feed(taking, chain, event())
    feed(taking, other, event())
    feed(taking, chain, event())
    commit(store, taking)
    feed(taking, chain, event(), b"\x90", event())
    commit(store, taking)
    assert rows(store, "SELECT * FROM runs ORDER BY first_seq") == [
        (1, 1, 3, 1),
        (2, 1, 1, 4),
        (1, 4, 2, 5),
        (1, 7, 1, 7),
    ]


def test_a_batch_that_failed_leaves_no_trace_in_the_next_ones_runs(
    store: Store, taking: Intake, path: Path
) -> None:
    chain, other = Chain(), Chain(b"q" * 16)
    feed(taking, chain, event())
    commit(store, taking)
    feed(taking, chain, event())
    feed(taking, other, event())
    blocker = apsw.Connection(str(path))
    blocker.execute("BEGIN IMMEDIATE")
    for _ in range(3):
        with pytest.raises(StoreBusy):
            store.write(taking.batch, 5)
    blocker.close()
    commit(store, taking)
    assert rows(store, "SELECT * FROM runs ORDER BY first_seq") == [(1, 1, 2, 1), (2, 1, 1, 3)]
    assert store.size == 3


def test_a_run_is_found_by_every_number_in_it(store: Store, taking: Intake) -> None:
    chain, other = Chain(), Chain(b"q" * 16)
    for _ in range(3):
        feed(taking, chain, event(), event(), event())
        feed(taking, other, event())
    commit(store, taking)
    for number in range(1, 10):
        runs, dead, to = store.outcomes(1, number, number)
        assert (dead, to) == ([], number)
        ((first, _, first_seq),) = [r for r in runs if r[0] <= number < r[0] + r[1]]
        assert rows(
            store,
            "SELECT producer, producer_seq FROM entries WHERE seq = ?",
            first_seq + number - first,
        ) == [(1, number)]


def test_outcomes_tell_dead_letters_that_began_before_the_first_number(
    store: Store, taking: Intake
) -> None:
    chain = Chain()
    state = taking.greet(chain.hello(), 0.0, 5)
    taking.take(state, chain.frame(b"\xc1")._replace(event_count=1_000), 0.0, 5)
    commit(store, taking)
    assert store.outcomes(1, 900, 950) == (
        [],
        [(1, 1_000, "undecodable", "ValueError while unpacking")],
        950,
    )


def test_outcomes_of_more_runs_than_a_reply_holds_say_up_to_where(
    store: Store, taking: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "RUNS_PER_REPLY_MAX", 2)
    chain, other = Chain(), Chain(b"q" * 16)
    for _ in range(4):
        feed(taking, chain, event(), event())
        feed(taking, other, event())
    commit(store, taking)
    assert store.outcomes(1, 1, 8) == ([(1, 2, 1), (3, 2, 4)], [], 4)
    assert store.outcomes(1, 5, 8) == ([(5, 2, 7), (7, 2, 10)], [], 8)


def test_outcomes_always_reach_the_first_number_asked_for(store: Store, taking: Intake) -> None:
    """Or whoever asks would ask the same for ever."""
    chain = Chain()
    state = taking.greet(chain.hello(), 0.0, 5)
    taking.take(state, chain.frame(*[b"\x90"] * wire.FRAME_EVENTS_MAX), 0.0, 5)
    taking.take(state, chain.frame(event()), 0.0, 5)
    commit(store, taking)
    first = wire.FRAME_EVENTS_MAX + 1
    runs, _, to = store.outcomes(1, first, first)
    assert to == first
    assert runs == [(first, 1, 1)]


def test_payloads_that_are_no_objects_become_dead_letters(store: Store, taking: Intake) -> None:
    feed(taking, Chain(), event("{}"), event("[]"), event("nonsense"), event("{}"))
    commit(store, taking)
    assert rows(store, "SELECT producer_seq FROM entries") == [(1,), (4,)]
    details = rows(store, "SELECT producer_seq, reason, detail FROM dead_letters")
    assert [row[:2] for row in details] == [(2, "invalid"), (3, "invalid")]
    assert "array" in details[0][2]
    assert "JSON" in details[1][2]


def test_a_full_disk_leaves_batch_and_database_as_they_were(store: Store, taking: Intake) -> None:
    pages = store._connection.execute("PRAGMA page_count").get
    store._connection.execute(f"PRAGMA max_page_count = {pages}").fetchall()
    chain = Chain()
    feed(taking, chain, *[event(task_id="t" * 1_000)] * 100)
    for _ in range(3):
        with pytest.raises(StoreFull):
            store.write(taking.batch, 5)
        assert not store._connection.in_transaction
        assert rows(store, "SELECT count(*) FROM entries") == [(0,)]
    store._connection.execute("PRAGMA max_page_count = 100000").fetchall()
    commit(store, taking)
    assert store.size == 100


def test_a_statement_that_ends_the_transaction_is_caught_before_the_watermarks(
    store: Store, taking: Intake
) -> None:
    """INSERT OR ROLLBACK, RAISE(ROLLBACK): what went before is gone, and must not be acked."""
    store._connection.execute(
        "CREATE TEMP TRIGGER ends BEFORE INSERT ON main.dead_letters"
        " BEGIN SELECT RAISE(ROLLBACK, 'gone'); END"
    )
    feed(taking, Chain(), event(), b"\x90")
    with pytest.raises(Exception, match=r"gone|transaction"):
        store.write(taking.batch, 5)
    assert not store._connection.in_transaction
    assert rows(store, "SELECT count(*) FROM entries") == [(0,)]
    assert rows(store, "SELECT count(*) FROM producers WHERE watermark > 0") == [(0,)]


def test_a_transaction_that_was_ended_without_an_error_is_noticed(
    store: Store, taking: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ends_it(_refused: object, _now_ns: int) -> list[int]:
        store._execute("ROLLBACK")
        return []

    monkeypatch.setattr(store.letters, "write", ends_it)
    feed(taking, Chain(), event())
    with pytest.raises(AssertionError, match="ended the batch's transaction"):
        store.write(taking.batch, 5)
    assert rows(store, "SELECT count(*) FROM producers WHERE watermark > 0") == [(0,)]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET level = 'debug'",
        "UPDATE entries SET payload = NULL WHERE seq = 1",
        "DELETE FROM entries",
        "DELETE FROM entries WHERE seq = 1",
        "REPLACE INTO entries SELECT * FROM entries",
        f"INSERT OR REPLACE {AN_ENTRY}",
        f"INSERT {AN_ENTRY} ON CONFLICT DO UPDATE SET level = 'debug'",
    ],
)
def test_entries_are_neither_updated_nor_deleted_nor_replaced(
    store: Store, taking: Intake, statement: str
) -> None:
    feed(taking, Chain(), event('{"n":1}'), event('{"n":2}'))
    commit(store, taking)
    before = rows(store, "SELECT * FROM entries")
    with pytest.raises(apsw.ConstraintError, match="append-only"):
        store._connection.execute(statement)
    assert rows(store, "SELECT * FROM entries") == before


# --- dead letters ---


def letters(*sizes: int) -> Batch:
    batch = Batch()
    batch.refused = [(None, Refused(0, 0, "bad_header", "why", b"x" * size)) for size in sizes]
    return batch


def kept(store: Store) -> tuple[int, int]:
    """How many letters are kept, and how many bytes, as the figures say."""
    totals = store.totals()
    return totals["dead_letters"], totals["dead_letter_bytes"]


def test_dead_letters_are_kept_up_to_their_number(path: Path) -> None:
    store = open_store(path, dead_letters_max=3)
    store.write(letters(1, 1), 5)
    store.write(letters(1, 1, 1), 5)
    assert kept(store) == (3, 3)
    assert rows(store, "SELECT count(*) FROM dead_letters") == [(3,)]
    assert rows(store, "SELECT value FROM meta WHERE key = 'dead_letters_not_kept'") == [(2,)]
    store.write(letters(1), 5)
    assert rows(store, "SELECT value FROM meta WHERE key = 'dead_letters_not_kept'") == [(3,)]
    store.close()


def test_dead_letters_are_kept_up_to_their_bytes_and_smaller_ones_still_fit(path: Path) -> None:
    store = open_store(path, dead_letters_bytes_max=100)
    store.write(letters(60, 60, 40), 5)
    assert rows(store, "SELECT length(frame) FROM dead_letters") == [(60,), (40,)]
    assert kept(store) == (2, 100)
    store.close()
    store = open_store(path, dead_letters_bytes_max=100)
    assert kept(store) == (2, 100)
    store.write(letters(1), 5)
    assert kept(store) == (2, 100)
    store.close()


def test_no_dead_letters_at_all_may_be_kept(path: Path) -> None:
    store = open_store(path, dead_letters_max=0)
    taking = Intake(store.find_producer, store.next_producer_id, store.own_producer())
    feed(taking, Chain(), event(), b"\x90")
    commit(store, taking)
    assert store.size == 1
    assert rows(store, "SELECT watermark FROM producers WHERE id = 1") == [(2,)]
    store.close()


def test_counts_of_dead_letters_that_were_rolled_back_are_rolled_back(
    store: Store, path: Path
) -> None:
    blocker = apsw.Connection(str(path))
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreBusy):
        store.write(letters(5, 5), 5)
    blocker.close()
    assert kept(store) == (0, 0)
    store.write(letters(5, 5), 5)
    assert kept(store) == (2, 10)


# --- reading it as others do ---


def test_the_view_shows_times_as_iso_8601_utc(store: Store, taking: Intake) -> None:
    times = [0, 999_999_999, 1_700_000_000_123_456_789, 253_402_300_799_999_999_999 // 1_000]
    feed(taking, Chain(), *(event(created_at=time) for time in times))
    commit(store, taking)
    assert [row[0] for row in rows(store, "SELECT created_at FROM events ORDER BY id")][:3] == [
        "1970-01-01T00:00:00.000000Z",
        "1970-01-01T00:00:00.999999Z",
        "2023-11-14T22:13:20.123456Z",
    ]
    assert [row[0] for row in rows(store, "SELECT created_at_ns FROM events ORDER BY id")] == times


def test_the_view_names_the_producer(store: Store, taking: Intake) -> None:
    chain = Chain()
    feed(taking, chain, event())
    commit(store, taking)
    assert rows(store, "SELECT producer, producer_seq, host, pid FROM events") == [
        (chain.hash.hex(), 1, "host", 7)
    ]


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        ("SELECT * FROM events WHERE task_id = 'T1'", "entries_by_task"),
        ("SELECT * FROM events WHERE event_type = 'a.b'", "entries_by_type"),
        (
            "SELECT * FROM events WHERE event_type = 'a.b' AND created_at_ns > 5",
            "entries_by_type",
        ),
    ],
)
def test_the_view_uses_the_indexes(store: Store, statement: str, index: str) -> None:
    plan = " ".join(str(row[3]) for row in rows(store, "EXPLAIN QUERY PLAN " + statement))
    assert index in plan
