"""`hansard demo`: what the README shows first, counted from the database."""

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

from hansard import directory as layout
from hansard_writer import demo
from support import assert_log_is_sound, count_entries

ROOT = Path(__file__).parent.parent.parent
DATA = sorted((ROOT / "tests" / "data").glob("*.jsonl.gz"))


def run_demo(directory: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "hansard_writer",
            "demo",
            "--dir",
            str(directory),
            *map(str, arguments),
        ],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={**os.environ, "COLUMNS": "80"},
    )


def test_nothing_is_lost_or_doubled_though_the_writer_is_killed(directory: Path) -> None:
    done = run_demo(directory, *DATA)
    assert done.returncode == 0, done.stderr
    output = done.stdout
    assert output.endswith("\nlost 0, doubled 0\n")
    found = re.search(r"killed with -9: ([\d,]+) events recorded, ([\d,]+) of them", output)
    assert found, output
    recorded, committed = (int(each.replace(",", "")) for each in found.groups())
    assert committed < recorded < 4_066
    assert re.search(r"cli_uv_snapshots +3,033 +3,033 +3,033\n", output)
    assert re.search(r"all, with the restart +4,066 +4,066 +4,066 +[\d,]+ events/s\n", output)
    assert re.search(r"record\(\) took a worker [\d.]+ µs \(p50\), [\d,.]+ µs \(p99\)", output)
    assert all(len(line) <= 80 or str(directory) in line for line in output.splitlines())
    assert count_entries(directory) == 4_066 + 3
    assert re.search(r"4067  create_env success  exit 0 +[\d,]+ ms\n", output)
    assert re.search(r"4069  add_deps   failed   exit 1 +[\d,]+ ms\n", output)
    assert re.search(r"found:\n   4069  .*No module named pip\n        in [\d.]+ ms\n", output)
    assert re.search(
        r"recomputes all 4,069 entries, hash by hash:\n  intact, in [\d.]+ s\n", output
    )
    assert "makes operation 4069 a success:\n  altered: entry 4069: " in output
    assert_log_is_sound(directory)
    assert len(what_to_type_next(output, "hansard query --limit 10").splitlines()) == 10


def what_to_type_next(output: str, last: str) -> str:
    """Type it, as far as the command ``last``; what that one prints."""
    lines = output.split("What to type next:\n")[1].splitlines()
    typed = [line.strip() for line in lines[: lines.index(f"  {last}") + 1]]
    script = "shopt -s expand_aliases\n" + "\n".join(typed)
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    return done.stdout


def test_without_a_kill_it_says_nothing_of_one(directory: Path) -> None:
    done = run_demo(directory, DATA[0], "--no-kill", "--workers", 1)
    assert done.returncode == 0
    assert "killed" not in done.stdout
    assert done.stdout.endswith("\nlost 0, doubled 0\n")


def test_what_is_lost_and_doubled_is_told() -> None:
    expected = Counter({("a", b"1"): 2, ("a", b"2"): 1, ("b", b"1"): 1})
    found = Counter({("a", b"1"): 1, ("a", b"2"): 3, ("b", b"3"): 1})
    assert demo.lost_and_doubled(expected, found) == (2, 3)


def test_a_directory_with_a_log_is_refused(directory: Path) -> None:
    assert run_demo(directory, DATA[0], "--no-kill").returncode == 0
    again = run_demo(directory, DATA[0])
    assert again.returncode == 2
    assert "has a log already" in again.stderr
    assert count_entries(directory) > 0


def test_when_nobody_reads_on_no_writer_is_left_behind(directory: Path) -> None:
    ours, theirs = os.pipe()
    with os.fdopen(ours) as reader:
        command = [sys.executable, "-m", "hansard_writer", "demo", "--dir", str(directory)]
        process = subprocess.Popen([*command, str(DATA[0])], stdout=theirs, stderr=subprocess.PIPE)
        os.close(theirs)
        assert "a new log in" in reader.readline()
    _, err = process.communicate(timeout=60)
    assert err == b""
    assert not layout.a_writer_lives(directory)
