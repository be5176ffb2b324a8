"""Whose WAL it is, where a database was smaller for a while than a copy of it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from hansard_writer.foreign_wal import require_own_wal
from hansard_writer.lock import WriterRun
from hansard_writer.unusable import LogUnusable

LOG_ID = b"l" * 16
FILL = """
    INSERT INTO mine WITH RECURSIVE numbers(n) AS
    (SELECT 1 UNION SELECT n + 1 FROM numbers WHERE n < 100)
    SELECT n, randomblob(3000) FROM numbers
"""


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[apsw.Connection]:
    """Of a database with much in it, none of it in the WAL."""
    made = opened(tmp_path / "log.db")
    for statement in (
        "PRAGMA auto_vacuum = INCREMENTAL",
        "PRAGMA journal_mode = WAL",
        "CREATE TABLE meta(key, value)",
        "CREATE TABLE mine(n INTEGER PRIMARY KEY, blob)",
        "INSERT INTO meta VALUES('log_id', CAST('llllllllllllllll' AS BLOB)), ('epoch', 1)",
        FILL,
        "PRAGMA wal_checkpoint(TRUNCATE)",
    ):
        made.execute(statement).fetchall()
    yield made
    made.close()


def opened(path: Path) -> apsw.Connection:
    connection = apsw.Connection(str(path))
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    return connection


def give_back(connection: apsw.Connection) -> None:
    connection.execute("DELETE FROM mine WHERE n < 80").fetchall()
    connection.execute("PRAGMA incremental_vacuum").fetchall()


def is_taken(path: Path) -> bool:
    inode = path.with_name("log.db-wal").stat().st_ino
    connection = opened(path)
    try:
        require_own_wal(connection, path, WriterRun(LOG_ID, 1, inode))
    except LogUnusable:
        return False
    finally:
        connection.close()
    return True


def test_a_wal_that_ends_in_front_of_its_databases_end_is_taken(
    connection: apsw.Connection, tmp_path: Path
) -> None:
    path = tmp_path / "log.db"
    give_back(connection)
    connection.close()
    assert is_taken(path)


def test_a_copy_from_before_space_was_given_back_is_not(
    connection: apsw.Connection, tmp_path: Path
) -> None:
    """It has all the pages that the WAL has not, and they are others."""
    path = tmp_path / "log.db"
    shutil.copy(path, tmp_path / "older.db")
    give_back(connection)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.execute("INSERT INTO mine SELECT n + 100, blob FROM mine")  # writes page 1, too
    connection.close()
    assert is_taken(path)
    shutil.copyfile(tmp_path / "older.db", path)
    assert not is_taken(path)
