"""Redaction on the wire: what is to be taken out of the log, and how far its traces are wiped."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from hansard.wire.limits import TASK_ID_BYTES_MAX
from hansard.wire.values import WireError, is_natural

RANGES_PER_REQUEST_MAX: Final = 1_000
REASON_BYTES_MAX: Final = 4_096
BY_BYTES_MAX: Final = 1_024
WORKFLOW_ID_BYTES_MAX: Final = 1_024


class Redact(NamedTuple):
    """An administrator asks to take payloads out of the log, in pieces: of the entries behind
    ``after_seq`` within ``ranges`` (first and last, in order, apart), or of a workflow's
    operations, or of a task; then, behind ``after_letter``, of dead letters. One of the three is
    given. A dry run tells what would happen, and changes nothing."""

    ranges: Sequence[Sequence[int]] | None
    workflow_id: str | None
    task_id: str | None
    reason: str
    by: str
    after_seq: int
    after_letter: int
    dry_run: bool


class Redacted(NamedTuple):
    """What became of a piece: entries redacted; passed over because they were redacted ``before``,
    because they are the log's ``own``, or because they are ``empty``; dead letters redacted; the
    last entry and letter that were looked at; ``is_last`` when there are no more."""

    entries: int
    before: int
    own: int
    empty: int
    letters: int
    last_seq: int
    last_letter: int
    is_last: bool


class Wipe(NamedTuple):
    """Asks to go on wiping what redaction has left in the log's files; a piece of it."""


class Wiped(NamedTuple):
    """How many of the database's pages are done, and what keeps the wiping from its end, in words
    for people. ``is_done``: no file of the log holds anything any more."""

    done: int
    pages: int
    held_up_by: Sequence[str]
    is_done: bool


def redact_of(arguments: list[Any]) -> Redact:
    """A checked `Redact`; raises `WireError`."""
    if len(arguments) != len(Redact._fields):
        raise WireError(f"redact takes {len(Redact._fields)} arguments")
    asked = Redact(*arguments)
    if [asked.ranges, asked.workflow_id, asked.task_id].count(None) != 2:
        raise WireError("redact is of ids, or of a workflow, or of a task")
    if asked.ranges is not None:
        _check_ranges(asked.ranges)
    for name, value, most in (
        ("workflow_id", asked.workflow_id, WORKFLOW_ID_BYTES_MAX),
        ("task_id", asked.task_id, TASK_ID_BYTES_MAX),
        ("reason", asked.reason, REASON_BYTES_MAX),
        ("by", asked.by, BY_BYTES_MAX),
    ):
        if value is not None or name in ("reason", "by"):
            _check_text(name, value, most)
    if not (is_natural(asked.after_seq) and is_natural(asked.after_letter)):
        raise WireError("redact begins behind an entry and a letter: natural numbers")
    if type(asked.dry_run) is not bool:
        raise WireError("dry_run is a boolean")
    return asked


def redacted_of(content: Any) -> Redacted:
    """The `Redacted` of a reply's content; raises `WireError`."""
    if type(content) is not list or len(content) != len(Redacted._fields):
        raise WireError(f"a redaction's answer has {len(Redacted._fields)} fields")
    redacted = Redacted(*content)
    if not all(map(is_natural, redacted[:7])) or type(redacted.is_last) is not bool:
        raise WireError("a redaction's answer has seven natural numbers and a boolean")
    return redacted


def wipe_of(arguments: list[Any]) -> Wipe:
    """A checked `Wipe`; raises `WireError`."""
    if arguments:
        raise WireError("wipe takes no arguments")
    return Wipe()


def wiped_of(content: Any) -> Wiped:
    """The `Wiped` of a reply's content; raises `WireError`."""
    if type(content) is not list or len(content) != len(Wiped._fields):
        raise WireError(f"a wiping's answer has {len(Wiped._fields)} fields")
    wiped = Wiped(*content)
    is_told = type(wiped.held_up_by) is list and all(type(why) is str for why in wiped.held_up_by)
    if not (is_natural(wiped.done) and is_natural(wiped.pages) and is_told):
        raise WireError("a wiping's answer has two natural numbers and what holds it up")
    if type(wiped.is_done) is not bool:
        raise WireError("a wiping's answer says whether it is done")
    return wiped


def _check_ranges(ranges: Any) -> None:
    if type(ranges) is not list or not 0 < len(ranges) <= RANGES_PER_REQUEST_MAX:
        raise WireError(f"ranges are a list of 1 to {RANGES_PER_REQUEST_MAX:,}")
    before = 0
    for each in ranges:
        if type(each) is not list or len(each) != 2 or not all(map(is_natural, each)):
            raise WireError("a range is two natural numbers")
        if not before < each[0] <= each[1]:
            raise WireError("ranges begin at 1, in order and apart")
        before = each[1]


def _check_text(name: str, value: Any, most: int) -> None:
    if type(value) is not str or not value.strip():
        raise WireError(f"{name} is text, and not blank")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise WireError(f"{name} holds a lone surrogate: it must be text") from None
    if size > most:
        raise WireError(f"{name} has {size:,} bytes: at most {most:,} are allowed")
    if "\0" in value:
        raise WireError(f"{name} holds a NUL: it must be text")
