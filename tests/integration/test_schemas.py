"""A log of every release there was: refused, migrated, verified, served, and gone on with."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from hansard.errors import ConfigError
from hansard.reader import LogReader
from hansard_writer import schema
from hansard_writer.migrating import migrate
from hansard_writer.proof import verify
from old_logs import EARLIER, RELEASED, OldLog, old_log
from stepped import Log
from support import query

HEADER_BYTES = 100  # which counts changes
GIVEN_BY_THE_PROOF = ("salt", "payload_hash")


@pytest.fixture(params=EARLIER, ids=lambda version: f"schema {version}")
def old(request: pytest.FixtureRequest, directory: Path) -> OldLog:
    """One that is to be migrated."""
    return old_log(request.param, directory)


@pytest.fixture(params=RELEASED, ids=lambda version: f"schema {version}")
def released(request: pytest.FixtureRequest, directory: Path) -> OldLog:
    return old_log(request.param, directory)


@pytest.fixture
def log(released: OldLog) -> Iterator[Log]:
    """The migrated log, with nobody serving it yet."""
    migrate(released.directory)
    log = Log(released.directory)
    yield log
    log.close()


def rows(directory: Path, table: str) -> list[dict[str, Any]]:
    connection = apsw.Connection(str(directory / "log.db"), flags=apsw.SQLITE_OPEN_READONLY)
    found = connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2")
    shown = [
        {
            name: value.hex() if isinstance(value, bytes) else value
            for (name, *_), value in zip(found.get_description(), row, strict=True)
        }
        for row in found
    ]
    connection.close()
    return shown


def statements(path: Path) -> list[tuple[str, str, str]]:
    """The schema, but for white space, and SQLite's own figures."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    found = connection.execute("SELECT type, name, sql FROM sqlite_schema").fetchall()
    connection.close()
    return sorted((kind, name, " ".join((sql or "").split())) for kind, name, sql in found)


def hashes(directory: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.iterdir()
        if path.is_file()
    }


def test_a_writer_and_a_reader_refuse_it_and_say_what_to_run(old: OldLog) -> None:
    before = hashes(old.directory)
    said = rf"hansard migrate --dir {old.directory}`"
    also = rf"start with `hansard serve --migrate --dir {old.directory}`"
    with pytest.raises(ConfigError, match=rf"{said}.* or {also}"):
        Log(old.directory).start_writer()
    assert hashes(old.directory) == before
    with pytest.raises(ConfigError, match=said):
        LogReader(old.directory)


def test_migrated_it_holds_what_it_held_byte_for_byte(released: OldLog, log: Log) -> None:
    assert len(released.held["entries"]) > 20
    for table, held in released.held.items():
        found = rows(released.directory, table)
        assert len(found) == len(held), table
        for now, before in zip(found, held, strict=True):
            if table == "entries" and before["payload_hash"] is None and before["payload"]:
                assert all(now.pop(name) for name in GIVEN_BY_THE_PROOF)
            kept = {name: value for name, value in before.items() if name in now}
            assert {name: now[name] for name in kept} == kept, table
            assert set(before) - set(kept) <= set(GIVEN_BY_THE_PROOF)


def test_migrated_its_schema_is_that_of_a_new_log(log: Log, tmp_path: Path) -> None:
    new = Log(tmp_path / "new").start_writer()
    new.stop_writer()
    migrated = statements(log.directory / "log.db")
    assert migrated == statements(new.directory / "log.db")
    assert query(log.directory, "PRAGMA user_version") == [(schema.VERSION,)]


def test_migrated_it_verifies_and_a_writer_goes_on_with_it(released: OldLog, log: Log) -> None:
    assert verify(log.directory).is_good
    log.start_writer()
    before = len(released.held["entries"])
    log.worker().record(3)
    log.settle()
    assert log.entered("w") == [1, 2, 3]
    log.step()
    log.stop_writer()
    report = verify(log.directory)
    assert report.is_good, report
    assert query(log.directory, "SELECT count(*) FROM entries")[0][0] >= before + 3
    with LogReader(log.directory) as reader:
        assert reader.count("task.created") == 10


def test_the_backup_is_the_log_as_it_was(old: OldLog) -> None:
    before = (old.directory / "log.db").read_bytes()
    done = migrate(old.directory)
    assert done.backup is not None
    assert done.backup.read_bytes()[HEADER_BYTES:] == before[HEADER_BYTES:]
    assert done.backup.stat().st_mode & 0o777 == 0o600
    done.backup.rename(old.directory / "log.db")  # the way back, as the command says it
    assert rows(old.directory, "entries") == old.held["entries"]


def test_each_released_version_has_a_fixture_of_its_own(tmp_path: Path) -> None:
    for version in RELEASED:
        directory = tmp_path / f"v{version}"
        old_log(version, directory)
        assert query(directory, "PRAGMA user_version") == [(version,)]
