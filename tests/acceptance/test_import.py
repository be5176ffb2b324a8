"""`hansard import`, the real command: real events, real workers, and everything killed."""

import gzip
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

import hansard_writer
import others_logs
from hansard.spool import RECORDS_AT
from hansard.wire import producer_hash
from hansard_writer import importing
from support import assert_log_is_sound, count_entries, query, wait_until

DATA = sorted((Path(__file__).parent.parent / "data").glob("*.jsonl.gz"))


def start(directory: Path, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "hansard_writer",
            "import",
            "--dir",
            str(directory),
            *map(str, arguments),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(directory: Path, *arguments: object) -> tuple[int, str]:
    """Exit code and stderr; nothing ever goes to stdout."""
    process = start(directory, *arguments)
    stdout, stderr = process.communicate(timeout=100)
    assert stdout == ""
    return process.returncode, stderr


def last_line(stderr: str) -> str:
    """The summary, without the time it took."""
    return stderr.splitlines()[-1].split(";")[0]


def lines_of(*paths: Path) -> "Counter[str]":
    texts: Counter[str] = Counter()
    for path in paths:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        texts.update(line.decode() for line in content.split(b"\n") if line)
    return texts


def payloads(directory: Path) -> "Counter[str]":
    return Counter(row[0] for row in query(directory, "SELECT payload FROM entries"))


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    """The pids of the import's worker processes."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [
        int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


def stop_with_events_unacked(writer: hansard_writer.RunningWriter, directory: Path) -> None:
    """SIGSTOP, at a moment when a worker has recorded what is not acked: it is in a spool."""

    def holds_events(spool: Path) -> bool:
        try:
            return bool(spool.read_bytes()[RECORDS_AT:].strip(b"\0"))
        except FileNotFoundError:  # its chunk was through
            return False

    for _ in range(100):
        writer.process.send_signal(signal.SIGSTOP)
        deadline = time.monotonic() + 0.2
        while time.monotonic() < deadline:
            if any(map(holds_events, (directory / "spool").glob("*.spool"))):
                return
        writer.process.send_signal(signal.SIGCONT)  # all were about to ask how far it is
        threading.Event().wait(0.05)  # give it time to answer
    raise AssertionError("no worker has recorded anything")


def assert_lines_are_in_order(directory: Path, *paths: Path) -> None:
    """Each chunk is a producer, and its numbers are its lines in order."""
    for path in paths:
        for chunk in importing.chunks(importing.examine(path)):
            found = query(
                directory,
                "SELECT payload FROM events WHERE producer = ? ORDER BY id",
                (producer_hash(chunk.producer_id).hex(),),
            )
            assert [text for (text,) in found] == [line.decode() for line in chunk.lines]


@pytest.fixture
def lines_file(tmp_path: Path) -> Path:
    """3,000 small events."""
    path = tmp_path / "small.jsonl"
    path.write_text("".join(f'{{"n": {n}}}\n' for n in range(3_000)))
    return path


def test_all_lines_of_all_sets_are_entered_once_and_exactly(
    directory: Path, writer: hansard_writer.RunningWriter
) -> None:
    code, stderr = run(directory, *DATA, "--workers", 4, "--event-type", "real")
    assert (code, last_line(stderr)) == (
        0,
        "4,066 lines: 4,066 entered, 0 already there, 0 refused",
    )
    assert payloads(directory) == lines_of(*DATA)
    assert_lines_are_in_order(directory, *DATA)
    assert_log_is_sound(directory)
    code, stderr = run(directory, *DATA, "--event-type", "real")
    assert (code, last_line(stderr)) == (
        0,
        "4,066 lines: 0 entered, 4,066 already there, 0 refused",
    )
    assert count_entries(directory) == 4_066


def test_with_the_writer_killed_ten_times_and_two_workers_killed(
    directory: Path, tmp_path: Path
) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    big = tmp_path / "big.jsonl"
    big.write_text("".join(f'{{"n": {n}, "pad": "{"x" * 200}"}}\n' for n in range(30_000)))
    files = [*DATA, big]
    process = start(directory, *files, "--workers", 4, "--event-type", "real", "--wait", 30)
    try:
        for kill in range(10):
            with hansard_writer.running(directory) as writer:
                entries = count_entries(directory) + chance.randrange(2_000)
                wait_until(lambda: count_entries(directory) > entries, "the import moves on")  # noqa: B023
                stop_with_events_unacked(writer, directory)
                if kill in (3, 7):
                    os.kill(chance.choice(workers_of(process)), signal.SIGKILL)
                writer.process.kill()
                writer.process.wait()
                assert process.poll() is None, "the import ended before the last kill"
        with hansard_writer.running(directory):
            _, stderr = process.communicate(timeout=100)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0, stderr
    assert payloads(directory) == lines_of(*files)
    assert_lines_are_in_order(directory, *files)
    assert_log_is_sound(directory)


def test_an_import_that_was_killed_is_continued_by_the_same_command(
    directory: Path, tmp_path: Path, writer: hansard_writer.RunningWriter
) -> None:
    path = tmp_path / "big.jsonl"
    path.write_text("".join(f'{{"n": {n}}}\n' for n in range(30_000)))
    for _ in range(3):
        before = count_entries(directory)
        process = start(directory, path, "--workers", 3, "--event-type", "real")
        wait_until(lambda before=before: count_entries(directory) > before, "it has begun")
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    code, stderr = run(directory, path, "--event-type", "real")
    assert code == 0
    found = re.search(r"30,000 lines: ([\d,]+) entered, ([\d,]+) already there, 0 refused", stderr)
    assert found, stderr
    assert sum(int(each.replace(",", "")) for each in found.groups()) == 30_000
    assert payloads(directory) == lines_of(path)
    assert_lines_are_in_order(directory, path)


def test_a_table_whose_import_is_killed_again_and_again_is_entered_once(
    directory: Path, tmp_path: Path, writer: hansard_writer.RunningWriter
) -> None:
    """The import alone, so that workers outlive it; then the writer under it, too."""
    path = others_logs.audits(tmp_path / "old.db", range(1, 8_001))
    table = ("--sqlite", path, "--table", "task_audits", "--workers", 2)
    for kill in range(3):
        before = count_entries(directory)
        process = start(directory, *table)
        wait_until(lambda: count_entries(directory) > before + 200, "it goes on")  # noqa: B023
        if kill == 2:
            writer.process.kill()
            writer.process.wait()
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    with hansard_writer.running(directory):
        code, stderr = run(directory, *table)
        assert (code, "0 refused" in stderr) == (0, True), stderr
        code, stderr = run(directory, *table)
        assert last_line(stderr) == "8,000 rows: 0 entered, 8,000 already there, 0 refused"
    keys = query(
        directory,
        "SELECT payload ->> '$.imported_from.key' FROM entries"
        " WHERE event_type = 'task.write_file'",
    )
    assert Counter(keys) == Counter((key,) for key in range(1, 8_001))
    assert_log_is_sound(directory)


def test_bad_lines_are_reported_counted_and_stop_nothing(
    directory: Path, tmp_path: Path, writer: hansard_writer.RunningWriter
) -> None:
    path = tmp_path / "mixed.jsonl"
    path.write_bytes(
        b'{"a":1}\nno json\n[1]\n{"a":2}\n{"a":NaN}\n{"a":"\xff"}\n\n'
        b'{"big":"' + b"x" * 1_100_000 + b'"}\n' + b'{"d":' * 65 + b"1" + b"}" * 65 + b"\n"
        b'{"a":3}'
    )
    code, stderr = run(directory, path, "--event-type", "mixed")
    assert code == 1
    reported = re.findall(rf"^{re.escape(str(path))}:(\d+): \S", stderr, re.MULTILINE)
    assert [int(line) for line in reported] == [2, 3, 5, 6, 7, 8, 9]
    assert "10 lines: 3 entered, 0 already there, 7 refused" in stderr
    assert list(payloads(directory)) == ['{"a":1}', '{"a":2}', '{"a":3}']
    code, stderr = run(directory, path, "--event-type", "mixed")
    assert code == 1
    assert "10 lines: 0 entered, 3 already there, 7 refused" in stderr


def test_payloads_are_the_lines_own_text(
    directory: Path, tmp_path: Path, writer: hansard_writer.RunningWriter
) -> None:
    lines = [
        '{"n": 123456789012345678901234567890,  "f": 1.0e400, "m": -0.0}',
        r'{"lone": "\ud800", "nul": "\u0000", "slash": "\/", "esc": "\u001b[2J"}',
        '{"b": 1, "a": 2, "a": 3}',
        '{"text": "\u2028 é 🦉 \x7f", "é": {}}',
        '{"n": ' + "9" * 5_000 + "}",
        "{" + " " * 100 + "}",
        '{"d":' * 64 + "1" + "}" * 64,
    ]
    path = tmp_path / "hard.jsonl"
    path.write_text("\r\n".join(lines), encoding="utf-8", newline="")
    assert run(directory, path, "--event-type", "hard")[0] == 0
    assert [text for (text,) in query(directory, "SELECT payload FROM events ORDER BY id")] == lines
    assert query(directory, "SELECT count(*) FROM dead_letters") == [(0,)]


def test_fields_come_from_where_the_options_say(
    directory: Path, tmp_path: Path, writer: hansard_writer.RunningWriter
) -> None:
    path = tmp_path / "fields.jsonl"
    path.write_text(
        json.dumps(
            {
                "k": "user.login",
                "at": "2024-01-01T12:00:00.123456789Z",
                "who": {"ids": [7]},
                "job": "T1",
            }
        )
        + "\n"
        + json.dumps({"k": "9", "at": 1704110400})
    )
    code, _ = run(
        directory,
        path,
        "--type-field",
        "k",
        "--event-type",
        "other",
        "--time-field",
        "at",
        "--actor-field",
        "who.ids.0",
        "--task-field",
        "job",
    )
    assert code == 0
    assert query(
        directory, "SELECT event_type, created_at, actor, task_id FROM entries ORDER BY seq"
    ) == [
        ("user.login", 1704110400_123456789, "7", "T1"),
        ("other", 1704110400_000000000, None, None),
    ]


def test_without_a_writer_it_waits_and_exits_with_3_and_continues_later(
    directory: Path, lines_file: Path
) -> None:
    began = time.monotonic()
    code, stderr = run(directory, lines_file, "--event-type", "x", "--wait", "1")
    assert code == 3
    assert 1 <= time.monotonic() - began < 20
    assert "waiting up to 1 s" in stderr
    assert "3,000 lines: 0 entered, 0 already there, 0 refused, 3,000 not committed" in stderr
    assert "the same command continues" in stderr
    process = start(directory, lines_file, "--event-type", "x", "--wait", "60")
    with hansard_writer.running(directory):
        assert process.wait(60) == 0
    process.communicate()
    assert count_entries(directory) == 3_000


def test_other_options_that_refuse_other_lines_are_refused_themselves(
    directory: Path, tmp_path: Path, writer: hansard_writer.RunningWriter
) -> None:
    path = tmp_path / "half.jsonl"
    path.write_text(
        "".join(f'{{"n":{n}}}\n' if n % 3 else f'{{"n":{n},"at":{n}}}\n' for n in range(30))
    )
    with_time = ("--event-type", "x", "--time-field", "at")
    code, stderr = run(directory, path, *with_time)
    assert code == 1
    assert "10 entered, 0 already there, 20 refused" in stderr
    code, stderr = run(directory, path, "--event-type", "x")
    assert code == 1
    assert f"{path}:1: from here on, lines are in the log that were imported with other" in stderr
    assert count_entries(directory) == 10
    code, stderr = run(directory, path, *with_time)
    assert "0 entered, 10 already there, 20 refused" in stderr


def test_the_options_are_no_part_of_the_key(
    directory: Path, lines_file: Path, writer: hansard_writer.RunningWriter
) -> None:
    assert run(directory, lines_file, "--event-type", "one")[0] == 0
    code, stderr = run(directory, lines_file, "--event-type", "two", "--task-field", "n")
    assert code == 0
    assert "0 entered, 3,000 already there" in stderr
    assert query(directory, "SELECT DISTINCT event_type, task_id FROM entries") == [("one", None)]


def test_the_same_content_under_two_names_is_one_file(
    directory: Path, lines_file: Path, writer: hansard_writer.RunningWriter
) -> None:
    other = lines_file.with_name("other.gz")
    other.write_bytes(gzip.compress(lines_file.read_bytes()))
    code, stderr = run(directory, lines_file, other, "--event-type", "x")
    assert code == 0
    assert f"{other}: the same content as {lines_file}" in stderr
    assert count_entries(directory) == 3_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--event-type TYPE or --type-field PATH"),
        (["--event-type", "no good"], "event_type is 'no good'"),
        (["--event-type", "x", "--time-field", "a..b"], "'a..b' is no path"),
        (["--event-type", "x", "--workers", "0"], "--workers"),
    ],
)
def test_wrong_usage_exits_with_2(
    directory: Path, lines_file: Path, arguments: list[str], message: str
) -> None:
    code, stderr = run(directory, lines_file, *arguments)
    assert code == 2
    assert message in stderr
    assert "Traceback" not in stderr


def test_a_broken_file_is_told_before_anything_is_entered(
    directory: Path, lines_file: Path, writer: hansard_writer.RunningWriter
) -> None:
    broken = lines_file.with_name("broken.gz")
    broken.write_bytes(gzip.compress(lines_file.read_bytes())[:-9])
    code, stderr = run(directory, lines_file, broken, "--event-type", "x")
    assert code == 1
    assert f"{broken} is broken gzip" in stderr
    assert count_entries(directory) == 0
