"""An entry by itself: what its leaf is made of, and the payload that the leaf hides. Pure.

Its JSON form is what an inclusion proof carries, so that the proof needs no log to be checked:
one object with exactly these members. ``leaf_version`` is 1; ``seq``, ``producer_seq`` and
``created_at`` (ns since 1970 UTC) are integers; ``producer_hash``, ``payload_hash`` and ``salt``
are bytes in lower-case hex; ``event_type``, ``level``, ``actor``, ``task_id`` and ``payload`` are
text, the payload being the JSON text that was recorded, character by character. ``actor``,
``task_id``, ``payload``, ``salt`` and ``payload_hash`` may be null: the last three are, where the
event had no payload, and of a redacted entry ``payload`` and ``salt`` are.
"""

import json
from dataclasses import dataclass
from typing import Any, Final

from hansard.wire import INT64_MAX
from hansard.wording import kind_of
from hansard_writer.proof import leaves
from hansard_writer.proof.merkle_hash_tree import HASH_BYTES, leaf_hash

_VERSION: Final = "leaf_version"
_INTEGERS: Final = ("seq", "producer_seq", "created_at")
_BYTES: Final = {
    "producer_hash": HASH_BYTES,
    "payload_hash": HASH_BYTES,
    "salt": leaves.SALT_BYTES,
}
_TEXTS: Final = ("event_type", "level", "actor", "task_id", "payload")
_MAY_BE_NULL: Final = frozenset({"actor", "task_id", "payload", "salt", "payload_hash"})
_MEMBERS: Final = frozenset({_VERSION, *_INTEGERS, *_BYTES, *_TEXTS})


READ_ENTRIES: Final = (
    "SELECT e.seq, p.producer_hash, e.producer_seq, e.created_at, e.event_type, e.level, e.actor,"
    " e.task_id, e.payload_hash, e.payload, e.salt"
    " FROM entries AS e JOIN producers AS p ON p.id = e.producer"
)
"""The columns of a `LoggedEntry`, in its order."""


class MalformedEntry(ValueError):
    """What cannot be an entry. Says which member is wrong, or missing."""


@dataclass(frozen=True, slots=True)
class LoggedEntry:
    """An entry, with the salt that hides its payload.

    Raises `MalformedEntry` where payload, salt and payload hash do not belong together: so of any
    object of this class the payload is the one that the leaf has the hash of.
    """

    seq: int
    producer_hash: bytes
    producer_seq: int
    created_at: int
    event_type: str
    level: str
    actor: str | None
    task_id: str | None
    payload_hash: bytes | None
    payload: str | None = None
    salt: bytes | None = None

    def __post_init__(self) -> None:
        if (self.payload is None) != (self.salt is None):
            raise MalformedEntry("payload and salt are there together, or neither is")
        if self.payload is None or self.salt is None:
            return
        if len(self.salt) != leaves.SALT_BYTES:  # or bytes could move from one to the other
            raise MalformedEntry(f"a salt has {leaves.SALT_BYTES} bytes")
        if self.payload_hash != leaves.payload_hash(self.salt, self.payload.encode()):
            raise MalformedEntry("payload_hash is not that of this payload and this salt")

    @property
    def is_redacted(self) -> bool:
        """Whether there was a payload, and is none any more."""
        return self.payload is None and self.payload_hash is not None

    @property
    def leaf_bytes(self) -> bytes:
        """What is hashed of it."""
        return leaves.entry_bytes(
            self.seq,
            self.producer_hash,
            self.producer_seq,
            self.created_at,
            self.event_type,
            self.level,
            self.actor,
            self.task_id,
            self.payload_hash,
        )

    @property
    def leaf_hash(self) -> bytes:
        """Its leaf in the log's tree."""
        return leaf_hash(self.leaf_bytes)

    def to_json(self) -> bytes:
        """The JSON form, in UTF-8."""
        members: dict[str, Any] = {_VERSION: leaves.LEAF_VERSION}
        for name in self.__slots__:  # `asdict` copies deeply, which takes most of the time
            value = getattr(self, name)
            members[name] = value.hex() if isinstance(value, bytes) else value
        return json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, data: bytes) -> "LoggedEntry":
        """The entry that a JSON form is of. Raises `MalformedEntry`."""
        members = _object(data)
        if type(version := members.pop(_VERSION)) is not int or version != leaves.LEAF_VERSION:
            raise MalformedEntry(f"leaf_version is not {leaves.LEAF_VERSION}: others are not known")
        values: dict[str, Any] = {name: _value(name, each) for name, each in members.items()}
        return cls(**values)


def _object(data: bytes) -> dict[str, Any]:
    """The members, of which none is missing, doubled or unknown."""
    try:
        members = json.loads(data.decode(), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        if isinstance(error, MalformedEntry):
            raise
        raise MalformedEntry("it is no JSON in UTF-8") from None
    if not isinstance(members, dict):
        raise MalformedEntry(f"it is {kind_of(members)}, not an object")
    for missing in sorted(_MEMBERS - members.keys()):
        raise MalformedEntry(f"it has no {missing}")
    for unknown in sorted(members.keys() - _MEMBERS):
        raise MalformedEntry(f"{unknown!r:.40} is no member of an entry")
    return members


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise MalformedEntry("a member is there twice")
    return members


def _value(name: str, value: Any) -> int | str | bytes | None:
    if value is None and name in _MAY_BE_NULL:
        return None
    if name in _INTEGERS:
        if type(value) is not int or not -INT64_MAX - 1 <= value <= INT64_MAX:
            raise MalformedEntry(f"{name} is no integer of 64 bits")
        return value
    if not isinstance(value, str):
        raise MalformedEntry(f"{name} is {kind_of(value)}, not text")
    if name in _TEXTS:
        return _text(name, value)
    return _bytes(name, value, _BYTES[name])


def _text(name: str, value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise MalformedEntry(f"{name} is no UTF-8") from None
    return value


def _bytes(name: str, value: str, length: int) -> bytes:
    try:
        data = bytes.fromhex(value)
    except ValueError:
        data = b""
    if len(data) != length or data.hex() != value:
        raise MalformedEntry(f"{name} is not {length} bytes in lower-case hex")
    return data
