"""A view beside a writer: the older SQLite in it reads a live log, and never checkpoints it."""

import hashlib
import subprocess
import sys
import threading
from pathlib import Path

import hansard
import viewed
from acceptance.conftest import MortalWriter
from hansard import directory as layout
from hansard_writer import running
from support import assert_log_is_sound, count_entries, wait_until

READ = (
    "/",
    "/entries?actor=agent:1",
    "/entries?type=step",
    "/entry/5",
    "/rates?span=1h",
    "/log?sql=select+count(*),+max(payload)+from+events",
    "/log/events?_nocount=1",
)

FORBIDDEN = (
    "PRAGMA wal_checkpoint",
    "PRAGMA wal_checkpoint(TRUNCATE)",
    "PRAGMA journal_mode = DELETE",
    "PRAGMA query_only = 0",
    "ATTACH DATABASE ':memory:' AS other",
    "DELETE FROM entries",
    "CREATE TEMP TABLE mine(a)",
    "SELECT load_extension('x')",
)


def digests(directory: Path) -> dict[str, str]:
    """Of what a checkpoint would change."""
    return {
        name: hashlib.sha256((directory / name).read_bytes()).hexdigest()
        for name in ("log.db", "log.db-wal")
        if (directory / name).exists()
    }


def record(directory: Path, count: int) -> None:
    with hansard.AuditLog(directory) as log:
        for number in range(count):
            log.record("step", {"n": number, "text": "x" * 500}, actor="agent:1", task_id="T")
        assert log.flush(20)


def test_it_leaves_database_and_wal_as_they_are(
    directory: Path, mortal_writer: MortalWriter
) -> None:
    mortal_writer.start()
    record(directory, 300)
    mortal_writer.freeze()  # so that nobody else changes anything
    before = digests(directory)
    assert (directory / "log.db-wal").stat().st_size > 100_000
    with viewed.view("--dir", directory) as view:
        view.verified()
        for path in READ:
            assert view.get(path).status == 200, path
        assert view.end() == (0, "")
    assert digests(directory) == before
    mortal_writer.thaw()
    record(directory, 10)
    mortal_writer.end()


def test_a_writer_records_and_checkpoints_while_it_is_read_all_the_time(
    directory: Path, mortal_writer: MortalWriter
) -> None:
    mortal_writer.start(wal_bytes_target=1 << 20)
    record(directory, 10)
    with viewed.view("--dir", directory) as view:
        ended = threading.Event()
        statuses: list[int] = []

        def read() -> None:
            while not ended.is_set():
                statuses.extend(view.get(path).status for path in READ)

        threads = [threading.Thread(target=read) for _ in range(2)]
        for each in threads:
            each.start()
        for _ in range(8):
            record(directory, 400)
        wait_until(lambda: len(statuses) > 20, "it was read for a while")
        assert layout.a_writer_lives(directory)
        ended.set()
        for each in threads:
            each.join()
        assert set(statuses) == {200}
        wal = directory / "log.db-wal"
        wait_until(lambda: wal.stat().st_size < 4 << 20, "the writer's checkpoints get through")
        assert mortal_writer.end() == 0  # while the view is there
        assert not wal.exists() or not wal.stat().st_size
        assert view.get("/").status == 200
    assert count_entries(directory) == 10 + 8 * 400
    assert_log_is_sound(directory)


def test_a_killed_writers_log_is_read_whole_and_recovered_by_the_next(
    directory: Path, mortal_writer: MortalWriter
) -> None:
    mortal_writer.start()
    record(directory, 100)
    mortal_writer.kill()
    before = digests(directory)
    with viewed.view("--dir", directory) as view:
        assert view.get("/index.json").data["log"]["last_id"] == 100
        counted = view.get("/log.json?sql=select+count(*)+from+events").data["rows"]
        assert counted == [[100]]
        assert digests(directory) == before
        mortal_writer.start()
        record(directory, 5)
        wait_until(
            lambda: view.get("/index.json").data["log"]["last_id"] == 105, "it goes on reading"
        )
    mortal_writer.end()


def test_another_log_in_its_place_is_shown(directory: Path, tmp_path: Path) -> None:
    with running(directory):
        record(directory, 3)
    other = tmp_path / "other"
    with running(other):
        record(other, 7)
    with viewed.view("--dir", directory) as view:
        first = view.get("/index.json").data["log"]
        directory.rename(tmp_path / "before")
        other.rename(directory)
        second = view.get("/index.json").data["log"]
    assert (first["last_id"], second["last_id"]) == (3, 7)
    assert first["log_id"] != second["log_id"]


def test_what_is_no_reading_is_refused(directory: Path, mortal_writer: MortalWriter) -> None:
    mortal_writer.start()
    record(directory, 3)
    program = (
        "import sqlite3, sys; from pathlib import Path\n"
        "from hansard_writer.viewing.log_database import reading\n"
        "with reading(Path(sys.argv[1])) as connection:\n"
        "    for statement in sys.argv[2:]:\n"
        "        try: print(statement, connection.execute(statement).fetchall())\n"
        "        except sqlite3.DatabaseError as error: print(error)\n"
    )
    command = [sys.executable, "-c", program, str(directory), *FORBIDDEN]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert len(said.splitlines()) == len(FORBIDDEN)
    assert all("not authorized" in line for line in said.splitlines())
    mortal_writer.end()


def test_the_file_itself_is_open_for_reading_only(
    directory: Path, mortal_writer: MortalWriter
) -> None:
    """Even without the authorizer SQLite could not get a checkpoint done."""
    mortal_writer.start()
    record(directory, 100)
    mortal_writer.freeze()
    before = digests(directory)
    program = (
        "import sqlite3, sys\n"
        "connection = sqlite3.connect(f'file:{sys.argv[1]}/log.db?mode=ro', uri=True)\n"
        "assert connection.execute('SELECT count(*) FROM events').fetchone() == (100,)\n"
        "try: connection.execute('PRAGMA wal_checkpoint(PASSIVE)')\n"
        "except sqlite3.OperationalError as error: print(error)\n"
        "connection.close()\n"
    )
    command = [sys.executable, "-c", program, str(directory)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert digests(directory) == before
    mortal_writer.thaw()
    mortal_writer.end()
