"""Requests and replies as messages between REQ and ROUTER: version and verb, then the content."""

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from hansard.errors import ProtocolMismatch
from hansard.wire.delivery import Compare, Hello, Wait
from hansard.wire.deriving import Declare, Fill
from hansard.wire.limits import REQUEST_BYTES_MAX, WIRE_VERSION
from hansard.wire.questions import Call, DropLetters, Lookup, LookupCall, Replay
from hansard.wire.redaction import Redact, Wipe
from hansard.wire.retention import Prune, Vacuum
from hansard.wire.sealing import RotateKey, TakeCheckpoint
from hansard.wire.values import WireError, check_flat, pack, unpack_array

FLAT_VALUES_MAX: Final = 16
AS_OWNER: Final = "as_owner"

_Question: TypeAlias = Hello | Wait | Compare | Lookup | Call | LookupCall
_Asked: TypeAlias = (
    Replay
    | DropLetters
    | Redact
    | Wipe
    | Prune
    | Vacuum
    | TakeCheckpoint
    | RotateKey
    | Declare
    | Fill
)
Request: TypeAlias = _Question | _Asked


def pack_request(request: Request) -> bytes:
    """The message of a request."""
    return pack((WIRE_VERSION, _VERBS[type(request)], *request))


def pack_owners_request(token: bytes, request: Request) -> bytes:
    """The message of a request of the directory's owner, who alone can read ``token`` there."""
    return pack((WIRE_VERSION, AS_OWNER, token, _VERBS[type(request)], *request))


def owners_request_of(arguments: list[Any]) -> tuple[bytes, str, list[Any]]:
    """Token, verb and arguments of such a request; raises `WireError`."""
    if len(arguments) < 2 or type(arguments[0]) is not bytes or type(arguments[1]) is not str:
        raise WireError(f"{AS_OWNER} takes a token, a verb and its arguments")
    token, verb, *rest = arguments
    return token, verb, rest


def pack_stats_request() -> bytes:
    """The message that asks for the writer's figures."""
    return pack((WIRE_VERSION, "stats"))


def unpack_request(message: bytes) -> tuple[str, list[Any]]:
    """Verb and arguments of a request; raises `WireError` when it breaks a rule."""
    if len(message) > REQUEST_BYTES_MAX:
        check_flat(message, 1, FLAT_VALUES_MAX)
    fields = unpack_array(message)
    if len(fields) < 2 or type(fields[1]) is not str:
        raise WireError("a request is an array of version, verb and arguments")
    if type(fields[0]) is not int or fields[0] != WIRE_VERSION:
        asked = fields[0] if type(fields[0]) is int else type(fields[0]).__name__
        raise WireError(f"this writer speaks wire version {WIRE_VERSION}, not {asked}")
    return fields[1], fields[2:]


def pack_reply(verb: str, reply: tuple[Any, ...] | Mapping[str, Any]) -> bytes:
    """The message of a reply to ``verb``."""
    return pack((WIRE_VERSION, verb, reply))


def pack_error(reason: str) -> bytes:
    """The message that refuses a request."""
    return pack((WIRE_VERSION, "error", reason))


def unpack_reply(message: bytes) -> tuple[str, Any]:
    """Verb and content of a reply. Raises `ProtocolMismatch` for another version and
    `WireError` for a refusal or broken bytes."""
    fields = unpack_array(message)
    if len(fields) != 3 or fields[0] != WIRE_VERSION:
        raise ProtocolMismatch(
            f"the writer does not speak wire version {WIRE_VERSION}: "
            "install the same release of hansard for workers and writer"
        )
    if fields[1] == "error":
        if "wire version" in str(fields[2]):
            raise ProtocolMismatch(f"{fields[2]}: install the same release for workers and writer")
        raise WireError(f"the writer refused: {fields[2]}")
    return fields[1], fields[2]


_VERBS: Final = {
    Hello: "hello",
    Wait: "wait",
    Compare: "compare",
    Lookup: "lookup",
    Replay: "replay",
    DropLetters: "drop",
    Call: "call",
    LookupCall: "lookup_call",
    Prune: "prune",
    Vacuum: "vacuum",
    Redact: "redact",
    Wipe: "wipe",
    TakeCheckpoint: "checkpoint",
    RotateKey: "rotate_key",
    Declare: "declare",
    Fill: "fill",
}
