"""What the Tab key does in real shells, and what that costs."""

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

import hansard
from hansard.reader import LogReader
from hansard_writer import RunningWriter
from hansard_writer.cli import main as command
from hansard_writer.cli.completing import event_types

DEADLINE_S = 30.0
READ_BYTES = 1 << 12


@pytest.fixture
def environment(tmp_path: Path, directory: Path) -> dict[str, str]:
    """One in which ``hansard`` is this very code, found on PATH."""
    program = tmp_path / "bin" / "hansard"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m hansard_writer "$@"\n')
    program.chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "HANSARD_DIR": str(directory),
        "HOME": str(tmp_path),
        "TERM": "dumb",
    }


def complete(*words: str) -> list[str]:
    """What the command offers for the last word."""
    *before, incomplete = words
    found = ShellComplete(command, {}, "hansard", "_HANSARD_COMPLETE")
    return [each.value for each in found.get_completions(before, incomplete)]


class Terminal:
    """A shell that believes somebody types."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._file, theirs = pty.openpty()
        self._shell = subprocess.Popen(
            ["setsid", "--ctty", *command],
            env=environment,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        self.seen = ""

    def type(self, text: str) -> None:
        os.write(self._file, text.encode())

    def wait_for(self, text: str) -> None:
        """Until the terminal shows it, behind what was waited for before."""
        deadline = time.monotonic() + DEADLINE_S
        while text not in self.seen:
            left = deadline - time.monotonic()
            readable = select.select([self._file], [], [], max(left, 0))[0]
            assert readable, f"the terminal never showed {text!r}, but {self.seen!r}"
            self.seen += os.read(self._file, READ_BYTES).decode(errors="replace")
        self.seen = self.seen.partition(text)[2]

    def close(self) -> None:
        os.close(self._file)  # a hang-up
        self._shell.wait(DEADLINE_S)


SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], 'eval "$(hansard completion bash)"'),
    "zsh": (
        ["zsh", "-f", "-i"],
        'autoload compinit; compinit -D; eval "$(hansard completion zsh)"',
    ),
    "fish": (["fish", "--no-config", "-i"], "hansard completion fish | source"),
}


@pytest.fixture(params=SHELLS)
def terminal(
    request: pytest.FixtureRequest, environment: dict[str, str], tmp_path: Path
) -> Iterator[Terminal]:
    if shutil.which(request.param) is None:
        pytest.skip(f"there is no {request.param} here")
    command, setup = SHELLS[request.param]
    terminal = Terminal(command, environment)
    terminal.type(f"{setup}; echo rea''dy\n")
    terminal.wait_for("ready")
    yield terminal
    terminal.close()


def test_the_tab_key_completes_a_command_and_a_value_and_the_line_works(terminal: Terminal) -> None:
    terminal.type("hansard compl\t")
    terminal.wait_for("completion")
    terminal.type("zs\t")
    terminal.wait_for("zsh")
    terminal.type("\n")
    terminal.wait_for("#compdef hansard")


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_for_this_command_and_the_shell_reads_it(shell: str) -> None:
    said = CliRunner().invoke(command, ["completion", shell])
    assert said.exit_code == 0
    assert "_HANSARD_COMPLETE" in said.stdout
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=said.stdout, text=True, timeout=60, check=True)


def test_a_shell_that_is_not_known_is_refused() -> None:
    said = CliRunner().invoke(command, ["completion", "tcsh"])
    assert (said.exit_code, said.stdout) == (2, "")
    assert "'bash', 'zsh', 'fish'" in said.stderr


def test_commands_options_and_choices_are_offered() -> None:
    assert complete("re") == ["record", "redact", "restore"]
    assert complete("--v") == ["--version"]
    assert complete("dlq", "re") == ["replay"]
    assert complete("query", "--oper") == ["--operations", "--operation"]
    offered = complete("query", "--format", "")
    assert offered == ["table", "json", "jsonl", "csv", "cloudevents", "ocsf"]


def test_event_types_are_those_of_the_log(writer: RunningWriter) -> None:
    with hansard.AuditLog(writer.directory) as log:
        for event_type in ("user.login", "user.logout", "task.done", "user.login"):
            log.record(event_type, sync=True)
    words = ("query", "--dir", str(writer.directory), "--event-type")
    assert complete(*words, "user") == ["user.login", "user.logout"]
    assert complete(*words, "user.logo") == ["user.logout"]
    assert "task.done" in complete(*words, "")
    assert complete(*words, "none") == []


def test_what_no_event_type_can_be_is_not_offered_to_a_shell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = ["user.login", "user$(touch owned)", "user;id", "user\nplain,x", "user*"]
    monkeypatch.setattr(LogReader, "__init__", lambda *_: None)
    monkeypatch.setattr(LogReader, "__exit__", lambda *_: None)
    monkeypatch.setattr(LogReader, "event_types", lambda *_, **__: there)
    context = click.Context(click.Command("query"))
    assert event_types(context, click.Option(["--event-type"]), "user") == ["user.login"]


def test_where_there_is_no_log_nothing_is_offered(tmp_path: Path) -> None:
    assert complete("query", "--dir", str(tmp_path / "none"), "--event-type", "") == []


def test_completing_a_commands_name_loads_no_command_and_no_database(
    environment: dict[str, str],
) -> None:
    program = (
        "import os, sys; from hansard_writer.cli import main\n"
        "try: main(prog_name='hansard')\n"
        "except SystemExit: pass\n"
        "print(*sys.modules)"
    )
    asked = {"_HANSARD_COMPLETE": "bash_complete", "COMP_WORDS": "hansard ", "COMP_CWORD": "1"}
    said = subprocess.run(
        [sys.executable, "-c", program], env={**environment, **asked}, capture_output=True,
        text=True, check=True, timeout=60,
    )  # fmt: skip
    *names, loaded = said.stdout.splitlines()
    assert "plain,serve" in names
    modules = set(loaded.split())
    assert modules.isdisjoint({"apsw", "cryptography", "hansard.reader"})
    assert not {each for each in modules if each.startswith("hansard_writer.cli.que")}
