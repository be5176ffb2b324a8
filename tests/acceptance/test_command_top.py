"""`hansard top` in a real terminal, beside a real writer; and without either."""

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import hansard
from acceptance.conftest import MortalWriter
from support import DEADLINE_S

TOP = (sys.executable, "-m", "hansard_writer", "top")
OTHER_SCREEN, BACK = "\x1b[?1049h", "\x1b[?1049l"
SESSION = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
SGR = re.compile(r"\x1b\[([0-9;]*)m")


class Screen:
    """`hansard top` on a terminal of its own, and all that it has written so far."""

    def __init__(self, directory: Path, columns: int = 80, lines: int = 24, **env: str) -> None:
        self._ours, self._theirs = pty.openpty()
        self.resize(columns, lines)
        self.before = termios.tcgetattr(self._theirs)
        self.process = subprocess.Popen(
            [sys.executable, "-c", SESSION, *TOP, f"--dir={directory}", "--interval=0.1"],
            stdin=self._theirs,
            stdout=self._theirs,
            stderr=self._theirs,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm-256color", **env},
        )
        self.text = ""

    def resize(self, columns: int, lines: int) -> None:
        size = struct.pack("HHHH", lines, columns, 0, 0)
        fcntl.ioctl(self._theirs, termios.TIOCSWINSZ, size)

    def expect(self, *words: str) -> str:
        """Read on until these are there, one behind the other, behind what was expected before."""
        deadline = time.monotonic() + DEADLINE_S
        while (end := _end_of(words, self.text)) is None:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._ours], [], [], left)[0]:
                raise AssertionError(f"waited in vain for {words} in {self.text[-2_000:]!r}")
            self.text += os.read(self._ours, 65_536).decode("utf-8", "replace")
        passed, self.text = self.text[:end], self.text[end:]
        return passed

    def hit(self, key: str) -> None:
        os.write(self._ours, key.encode())

    def assert_ended(self) -> None:
        """It ended well, and left the terminal as it was."""
        self.expect(BACK)
        assert self.process.wait(20) == 0
        assert termios.tcgetattr(self._theirs) == self.before
        assert "Traceback" not in self.text

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()
        os.close(self._ours)
        os.close(self._theirs)


def _end_of(words: Sequence[str], text: str) -> int | None:
    """Where the last of them ends, None where they are not all there."""
    end = 0
    for word in words:
        if (found := text.find(word, end)) < 0:
            return None
        end = found + len(word)
    return end


@pytest.fixture
def screens() -> Iterator[list[Screen]]:
    opened: list[Screen] = []
    yield opened
    for each in opened:
        each.close()


def once(directory: Path, **options: Any) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*TOP, "--dir", str(directory), "--interval", "0.1"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,
    )


def test_it_follows_the_log_until_q_and_leaves_the_terminal_as_it_was(
    directory: Path, mortal_writer: MortalWriter, screens: list[Screen]
) -> None:
    mortal_writer.start()
    screens.append(screen := Screen(directory))
    screen.expect(OTHER_SCREEN)
    screen.expect("serving: pid ", "0 entries", "q quit")
    with hansard.AuditLog(directory) as log:
        log.record("tool.call", actor="user:7", level="error", sync=True)
        screen.expect("1 entry", "tool.call", "user:7")
        screen.hit("p")
        screen.expect("PAUSED")
        log.record("tool.done", sync=True)
    screen.hit("p")
    screen.expect("2 entries", "tool.done")
    screen.hit("e")
    screen.expect("WARNINGS AND ERRORS", "tool.call")
    screen.resize(40, 20)
    screen.expect("ERR", "tool.call", "warnings and error…")  # cut at the new width
    screen.hit("q")
    screen.assert_ended()


def test_a_writer_that_comes_and_goes_is_followed(
    directory: Path, mortal_writer: MortalWriter, screens: list[Screen]
) -> None:
    screens.append(screen := Screen(directory))
    screen.expect("no writer answers", "hansard serve")
    mortal_writer.start()
    with hansard.AuditLog(directory) as log:
        log.record("tool.call", sync=True)
    screen.expect("epoch 1", "1 entry")
    mortal_writer.kill()
    screen.expect("no writer answers", "1 entry", "tool.call")
    mortal_writer.start()
    screen.expect("epoch 2")
    screen.hit("\x03")
    screen.assert_ended()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_as_well(
    directory: Path, screens: list[Screen], number: signal.Signals
) -> None:
    screens.append(screen := Screen(directory))
    screen.expect("q quit")
    os.kill(screen.process.pid, number)
    screen.assert_ended()


def test_colours_are_left_out_where_nobody_wants_any(
    directory: Path, screens: list[Screen]
) -> None:
    screens.append(screen := Screen(directory, NO_COLOR="1"))
    written = screen.expect("no writer answers", "q quit")
    colours = {code for found in SGR.findall(written) for code in found.split(";") if code}
    assert colours <= {"0", "1", "2"}, "bold and dim are no colours"
    screens.append(screen := Screen(directory))
    assert "31m" in screen.expect("no writer answers", "q quit")


def test_in_a_pipe_it_prints_one_frame(directory: Path, mortal_writer: MortalWriter) -> None:
    mortal_writer.start()
    with hansard.AuditLog(directory) as log:
        log.record("tool.call", actor="user:7", sync=True)
    done = once(directory)
    assert (done.returncode, done.stderr) == (0, "")
    for words in ("serving: pid", "1 entry", "tool.call", "user:7", "PROOF"):
        assert words in done.stdout
    assert "\x1b" not in done.stdout
    assert "q quit" not in done.stdout


def test_without_a_writer_it_says_so_shows_the_log_and_exits_with_3(
    directory: Path, mortal_writer: MortalWriter
) -> None:
    assert once(directory).returncode == 3
    assert not directory.exists(), "to look makes nothing"
    mortal_writer.start()
    with hansard.AuditLog(directory) as log:
        log.record("tool.call", sync=True)
    mortal_writer.end()
    done = once(directory)
    assert (done.returncode, done.stderr) == (3, "")
    assert "start one with `hansard serve" in done.stdout
    assert "1 entry" in done.stdout
    assert "tool.call" in done.stdout


def test_without_rich_it_prints_a_frame_and_a_live_one_names_what_is_missing(
    directory: Path,
) -> None:
    program = (
        "import sys; sys.modules['rich'] = sys.modules['rich.console'] = None\n"
        "from hansard_writer.cli import main\n"
        "sys.stdout.isatty = lambda: True\n"
        "import hansard_writer.cli.streams as streams, contextlib\n"
        "streams.prepared = contextlib.nullcontext\n"
        "main()"
    )
    command = [sys.executable, "-c", program, "top", "--dir", str(directory)]
    live = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert live.returncode == 2, live.stderr
    assert "pip install 'hansard[top]'" in live.stderr
    printed = subprocess.run(
        [*command, "--once"], capture_output=True, text=True, timeout=60, check=False
    )
    assert printed.returncode == 3
    assert "no writer answers" in printed.stdout


def test_a_terminal_that_knows_no_size_of_its_own_has_the_usual_one(
    directory: Path, screens: list[Screen]
) -> None:
    screens.append(Screen(directory, columns=0, lines=0))
    screens[0].expect(OTHER_SCREEN, "q quit   p pause   e warnings and errors only")
    screens[0].hit("q")
    screens[0].assert_ended()
