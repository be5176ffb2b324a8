"""Single questions to the writer, each on a connection of its own: lookups, letters, calls."""

import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from hansard.entry import COMMITTED, QUEUED, REJECTED, UNKNOWN
from hansard.wire.limits import CALL_VALUE_BYTES_MAX, EVENT_TYPE_CHARS_MAX, EVENT_TYPE_PATTERN
from hansard.wire.values import WireError, check_call_id, is_natural


class Lookup(NamedTuple):
    """Asks what became of one event, by its key."""

    producer_hash: bytes
    producer_seq: int


class LookupReply(NamedTuple):
    """``status`` is committed, rejected, orphaned or unknown; ``seq`` the id when committed. Of an
    entry that was pruned nothing else is known: no type, and 0 as its time."""

    status: str
    seq: int
    event_type: str
    created_at: int


class Replay(NamedTuple):
    """An administrator asks to enter dead letters after all, in pieces: those with ids behind
    ``after_id``, with this reason (None: any), and among ``ids`` (None: all). A dry run tells
    what would happen, and changes nothing."""

    after_id: int
    reason: str | None
    ids: Sequence[int] | None
    dry_run: bool


class Replayed(NamedTuple):
    """What became of a piece: events entered, events refused again, letters that nobody can
    enter, and the last id that was looked at; ``is_last`` when there are no more."""

    entered: int
    refused: int
    hopeless: int
    last_id: int
    is_last: bool


class DropLetters(NamedTuple):
    """An administrator gives up dead letters, in pieces, selected as for `Replay`; with
    ``entered`` those that were entered after all, of which only the row is left."""

    after_id: int
    reason: str | None
    ids: Sequence[int] | None
    entered: bool
    dry_run: bool


class LettersDropped(NamedTuple):
    """What became of a piece: letters dropped, the events that were given up with them, and the
    last id; ``is_last`` when there are no more."""

    letters: int
    events: int
    last_id: int
    is_last: bool


class Call(NamedTuple):
    """Asks for a named operation to be run, once, and not after ``deadline`` (ns since 1970 UTC).
    ``params`` are msgpack."""

    call_id: bytes
    name: str
    params: bytes
    deadline: int


class LookupCall(NamedTuple):
    """Asks what became of one call."""

    call_id: bytes


class CallReply(NamedTuple):
    """``status`` is committed, with the result as msgpack, or rejected, with the reason. A lookup
    may also hear queued or unknown, with nothing."""

    status: str
    value: bytes | str | None


def lookup_of(arguments: list[Any]) -> Lookup:
    """A checked `Lookup`; raises `WireError`."""
    if len(arguments) != 2 or type(arguments[0]) is not bytes or not is_natural(arguments[1]):
        raise WireError("lookup takes a producer hash and a producer_seq")
    return Lookup(*arguments)


def replay_of(arguments: list[Any]) -> Replay:
    """A checked `Replay`; raises `WireError`."""
    if len(arguments) != len(Replay._fields):
        raise WireError(f"replay takes {len(Replay._fields)} arguments")
    replay = Replay(*arguments)
    _check_selection(replay)
    return replay


def drop_letters_of(arguments: list[Any]) -> DropLetters:
    """A checked `DropLetters`; raises `WireError`."""
    if len(arguments) != len(DropLetters._fields):
        raise WireError(f"drop takes {len(DropLetters._fields)} arguments")
    drop = DropLetters(*arguments)
    _check_selection(drop)
    if type(drop.entered) is not bool:
        raise WireError("drop takes whether it is of letters that are entered")
    return drop


def _check_selection(asked: Replay | DropLetters) -> None:
    if not is_natural(asked.after_id):
        raise WireError("after_id is the id of the letter to begin behind: a natural number")
    if type(asked.dry_run) is not bool:
        raise WireError("dry_run is a boolean")
    if asked.reason is not None and type(asked.reason) is not str:
        raise WireError("reason is a string or nil")
    ids = asked.ids
    if ids is not None and (type(ids) is not list or not all(map(is_natural, ids))):
        raise WireError("ids are natural numbers, or nil")


def replayed_of(content: Any) -> Replayed:
    """The `Replayed` of a reply's content; raises `WireError`."""
    if type(content) is not list or len(content) != len(Replayed._fields):
        raise WireError(f"a replay's answer has {len(Replayed._fields)} fields")
    replayed = Replayed(*content)
    if not all(map(is_natural, replayed[:4])) or type(replayed.is_last) is not bool:
        raise WireError("a replay's answer has four natural numbers and a boolean")
    return replayed


def letters_dropped_of(content: Any) -> LettersDropped:
    """The `LettersDropped` of a reply's content; raises `WireError`."""
    if type(content) is not list or len(content) != len(LettersDropped._fields):
        raise WireError(f"a drop's answer has {len(LettersDropped._fields)} fields")
    dropped = LettersDropped(*content)
    if not all(map(is_natural, dropped[:3])) or type(dropped.is_last) is not bool:
        raise WireError("a drop's answer has three natural numbers and a boolean")
    return dropped


def call_of(arguments: list[Any]) -> Call:
    """A checked `Call`; raises `WireError`. Whether the params are msgpack is seen later."""
    if len(arguments) != len(Call._fields):
        raise WireError(f"call takes {len(Call._fields)} arguments")
    call = Call(*arguments)
    check_call_id(call.call_id)
    if type(call.name) is not str or not re.fullmatch(EVENT_TYPE_PATTERN, call.name):
        raise WireError("the name of a call follows the pattern of an event_type")
    if len(call.name) > EVENT_TYPE_CHARS_MAX:
        raise WireError(f"the name of a call has at most {EVENT_TYPE_CHARS_MAX} characters")
    if type(call.params) is not bytes or len(call.params) > CALL_VALUE_BYTES_MAX:
        raise WireError(f"params are at most {CALL_VALUE_BYTES_MAX} bytes")
    if not is_natural(call.deadline):
        raise WireError("deadline is a natural number")
    return call


def lookup_call_of(arguments: list[Any]) -> LookupCall:
    """A checked `LookupCall`; raises `WireError`."""
    if len(arguments) != 1:
        raise WireError("lookup_call takes a call_id")
    check_call_id(arguments[0])
    return LookupCall(*arguments)


def call_reply_of(content: Any) -> CallReply:
    """The `CallReply` of a reply's content; raises `WireError`."""
    if type(content) is not list or len(content) != len(CallReply._fields):
        raise WireError(f"the reply to a call has {len(CallReply._fields)} fields")
    reply = CallReply(*content)
    if type(reply.status) is not str or type(reply.value) is not _CALL_VALUES.get(reply.status):
        raise WireError("the reply to a call has a status and the value that belongs to it")
    return reply


_CALL_VALUES: Final = {COMMITTED: bytes, REJECTED: str, QUEUED: type(None), UNKNOWN: type(None)}
