"""The connection that an operation is given: everything at once, within its time and its rules."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from hansard_writer import operation_connection
from hansard_writer.operation_connection import OperationConnection, OperationError, guarded
from hansard_writer.store import Store

ENDLESS = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT {} FROM r"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "log.db", 0o600, dead_letters_max=9, dead_letters_bytes_max=9)
    with store.transaction() as connection:
        connection.execute("CREATE TABLE mine(id INTEGER PRIMARY KEY, name TEXT UNIQUE)")
    yield store
    store.close()


@contextlib.contextmanager
def running(store: Store, seconds: float = 30.0) -> Iterator[OperationConnection]:
    """As an operation is run."""
    with store.transaction() as connection, guarded(connection, seconds) as given:
        yield given


def run(store: Store, operation: Callable[[OperationConnection], Any], seconds: float = 30) -> None:
    """As an operation is run that is a function."""
    with running(store, seconds) as connection:
        operation(connection)


def names(store: Store) -> list[Any]:
    rows = store._connection.execute("SELECT name FROM mine ORDER BY id").fetchall()
    return [name for (name,) in rows]


def test_a_statement_returns_rows_columns_and_what_it_changed(store: Store) -> None:
    with running(store) as connection:
        inserted = connection.execute("INSERT INTO mine(name) VALUES(?), (?)", ["a", "b"])
        assert (inserted.changes, inserted.last_insert_rowid) == (2, 2)
        assert (inserted.columns, inserted.fetchall()) == ((), [])
        found = connection.execute("SELECT id, name FROM mine WHERE name = :name", {"name": "b"})
        assert (found.columns, found.changes) == (("id", "name"), 0)
        assert found.fetchone() == (2, "b")
        assert found.fetchone() is None
        assert connection.execute("SELECT id FROM mine WHERE 0").columns == ("id",)
        rows = connection.execute("SELECT id FROM mine")
        assert [next(iter(rows)), *rows.fetchall()] == [(1,), (2,)]
    assert names(store) == ["a", "b"]


def test_many_rows_are_inserted_by_one_call(store: Store) -> None:
    with running(store) as connection:
        rows = ((name,) for name in "abc")
        result = connection.executemany("INSERT INTO mine(name) VALUES(?) RETURNING name", rows)
        assert (result.changes, result.fetchall()) == (3, [("a",), ("b",), ("c",)])
    assert names(store) == ["a", "b", "c"]


def test_several_statements_in_one_string_are_all_run(store: Store) -> None:
    with running(store) as connection:
        result = connection.execute(
            "SELECT 1; INSERT INTO mine(name) VALUES('a') RETURNING name; DELETE FROM mine"
        )
        assert result.fetchall() == [(1,), ("a",)]
    assert names(store) == []


def test_the_row_id_of_others_is_not_the_operations(store: Store) -> None:
    with store.transaction() as connection:
        connection.execute("INSERT INTO mine VALUES(7, 'before')")
    with running(store) as given:
        assert given.execute("SELECT 1").last_insert_rowid == 0


def test_what_is_refused_is_said_and_costs_nothing_else(store: Store) -> None:
    with running(store) as connection:
        connection.execute("INSERT INTO mine(name) VALUES('a')")
        with pytest.raises(OperationError, match="may not COMMIT: each runs in a transaction of"):
            connection.execute("COMMIT")
        with pytest.raises(OperationError, match="write to the log's own table 'entries'"):
            connection.execute("DELETE FROM mine; DELETE FROM entries")
        connection.execute("INSERT INTO mine(name) VALUES('b')")
    assert names(store) == ["b"]


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT OR ROLLBACK INTO mine(name) VALUES('a')",
        "INSERT OR ROLLBACK INTO mine(name) VALUES('a'); INSERT INTO mine(name) VALUES('c')",
        "INSERT INTO strict(name) VALUES('x'), ('x')",
        "INSERT INTO guarded VALUES(1)",
    ],
)
def test_nothing_more_is_run_when_the_transaction_is_rolled_back(store: Store, sql: str) -> None:
    with running(store) as connection:
        connection.execute("INSERT INTO mine(name) VALUES('a')")
        connection.execute("CREATE TABLE strict(name UNIQUE ON CONFLICT ROLLBACK)")
        connection.execute("CREATE TABLE guarded(a)")
        connection.execute(
            "CREATE TRIGGER no BEFORE INSERT ON guarded"
            " BEGIN SELECT RAISE(ROLLBACK, 'not allowed'); END"
        )

    def swallow(connection: OperationConnection) -> None:
        connection.execute("INSERT INTO mine(name) VALUES('b')")
        with pytest.raises(OperationError, match="rolled its transaction back"):
            connection.execute(sql)
        with pytest.raises(OperationError, match="rolled its transaction back"):
            connection.execute("INSERT INTO mine(name) VALUES('d')")

    with pytest.raises(OperationError, match=r"rolled its transaction back \("):
        run(store, swallow)
    assert names(store) == ["a"]


def test_sql_that_runs_too_long_is_interrupted(store: Store) -> None:
    with (
        pytest.raises(OperationError, match=r"ran longer than 0\.05 s, and its SQL was interrupt"),
        running(store, 0.05) as connection,
    ):
        connection.execute(ENDLESS.format("count(*)"))


def test_a_write_that_is_interrupted_leaves_nothing(store: Store) -> None:
    def swallow(connection: OperationConnection) -> None:
        connection.execute("INSERT INTO mine(name) VALUES('a')")
        with contextlib.suppress(OperationError):
            connection.execute(f"INSERT INTO mine(name) {ENDLESS.format('n')}")

    with pytest.raises(OperationError, match=r"ran longer than"):
        run(store, swallow, 0.2)
    assert names(store) == []


def test_an_operation_that_is_late_runs_no_further_statement(store: Store) -> None:
    with running(store, 0) as connection, pytest.raises(OperationError, match="ran longer than"):
        connection.execute("SELECT 1")


def test_rows_beyond_the_limit_are_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operation_connection, "ROWS_MAX", 10)
    with running(store) as connection:
        assert len(connection.execute(ENDLESS.format("n") + " LIMIT 10").fetchall()) == 10
        with pytest.raises(OperationError, match="more than 10 rows: narrow it, or LIMIT it"):
            connection.execute(ENDLESS.format("n"))
        assert connection.execute("SELECT 1").fetchall() == [(1,)]


def test_a_connection_that_was_kept_is_of_no_use(store: Store) -> None:
    with running(store) as connection:
        kept = connection
    with pytest.raises(OperationError, match="is over: its connection cannot be used any more"):
        kept.execute("SELECT 1")
    with pytest.raises(OperationError, match="is over"):
        kept.executemany("SELECT 1", [()])


def test_a_connection_is_of_no_use_to_another_thread(store: Store) -> None:
    said = []

    def use() -> None:
        try:
            connection.execute("SELECT 1")
        except OperationError as error:
            said.append(str(error))

    with running(store) as connection:
        thread = threading.Thread(target=use)
        thread.start()
        thread.join()
    assert said == ["an operation's connection is for the thread that runs it"]


def test_a_name_of_the_logs_cannot_be_taken_by_renaming(store: Store) -> None:
    with (
        pytest.raises(OperationError, match="may not rename to 'hansard_mine'"),
        running(store) as connection,
    ):
        connection.execute("ALTER TABLE mine RENAME TO hansard_mine")
    assert names(store) == []


def test_a_commit_that_slipped_through_would_be_refused(store: Store) -> None:
    def slip_through(_connection: OperationConnection) -> None:
        store._connection.set_authorizer(None)
        store._connection.execute("INSERT INTO mine(name) VALUES('a')")
        with pytest.raises(apsw.ConstraintError):
            store._connection.execute("COMMIT")

    with pytest.raises(OperationError, match="its transaction was ended"):
        run(store, slip_through)
    assert names(store) == []


def test_a_reference_to_a_table_of_the_logs_holds_nothing_back(store: Store) -> None:
    with running(store) as connection:
        connection.execute("CREATE TABLE of_task(task REFERENCES tasks(task_id) ON DELETE CASCADE)")
        connection.execute("INSERT INTO of_task VALUES('T1')")
    with store.transaction() as own:
        own.execute("INSERT INTO tasks VALUES('T1', 1, NULL)")
        own.execute("DELETE FROM tasks")
    assert store._connection.execute("SELECT * FROM of_task").fetchall() == [("T1",)]


def test_afterwards_the_connection_is_the_logs_again(store: Store) -> None:
    with contextlib.suppress(OperationError), running(store, 0.01) as connection:
        connection.execute(ENDLESS.format("count(*)"))
    with store.transaction() as own:
        own.execute("UPDATE producers SET watermark = 3")
        own.execute("PRAGMA user_version").fetchall()
    assert store.own_producer().watermark == 3


@pytest.mark.parametrize("swallowed", [False, True])
def test_an_error_of_the_disk_is_not_the_operations_to_handle(
    store: Store, swallowed: bool
) -> None:
    class Cursor:
        exec_trace = None

        def execute(self, *_arguments: Any, **_options: Any) -> None:
            raise apsw.IOError("disk I/O error")

        def close(self, _force: bool) -> None: ...

    class Connection:
        in_transaction = False
        set_authorizer = set_progress_handler = set_commit_hook = set_last_insert_rowid = (
            lambda *_arguments: None
        )
        total_changes = staticmethod(lambda: 0)
        cursor = staticmethod(Cursor)

    def operation() -> None:
        with guarded(Connection(), 5.0) as given:  # type: ignore[arg-type]
            with contextlib.suppress(Exception if swallowed else OperationError):
                given.execute("SELECT 1")
            raise ValueError("whatever the operation makes of it")

    with pytest.raises(apsw.IOError):
        operation()
