"""``hansard checkpoint`` and ``hansard keys`` with a real writer, which is killed in between."""

import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from acceptance.conftest import MortalWriter
from hansard import AuditLog
from hansard_writer.proof.checkpoint import Checkpoint, open_checkpoint
from hansard_writer.proof.keys import read_verifier_key
from supervised import Start
from support import query, wait_until

Watch = Callable[[Path], "subprocess.Popen[str]"]

COMMAND = [sys.executable, "-m", "hansard_writer"]


def hansard(*arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )


def record(directory: Path, events: int) -> None:
    with AuditLog(directory) as log:
        log.record_many([{"event_type": "step.done", "payload": {"n": n}} for n in range(events)])
        assert log.flush(10)


def opened(note: str, directory: Path) -> Checkpoint:
    return open_checkpoint(note, [read_verifier_key(directory / "writer.pub")])


@pytest.fixture
def watch(directory: Path) -> Iterator[Watch]:
    started = []

    def begin(place: Path) -> "subprocess.Popen[str]":
        options = ["--dir", str(directory), "--watch", str(place), "--interval", "0.05"]
        started.append(
            subprocess.Popen(
                [*COMMAND, "checkpoint", *options],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def test_a_clean_stop_leaves_a_checkpoint_of_everything(
    directory: Path, mortal_writer: MortalWriter
) -> None:
    mortal_writer.start()
    record(directory, 500)
    assert mortal_writer.end() == 0
    note = (directory / "checkpoint").read_text()
    assert opened(note, directory).size == 500
    assert stat.S_IMODE((directory / "writer.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((directory / "checkpoint").stat().st_mode) == 0o600
    printed = hansard("checkpoint", "--dir", directory)
    assert (printed.returncode, printed.stdout) == (0, note)
    assert "the last one covers all" in printed.stderr


def test_a_living_writer_signs_all_that_is_committed_for_who_asks(
    directory: Path, mortal_writer: MortalWriter
) -> None:
    mortal_writer.start(checkpoint_interval=3_600)
    for total in (3, 6):
        record(directory, 3)
        printed = hansard("checkpoint", "--dir", directory)
        assert (printed.returncode, printed.stderr) == (0, "")
        assert opened(printed.stdout, directory).size == total
        assert (directory / "checkpoint").read_text() == printed.stdout
    record(directory, 2)
    mortal_writer.kill()
    printed = hansard("checkpoint", "--dir", directory)
    assert opened(printed.stdout, directory).size == 6
    assert "2 entries are behind the last checkpoint" in printed.stderr
    mortal_writer.start()
    wait_until(
        lambda: opened((directory / "checkpoint").read_text(), directory).size == 8,
        "the next writer has signed them",
    )


def test_where_there_is_none_it_says_what_to_do(directory: Path) -> None:
    printed = hansard("checkpoint", "--dir", directory)
    assert (printed.returncode, printed.stdout) == (1, "")
    assert "hansard serve" in printed.stderr


def test_a_writer_that_does_not_answer_is_told_from_none(
    directory: Path, mortal_writer: MortalWriter
) -> None:
    mortal_writer.start()
    record(directory, 1)
    mortal_writer.freeze()
    printed = hansard("checkpoint", "--dir", directory, "--timeout", "0.2")
    assert printed.returncode == 3
    assert "did not answer" in printed.stderr


def test_watching_keeps_each_checkpoint_across_a_kill_and_ends_cleanly(
    directory: Path,
    mortal_writer: MortalWriter,
    watch: Callable[..., "subprocess.Popen[str]"],
    tmp_path: Path,
) -> None:
    mortal_writer.start()
    record(directory, 3)
    watcher = watch(tmp_path / "kept")
    assert watcher.stdout is not None
    assert watcher.stdout.readline().endswith("000000000003.checkpoint\n")
    mortal_writer.kill()
    mortal_writer.start()
    record(directory, 4)
    first = Path(watcher.stdout.readline().strip())
    newest = (tmp_path / "kept" / "checkpoint").read_text()
    assert first.exists()
    assert opened(newest, tmp_path / "kept").size >= 4
    watcher.send_signal(signal.SIGTERM)
    assert watcher.wait(20) == 0


def test_watching_a_log_that_went_back_in_time_says_so_and_keeps_what_it_has(
    directory: Path,
    mortal_writer: MortalWriter,
    watch: Callable[..., "subprocess.Popen[str]"],
    tmp_path: Path,
) -> None:
    mortal_writer.start()
    record(directory, 3)
    mortal_writer.end()
    shutil.copytree(directory, tmp_path / "copy", ignore=shutil.ignore_patterns("*.sock"))
    mortal_writer.start()
    record(directory, 4)
    mortal_writer.end()
    watcher = watch(tmp_path / "kept")
    assert watcher.stdout is not None
    watcher.stdout.readline()
    before = (tmp_path / "kept" / "checkpoint").read_bytes()
    for name in ("log.db", "checkpoint"):  # all of it, so that the next writer cannot notice
        shutil.copy(tmp_path / "copy" / name, directory / name)
    _, complaint = watcher.communicate(timeout=20)
    assert watcher.returncode == 1
    assert "the log had 7 entries, and now it has 3" in complaint
    assert (tmp_path / "kept" / "checkpoint").read_bytes() == before


def test_a_log_that_went_back_in_time_is_served_for_one_start_that_accepts_it(
    directory: Path, start: Start, mortal_writer: MortalWriter, tmp_path: Path
) -> None:
    mortal_writer.start()
    record(directory, 3)
    mortal_writer.end()
    shutil.copy(directory / "log.db", tmp_path / "copy.db")
    mortal_writer.start()
    record(directory, 4)
    mortal_writer.end()
    shutil.copy(tmp_path / "copy.db", directory / "log.db")
    refused = hansard("serve", "--dir", directory)
    assert refused.returncode == 1
    assert "went back in time" in refused.stderr
    supervised = start("--accept-rollback")
    os.kill(supervised.next_writer(), signal.SIGKILL)
    command = Path(f"/proc/{supervised.next_writer()}/cmdline").read_bytes()
    assert b"--accept-rollback" not in command
    accepted = "SELECT count(*) FROM entries WHERE event_type = 'hansard.rollback'"
    assert query(directory, accepted) == [(1,)]


@pytest.mark.parametrize("option", ["--accept-rollback", "--accept-lost-key", "--migrate"])
def test_what_is_for_one_start_is_not_for_a_unit(directory: Path, option: str) -> None:
    refused = hansard("serve", "--dir", directory, "--user", "nobody", option, "--print-unit")
    assert refused.returncode == 2
    assert "are for one start" in refused.stderr


# --- keys ---


def test_another_key_takes_over_and_the_first_still_opens_what_it_signed(
    directory: Path, mortal_writer: MortalWriter, tmp_path: Path
) -> None:
    mortal_writer.start()
    record(directory, 3)
    old_key = tmp_path / "old.pub"
    shutil.copy(directory / "writer.pub", old_key)
    old_note = hansard("checkpoint", "--dir", directory).stdout
    rotated = hansard("keys", "rotate", "--dir", directory)
    assert rotated.returncode == 0, rotated.stderr
    assert rotated.stdout == (directory / "writer.pub").read_text()
    assert "Entry 4 says so" in rotated.stderr
    note = hansard("checkpoint", "--dir", directory).stdout
    for key in (read_verifier_key(old_key), read_verifier_key(directory / "writer.pub")):
        assert open_checkpoint(note, [key]).size == 4
    assert open_checkpoint(old_note, [read_verifier_key(old_key)]).size == 3
    mortal_writer.kill()
    mortal_writer.start()
    record(directory, 1)
    assert opened(hansard("checkpoint", "--dir", directory).stdout, directory).size == 5
    listed = hansard("keys", "list", "--dir", directory, "--format", "csv").stdout.splitlines()
    assert [line.split(",")[:2] for line in listed[1:]] == [["0", "first"], ["4", "rotated"]]
    assert listed[1].endswith(old_key.read_text().strip())


def test_a_key_of_ones_own_is_taken_and_stays_where_it_is(
    directory: Path, mortal_writer: MortalWriter, tmp_path: Path
) -> None:
    mortal_writer.start()
    path = tmp_path / "new.pem"
    path.write_bytes((directory / "writer.key").read_bytes())
    path.chmod(0o600)
    refused = hansard("keys", "rotate", "--dir", directory, "--key", path)
    assert refused.returncode == 2
    assert "has signed this log already" in refused.stderr
    assert not (directory / "writer.key.new").exists()
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", path], check=True)
    path.chmod(0o644)
    refused = hansard("keys", "rotate", "--dir", directory, "--key", path)
    assert (refused.returncode, "chmod 600" in refused.stderr) == (2, True)
    path.chmod(0o600)
    assert hansard("keys", "rotate", "--dir", directory, "--key", path).returncode == 0
    assert (directory / "writer.key").read_bytes() == path.read_bytes()


def test_keys_without_a_writer_or_a_log(directory: Path, mortal_writer: MortalWriter) -> None:
    mortal_writer.start()
    mortal_writer.end()
    assert hansard("keys", "rotate", "--dir", directory).returncode == 3
    assert not (directory / "writer.key.new").exists()
    assert hansard("keys", "list", "--dir", directory / "none").returncode == 2
