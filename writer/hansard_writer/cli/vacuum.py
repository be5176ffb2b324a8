"""What ``--vacuum`` of `hansard prune` does: it has free pages given back to the file system.

Piece by piece through the writer, where one serves; else through one that it starts for the time,
and a log that was never given back anything is laid out anew. It deletes no entry.
"""

import time
from contextlib import closing
from pathlib import Path
from typing import Final

import click

from hansard import directory as layout
from hansard import requester, wire
from hansard.errors import WriterUnavailable
from hansard.reader_connection import ReadConnection
from hansard_writer.cli.exits import AnswerIsNo, Failed, NoWriter
from hansard_writer.cli.progress import progress_bar
from hansard_writer.free_space import PAGE_BYTES
from hansard_writer.laying_out import lay_out_anew
from hansard_writer.running_writer import a_writer
from hansard_writer.vacuuming import PIECE_BYTES, Room, room

ANSWER_S: Final = 30.0  # for one piece
LOOK_S: Final = 0.2  # at what is in the way
WORDS_AFTER_S: Final = 5.0  # without progress, before it is said why
TRIES_S: Final = 15.0  # for the writer to find room for a piece
REST_SHARE: Final = 4  # of the time that a piece took, where others record


def room_in(directory: Path) -> Room:
    """What the log's database has."""
    with closing(ReadConnection(directory)) as log:
        return room(log.rows)


def size_on_disk(directory: Path) -> int:
    """The bytes of the database and its WAL."""
    paths = (directory / (layout.DATABASE + end) for end in ("", "-wal"))
    return sum(path.stat().st_size for path in paths if path.exists())


def would_give_back(found: Room, *, behind_pruning: bool) -> str:
    """For a dry run."""
    free, of = size(found.free_bytes), f"of log.db's {size(found.bytes)}"
    would = f"--vacuum would give back {free} {of}"
    if behind_pruning:
        would = f"--vacuum would give that back, and {free} {of} that are free already"
    if found.is_in_pieces:
        return f"{would}."
    return (
        f"{would}; this first time only while no writer serves it, and with room for "
        f"{size(2 * found.used_bytes)} meanwhile."
    )


def give_back(directory: Path, deadline: float | None) -> str:
    """Do it, until the deadline at most (by `time.monotonic`); what came of it, in words."""
    found, before = room_in(directory), size_on_disk(directory)
    if not found.free and found.is_in_pieces and before == found.bytes:
        raise AnswerIsNo(f"There is nothing to give back: log.db is full, with {size(before)}.")
    with a_writer(directory) as own:  # which looks after the log first
        if found.is_in_pieces or own is None:
            _in_pieces(directory, found, deadline)
    if not found.is_in_pieces:
        with progress_bar(found.used_bytes, "laying out anew") as advance:
            lay_out_anew(directory, advance)
    after = size_on_disk(directory)
    back = size(max(before - after, 0))
    return f"Gave back {back}: log.db had {size(before)} and has {size(after)}."


def size(count: int) -> str:
    """Bytes, for people."""
    return f"{count / 1e6:,.1f} MB" if count >= 1e6 else f"{count:,} bytes"


def _in_pieces(directory: Path, found: Room, deadline: float | None) -> None:
    """What was free when it began: others may free pages all the time."""
    left = found.free
    with progress_bar(found.free, "giving back") as advance:
        pieces = _Pieces(directory, deadline)
        while left > 0:
            done = pieces.ask(wire.Vacuum(left))
            advance(min(done.freed, left))
            left = min(left - done.freed, done.free)
        while pieces.ask(wire.Vacuum(0)).held_up_by:
            pass


class _Pieces:
    """Asks for one after the other, and rests between them where others record."""

    def __init__(self, directory: Path, deadline: float | None) -> None:
        self._directory = directory
        self._deadline = deadline
        self._entries = -1
        self._freed = 0
        self._moved_at = time.monotonic()
        self._said = ""

    def ask(self, request: wire.Vacuum) -> wire.Vacuumed:
        """The answer; behind a pause, where something is in the way. Raises `AnswerIsNo` at the
        deadline."""
        began = time.monotonic()
        done = self._answer(request)
        now = time.monotonic()
        self._freed += done.freed
        if done.held_up_by:
            self._wait(done.held_up_by)
        else:
            self._moved_at = now
            if done.entries > self._entries >= 0:
                time.sleep((now - began) * REST_SHARE)
        self._entries = done.entries
        if done.freed and self._deadline is not None and now >= self._deadline:
            raise self._out_of_time("")
        return done

    def _answer(self, request: wire.Vacuum) -> wire.Vacuumed:
        tries_until = time.monotonic() + TRIES_S
        while True:
            try:
                content = requester.ask_as_owner(self._directory, request, ANSWER_S)
                return wire.vacuumed_of(content)
            except WriterUnavailable as error:
                raise NoWriter(f"{error}; {self._so_far()}") from error
            except wire.WireError as error:
                if not str(error).endswith("try again"):
                    raise
                if time.monotonic() > tries_until:
                    needed = f"a piece needs {size(PIECE_BYTES)} on the disk"
                    raise Failed(f"{error} ({needed}); {self._so_far()}") from error
                time.sleep(LOOK_S)

    def _wait(self, why: str) -> None:
        now = time.monotonic()
        if self._deadline is not None and now >= self._deadline:
            raise self._out_of_time(f": {why}")
        if now - self._moved_at > WORDS_AFTER_S and why != self._said:
            self._said = why
            click.echo(f"waiting: {why}", err=True)
        time.sleep(LOOK_S)

    def _out_of_time(self, why: str) -> AnswerIsNo:
        return AnswerIsNo(f"The time is over{why}; {self._so_far()}")

    def _so_far(self) -> str:
        return f"{size(self._freed * PAGE_BYTES)} were given back; repeat it for the rest"
