"""``hansard prune`` where no writer is asked: what it would do, what it checks, what it refuses."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from frames import event
from hansard.reader_connection import ReadConnection
from hansard_writer.cli import main
from hansard_writer.cli import prune as command
from hansard_writer.cli.prune import Before
from hansard_writer.cli.vacuum import size
from hansard_writer.free_space import PAGE_BYTES
from hansard_writer.retention import Prefix, write_archive
from hansard_writer.vacuuming import room
from provable import ProvableLog
from support import held_lock

BEGIN = 1_704_067_200 * 10**9  # 2024-01-01
HOUR = 3_600 * 10**9
FIRST_TIME = "this first time only while no writer serves it, and with room for"

Prune = Callable[..., Result]


@pytest.fixture
def log(directory: Path) -> Iterator[ProvableLog]:
    """An entry an hour."""
    log = ProvableLog(directory)
    log.enter(*(event(created_at=BEGIN + number * HOUR) for number in range(48)))
    log.sign()
    yield log
    log.close()


@pytest.fixture
def prune(log: ProvableLog) -> Prune:
    def run(*arguments: object) -> Result:
        return CliRunner().invoke(
            main, ["prune", *map(str, arguments), "--dir", str(log.directory)]
        )

    return run


@pytest.fixture
def key(log: ProvableLog, tmp_path: Path) -> Path:
    path = tmp_path / "key.pub"
    path.write_text(f"{log.key.verifier_key}\n")
    return path


@pytest.fixture
def archive(log: ProvableLog, tmp_path: Path) -> Path:
    path, connection = tmp_path / "a.gz", ReadConnection(log.directory)
    write_archive(connection.rows, path, Prefix(1, 24))
    connection.close()
    return path


def test_a_dry_run_says_what_would_go_and_needs_no_writer(log: ProvableLog, prune: Prune) -> None:
    done = prune("--before", "2024-01-02", "--dry-run")
    assert done.exit_code == 0, done.output
    pages = log.execute("PRAGMA page_count").get
    twice = size(2 * pages * PAGE_BYTES)
    assert done.stdout == (
        "Would prune 24 entries: 1 to 24, created from 2024-01-01T00:00:00.000000Z to "
        "2024-01-01T23:00:00.000000Z, about 6,696 bytes.\n"
        f"--vacuum would give that back, and 0 bytes of log.db's {pages * PAGE_BYTES:,} bytes that "
        f"are free already; {FIRST_TIME} {twice} meanwhile.\n"
    )
    assert log.execute("SELECT count(*) FROM entries").get == 48


def test_a_dry_run_says_what_a_vacuum_would_give_back(log: ProvableLog, prune: Prune) -> None:
    log.execute("CREATE TABLE mine(x)")
    log.execute("INSERT INTO mine VALUES(zeroblob(2000000))")
    log.execute("DROP TABLE mine")
    used = size(2 * room(log.store.handle.rows).used_bytes)
    done = prune("--vacuum", "--dry-run")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == (
        f"--vacuum would give back 2.0 MB of log.db's 2.2 MB; {FIRST_TIME} {used} meanwhile.\n"
    )
    done = prune("--before", "2024-01-02", "--vacuum", "--dry-run")
    assert done.stdout.endswith(
        "--vacuum would give that back, and 2.0 MB of log.db's 2.2 MB that are free already; "
        f"{FIRST_TIME} {used} meanwhile.\n"
    )
    done = prune("--before", "2024-01-01", "--vacuum", "--dry-run")
    assert done.exit_code == 0, "there is something to do"
    assert done.stdout.startswith("--vacuum would give back 2.0 MB")
    assert done.stderr.startswith("There is nothing to prune")


def test_a_dry_run_writes_no_archive(prune: Prune, tmp_path: Path) -> None:
    done = prune("--before", "2024-01-02", "--dry-run", "--archive", tmp_path / "a.gz")
    assert done.exit_code == 0
    assert not (tmp_path / "a.gz").exists()


def test_the_newest_entries_may_be_kept(prune: Prune) -> None:
    done = prune("--before", "2024-02-01", "--keep-last", 40, "--dry-run")
    assert "Would prune 8 entries: 1 to 8," in done.stdout
    done = prune("--before", "2024-02-01", "--keep-last", 100, "--dry-run")
    assert (done.exit_code, done.stderr) == (
        1,
        "There is nothing to prune: the log has no entry that is not kept by --keep-last.\n",
    )


def test_nothing_to_prune_is_an_answer(prune: Prune) -> None:
    done = prune("--before", "2024-01-01", "--dry-run")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        "There is nothing to prune: the first entry, 1, is of 2024-01-01T00:00:00.000000Z, "
        "and keeps what is behind it.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "status", "complaint"),
    [
        ((), 2, "Say --before TIME, or an age as --before 90d; or --vacuum."),
        (("--vacuum", "--keep-last", "7"), 2, "--keep-last go with --before"),
        (("--vacuum", "--check-archive", __file__), 2, "goes with --key alone"),
        (("--before", "yesterday"), 2, "write it like 2026-01-31T23:59:00Z"),
        (("--before", "2d3h"), 2, "write it like"),
        (("--before", "-1d"), 2, "write it like"),
        (("--before", "1y"), 2, "00Z, or an age in s, m, h, d or w, like 90d."),
        (("--before", "2200-01-01"), 2, "is in the future"),
        (("--before", "99999w"), 2, "is before 1970"),
        (("--before", "1d", "--key", __file__), 2, "--key goes with --check-archive"),
        (("--before", "1d", "--check-archive", __file__), 2, "goes with --key alone"),
        (("--check-archive", __file__), 2, "--check-archive goes with --key"),
        (("--check-archive", __file__, "--key", __file__), 2, ":1: a verifier key is a name"),
        (("--before", "1d"), 3, "no writer runs in"),
    ],
)
def test_what_it_cannot_do_it_says(
    prune: Prune, arguments: tuple[object, ...], status: int, complaint: str
) -> None:
    done = prune(*arguments)
    assert done.exit_code == status, done.output
    assert complaint in done.stderr
    assert done.stdout == ""


def test_an_age_counts_back_from_now() -> None:
    context = click.Context(click.Command("prune"))
    for text, seconds in (("90s", 90), ("5m", 300), ("2h", 7_200), ("1d", 86_400), ("1w", 604_800)):
        before = Before().convert(text, None, context)
        assert abs(time.time_ns() - before - seconds * 10**9) < 60 * 10**9
        assert before % 1_000 == 0, "the log says it in microseconds"


def test_an_archive_is_never_overwritten(log: ProvableLog, prune: Prune, archive: Path) -> None:
    before = archive.read_bytes()
    with held_lock(log.directory):
        done = prune("--before", "2024-01-02", "--archive", archive)
    assert done.exit_code == 1
    assert "exists: name another file, or move it away" in done.stderr
    assert archive.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("UPDATE entries SET actor = 'x' WHERE seq = 3", "these entries are not those that were"),
        ("UPDATE entries SET payload = '{}' WHERE seq = 3", "entry 3 was altered"),
    ],
)
def test_what_cannot_be_archived_is_not_pruned(
    log: ProvableLog, prune: Prune, tmp_path: Path, change: str, complaint: str
) -> None:
    log.change(change)
    with held_lock(log.directory):  # of a writer that would never answer
        done = prune("--before", "2024-01-02", "--archive", tmp_path / "a.gz")
    assert done.exit_code == 1
    assert complaint in done.stderr
    assert "nothing was pruned" in done.stderr
    assert not (tmp_path / "a.gz").exists()


def test_a_checkpoint_that_covers_the_archive_is_asked_for(
    log: ProvableLog, prune: Prune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "ANSWER_S", 0.1)
    log.change("DELETE FROM checkpoints")
    with held_lock(log.directory):
        done = prune("--before", "2024-01-02", "--archive", tmp_path / "a.gz")
    assert done.exit_code == 3
    assert not (tmp_path / "a.gz").exists()


def test_an_archive_where_nobody_may_write_is_refused(
    log: ProvableLog, prune: Prune, tmp_path: Path
) -> None:
    with held_lock(log.directory):
        done = prune("--before", "2024-01-02", "--archive", tmp_path / "nowhere" / "a.gz")
    assert done.exit_code == 1
    assert "a.gz: No such file or directory" in done.stderr


def test_an_archive_is_checked_with_the_key_alone(
    log: ProvableLog, archive: Path, key: Path
) -> None:
    arguments: list[Any] = ["prune", "--check-archive", archive, "--key", key]
    done = CliRunner().invoke(main, list(map(str, arguments)))
    assert done.exit_code == 0, done.output
    assert done.stdout == (
        "Proven: entries 1 to 24 were in the log of 48 entries; 0 of them redacted.\n"
        f"  origin     {log.origin}\n"
        f"  signed by  {log.key.verifier_key}\n"
    )
    archive.write_bytes(archive.read_bytes()[:-20])
    done = CliRunner().invoke(main, list(map(str, arguments)))
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("Not proven: ")
