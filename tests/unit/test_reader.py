"""The read side, on databases made by the writer's own schema."""

import fcntl
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import apsw
import msgpack
import pytest

from handmade_log import BEGIN, SECOND, Log, ids, plan_of, statements_of
from hansard import ClosedError, ConfigError, reader, reader_connection
from hansard.reader import DeadLetter, Event, Extent, LogReader, paging
from hansard_writer import schema
from support import wait_until

NOBODY = 65_534


@pytest.fixture
def foreign_log() -> Iterator[Log]:
    """A log that everybody may read and `unprivileged` may not write beside."""
    with TemporaryDirectory() as parent:
        Path(parent).chmod(0o755)
        log = Log(Path(parent) / "log")
        (log.directory / "writer.lock").touch(0o644)
        yield log
        log.close()
        log.directory.chmod(0o755)


@contextmanager
def unprivileged(directory: Path) -> Iterator[None]:
    """Within, this process may read the directory and write nothing there."""
    if os.geteuid() != 0:
        directory.chmod(0o555)
        yield
        directory.chmod(0o755)
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


# --- entries ---


def test_an_entry_is_read_as_it_was_recorded(log: Log) -> None:
    payload = '{"n": 123456789012345678901234567890, "s":"\\u0000"}'
    log.add("user.login", payload=payload, actor="me", task_id="T", created_at=BEGIN + 1_234_567)
    with LogReader(log.directory) as reader:
        assert reader.get(1) == Event(
            1, "2026-01-01T00:00:00.001234Z", BEGIN + 1_234_567, "user.login", "info", "me", "T",
            payload, "abcd", 1, "host-a", 7,
        )  # fmt: skip


def test_an_entry_that_is_not_there_is_none(log: Log) -> None:
    with LogReader(log.directory) as reader:
        assert reader.get(1) is None
        assert list(reader.events()) == []
        assert reader.count() == 0


def test_entries_come_in_order_of_their_ids_either_way(log: Log) -> None:
    for _ in range(2 * paging.PAGE_ROWS + 1):
        log.add()
    expected = list(range(1, log.size + 1))
    with LogReader(log.directory) as log_reader:
        assert ids(log_reader.events()) == expected
        assert ids(log_reader.events(newest_first=True)) == expected[::-1]
        assert ids(log_reader.events(limit=150)) == expected[:150]
        assert ids(log_reader.events(limit=0)) == []
        assert ids(log_reader.events(after_id=199)) == expected[199:]
        assert ids(log_reader.events(after_id=199, newest_first=True)) == expected[:198:-1]


@pytest.mark.parametrize("rare", [True, False], ids=["through the index", "in order"])
def test_conditions_must_all_hold(log: Log, monkeypatch: pytest.MonkeyPatch, rare: bool) -> None:
    if not rare:
        monkeypatch.setattr(paging, "IDS_BY_INDEX_MAX", 1)
    log.add("x", actor="a", task_id="T")  # 1
    log.add("y", actor="a", level="error")  # 2
    log.add("x", actor="b", task_id="T")  # 3
    log.add("x", created_at=BEGIN)  # 4: entered late
    log.add("x", actor="a", level="error", task_id="U")  # 5
    cases: list[tuple[dict[str, Any], list[int]]] = [
        ({"event_type": "x"}, [1, 3, 4, 5]),
        ({"event_type": "x", "actor": "a"}, [1, 5]),
        ({"event_type": "x", "actor": "a", "after_id": 1}, [5]),
        ({"event_type": "x", "up_to_id": 4}, [1, 3, 4]),
        ({"level": "error", "after_id": 2, "up_to_id": 5}, [5]),
        ({"up_to_id": 0}, []),
        ({"event_type": "x", "task_id": "T"}, [1, 3]),
        ({"task_id": "T", "actor": "b"}, [3]),
        ({"level": "error"}, [2, 5]),
        ({"since": BEGIN + SECOND, "until": BEGIN + 3 * SECOND}, [1, 2]),
        ({"event_type": "x", "until": BEGIN + 2 * SECOND}, [1, 4]),
        ({"event_type": "x", "since": "2026-01-01T00:00:03Z"}, [3, 5]),
        ({"event_type": "z"}, []),
    ]
    with LogReader(log.directory) as log_reader:
        for conditions, expected in cases:
            assert ids(log_reader.events(**conditions)) == expected, conditions
            newest_first = log_reader.events(**conditions, newest_first=True, limit=2)
            assert ids(newest_first) == expected[::-1][:2], conditions
            assert log_reader.count(**conditions) == len(expected), conditions


def test_a_log_says_which_it_is_and_which_entries_it_has(log: Log) -> None:
    with LogReader(log.directory) as log_reader:
        assert log_reader.extent() == Extent("", 0, 0)
        log.execute("INSERT INTO meta VALUES('log_id', x'ab01')")
        for _ in range(3):
            log.add()
        assert log_reader.extent() == Extent("ab01", 0, 3)
        log.execute("INSERT INTO meta VALUES('unlocked', 'prune'), ('pruned_to', 3)")
        log.execute("DELETE FROM entries WHERE seq <= 2")
        assert log_reader.extent() == Extent("ab01", 3, 3)
        log.execute("DELETE FROM entries")
        assert log_reader.extent() == Extent("ab01", 3, 3)


def test_the_smallest_checkpoint_that_covers_an_entry_is_found(log: Log) -> None:
    with LogReader(log.directory) as log_reader:
        assert log_reader.checkpoint_covering(1) is None
        for size in (2, 5):
            log.execute("INSERT INTO checkpoints VALUES(?, 'o', 0, ?)", size, f"note {size}")
        found = [log_reader.checkpoint_covering(seq) for seq in (1, 2, 3, 5, 6)]
    assert found == ["note 2", "note 2", "note 5", "note 5", None]


def test_event_types_are_found_by_leaps_through_their_index(log: Log) -> None:
    types = ["a", "user.login", "user.logout", "user\uffff", "v"]
    with LogReader(log.directory) as reader:
        assert reader.event_types() == []
        for event_type in (*types[::-1], "user.login"):
            log.add(event_type)
        assert reader.event_types() == types
        assert reader.event_types(limit=2) == types[:2]
        assert reader.event_types(begin="user") == types[1:4]
        assert reader.event_types(begin="user.") == types[1:3]
        assert reader.event_types(begin="w") == []
        (statement,) = statements_of(reader, reader.event_types)
        plan = plan_of(log, statement)
    assert plan.count("SEARCH entries USING COVERING INDEX entries_by_type (event_type>") == 2
    assert "SCAN entries" not in plan


def test_counts_by_type(log: Log) -> None:
    for event_type in ("b", "a", "b"):
        log.add(event_type)
    with LogReader(log.directory) as reader:
        assert reader.count_by_type() == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    "moment",
    [
        "2026-01-01",
        "2026-01-01T00:00:00Z",
        "2026-01-01T01:00:00+01:00",
        datetime(2026, 1, 1, tzinfo=UTC),
        BEGIN,
    ],
)
def test_a_moment_may_be_text_a_datetime_or_nanoseconds(moment: reader.Moment) -> None:
    assert reader.nanoseconds(moment) == BEGIN


@pytest.mark.parametrize("moment", ["yesterday", "", datetime(2026, 1, 1), 1 << 64])  # noqa: DTZ001
def test_a_moment_that_is_none_is_refused_before_anything_is_read(
    log: Log, moment: reader.Moment
) -> None:
    with LogReader(log.directory) as log_reader, pytest.raises(ValueError, match="since is"):
        log_reader.events(since=moment)


def test_a_condition_that_is_not_known_is_refused(log: Log) -> None:
    with LogReader(log.directory) as reader, pytest.raises(TypeError, match="colour"):
        reader.events(colour="red")  # type: ignore[call-arg]


# --- how it reads ---


def test_a_rare_type_is_found_through_its_index_on_type_and_time(log: Log) -> None:
    log.add("x")
    with LogReader(log.directory) as reader:
        asked = statements_of(
            reader, lambda: list(reader.events("x", actor="a", since=BEGIN, until=BEGIN + 1))
        )
        counted = statements_of(reader, lambda: reader.count("x", since=BEGIN, after_id=1))
    assert any(
        "entries_by_type (event_type=? AND created_at>? AND created_at<?)" in plan_of(log, each)
        for each in asked
    )
    assert "entries_by_type (event_type=? AND created_at>?)" in plan_of(log, counted[0])


def test_a_task_is_found_through_its_index_in_order_without_sorting(log: Log) -> None:
    log.add("x", task_id="T")
    with LogReader(log.directory) as reader:
        asked = statements_of(reader, lambda: list(reader.events("x", task_id="T", since=BEGIN)))
    plan = plan_of(log, asked[-1])
    assert "entries_by_task (task_id=? AND rowid>? AND rowid<?)" in plan
    assert "TEMP B-TREE" not in plan


@pytest.mark.parametrize("conditions", [{}, {"event_type": "x"}, {"actor": "a"}, {"since": BEGIN}])
def test_a_common_type_and_all_else_is_read_in_order_without_sorting(
    log: Log, monkeypatch: pytest.MonkeyPatch, conditions: dict[str, Any]
) -> None:
    monkeypatch.setattr(paging, "IDS_BY_INDEX_MAX", 1)
    log.add("x")
    log.add("x")
    with LogReader(log.directory) as log_reader:
        asked = statements_of(
            log_reader, lambda: list(log_reader.events(newest_first=True, **conditions))
        )
    plan = plan_of(log, asked[-1])
    assert "SEARCH e USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)" in plan
    assert "TEMP B-TREE" not in plan


def test_an_iterator_that_is_held_open_does_not_hold_the_wal(log: Log) -> None:
    for _ in range(paging.PAGE_ROWS + 2):
        log.add()
    with LogReader(log.directory) as log_reader:
        events = log_reader.events()
        assert next(events).id == 1
        log.add()
        assert log.can_truncate_wal()
        assert ids(events) == list(range(2, log.size)), "what came later is not among them"


def test_readers_of_many_threads_do_not_meet(log: Log) -> None:
    for _ in range(500):
        log.add()
    counts: list[int] = []

    def read() -> None:
        with LogReader(log.directory) as reader:
            counts.append(len(list(reader.events())))

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [500] * 8


# --- following ---


def test_following_begins_with_what_comes_after_the_call(log: Log) -> None:
    log.add()
    with LogReader(log.directory) as reader:
        events = reader.follow()
        log.add()
        log.add()
        assert [next(events).id, next(events).id] == [2, 3]


def test_following_begins_behind_an_id(log: Log) -> None:
    for _ in range(250):
        log.add()
    with LogReader(log.directory) as reader:
        events = reader.follow(after_id=10)
        assert [next(events).id for _ in range(240)] == list(range(11, 251))


class Follower:
    """A thread that follows the log until it has seen ``last_id``."""

    def __init__(self, directory: Path, last_id: int, *, setup: Callable[[], None] = lambda: None):
        self.seen: list[int] = []
        self.reader: LogReader | None = None
        self._arguments = directory, last_id, setup
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        directory, last_id, setup = self._arguments
        setup()
        with LogReader(directory) as self.reader:
            for event in self.reader.follow(0, interval=0.005):
                self.seen.append(event.id)
                if event.id == last_id:
                    return


def test_a_follower_sees_each_entry_once_and_holds_no_wal_while_it_waits(log: Log) -> None:
    log.add()
    follower = Follower(log.directory, last_id=60)
    wait_until(lambda: follower.seen, "the follower has seen the first entry")
    while log.size < 60:
        log.add()
        wait_until(log.can_truncate_wal, "the follower holds no read transaction")
    follower.thread.join(30)
    assert follower.seen == list(range(1, 61))


# --- dead letters ---


def test_dead_letters_are_listed_newest_first_without_their_bytes(log: Log) -> None:
    for index in range(paging.PAGE_ROWS + 1):
        log.add_dead_letter("invalid" if index else "undecodable", b"frame")
    with LogReader(log.directory) as log_reader:
        letters = list(log_reader.dead_letters())
        assert [letter.id for letter in letters] == list(range(paging.PAGE_ROWS + 1, 0, -1))
        assert len(list(log_reader.dead_letters(limit=5))) == 5
        (first,) = log_reader.dead_letters("undecodable")
        assert first == DeadLetter(
            1, "2026-01-01T00:00:00.000001Z", "abcd", 9, 3, "undecodable", "why", None, 0, None, 5
        )
        assert list(log_reader.dead_letters("no such reason")) == []


def test_a_dead_letter_that_was_entered_later_is_listed_only_if_it_is_asked_for(log: Log) -> None:
    log.add_dead_letter("orphan", b"frame")
    log.add_dead_letter("orphan", b"")
    log.execute("UPDATE dead_letters SET replayed_as = 7 WHERE id = 2")
    with LogReader(log.directory) as reader:
        assert [letter.id for letter in reader.dead_letters()] == [1]
        assert [letter.replayed_as for letter in reader.dead_letters(returned=True)] == [7, None]


def test_a_dead_letter_is_shown_with_its_bytes(log: Log) -> None:
    log.add_dead_letter("bad header", b"\x00\xff", producer=None)
    with LogReader(log.directory) as reader:
        letter = reader.dead_letter(1)
        assert letter is not None
        assert (letter.frame, letter.frame_bytes) == (b"\x00\xff", 2)
        assert (letter.producer, letter.producer_seq) == (None, None)
        assert reader.dead_letter(2) is None


def test_a_dead_letter_says_of_which_type_its_first_event_is(log: Log) -> None:
    body = msgpack.packb((0, BEGIN, "a.step", "info", "me", "T1", '{"n": 1}')) + b"\xc1"
    log.add_dead_letter("undecodable", body)
    log.add_dead_letter("orphan", b"")
    log.execute("UPDATE dead_letters SET replayed_as = ? WHERE id = 2", log.add("b.step"))
    with LogReader(log.directory) as reader:
        letters = list(reader.dead_letters(returned=True))
        assert [letter.event_type for letter in letters] == ["b.step", "a.step"]
        assert letters[1].frame is None
        shown = reader.dead_letter(1)
        assert shown is not None
        assert (shown.event_type, shown.first_event.payload) == ("a.step", '{"n": 1}')


# --- what is refused ---


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (
            lambda reader: reader.events(evnt_type="a"),
            "did you mean 'event_type'? There are actor, after_id, derived, event_type, level, ",
        ),
        (lambda reader: reader.operations(name="x"), "'name' is no condition; there are actor, "),
        (lambda reader: reader.operations(stats="x"), "did you mean 'status'?"),
    ],
)
def test_a_condition_that_there_is_not_names_those_that_there_are(
    log: Log, ask: Callable[[LogReader], object], message: str
) -> None:
    with LogReader(log.directory) as reader, pytest.raises(TypeError, match=re.escape(message)):
        ask(reader)


def test_where_no_log_is_the_message_names_the_way_out(tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "none"):
        with pytest.raises(ConfigError, match=r"no log in .*serve --dir .*--dir or HANSARD_DIR"):
            LogReader(directory)


def test_a_file_that_is_no_log_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log.db").write_bytes(b"not a database, only long enough to look at" * 100)
    with pytest.raises(ConfigError, match=r"cannot read .*not a database"):
        LogReader(tmp_path)


def test_another_programs_database_is_refused(log: Log) -> None:
    log.execute("PRAGMA application_id = 1")
    with pytest.raises(ConfigError, match=r"no log of Hansard's \(its application_id is 1\)"):
        LogReader(log.directory)


@pytest.mark.parametrize(
    ("version", "way_out"),
    [
        (schema.VERSION + 1, "install the release"),
        (schema.VERSION - 1, "hansard migrate --dir"),
        (0, "hansard migrate --dir"),
    ],
)
def test_another_schema_is_refused(log: Log, version: int, way_out: str) -> None:
    log.execute(f"PRAGMA user_version = {version}")
    with pytest.raises(ConfigError, match=rf"schema version {version}.*{way_out}"):
        LogReader(log.directory)


def test_an_sqlite_that_can_corrupt_the_wal_is_refused(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.51.2")
    with pytest.raises(ConfigError, match=r"3\.51\.2 can corrupt a WAL: 3\.51\.3 or later"):
        LogReader(log.directory)


def test_reader_and_writer_agree_on_the_schema() -> None:
    assert reader_connection.APPLICATION_ID == schema.APPLICATION_ID
    assert reader_connection.SCHEMA_VERSION == schema.VERSION


def test_a_path_too_long_for_sqlite_is_said_to_be_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_connection, "START_WAIT_S", 0)
    directory = tmp_path.joinpath(*["x" * 200] * 3)
    directory.mkdir(parents=True)
    (directory / "log.db").touch()
    with pytest.raises(ConfigError, match="too long a path for SQLite"):
        LogReader(directory)


def test_a_closed_reader_says_so(log: Log) -> None:
    log.add()
    reader = LogReader(log.directory)
    events = reader.events()
    assert repr(reader) == f"<LogReader {str(log.directory)!r} open>"
    reader.close()
    reader.close()
    assert repr(reader) == f"<LogReader {str(log.directory)!r} closed>"
    for call in (lambda: next(events), lambda: reader.get(1), lambda: next(reader.follow(0))):
        with pytest.raises(ClosedError):
            call()


def test_a_path_may_hold_what_means_something_in_a_uri(tmp_path: Path) -> None:
    log = Log(tmp_path / "50% of #1? yes&no=é")
    log.add()
    log.close()
    with LogReader(log.directory) as reader:
        assert reader.count() == 1


# --- other users' logs ---


def writer_may_start(directory: Path) -> bool:
    descriptor = os.open(directory / "writer.lock", os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        return True
    finally:
        os.close(descriptor)


def test_a_stopped_log_of_another_user_is_read_while_writers_wait(foreign_log: Log) -> None:
    foreign_log.add()
    foreign_log.close()
    with unprivileged(foreign_log.directory), LogReader(foreign_log.directory) as reader:
        assert "immutable" in repr(reader)
        assert ids(reader.events()) == [1]
        assert not writer_may_start(foreign_log.directory)
    assert writer_may_start(foreign_log.directory)


def test_a_stopped_log_of_another_user_is_searched(foreign_log: Log) -> None:
    for word in ("indexed", "unindexed"):
        foreign_log.add_operation(stderr=f"common {word}")
    foreign_log.execute("INSERT INTO full_text(rowid, text) VALUES(1, 'common indexed')")
    foreign_log.execute("UPDATE meta SET value = 1 WHERE key = 'full_text_indexed_to'")
    foreign_log.close()
    with unprivileged(foreign_log.directory), LogReader(foreign_log.directory) as reader:
        assert "immutable" in repr(reader)
        assert ids(reader.search("common")) == [1, 2]


def test_a_reader_that_is_forgotten_keeps_no_writer_waiting(foreign_log: Log) -> None:
    foreign_log.close()
    with unprivileged(foreign_log.directory):
        reader = LogReader(foreign_log.directory)
        assert not writer_may_start(foreign_log.directory)
        del reader
    assert writer_may_start(foreign_log.directory)


def test_a_connection_to_scan_reads_the_same_and_keeps_few_pages(log: Log) -> None:
    log.add("user.login")
    scan = reader_connection.ReadConnection(log.directory, to_scan=True)
    with closing(scan), closing(reader_connection.ReadConnection(log.directory)) as other:
        for query in ("SELECT * FROM entries", "SELECT * FROM events"):
            assert scan.rows(query) == other.rows(query) != []
        assert scan.rows("PRAGMA cache_size") == [(reader_connection.SCAN_CACHE_PAGES,)]


def test_a_copy_without_a_lock_file_is_read(foreign_log: Log) -> None:
    foreign_log.add()
    foreign_log.close()
    (foreign_log.directory / "writer.lock").unlink()
    with unprivileged(foreign_log.directory), LogReader(foreign_log.directory) as reader:
        assert ids(reader.events()) == [1]


def test_a_served_log_of_another_user_is_read_beside_the_writer(foreign_log: Log) -> None:
    foreign_log.add()
    with unprivileged(foreign_log.directory), LogReader(foreign_log.directory) as reader:
        assert "immutable" not in repr(reader)
        foreign_log.add()
        assert reader.count() == 2


def test_while_a_writer_lives_nothing_is_read_as_immutable(
    foreign_log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_connection, "START_WAIT_S", 0)
    foreign_log.close()
    with (foreign_log.directory / "writer.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with unprivileged(foreign_log.directory), pytest.raises(ConfigError, match="cannot read"):
            LogReader(foreign_log.directory)


def test_entries_that_only_the_wal_holds_are_not_passed_over(
    foreign_log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_connection, "START_WAIT_S", 0)
    foreign_log.add()
    killed = foreign_log.directory.parent / "killed"
    shutil.copytree(
        foreign_log.directory, killed, ignore=shutil.ignore_patterns("*-shm"), dirs_exist_ok=True
    )
    with unprivileged(killed), pytest.raises(ConfigError, match=r"log\.db-wal holds entries"):
        LogReader(killed)


def test_a_log_that_may_not_be_read_names_the_way_in(foreign_log: Log) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to be somebody else")
    (foreign_log.directory / "log.db").chmod(0o600)
    with unprivileged(foreign_log.directory), pytest.raises(ConfigError, match="--group"):
        LogReader(foreign_log.directory)
    foreign_log.directory.chmod(0o700)
    with unprivileged(foreign_log.directory), pytest.raises(ConfigError, match="--group"):
        LogReader(foreign_log.directory)


def test_a_follower_of_a_stopped_log_lets_the_writer_in_and_goes_on(foreign_log: Log) -> None:
    directory = foreign_log.directory
    foreign_log.add()
    foreign_log.close()
    with unprivileged(directory):
        follower = Follower(directory, last_id=3)
        wait_until(lambda: follower.seen, "the follower has seen the first entry")
        wait_until(lambda: writer_may_start(directory), "the follower holds no lock")
    if os.geteuid() != 0:
        directory.chmod(0o755)
    foreign_log.connection = apsw.Connection(str(directory / "log.db"))
    foreign_log.add()
    foreign_log.add()
    follower.thread.join(30)
    assert follower.seen == [1, 2, 3]
