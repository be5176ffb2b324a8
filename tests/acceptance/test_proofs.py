"""Proofs as an outsider gets them: a real writer, the real command, a check without the log."""

import subprocess
import sys
from pathlib import Path

import pytest

import hansard
from acceptance.conftest import MortalWriter
from hansard_writer.proof import read_checkpoint

HANSARD = (sys.executable, "-m", "hansard_writer")


def run(*arguments: object, status: int = 0) -> str:
    """What a command prints; on stderr if it fails."""
    done = subprocess.run(
        [*HANSARD, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr if status else done.stdout


def record(directory: Path, count: int) -> None:
    with hansard.AuditLog(directory) as log:
        log.record_many(
            [{"event_type": "a.b", "payload": {"n": n}} for n in range(count)], sync=True
        )


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """Where somebody keeps what he was given."""
    path = tmp_path / "outside"
    path.mkdir()
    return path


def test_an_outsider_holds_a_log_to_account_by_files_alone(
    directory: Path, mortal_writer: MortalWriter, outside: Path
) -> None:
    mortal_writer.start(checkpoint_interval=3_600)  # so that the proof has to ask for one
    record(directory, 20)
    (outside / "key").write_bytes((directory / "writer.pub").read_bytes())
    (outside / "entry").write_text(run("prove", 20, "--dir", directory))
    (outside / "kept").write_bytes((directory / "checkpoint").read_bytes())
    assert read_checkpoint((outside / "kept").read_bytes()).size == 20
    record(directory, 300)
    mortal_writer.end()
    run("prove", "--consistency", outside / "kept", "latest", "--dir", directory,
        "--output", outside / "growth")  # fmt: skip
    run("prove", 320, "--dir", directory, "--output", outside / "last")
    directory.rename(directory.with_name("gone"))

    def check(name: str, *, status: int = 0) -> str:
        return run("prove", "--check", outside / name, "--key", outside / "key", status=status)

    assert check("entry").startswith("Proven: entry 20 is in the log of 20 entries.\n")
    assert '{"n":19}' in check("entry")
    assert check("last").startswith("Proven: entry 320 is in the log of 320 entries.\n")
    assert check("growth").startswith(
        "Proven: the log of 20 entries is the beginning of the log of 320.\n"
    )
    text = (outside / "growth").read_text()
    (outside / "growth").write_text(text.replace("\n320\n", "\n321\n"))
    assert check("growth", status=1).startswith("Not proven: ")


def test_an_export_can_be_taken_beside_a_writer(
    directory: Path, mortal_writer: MortalWriter, outside: Path
) -> None:
    mortal_writer.start(checkpoint_interval=3_600)
    record(directory, 300)
    run("checkpoint", "--export", outside / "site", "--dir", directory)
    exported = outside / "site"
    assert (exported / "checkpoint").read_bytes() == (directory / "checkpoint").read_bytes()
    assert (exported / "tile/0/000").stat().st_size == 256 * 32
    assert (exported / "tile/entries/001.p/44").exists()
