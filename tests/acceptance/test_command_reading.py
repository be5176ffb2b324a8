"""The commands that record one event and read the log, as processes of their own."""

import csv
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest

import hansard
from hansard import wire
from hansard_writer import RunningWriter, running
from support import count_entries, query, wait_until

HANSARD = (sys.executable, "-m", "hansard_writer")
READERS = ("query", "tail", "stats", "dlq list", "dlq show")


def run(
    command: str, directory: Path, *arguments: object, **options: Any
) -> "subprocess.CompletedProcess[str]":
    """Run one command to its end."""
    return subprocess.run(
        [*HANSARD, *command.split(), "--dir", str(directory), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,
    )


def rows(result: "subprocess.CompletedProcess[str]") -> list[dict[str, Any]]:
    """What it printed as jsonl."""
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def enter(directory: Path, *events: dict[str, Any]) -> None:
    """Record events and wait until they are entered."""
    with hansard.AuditLog(directory) as log:
        log.record_many(events, sync=True)


# --- record ---


def test_record_prints_the_id_of_the_entry(directory: Path, writer: RunningWriter) -> None:
    first = run("record", directory, "user.login", '{"user": 7}', "--actor", "sshd")
    second = run("record", directory, "user.logout", "--task-id", "T", "--level", "error")
    assert (first.stdout, second.stdout) == ("1\n", "2\n")
    assert first.stderr == ""
    columns = "event_type, payload, actor, task_id, level"
    assert query(directory, f"SELECT {columns} FROM events ORDER BY id") == [
        ("user.login", '{"user": 7}', "sshd", None, "info"),
        ("user.logout", None, None, "T", "error"),
    ]


def test_record_keeps_the_payloads_text_as_it_is(directory: Path, writer: RunningWriter) -> None:
    payload = (
        '{ "big": 123456789012345678901234567890, "e": 1e400, "half": "\\ud800", "é": "\\u0000" }'
    )
    assert run("record", directory, "a.b", "-", input=payload + "\n").returncode == 0
    assert query(directory, "SELECT payload FROM events") == [(payload,)]
    (row,) = rows(run("query", directory))
    assert row["payload"] == json.loads(payload)


def test_record_without_waiting_prints_nothing_and_is_entered(
    directory: Path, writer: RunningWriter
) -> None:
    result = run("record", directory, "a.b", "--no-sync")
    assert (result.returncode, result.stdout) == (0, "")
    wait_until(lambda: count_entries(directory) == 1, "the event is entered")


def test_record_without_a_writer_says_that_the_event_is_kept_and_it_is(directory: Path) -> None:
    result = run("record", directory, "a.b", "--timeout", "0.1")
    assert (result.returncode, result.stdout) == (3, "")
    assert "no writer answers" in result.stderr
    assert "kept in the spool" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    with running(directory):
        wait_until(lambda: count_entries(directory) == 1, "the event is entered")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("a.b", "[1]"), "JSON object"),
        (("a.b", '{"a": NaN}'), "NaN"),
        (("a.b", "{'a': 1}"), "no JSON"),
        (("a.b", '{"a": "\x01"}'), "no JSON"),
        (("a.b", '{"a":' * 80 + "1" + "}" * 80), "nested too deep"),
        (("a.b", '{"a":' * 20_000), "no JSON"),
        (("a b",), "event_type"),
        (("a.b", "--actor", "x" * 2_000), "actor"),
        (("a.b", "--level", "loud"), "--level"),
        (("a.b", b'{"a": "\xff"}'), "no JSON"),
        ((b"\xff",), "UTF-8"),
    ],
)
def test_record_refuses_what_is_no_event(
    directory: Path, arguments: tuple[str | bytes, ...], complaint: str
) -> None:
    command = [*HANSARD, "record", "--dir", directory, *arguments]
    result = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert (result.returncode, result.stdout) == (2, b"")
    assert complaint in result.stderr.decode()
    assert "Traceback" not in result.stderr.decode()


# --- query ---


def test_query_shows_the_newest_that_meet_the_conditions(
    directory: Path, writer: RunningWriter
) -> None:
    events = [
        {"event_type": f"t.{index % 3}", "payload": {"n": index}, "task_id": f"T{index % 2}"}
        for index in range(60)
    ]
    enter(directory, *events)
    assert [row["id"] for row in rows(run("query", directory))] == list(range(60, 40, -1))
    found = rows(run("query", directory, "--event-type", "t.1", "--task-id", "T0", "--limit", 0))
    assert [row["payload"]["n"] for row in found] == [58, 52, 46, 40, 34, 28, 22, 16, 10, 4]
    oldest = rows(run("query", directory, "--oldest-first", "--limit", 2, "--after-id", 7))
    assert [row["id"] for row in oldest] == [8, 9]
    since = oldest[0]["created_at"]
    assert run("query", directory, "--count", "--since", since).stdout == "60\n"
    assert run("query", directory, "--count", "--event-type", "t.2").stdout == "20\n"


def test_query_that_finds_nothing_exits_with_1(directory: Path, writer: RunningWriter) -> None:
    result = run("query", directory, "--actor", "nobody")
    assert (result.returncode, result.stdout) == (1, "")
    assert "No entry" in result.stderr
    assert run("query", directory, "--count").stdout == "0\n"


def test_every_format_holds_the_same_entries(directory: Path, writer: RunningWriter) -> None:
    nasty = {"text": 'line\nbreak, "quotes", \x1b[31mred\x1b[0m, \u202eturned, 審査 👍'}
    enter(directory, {"event_type": "a.b", "payload": nasty}, {"event_type": "c.d"})
    lines = rows(run("query", directory))
    assert lines[1]["payload"] == nasty
    assert lines[0]["payload"] is None
    assert json.loads(run("query", directory, "--format", "json").stdout) == lines
    cells = list(csv.DictReader(io.StringIO(run("query", directory, "--format", "csv").stdout)))
    assert [row["id"] for row in cells] == ["2", "1"]
    assert json.loads(cells[1]["payload"]) == nasty


def test_a_payload_of_several_lines_is_one_line_of_jsonl(
    directory: Path, writer: RunningWriter
) -> None:
    run("record", directory, "a.b", '{\n  "a": 1\r\n}')
    (row,) = rows(run("query", directory))
    assert row["payload"] == {"a": 1}


def test_a_table_fits_its_terminal_and_cannot_drive_it(
    directory: Path, writer: RunningWriter
) -> None:
    hostile = "\x1b]0;owned\x07\x9b2J\u202e" + "長" * 500
    text = json.dumps({"a": hostile}, ensure_ascii=False).replace("\\u001b", "\\u001b")
    run("record", directory, "a" * 200, text, "--actor", hostile[:6])
    environment = {**os.environ, "COLUMNS": "100"}
    lines = run("query", directory, "--format", "table", env=environment).stdout.splitlines()
    assert len(lines) == 2
    assert lines[0].split() == [
        "id", "created_at", "event_type", "level", "actor", "payload",
    ]  # fmt: skip
    assert lines[1].isprintable()
    assert len(lines[1]) <= 100
    assert "…" in lines[1]


def test_a_terminal_gets_a_table_and_a_pipe_jsonl(directory: Path, writer: RunningWriter) -> None:
    enter(directory, {"event_type": "a.b"})
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    environment = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    process = subprocess.Popen(
        [*HANSARD, "query", "--dir", str(directory)], stdout=theirs, env=environment
    )
    os.close(theirs)
    assert process.wait(60) == 0
    assert os.read(ours, 65_536).decode().startswith("id  created_at")
    os.close(ours)
    assert len(rows(run("query", directory))) == 1


def test_a_reader_that_has_enough_ends_the_command_quietly(
    directory: Path, writer: RunningWriter
) -> None:
    enter(directory, *[{"event_type": "a.b", "payload": {"x": "y" * 1_000}}] * 1_000)
    process = subprocess.Popen(
        [*HANSARD, "query", "--dir", str(directory), "--limit", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(60) == 0
    assert process.stderr.read() == b""
    process.stderr.close()


# --- tail ---


def test_tail_shows_the_last_entries_oldest_first(directory: Path, writer: RunningWriter) -> None:
    enter(directory, *[{"event_type": "a.b"}] * 30)
    assert [row["id"] for row in rows(run("tail", directory))] == list(range(21, 31))
    assert [row["id"] for row in rows(run("tail", directory, "-n", 2))] == [29, 30]
    assert rows(run("tail", directory, "-n", 0)) == []


@pytest.mark.parametrize("form", ["jsonl", "table"])
def test_tail_follows_until_it_is_interrupted(
    directory: Path, writer: RunningWriter, form: str
) -> None:
    enter(directory, *[{"event_type": "a.b"}] * 3)
    process = subprocess.Popen(
        [*HANSARD, "tail", "--dir", str(directory), "-n", "1", "-f", "--format", form],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    if form == "table":
        assert process.stdout.readline().startswith("id ")
    assert "a.b" in process.stdout.readline()
    enter(directory, {"event_type": "new.one"}, {"event_type": "new.two"})
    assert "new.one" in process.stdout.readline()
    assert "new.two" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    assert (process.stdout.read(), process.stderr.read()) == ("", "")
    process.stdout.close()
    process.stderr.close()


def test_tail_follows_across_a_restart_of_the_writer(directory: Path) -> None:
    with running(directory):
        enter(directory, {"event_type": "first.run"})
    process = subprocess.Popen(
        [*HANSARD, "tail", "--dir", str(directory), "-f"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["event_type"] == "first.run"
    with running(directory):
        enter(directory, {"event_type": "second.run"})
        assert json.loads(process.stdout.readline())["event_type"] == "second.run"
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    process.stdout.close()


# --- stats and dlq ---


def test_stats_are_the_writers_own_figures(directory: Path, writer: RunningWriter) -> None:
    enter(directory, {"event_type": "a.b"})
    (figures,) = rows(run("stats", directory))
    assert figures["entries"] == 1
    assert figures["pid"] == writer.pid
    assert json.loads(run("stats", directory, "--format", "json").stdout)["entries"] == 1
    table = run("stats", directory, "--format", "table").stdout
    assert ["entries", "1"] in [line.split() for line in table.splitlines()]


def test_stats_show_every_counter_that_a_log_of_its_own_has(
    directory: Path, writer: RunningWriter
) -> None:
    with hansard.AuditLog(directory) as log:
        assert log.record("a.b", sync=True).id == 1
        mine = log.statistics()
    (figures,) = rows(run("stats", directory))
    counters = {
        "submitted", "appended", "send_failures", "append_failures", "dead_lettered", "orphaned",
        "duplicates_dropped", "resent", "writer_restarts", "queue_depth", "spool_bytes",
        "dropped", "waiting",
    }  # fmt: skip
    assert counters <= set(mine)
    assert counters <= set(figures)
    for each in (mine, figures):
        assert (each["submitted"], each["appended"]) == (1, 1)
        assert isinstance(each["dropped"], dict), "by cause"
        assert not any(each["dropped"].values())


def test_stats_without_a_writer_exit_with_3(directory: Path) -> None:
    result = run("stats", directory)
    assert (result.returncode, result.stdout) == (3, "")
    assert "hansard serve" in result.stderr


def test_a_refused_frame_is_listed_and_shown(directory: Path, writer: RunningWriter) -> None:
    import zmq

    assert run("dlq list", directory).returncode == 1
    with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
        socket.connect(f"ipc://{directory}/push.sock")
        socket.send_multipart([b"no header", b"\x00\xff"])
        wait_until(
            lambda: query(directory, "SELECT 1 FROM dead_letters"), "the writer has refused it"
        )
    (letter,) = rows(run("dlq list", directory))
    (shown,) = rows(run("dlq show", directory, letter["id"]))
    assert "frame" not in letter
    assert letter.items() <= shown.items()
    assert b"\x00\xff" in bytes.fromhex(shown["frame"])
    assert len(bytes.fromhex(shown["frame"])) == letter["frame_bytes"]
    assert shown["reason"] in run("dlq show", directory, letter["id"], "--format", "table").stdout
    assert rows(run("dlq list", directory, "--reason", letter["reason"])) == [letter]
    assert run("dlq list", directory, "--reason", "another").returncode == 1
    assert run("dlq show", directory, 99).returncode == 1


# --- all of them ---


@pytest.mark.parametrize("command", ["query", "tail", "dlq list", "dlq show 1"])
def test_without_a_log_the_exit_is_2_and_the_message_names_the_way_out(
    tmp_path: Path, command: str
) -> None:
    result = run(command, tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert f"hansard serve --dir {tmp_path}" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_directory_may_come_from_the_environment(
    directory: Path, writer: RunningWriter
) -> None:
    result = subprocess.run(
        [*HANSARD, "record", "a.b"],
        env={**os.environ, "HANSARD_DIR": str(directory)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == "1\n"


@pytest.mark.parametrize("command", ["record", "prove", *READERS])
def test_every_command_helps_with_an_example(command: str) -> None:
    result = subprocess.run(
        [*HANSARD, *command.split(), "--help"], capture_output=True, text=True, check=True
    )
    example = re.compile(rf"Examples?: hansard {command}")
    assert example.search(" ".join(result.stdout.split()))
    assert "--dir" in result.stdout


def test_the_version_names_what_it_is_made_of() -> None:
    result = subprocess.run([*HANSARD, "--version"], capture_output=True, text=True, check=True)
    assert result.stdout.startswith(f"hansard {hansard.__version__} (SQLite 3.")
    assert f"wire version {wire.WIRE_VERSION}" in result.stdout


def test_a_command_loads_no_other_commands_module() -> None:
    program = (
        "import sys; from hansard_writer.cli import main; main(['stats', '--help'], "
        "standalone_mode=False); print(*[m for m in sys.modules if m.startswith('hansard')])"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = result.stdout.splitlines()[-1].split()
    assert "hansard_writer.cli.stats" in loaded
    assert "hansard_writer.cli.query" not in loaded
    assert "hansard_writer.store" not in loaded


def test_record_says_that_an_event_is_lost_and_exits_with_1(directory: Path) -> None:
    directory.mkdir()
    (directory / "spool").touch()  # no spool can be made there
    result = run("record", directory, "a.b", "--no-sync")
    assert result.returncode == 1
    assert "it is lost" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("command", ["query", "tail", "dlq list", "dlq show 1"])
def test_a_directory_in_the_databases_place_is_said(directory: Path, command: str) -> None:
    (directory / "log.db").mkdir(parents=True)
    result = run(command, directory)
    assert result.returncode not in (0, None)
    assert "is no file" in result.stderr
    assert "Traceback" not in result.stderr
