"""The terminal while `hansard top` has it: its other screen, its keys, and its return as it was.

It decides nothing: lines go in, keys come out. Everything here is the main thread's.
"""

import contextlib
import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Final

from hansard.errors import ConfigError
from hansard_writer.glance.drawing import Line
from hansard_writer.glance.frame import BAD, GOOD, LABEL, PLAIN, TITLE, WARN

try:
    from rich.console import Console, ConsoleDimensions
    from rich.live import Live
    from rich.text import Text
except ImportError as missing:
    raise ConfigError(
        "a live `hansard top` needs rich: pip install 'hansard[top]', or use --once"
    ) from missing

STYLES: Final = {
    PLAIN: "", TITLE: "bold", LABEL: "dim", GOOD: "green", WARN: "bold magenta", BAD: "bold red",
}  # fmt: skip  # colours that both a dark and a light background leave readable
ENDED: Final = "ended"  # what `key` gives for a signal that asks to end
RESIZED: Final = "resized"
SIZE_UNKNOWN: Final = (80, 24)

_ENDS: Final = (signal.SIGTERM, signal.SIGHUP)


class Terminal:
    """Within `taken`. Ctrl-C raises KeyboardInterrupt, as anywhere."""

    def __init__(self, live: Live, console: Console, wake: int, keys: int | None) -> None:
        self._live = live
        self._console = console
        self._wake = wake
        self._keys = keys

    @classmethod
    @contextlib.contextmanager
    def taken(cls) -> Iterator["Terminal"]:
        """Within, the other screen is shown; behind it, all is as it was."""
        console = Console()
        with contextlib.ExitStack() as undo:
            wake = undo.enter_context(_signals())
            keys = undo.enter_context(_keys())
            live = Live(console=console, screen=True, auto_refresh=False, transient=True)
            undo.enter_context(live)
            yield cls(live, console, wake, keys)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, now, by the terminal itself: COLUMNS would be of another time."""
        width, height = os.get_terminal_size(sys.stdout.fileno())
        if not width or not height:  # it does not know, as one that a program has made
            width, height = SIZE_UNKNOWN
        self._console.size = ConsoleDimensions(width, height)
        return width, height

    def show(self, lines: Sequence[Line]) -> None:
        """Put these lines in place of those that are there."""
        text = Text(no_wrap=True, overflow="crop", end="")
        for number, line in enumerate(lines):
            text.append("\n" if number else "")
            for piece in line:
                text.append(piece.text, STYLES[piece.style])
        self._live.update(text, refresh=True)

    def key(self, timeout: float) -> str:
        """The key that is hit within so many seconds, empty for none; or what else came."""
        watched = [self._wake, *([] if self._keys is None else [self._keys])]
        ready, _, _ = select.select(watched, [], [], max(timeout, 0.0))
        if self._wake in ready:
            came = os.read(self._wake, 4_096)
            return ENDED if any(number in came for number in _ENDS) else RESIZED
        if self._keys in ready and self._keys is not None:
            data = os.read(self._keys, 64)
            if not data:
                self._keys = None  # nobody is there to hit one
            return data.decode("ascii", "ignore")[:1]
        return ""


@contextlib.contextmanager
def _signals() -> Iterator[int]:
    """Within, a new size and a wish to end wake who waits at this descriptor."""
    read, write = os.pipe()
    for descriptor in (read, write):
        os.set_blocking(descriptor, False)
    numbers = (signal.SIGWINCH, *_ENDS)
    before = {number: signal.signal(number, _do_nothing) for number in numbers}
    fd_before = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    try:
        yield read
    finally:
        signal.set_wakeup_fd(fd_before)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(read)
        os.close(write)


def _do_nothing(_number: int, _frame: FrameType | None) -> None:
    """It wakes, and that is all."""


@contextlib.contextmanager
def _keys() -> Iterator[int | None]:
    """Within, keys come one by one, unseen, and none stops the process: its screen would stay. None
    where no terminal gives any."""
    if not sys.stdin.isatty():
        yield None
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    mine = termios.tcgetattr(descriptor)
    mine[6][termios.VSUSP] = b"\x00"
    termios.tcsetattr(descriptor, termios.TCSADRAIN, mine)
    try:
        yield descriptor
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
