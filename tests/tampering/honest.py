"""The honest logs that are attacked, each made by real writers; and what an outsider holds."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import hansard
import hansard_writer
from support import count_entries, query, wait_until
from tampering.files import copy_of
from tampering.on_entries import EVERY
from tampering.on_permitted import PRUNED_TO, REDACTED

VERDICTS = {"plain": "intact", "rotated": "intact", "redacted": "intact", "pruned": "pruned"}
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


class Outsider(NamedTuple):
    """What left the machine while the log was honest: the verifier key, as it was at first, and a
    checkpoint, of nearly all entries."""

    key: str
    checkpoint: str


class Logs(NamedTuple):
    """Where the logs are, by name, with what is kept of them outside. The one that is ``old`` is
    the plain one before its last run; the others are that one gone on."""

    place: Path
    outsiders: dict[str, Outsider]

    def copied(self, name: str, to: Path) -> Path:
        """A copy of one."""
        return copy_of(self.place / name, to)


def make_logs(place: Path) -> Logs:
    """Make them all: each kind of row is in each, of three producers and two runs at least."""
    plain = place / "plain"
    with writing(plain):
        record(plain, "alice", 100)
        wait_for_checkpoint(plain)
        record(plain, "bob", 70)
    copy_of(plain, place / "old")
    key = (plain / "writer.pub").read_text()
    outsiders = {}
    with writing(plain, enforce_tasks=True):
        with hansard.AuditLog(plain) as log:
            log.register_task("T1", repo_id="r")
            log.record("task.done", {"late": True}, task_id="T3")  # a dead letter: no such task
        record(plain, "carol", 80)
        outsiders["plain"] = Outsider(key, wait_for_checkpoint(plain))
        record(plain, "alice", 30)
    before = (BEGIN + timedelta(seconds=PRUNED_TO + 1)).isoformat()
    for name, command in {
        "rotated": ("keys", "rotate"),
        "redacted": ("redact", "--seq", REDACTED, "--reason", "a secret"),
        "pruned": ("prune", "--before", before),
    }.items():
        directory = copy_of(plain, place / name)
        with writing(directory, enforce_tasks=True):
            hansard_command(*command, "--dir", directory)
            outsiders[name] = Outsider(key, wait_for_checkpoint(directory))
            record(directory, "dave", 10)
    return Logs(place, outsiders)


def record(directory: Path, who: str, events: int) -> None:
    """A producer more, and its events: one a second, each tenth with nothing but a type."""
    first = last_seq(directory) + 1
    actor = f"agent:{who}"
    with hansard.AuditLog(directory) as log:
        for seq in range(first, first + events):
            at = BEGIN + timedelta(seconds=seq)
            if seq % EVERY:
                payload = {"payee": "Zoë", "amount": seq, "from": {"account": who}}
                log.record("payment.made", payload, actor=actor, task_id="T1", created_at=at)
            else:
                log.record("task.done", created_at=at)
        assert log.flush(timeout=10)


@contextlib.contextmanager
def writing(directory: Path, **settings: Any) -> Iterator[None]:
    """Within, a writer serves the log."""
    settings["checkpoint_interval"] = 0.05
    with hansard_writer.running(directory, log_level="error", **settings):
        yield


def wait_for_checkpoint(directory: Path) -> str:
    """The checkpoint that covers all that there is."""
    path = directory / "checkpoint"

    def newest() -> str | None:
        note = path.read_text() if path.exists() else "\n"
        is_of_all = note.split("\n")[1] == str(last_seq(directory))
        return note if is_of_all else None

    note: str = wait_until(newest, "all entries are covered by a checkpoint")
    return note


def last_seq(directory: Path) -> int:
    """How many entries the log has, or ever had; 0 while there is no database."""
    seq: int = (
        query(directory, "SELECT max(seq) FROM entries")[0][0] if count_entries(directory) else 0
    )
    return seq


def hansard_command(*arguments: Any) -> None:
    """Run the real command."""
    command = [sys.executable, "-m", "hansard_writer", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True, text=True)
