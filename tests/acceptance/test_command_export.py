"""``hansard export`` as a process: beside a writer, into a pipe that closes, interrupted, large."""

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import hansard
from hansard_writer import RunningWriter
from many_entries import fill, lines_and_memory
from support import held_lock, wait_until

ENTRIES = 40_000
FEW = 4_000
RSS_GROWTH_MAX = 8 << 20


def export(directory: Path, *arguments: object) -> list[str]:
    """The command and its arguments."""
    command = [sys.executable, "-m", "hansard_writer", "export", "--dir", str(directory)]
    return [*command, *map(str, arguments)]


@pytest.fixture
def long_log(directory: Path) -> Path:
    """A stopped log of many entries."""
    fill(directory, ENTRIES, "task.done", {"title": "x" * 200})
    return directory


def test_an_export_of_all_takes_no_more_memory_than_one_of_a_few(long_log: Path) -> None:
    options = ("--format", "cloudevents")
    few, bytes_for_few = lines_and_memory("export", long_log, *options, "--limit", FEW)
    every, bytes_for_all = lines_and_memory("export", long_log, *options)
    assert (few, every) == (FEW, ENTRIES)
    assert bytes_for_all - bytes_for_few < RSS_GROWTH_MAX


def test_who_has_read_enough_ends_an_export_quietly(long_log: Path) -> None:
    command = export(long_log, "--format", "csv")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"id,")
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 0


def test_an_export_beside_a_writer_holds_itself_back_and_leaves_nothing_when_interrupted(
    long_log: Path, tmp_path: Path
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    with (
        held_lock(long_log),
        subprocess.Popen(
            export(long_log, "--to", place / "out.jsonl.gz"), stderr=subprocess.PIPE, text=True
        ) as process,
    ):
        wait_until(lambda: list(place.iterdir()), "the export has begun")
        assert os.getpriority(os.PRIO_PROCESS, process.pid) == 19
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (130, "Interrupted.\n")
    assert list(place.iterdir()) == []


def test_an_export_of_a_log_in_use_is_a_whole_file(
    directory: Path, writer: RunningWriter, tmp_path: Path
) -> None:
    path = tmp_path / "out.csv"
    with hansard.AuditLog(directory) as log:
        log.record_many([{"event_type": "task.done", "payload": {"n": 1}}] * 500, sync=True)
        done = subprocess.run(
            export(directory, "--to", path), capture_output=True, text=True, timeout=60, check=False
        )
    assert done.returncode == 0, done.stderr
    with path.open(newline="") as file:
        assert [int(row["id"]) for row in csv.DictReader(file)] == list(range(1, 501))
    assert done.stderr.startswith("Exported 500 entries, 1 to 500, of the log as it was at 500.\n")
