"""The command where things go wrong around it: Ctrl-C, outputs that cannot be written, pipes."""

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

import hansard
from hansard_writer import RunningWriter, running
from support import count_entries, wait_until

HANSARD = (sys.executable, "-m", "hansard_writer")
NO_OUTPUT = {"closed": ">&-", "full": ">/dev/full"}


def shell(command: str, directory: Path) -> "subprocess.CompletedProcess[str]":
    """Run a command of ours with the redirections of a shell."""
    return subprocess.run(
        ["bash", "-c", f"{shlex.join(HANSARD)} {command}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "HANSARD_DIR": str(directory)},
    )


def start(*arguments: object) -> "subprocess.Popen[str]":
    """Start a command that a test interrupts, in a session of its own."""
    return subprocess.Popen(
        [*HANSARD, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def interrupt(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Ctrl-C, which reaches a command and its children; its exit status and last words."""
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert "Traceback" not in err
    assert "Aborted" not in err
    return process.returncode, err


# --- Ctrl-C ---


def test_an_interrupted_record_says_that_the_event_is_kept_and_it_is(directory: Path) -> None:
    process = start("record", "--dir", directory, "a.b", "--timeout", 60)
    wait_until(lambda: list(directory.glob("spool/[!.]*")), "the event is spooled")
    wait_until(lambda: is_waiting(process.pid), "it waits for an answer")
    status, err = interrupt(process)
    assert status == 130
    assert "kept in the spool" in err
    with running(directory):
        wait_until(lambda: count_entries(directory) == 1, "the event is entered")


def is_waiting(pid: int) -> bool:
    """Whether the process has started its sender's thread."""
    return len(list(Path(f"/proc/{pid}/task").iterdir())) > 1


def test_an_interrupted_record_that_had_no_payload_yet_has_recorded_nothing(
    directory: Path, writer: RunningWriter
) -> None:
    process = start("record", "--dir", directory, "a.b", "-")
    wait_until(lambda: reads_stdin(process.pid), "it reads its payload")
    status, err = interrupt(process)
    assert (status, err) == (130, "Interrupted: nothing was recorded.\n")
    assert count_entries(directory) == 0


def reads_stdin(pid: int) -> bool:
    """Whether the process waits for a read of a pipe."""
    return "pipe" in Path(f"/proc/{pid}/wchan").read_text()


def test_an_interrupted_import_says_what_is_kept_and_the_same_command_continues(
    directory: Path, tmp_path: Path
) -> None:
    lines = tmp_path / "lines.jsonl"
    lines.write_text("".join(f'{{"n": {n}}}\n' for n in range(2_000)))
    arguments = ("import", "--dir", directory, "--event-type", "line", lines)
    process = start(*arguments)
    assert process.stderr
    assert "is away" in process.stderr.readline()
    status, err = interrupt(process)
    assert status == 130
    assert "2,000 lines" in err
    assert "what was recorded is kept" in err
    assert "the same command" in err
    with running(directory):
        assert subprocess.run([*HANSARD, *map(str, arguments)], check=False).returncode == 0
    assert count_entries(directory) == 2_000


# --- stdout ---


PRINTS = (
    "query", "query --count", "query --format table", "tail", "stats", "dlq list", "dlq show 1",
    "--help", "query --help", "--version",
)  # fmt: skip


@pytest.mark.parametrize("how", NO_OUTPUT)
def test_output_that_cannot_be_written_is_a_message_and_an_exit_status(
    directory: Path, writer: RunningWriter, how: str
) -> None:
    with hansard.AuditLog(directory) as log:
        log.record("a.b", orjson.Fragment(b'{"a": nothing}'), sync=True)  # a dead letter
        log.record("a.b", sync=True)
    for command in PRINTS:
        done = shell(f"{command} {NO_OUTPUT[how]}", directory)
        assert done.returncode == 1, command
        assert done.stderr.startswith("Error: stdout cannot be written to: "), command
        assert len(done.stderr.splitlines()) == 1, command


@pytest.mark.parametrize("how", NO_OUTPUT)
def test_an_event_whose_id_cannot_be_printed_is_entered_and_said_to_be(
    directory: Path, writer: RunningWriter, how: str
) -> None:
    done = shell(f"record a.b {NO_OUTPUT[how]}", directory)
    assert done.returncode == 1
    assert "the event is entered, its id is 1" in done.stderr
    assert count_entries(directory) == 1


@pytest.mark.parametrize("how", NO_OUTPUT)
def test_what_prints_nothing_needs_no_stdout(
    directory: Path, writer: RunningWriter, how: str
) -> None:
    done = shell(f"record a.b --no-sync {NO_OUTPUT[how]}", directory)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("how", NO_OUTPUT)
def test_a_writer_that_cannot_say_that_it_is_ready_does_not_serve(
    directory: Path, how: str
) -> None:
    done = shell(f"serve {NO_OUTPUT[how]}", directory)
    assert done.returncode == 1
    assert "stdout cannot be written to: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("option", ["", "--supervise"])
def test_a_writer_whose_ready_line_nobody_reads_serves_on(directory: Path, option: str) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [*HANSARD, "serve", "--dir", str(directory), *option.split()]
    process = subprocess.Popen(
        command, stdout=write, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    os.close(write)
    assert process.stderr
    wait_until(lambda: "nobody reads stdout" in process.stderr.readline(), "it has said so")
    with hansard.AuditLog(directory) as log:
        assert log.record("a.b", sync=True).id == 1
    status, err = interrupt(process)
    assert (status, "stopped by SIGINT" in err) == (0, True)


def test_no_file_of_ours_takes_the_place_of_a_closed_stream(
    directory: Path, writer: RunningWriter
) -> None:
    """Else what is printed would go into whatever file was opened first: the database."""
    done = shell("query <&- >&- 2>&-", directory)
    assert done.returncode == 1
    assert count_entries(directory) == 0


def test_a_payload_from_a_closed_stdin_is_refused(directory: Path, writer: RunningWriter) -> None:
    done = shell("record a.b - <&-", directory)
    assert done.returncode == 2
    assert "stdin cannot be read" in done.stderr


# --- files that are none ---


@pytest.mark.parametrize("command", ["import --event-type t", "demo"])
def test_a_pipe_is_refused_with_the_way_out(directory: Path, command: str) -> None:
    done = shell(f"{command} <(echo '{{}}')", directory)
    assert done.returncode == 2
    assert "is read twice" in done.stderr
    assert "regular file" in done.stderr
    assert not directory.exists()


def test_a_file_by_way_of_stdin_is_imported(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "lines").write_text("{}\n")
    with running(directory):
        done = shell(f"import --event-type t /dev/stdin < {tmp_path / 'lines'}", directory)
    assert done.returncode == 0, done.stderr
    assert count_entries(directory) == 1


# --- help and answers ---


@pytest.mark.parametrize(
    "command", ["serve", "record", "import", "query", "tail", "stats", "dlq list", "demo"]
)
def test_help_speaks_in_the_users_words(directory: Path, command: str) -> None:
    text = shell(f"{command} --help", directory).stdout
    assert "RANGE" not in text
    assert "x<=" not in text  # as click shows a range
    assert "x>=" not in text
    assert "[critical|" not in text
    if "--level" in text:
        assert "[debug|info|warning|error|critical]" in text


def test_the_list_of_commands_is_whole_sentences_on_a_terminal(directory: Path) -> None:
    commands = shell("--help", directory).stdout.split("Commands:")[1].split("\n\n")[0]
    assert len(commands.splitlines()) >= 8
    assert all(line.endswith(".") for line in commands.splitlines()[1:])
    assert "..." not in commands


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("tail -n -1", "-1 is too small: it must be at least 0"),
        ("tail -n many", "'many' is no whole number"),
        ("tail -n 99999999999999999999", "at most"),
        ("query --dir ''", "'' is no path"),
        ("demo --dir '' /etc/hostname", "'' is no path"),
        ("query --since 2300-01-01", "'2300-01-01': it must be between the years 1970 and 2262"),
        ("query --until 1960-01-01", "'1960-01-01': it must be between the years 1970 and 2262"),
        ("stats --timeout -1", "'-1' is no number of seconds"),
        ("stats --timeout nan", "'nan' is no number of seconds"),
        ("stats --timeout inf", "'inf' is no number of seconds"),
        ("stats --timeout soon", "'soon' is no number of seconds"),
        ("import --event-type t --workers 0 /dev/null", "it must be at least 1"),
        ("dlq show first", "'first' is no whole number"),
    ],
)
def test_a_value_that_breaks_a_rule_is_refused_with_the_rule(
    directory: Path, arguments: str, complaint: str
) -> None:
    done = shell(arguments, directory)
    assert done.returncode == 2
    assert complaint in done.stderr


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("dlq list", "There are no dead letters.\n"),
        ("dlq show 7", "There is no dead letter 7.\n"),
        ("query", "No entry meets these conditions.\n"),
    ],
)
def test_an_answer_that_is_no_is_not_called_an_error(
    directory: Path, writer: RunningWriter, command: str, answer: str
) -> None:
    done = shell(command, directory)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", answer)


@pytest.mark.parametrize("form", ["table", "csv"])
def test_true_and_false_are_written_as_in_json(
    directory: Path, writer: RunningWriter, form: str
) -> None:
    words = shell(f"stats --format {form}", directory).stdout.replace(",", " ").split()
    assert words[words.index("suspended") + 1] == "false"
