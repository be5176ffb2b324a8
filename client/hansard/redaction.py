"""Redaction, as who asks for it sees it: what was taken out of the log, and whether it is gone.

The writer does it, piece by piece. Nothing here is best effort: it is done, or it says what is not.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from hansard import requester, wire
from hansard.errors import AuditLogError, InvalidEvent, WriterUnavailable
from hansard.served_by import Writer, require_writer
from hansard.whoami import whoami
from hansard.wording import counted, kind_of

TIMEOUT_S: Final = 30.0
PIECE_TIMEOUT_S: Final = 30.0  # for one answer
LOOK_S: Final = 0.1  # between two looks at what is in the way

Seqs = int | range | Iterable[int | tuple[int, int]]
"""An entry's id, or several: ids, and pairs of a first and a last one."""

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Redaction:
    """What became of a redaction.

    * ``entries`` and dead ``letters`` that were redacted, or would be: a letter's events are never
      entered any more.
    * Passed over: what was redacted ``before``; the log's ``own`` entries; the ``empty`` ones,
      which have no payload; and how many of the ids are ``missing`` in the log.
    * ``done``: no file in the log's directory holds any of it. If not, ``held_up_by`` says why, and
      what to do; then redact the same again.
    """

    entries: int = 0
    letters: int = 0
    before: int = 0
    own: int = 0
    empty: int = 0
    missing: int = 0
    done: bool = False
    held_up_by: tuple[str, ...] = ()


def redact(
    to: "Path | Writer",
    *,
    seq: Seqs | None = None,
    workflow_id: str | None = None,
    task_id: str | None = None,
    reason: str,
    by: str | None = None,
    dry_run: bool = False,
    timeout: float = TIMEOUT_S,
    progress: Progress = lambda _: None,
) -> Redaction:
    """Redact in the log of a writer, or of a directory. As `AuditLog.redact`; ``progress`` is told
    how far it is, in words."""
    ranges = None if seq is None else ranges_of(seq)
    if [ranges, workflow_id, task_id].count(None) != 2:
        raise InvalidEvent("redact() takes one of seq, workflow_id and task_id")
    deadline = time.monotonic() + _checked(timeout)
    asked = wire.Redact(None, workflow_id, task_id, reason, by or whoami(), 0, 0, dry_run)
    requests = [asked._replace(ranges=some) for some in _some_at_a_time(ranges)]
    for each in requests:
        _check(each)
    writer = require_writer(to)
    entries = letters = before = own = empty = 0
    for piece in _pieces(writer, requests, deadline):
        entries, letters = entries + piece.entries, letters + piece.letters
        before, own, empty = before + piece.before, own + piece.own, empty + piece.empty
        progress(f"{entries:,} redacted")
    looked_at = entries + before + own + empty
    missing = 0 if ranges is None else sum(last - first + 1 for first, last in ranges) - looked_at
    redaction = Redaction(entries, letters, before, own, empty, missing)
    if dry_run or not (entries or letters or before):
        return redaction
    held_up_by = _wipe(writer, deadline, progress)
    return replace(redaction, done=not held_up_by, held_up_by=held_up_by)


def ranges_of(seq: Seqs) -> list[list[int]]:
    """Ids as ranges, both ends included: in order, apart, none adjacent. Raises `InvalidEvent`."""
    several = [seq] if isinstance(seq, int) else seq
    if isinstance(several, range) and several.step == 1 and several:
        several = [(several[0], several[-1])]
    try:
        pairs = sorted(each if isinstance(each, tuple) else (each, each) for each in several)
    except TypeError:
        raise InvalidEvent(f"seq is {kind_of(seq)}: it must be ids, or pairs of ids") from None
    ranges: list[list[int]] = []
    for pair in pairs:
        if len(pair) != 2 or not all(type(each) is int for each in pair):
            raise InvalidEvent(f"seq has {pair!r:.100}: each must be an id, or a pair of ids")
        first, last = pair
        if not 1 <= first <= last <= wire.INT64_MAX:
            raise InvalidEvent(f"seq has {first} to {last}: ids begin at 1, the smaller first")
        if ranges and first <= ranges[-1][1] + 1:
            ranges[-1][1] = max(ranges[-1][1], last)
        else:
            ranges.append([first, last])
    if not ranges:
        raise InvalidEvent("seq is empty: name at least one entry")
    return ranges


def _some_at_a_time(ranges: list[list[int]] | None) -> list[list[list[int]] | None]:
    if ranges is None:
        return [None]
    size = wire.RANGES_PER_REQUEST_MAX
    return [ranges[start : start + size] for start in range(0, len(ranges), size)]


def _pieces(
    writer: Writer, requests: list[wire.Redact], deadline: float
) -> Iterator[wire.Redacted]:
    for request in requests:
        asked, is_last = request, False
        while not is_last:
            piece = wire.redacted_of(_ask(writer, asked, deadline))
            yield piece
            asked = asked._replace(after_seq=piece.last_seq, after_letter=piece.last_letter)
            is_last = piece.is_last


def _wipe(writer: Writer, deadline: float, progress: Progress) -> tuple[str, ...]:
    """Have the log's files wiped; what is in the way of that at the deadline, nothing once it is
    done."""
    while True:
        wiped = wire.wiped_of(_ask(writer, wire.Wipe(), deadline))
        if wiped.is_done:
            return ()
        left = deadline - time.monotonic()
        if wiped.held_up_by:
            if left <= 0:
                return tuple(wiped.held_up_by)
            time.sleep(min(LOOK_S, left))
        progress(f"{wiped.done:,} of {counted(wiped.pages, 'page')} wiped")


def _ask(writer: Writer, request: wire.Redact | wire.Wipe, deadline: float) -> Any:
    """The content of the writer's answer; asked again while it says so. Asking twice for a piece
    changes nothing."""
    while True:
        try:
            return requester.ask_as_owner(writer, request, PIECE_TIMEOUT_S)
        except WriterUnavailable as error:
            if not error.was_sent:
                raise
            raise _unfinished(WriterUnavailable, error) from error
        except wire.WireError as error:
            left = deadline - time.monotonic()
            if left <= 0 or not str(error).endswith("try again"):
                raise _unfinished(AuditLogError, error) from error
            time.sleep(min(LOOK_S, left))


def _unfinished(kind: type[AuditLogError], error: Exception) -> AuditLogError:
    return kind(f"{error}. What was redacted so far stays so; redact the same again for the rest")


def _check(asked: wire.Redact) -> None:
    """What the writer will check: said here as an argument's fault."""
    try:
        wire.redact_of(list(asked))
    except wire.WireError as error:
        raise InvalidEvent(f"redact: {error}") from None


def _checked(timeout: object) -> float:
    if not isinstance(timeout, int | float) or not 0 <= timeout <= requester.WAIT_S_MAX:
        raise InvalidEvent(
            f"timeout is {timeout!r:.100}: it must be seconds, at most {requester.WAIT_S_MAX:,.0f}"
        )
    return timeout
