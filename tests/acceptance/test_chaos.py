"""Chaos in small: every event of twenty rounds is accounted for, and the command keeps its word."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults import chaos
from faults.chaos import round as rounds
from faults.chaos import tally
from support import wait_until

SEED = 4
PIECES, ROUNDS_EACH = 10, 2  # so that they are shared among the processes that test
TESTS = Path(__file__).parents[1]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where rounds have their directories."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("piece", range(PIECES))
def test_every_event_of_twenty_rounds_is_accounted_for(place: Path, piece: int) -> None:
    first = 1 + piece * ROUNDS_EACH
    done = tally.run_rounds(ROUNDS_EACH, SEED, first=first)
    print(done.table())
    assert done.rounds == ROUNDS_EACH
    assert done.hit.total() >= ROUNDS_EACH, "hardly anything was hit"
    assert done.reckoned.entered > 100 * ROUNDS_EACH
    assert not list(place.iterdir()), "it left something behind"


def test_a_round_that_fails_says_how_to_repeat_it_and_keeps_what_there_is(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose_one(*_: object) -> None:
        raise AssertionError("a:7 is not in the log")

    monkeypatch.setattr(rounds, "reckon", lose_one)
    with pytest.raises(AssertionError, match="a:7 is not in the log") as failure:
        chaos.run(1, seed=SEED)
    assert f"scripts/chaos --seed {SEED} --round 1" in str(failure.value)
    (kept,) = place.iterdir()
    assert str(kept) in str(failure.value)
    assert {"plan.json", "timeline", "notes", "log"} <= {path.name for path in kept.iterdir()}
    assert not processes_of(place)


# --- the command ---


@pytest.fixture
def environment() -> dict[str, str]:
    """In which the command finds this checkout."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}


@pytest.fixture
def endless(place: Path, environment: dict[str, str]) -> Iterator["subprocess.Popen[str]"]:
    """The command, with more rounds than anybody waits for."""
    process = subprocess.Popen(
        [sys.executable, "-m", "faults.chaos", "--rounds", "1000", "--seed", str(SEED)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    yield process
    process.kill()
    process.communicate()


def processes_of(place: Path) -> list[str]:
    """The command lines of all processes that name a directory there."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if any(word.startswith(os.fsencode(place / "hansard-chaos")) for word in words):
            found.append(b" ".join(words).decode())
    return found


def test_the_command_prints_a_table_of_faults_and_where_all_events_are(
    place: Path, environment: dict[str, str]
) -> None:
    command = [sys.executable, "-m", "faults.chaos", "--seed", str(SEED), "--round", "3"]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=100, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    for name, _ in tally.FAULTS.values():
        assert f"\n{name} " in done.stdout
    assert "recorded " in done.stdout
    assert " waiting 0 " in done.stdout
    assert f"1 round of seed {SEED}" in done.stdout


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"]
)
def test_an_interruption_leaves_no_process_and_no_directory(
    place: Path, endless: "subprocess.Popen[str]", number: signal.Signals, status: int
) -> None:
    wait_until(lambda: len(processes_of(place)) > 2, "workers and writer run")
    endless.send_signal(number)
    _, said = endless.communicate(timeout=30)
    assert endless.returncode == status, said
    assert "Traceback" not in said
    wait_until(lambda: not processes_of(place), "what was killed is gone, grandchildren too")
    assert not list(place.iterdir())
