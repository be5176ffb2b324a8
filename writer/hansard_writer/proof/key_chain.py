"""Which keys a log was signed with, from which size on: from its own entries.

Pure, but for rows that it reads through a function that it is given. An entry ``hansard.key`` or
``hansard.rollback`` of the writer's own producer names the key that it retires and the one that
signs from then on. No signature is checked, and the entries are believed: whether they are the
log's, only a checkpoint says.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from hansard.errors import AuditLogError
from hansard_writer.proof.signed_note import MalformedKey, VerifierKey

KEY: Final = "hansard.key"
ROLLBACK: Final = "hansard.rollback"
KEY_EVENTS: Final = (KEY, ROLLBACK)

FIRST: Final = "first"
ROTATED: Final = "rotated"
LOST: Final = "lost"
ROLLED_BACK: Final = "rollback"

READ_KEY_ENTRIES: Final = (
    "SELECT seq, event_type, payload FROM entries"
    " WHERE event_type IN ('hansard.key', 'hansard.rollback') AND producer = 0 ORDER BY seq"
)
READ_NAMED_KEY: Final = "SELECT value FROM meta WHERE key = 'verifier_key'"


class BrokenChain(AuditLogError, ValueError):
    """Entries of keys that do not fit together: somebody has changed them."""


class Link(NamedTuple):
    """A key, the size of the log from which on it signs, and why: first, rotated, lost, rollback.
    The entry that says so is the one at that size; the first key is there from size 0 on."""

    key: VerifierKey
    since: int
    reason: str

    @property
    def origin(self) -> str:
        """The origin of the checkpoints that this key signs: its name."""
        return self.key.name


class KeyChain(NamedTuple):
    """The keys of a log, oldest first; one at least."""

    links: tuple[Link, ...]

    @property
    def current(self) -> Link:
        """The newest."""
        return self.links[-1]

    @property
    def keys(self) -> tuple[VerifierKey, ...]:
        """All of them, each once."""
        return tuple(dict.fromkeys(link.key for link in self.links))

    def at(self, size: int) -> Link:
        """The one whose signature a checkpoint of that size has."""
        return next(link for link in reversed(self.links) if link.since <= size)

    def signers(self, size: int, size_before: int) -> tuple[VerifierKey, ...]:
        """The keys that MUST all have signed the checkpoint of ``size``, where the one before it
        is of ``size_before``: the first behind a rotation carries the retired key's signature too,
        which is how that one vouches for its successor. A lost key vouches for nothing, and an
        accepted rollback is no succession."""
        last = self.links.index(self.at(size))
        first = last
        while self.links[first].reason == ROTATED and self.links[first].since > size_before:
            first -= 1
        return tuple(link.key for link in self.links[first : last + 1])


def key_chain(
    first: VerifierKey, entries: Iterable[tuple[int, str, Mapping[str, Any] | str | None]]
) -> KeyChain:
    """The chain of a log.

    ``entries`` are those of `READ_KEY_ENTRIES`: seq, type and payload, in order; other types are
    passed over. ``first`` is the key of a log that has none, as writer.pub has it; otherwise the
    first key is the one that the first entry retires. Raises `BrokenChain`.
    """
    links: list[Link] = []
    for seq, event_type, payload in entries:
        if event_type not in KEY_EVENTS:
            continue
        retired, key, reason = _link(seq, event_type, payload)
        if not links:
            links.append(Link(retired, 0, FIRST))
        if retired != links[-1].key:
            raise BrokenChain(f"entry {seq} retires a key that was not the log's: {retired}")
        if reason == ROTATED and key.name != retired.name:
            raise BrokenChain(f"entry {seq} gives a rotated key another origin: {key.name}")
        links.append(Link(key, seq, reason))
    return KeyChain(tuple(links) or (Link(first, 0, FIRST),))


def read_key_chain(rows: Callable[[str], list[tuple[Any, ...]]]) -> KeyChain | None:
    """The chain of a log whose rows a function returns for a statement; None where nobody has ever
    signed it. Raises `BrokenChain`, and `MalformedKey`."""
    entries = [(seq, event_type, text) for seq, event_type, text in rows(READ_KEY_ENTRIES)]
    if entries:
        return key_chain(_link(*entries[0])[0], entries)
    named = rows(READ_NAMED_KEY)
    return key_chain(VerifierKey.parse(named[0][0]), []) if named else None


def _link(
    seq: int, event_type: str, payload: Mapping[str, Any] | str | None
) -> tuple[VerifierKey, VerifierKey, str]:
    try:
        facts = json.loads(payload) if isinstance(payload, str) else payload
        if not isinstance(facts, Mapping):
            raise BrokenChain(f"entry {seq} ({event_type}) says nothing any more")
        retired = VerifierKey.parse(facts["retired"])
        key = VerifierKey.parse(facts["verifier_key"])
    except (KeyError, AttributeError, MalformedKey, json.JSONDecodeError) as error:
        raise BrokenChain(f"entry {seq} ({event_type}) names no keys: {error}") from error
    if event_type == ROLLBACK:
        return retired, key, ROLLED_BACK
    if facts.get("reason") not in (ROTATED, LOST):
        raise BrokenChain(f"entry {seq} ({event_type}) has no reason that is known")
    return retired, key, facts["reason"]
