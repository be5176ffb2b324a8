"""``hansard top``: the record at a glance, live."""

import contextlib
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Final

import click

from hansard_writer.cli.exits import NO_WRITER
from hansard_writer.cli.options import SECONDS, directory_option
from hansard_writer.cli.output import WIDTH_WITHOUT_TERMINAL
from hansard_writer.glance.drawing import lines_of, text_of
from hansard_writer.glance.frame import frame_of
from hansard_writer.glance.history import History
from hansard_writer.glance.looking import look

INTERVAL_S: Final = 1.0
INTERVAL_S_MIN: Final = 0.1  # a look asks the writer, and reads
INTERVAL_S_MAX: Final = 86_400.0  # longer than `select` can wait is none
HEIGHT_WITHOUT_TERMINAL: Final = 40
KEYS: Final = "q quit   p pause   e warnings and errors only"
PAUSED: Final = "PAUSED: p goes on   q quit   e warnings and errors only"


@click.command(
    name="top",
    epilog="""\b
Examples:
  hansard top
  hansard top --dir /var/lib/myapp/audit --interval 5
  hansard top --once | mail -s 'the audit log' ops@example.org
""",
)
@directory_option
@click.option(
    "--interval", type=SECONDS, default=INTERVAL_S, show_default=True, help="Seconds between looks."
)
@click.option(
    "--once",
    is_flag=True,
    help="Print one frame after one interval, and end. The default where stdout is no terminal.",
)
def command(directory: Path, interval: float, once: bool) -> None:
    """Watch the log and its writer live: rates, latencies, troubles.

    Rates and latencies are over the last 10 seconds, event types and what was refused since the
    writer's start. A look asks the writer for its figures and reads the newest 25 entries.

    Keys: q quits, p pauses, e leaves out entries below a warning. Without a writer it shows what
    the log says, and goes on looking; --once exits with 3 then. For programs there is `hansard
    stats --format json`.
    """
    interval = min(max(interval, INTERVAL_S_MIN), INTERVAL_S_MAX)
    if once or not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        is_served = _print_once(directory, interval)
        raise click.exceptions.Exit(0 if is_served else NO_WRITER)
    with contextlib.suppress(KeyboardInterrupt):
        _watch(directory, interval)


def _print_once(directory: Path, interval: float) -> bool:
    """Print one frame, without colours; whether a writer answered."""
    history = History()
    history.add(look(directory))
    if history.newest.figures is not None:
        time.sleep(interval)
        history.add(look(directory))
    frame = frame_of(directory, history)
    size = shutil.get_terminal_size((WIDTH_WITHOUT_TERMINAL, HEIGHT_WITHOUT_TERMINAL))
    for line in lines_of(frame, size.columns, size.lines):
        click.echo(text_of(line))
    return frame.is_served


def _watch(directory: Path, interval: float) -> None:
    """Until somebody wants no more."""
    from hansard_writer.glance.terminal import ENDED, RESIZED, Terminal

    history = History()
    history.add(look(directory))
    is_paused = serious_only = False
    with Terminal.taken() as terminal:
        next_at = time.monotonic() + interval
        while True:
            frame = frame_of(directory, history, serious_only=serious_only)
            terminal.show(lines_of(frame, *terminal.size, PAUSED if is_paused else KEYS))
            key = terminal.key(interval if is_paused else next_at - time.monotonic())
            if key in {"q", ENDED}:
                return
            is_paused ^= key in {"p", " "}
            serious_only ^= key == "e"
            if not is_paused and key != RESIZED and time.monotonic() >= next_at:
                history.add(look(directory))
                next_at = time.monotonic() + interval
