"""``hansard verify TARGET``: what `hansard ship` has shipped, and somebody has changed there."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from frames import event
from hansard_writer.cli import main
from postgresql_server import PostgresqlServer, postgresql_server
from verifiable import SignedLog

HANSARD = (sys.executable, "-m", "hansard_writer")
ENTRIES = 300
REDACTED = 62


def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
    """The command, to its end."""
    return subprocess.run(
        [*HANSARD, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> SignedLog:
    """At rest: signed, with a redacted entry, and JSON that no JSONB takes."""
    log = SignedLog(tmp_path_factory.mktemp("shipped") / "log")
    log.enter(count=ENTRIES - 1)
    log.enter(event('{"nul":"\\u0000","b":1,"a":1.0}'))
    log.seal()
    log.redacted(REDACTED)
    log.seal()
    log.close()
    return log


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresqlServer]:
    with postgresql_server() as server:
        yield server


@pytest.fixture(scope="module")
def shipped(log: SignedLog, server: PostgresqlServer) -> str:
    """The URL of a database that the log was shipped to."""
    url = server.new_database()
    done = run("ship", "--once", "--dir", log.directory, url)
    assert done.returncode == 0, done.stderr
    return url


@pytest.fixture
def database(shipped: str, server: PostgresqlServer) -> str:
    """The same, to be changed."""
    return server.new_database("TEMPLATE", shipped.partition("@/")[2].partition("?")[0])


@pytest.fixture(scope="module")
def files(log: SignedLog, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that the log was shipped to."""
    place = tmp_path_factory.mktemp("archive")
    done = run("ship", "--once", "--dir", log.directory, place)
    assert done.returncode == 0, done.stderr
    return place


def verified(log: SignedLog, target: object) -> "subprocess.CompletedProcess[str]":
    return run("verify", target, "--key", log.directory / "writer.pub")


def found_in(log: SignedLog, target: object) -> str:
    """What verification finds wrong, in this process: a quarter of the time."""
    key = str(log.directory / "writer.pub")
    done = CliRunner().invoke(main, ["verify", str(target), "--key", key])
    assert (done.exit_code, done.stderr) == (1, ""), done.output
    assert isinstance(done.exception, SystemExit), done.exc_info
    return done.stdout


def change(database: str, statement: str) -> None:
    with psycopg.connect(database) as connection:
        assert connection.execute(statement).rowcount == 1


def test_what_is_in_postgresql_is_intact(log: SignedLog, shipped: str) -> None:
    done = run("verify", shipped, "--key", log.directory / "writer.pub", "--format", "json")
    assert done.returncode == 0, done.stdout + done.stderr
    facts = json.loads(done.stdout)
    assert facts["is_good"]
    (found,) = facts["logs"]
    assert (found["origin"], found["verdict"], found["size"]) == (log.origin, "intact", 301)
    assert (found["redacted"], found["findings"], found["covered"]) == (1, [], 301)


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        (
            """UPDATE hansard.entries SET payload = '{"n":0}', document = '{"n":0}'
               WHERE seq = 147""",
            "entry 147: its payload or its salt is not what was hashed",
        ),
        (
            """UPDATE hansard.entries SET document = '{"n":0}' WHERE seq = 147""",
            "entry 147: its JSONB is not what its payload says",
        ),
        (
            "UPDATE hansard.entries SET actor = 'somebody' WHERE seq = 147",
            "entry 147: it is not what was entered",
        ),
        ("DELETE FROM hansard.entries WHERE seq = 147", "entry 147: missing"),
        ("DELETE FROM hansard.entries WHERE seq = 301", "there are 300"),
        (
            """INSERT INTO hansard.entries SELECT (jsonb_populate_record(each, '{"seq": 302}')).*
               FROM hansard.entries AS each WHERE seq = 147""",
            "entry 302: behind the end of what was shipped",
        ),
        (
            """INSERT INTO hansard.entries SELECT (jsonb_populate_record(each, '{"seq": 0}')).*
               FROM hansard.entries AS each WHERE seq = 147""",
            "entry 0: no log has such an entry",
        ),
    ],
)
def test_what_was_changed_in_postgresql_is_found(
    log: SignedLog, database: str, statement: str, found: str
) -> None:
    change(database, statement)
    assert found in found_in(log, database)


def test_an_altered_entry_in_postgresql_is_the_answer_no(log: SignedLog, database: str) -> None:
    change(database, "UPDATE hansard.entries SET payload = '{}' WHERE seq = 147")
    done = verified(log, database)
    assert (done.returncode, done.stderr) == (1, "")
    assert "entry 147: its payload or its salt is not what was hashed" in done.stdout


def test_a_server_that_does_not_answer_is_no_verdict(log: SignedLog) -> None:
    done = verified(log, "postgresql://audit:hunter2@127.0.0.1:1/audit")
    assert (done.returncode, done.stdout) == (1, "")
    assert "127.0.0.1:1" in done.stderr
    assert "hunter2" not in done.stderr


def test_what_is_in_parquet_files_is_intact(log: SignedLog, files: Path) -> None:
    done = verified(log, files)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(f"{log.origin}: intact: every entry is as it was entered\n")


def _with(table: Any, name: str, at: int, value: Any) -> Any:
    values = table[name].to_pylist()
    values[at] = value
    place = table.schema.get_field_index(name)
    changed = pa.array(values, table.schema.field(name).type)
    return table.set_column(place, table.schema.field(name), changed)


@pytest.mark.parametrize(
    ("column", "value", "found"),
    [
        ("payload", '{"n":0}', "entry 147: its payload or its salt is not what was hashed"),
        ("actor", "somebody", "entry 147: it is not what was entered"),
        ("leaf", b"l" * 32, "entry 147: the leaf hash that is kept beside it was changed"),
        (None, None, "entry 147: missing"),
    ],
)
def test_what_was_changed_in_a_parquet_file_is_found(
    log: SignedLog, files: Path, column: str | None, value: Any, found: str
) -> None:
    path = next(path for path in sorted(files.rglob("*.parquet")) if path.name > f"{1:020}")
    whole = path.read_bytes()
    table = pq.ParquetFile(path).read()
    at = table["seq"].to_pylist().index(147)
    if column is None:
        changed = pa.concat_tables([table.slice(0, at), table.slice(at + 1)])
    else:
        changed = _with(table, column, at, value)
    try:
        pq.write_table(changed, path)
        assert found in found_in(log, files)
    finally:
        path.write_bytes(whole)


def test_a_log_that_is_gone_from_the_files_is_missing(
    log: SignedLog, files: Path, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert f"{log.origin}: missing: nothing of it is there" in found_in(log, empty)
