"""As whom a log is signed: key and origin, settled when its writer starts.

What does not fit together is refused, with the log untouched, or it was accepted, and then an entry
says so. It signs nothing.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hansard import directory as layout
from hansard_writer.handle import Handle
from hansard_writer.own_entries import OwnEntries
from hansard_writer.proof import keys
from hansard_writer.proof.checkpoint import Checkpoint, encode_root
from hansard_writer.proof.key_chain import KEY, LOST, READ_KEY_ENTRIES, ROLLBACK, ROLLED_BACK
from hansard_writer.proof.merkle_hash_tree import Edge
from hansard_writer.proof.signed_note import SigningKey, VerifierKey
from hansard_writer.retries import StoreFull
from hansard_writer.rollback_guard import (
    ORIGIN_PREFIX,
    Said,
    claimed_by,
    origin_number,
    said_by,
    went_back,
)
from hansard_writer.signing import Signing, read_optional_key
from hansard_writer.sqlite_errors import NO_ROOM
from hansard_writer.store import Store
from hansard_writer.unusable import LogRefused, LogUnusable

WRITE_META: Final = "INSERT INTO meta VALUES(?, ?) ON CONFLICT DO UPDATE SET value = excluded.value"

_LOG: Final = logging.getLogger("hansard.writer")


class Plan(NamedTuple):
    """What is to be done: the keys that sign, none where one is to be made, two where one is still
    to take the other's place; and the reason of the entry that is due, if any, with its facts."""

    keys: tuple[Ed25519PrivateKey, ...]
    is_rotating: bool = False
    entry: str | None = None
    facts: dict[str, Any] = {}  # noqa: RUF012 - nobody changes it


class Identity:
    """Settles it for the log in a directory, when `Store` asks it to; ``signing`` is what came of
    it. With ``is_shared`` the directory's group may read what is public. ``restored`` are the facts
    of a log that was put in place on purpose: that is entered as a rollback, once, whether or not
    DIR/checkpoint is there to show it."""

    signing: Signing

    def __init__(
        self,
        directory: Path,
        *,
        is_shared: bool = False,
        accept_rollback: bool = False,
        accept_lost_key: bool = False,
        restored: Mapping[str, Any] | None = None,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._directory = directory
        self._restored = restored
        self._is_shared = is_shared
        self._accept_rollback = accept_rollback
        self._accept_lost_key = accept_lost_key
        self._clock_ns = clock_ns

    # --- before anything is changed ---

    def require(self, handle: Handle, edge: Edge) -> None:
        """Raises `LogUnusable`, and `KeyUnusable`, unless all fits together or was accepted."""
        directory = self._directory
        own = read_optional_key(directory / layout.KEY)
        following = read_optional_key(directory / layout.NEXT_KEY)
        given = [keys.public_bytes(key) for key in (own, following) if key]
        self._said = said = said_by(handle, edge, directory / layout.DATABASE)
        self._claimed = claimed_by(directory / layout.CHECKPOINT, said, given)
        if self._restored and is_entered(self._restored, handle.rows):
            self._restored = None
        backwards = went_back(said, self._claimed)
        self._plan = self._planned(own, following, backwards)
        if self._accept_rollback and not backwards:
            _LOG.warning("--accept-rollback was for nothing: the log did not go back. Leave it off")

    def _planned(
        self, own: Ed25519PrivateKey | None, following: Ed25519PrivateKey | None, backwards: str
    ) -> Plan:
        if backwards and not (self._accept_rollback or self._restored):
            raise LogRefused(
                f"{self._directory / layout.DATABASE} went back in time, or was replaced: "
                f"{backwards}. Put back what belongs together; or run `hansard serve "
                "--accept-rollback` once: it says so in the log for ever and begins a new origin, "
                "because checkpoints that others keep will not fit what comes"
            )
        mine = (own,) if own else ()
        facts: dict[str, Any] = {}
        if backwards or self._restored:
            facts = _facts_of(self._claimed, self._said) | dict(self._restored or {})
        if facts and (own or not self._has_signed):
            return Plan(mine, entry=ROLLED_BACK, facts=facts)
        known = self._said.chain.current.key if self._said.chain else None
        if known is None or (own and keys.public_bytes(own) == known.public_key):
            return Plan(mine)
        if following and keys.public_bytes(following) == known.public_key:
            signers = _rotating(self._said, own, following)
            if signers:
                return Plan(signers, is_rotating=True)
        if not self._has_signed:
            return Plan(mine)  # whatever key that was, it has signed nothing
        if not self._accept_lost_key:
            raise self._lost_key(known, is_there=own is not None)
        return Plan(mine, entry=ROLLED_BACK if facts else LOST, facts=facts)

    @property
    def _has_signed(self) -> bool:
        return bool(self._said.newest or self._claimed)

    def _lost_key(self, known: VerifierKey, *, is_there: bool) -> LogRefused:
        path = self._directory / layout.KEY
        what = f"{path} is not the key that signs this log" if is_there else f"{path} is missing"
        takes = "takes the one that is there" if is_there else "makes a new one"
        return LogRefused(
            f"{what}: put that one back, whose public half is {known} (`hansard keys rotate --key "
            f"FILE` gives a log another); if it is lost, run `hansard serve --accept-lost-key` "
            f"once: it {takes}, says so in the log for ever, and begins a new origin"
        )

    # --- once the epoch is committed ---

    def assume(self, store: Store) -> None:
        """Make what is missing, and enter what was accepted. A key is durable before the log names
        it, and named before it signs. Raises `StoreUnready`, and `LogUnusable`."""
        plan = self._plan
        with _file_errors(self._directory):
            private = plan.keys or (self._make_key(),)
        origin = self._origin(store)
        signers = tuple(SigningKey(origin, key) for key in private)
        self._name(store, signers[-1].verifier_key)
        self.signing = Signing(
            self._directory, signers, is_rotating=plan.is_rotating, is_shared=self._is_shared
        )
        with _file_errors(self._directory):
            if not plan.is_rotating:
                self.signing.publish()
                self.signing.forget_next_key()

    def _make_key(self) -> Ed25519PrivateKey:
        path, key = self._directory / layout.KEY, keys.new_key()
        keys.write_key(path, key)
        _LOG.info("%s is made: whoever holds it can sign in this log's name", path)
        return key

    def _origin(self, store: Store) -> str:
        """What the keys are named by: the origin that the log has, or one that it never had."""
        first = ORIGIN_PREFIX + store.log_id.hex()
        known = self._said.chain.current.origin if self._said.chain else first
        if not self._plan.entry:
            return known
        borne = [known, *([self._claimed.origin] if self._claimed else [])]
        # One backup may be put in place in several directories, none of which knows the others.
        least = self._clock_ns() if self._restored else store.epoch
        return f"{first}/{max(least, *(origin_number(first, each) + 1 for each in borne))}"

    def _name(self, store: Store, key: VerifierKey) -> None:
        """Have the log say whose it is: in an entry where that is due, and for the next start."""
        known = self._said.chain.current.key if self._said.chain else None
        if not self._plan.entry:
            if known != key:
                with store.handle.transaction():
                    store.connection.execute(WRITE_META, ("verifier_key", str(key)))
            return
        retired = known or VerifierKey(ORIGIN_PREFIX + store.log_id.hex(), key.public_key)
        facts = {**self._plan.facts, "retired": str(retired), "verifier_key": str(key)}
        event_type = ROLLBACK if self._plan.entry == ROLLED_BACK else KEY
        if event_type == KEY:
            facts = {"reason": self._plan.entry, **facts}
        own = OwnEntries(store, store.own_producer(), self._clock_ns)
        with own.entering() as entering:
            seq = own.enter(event_type, "warning", facts, entering)
            store.connection.execute(WRITE_META, ("verifier_key", str(key)))
            store.connection.execute(WRITE_META, ("origin", key.name))
        _LOG.warning("entry %d, %s: the log is signed as %s from here on", seq, event_type, key)


def is_entered(restored: Mapping[str, Any], rows: Callable[[str], list[Any]]) -> bool:
    """Whether the log says already what `Identity` is to enter of its restoration."""
    entries = rows(READ_KEY_ENTRIES)
    said = [orjson.loads(text or "{}") for _, kind, text in entries if kind == ROLLBACK]
    return any(restored.items() <= facts.items() for facts in said)


def _facts_of(claimed: Checkpoint | None, said: Said) -> dict[str, Any]:
    """What an accepted rollback leaves behind."""
    if claimed is None:
        return {"entries": said.size}
    return {
        "checkpoint_origin": claimed.origin,
        "checkpoint_size": claimed.size,
        "checkpoint_root": encode_root(claimed.root),
        "entries": said.size,
    }


def _rotating(
    said: Said, own: Ed25519PrivateKey | None, following: Ed25519PrivateKey
) -> tuple[Ed25519PrivateKey, ...]:
    """Who signs where a rotation was cut short behind its entry: both, or the new one alone where
    they have. Nobody, where the old one is not there to vouch for it."""
    assert said.chain
    if said.newest and said.newest.size >= said.chain.current.since:
        return (following,)
    before = said.chain.links[-2].key if len(said.chain.links) > 1 else None
    if own and before and keys.public_bytes(own) == before.public_key:
        return (own, following)
    return ()


@contextlib.contextmanager
def _file_errors(directory: Path) -> Iterator[None]:
    """Within, a file that cannot be written is a log that cannot be used as it is."""
    try:
        yield
    except OSError as error:
        where = f"cannot write {error.filename or directory} ({error.strerror})"
        if error.errno in NO_ROOM:
            raise StoreFull(where) from error
        raise LogUnusable(f"{where}: mend that, and start again") from error
