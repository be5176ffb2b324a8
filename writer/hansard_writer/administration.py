"""What administrators ask for: dead letters, redaction, retention, checkpoints, keys.

It knows who does what. When there is a moment for it, the writer decides.
"""

import hmac
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from hansard import wire
from hansard_writer.derived.filling import Filling
from hansard_writer.own_entries import OwnEntries
from hansard_writer.proof.keys import KeyUnusable
from hansard_writer.pruning import Pruning
from hansard_writer.reconsidering import Reconsidering
from hansard_writer.redacting import Redacting
from hansard_writer.sealing import Sealer
from hansard_writer.vacuuming import Vacuuming
from hansard_writer.wiping import Wiping

Asked: TypeAlias = (
    wire.Replay
    | wire.DropLetters
    | wire.Redact
    | wire.Wipe
    | wire.Prune
    | wire.Vacuum
    | wire.TakeCheckpoint
    | wire.RotateKey
    | wire.Declare
    | wire.Fill
)

REQUESTS: Final[Mapping[str, Callable[[list[Any]], Asked]]] = {
    "replay": wire.replay_of,
    "drop": wire.drop_letters_of,
    "redact": wire.redact_of,
    "wipe": wire.wipe_of,
    "prune": wire.prune_of,
    "vacuum": wire.vacuum_of,
    "checkpoint": wire.take_checkpoint_of,
    "rotate_key": wire.rotate_key_of,
    "declare": wire.declare_of,
    "fill": wire.fill_of,
}
"""By verb: the checked request. Each raises `WireError`."""


FOR_ALL: Final = frozenset({"checkpoint"})  # takes nothing out, and changes no key


def permitted(verb: str, arguments: list[Any], owner_token: bytes | None) -> tuple[str, list[Any]]:
    """Verb and arguments of a request, without the owner's token. Raises `WireError` for one that
    is the directory owner's, from somebody who does not know the token; without one all may ask."""
    token = b""
    if verb == wire.AS_OWNER:
        token, verb, arguments = wire.owners_request_of(arguments)
    is_open = owner_token is None or verb not in REQUESTS or verb in FOR_ALL
    if not is_open and not hmac.compare_digest(token, owner_token or b""):
        raise wire.WireError(f"{verb} is for the owner of the log's directory")
    return verb, arguments


def needs_room(asked: Asked) -> bool:
    """Whether it has to wait on a full disk. Some need little, and give it back."""
    return not isinstance(asked, wire.DropLetters | wire.Vacuum)


class Administration:
    """Those who do it, for one log in one run of its writer."""

    def __init__(
        self,
        letters: Reconsidering,
        redacting: Redacting,
        wiping: Wiping,
        pruning: Pruning,
        vacuuming: Vacuuming,
        sealer: Sealer,
        own: OwnEntries,
        filling: Filling,
    ) -> None:
        self._letters = letters
        self._redacting = redacting
        self._wiping = wiping
        self._pruning = pruning
        self._vacuuming = vacuuming
        self._sealer = sealer
        self._own = own
        self._filling = filling

    def known(self, asked: Asked) -> tuple[Any, ...] | None:
        """The answer to what is being done already, None where something is to be done."""
        if isinstance(asked, wire.Prune) and self._pruning.is_begun(asked):
            return self._pruning.state
        return None

    def do(self, asked: Asked, now: float) -> tuple[Any, ...]:
        """Do it, in transactions of its own, and say what came of it. MUST NOT be called while a
        batch holds what is not committed. Raises `WireError` where it cannot be, and
        `hansard_writer.retries.StoreUnready` where it cannot be now."""
        match asked:
            case wire.Replay():
                return self._letters.replay(asked)
            case wire.DropLetters():
                return self._letters.drop(asked)
            case wire.Redact():
                return self._redact(asked)
            case wire.Prune():
                return self._prune(asked, now)
            case wire.Wipe() | wire.Vacuum():
                return self._tidy(asked)
            case wire.TakeCheckpoint():
                return self._sealer.take(now)
            case wire.RotateKey():
                return self._rotate_key(asked, now)
            case wire.Declare():
                return self._filling.declare(asked)
            case wire.Fill():
                return self._filling.fill(asked)

    def _redact(self, asked: wire.Redact) -> wire.Redacted:
        redacted = self._redacting.redact(asked)
        if redacted.entries or redacted.letters:
            self._wiping.begin()
        return redacted

    def _prune(self, asked: wire.Prune, now: float) -> wire.PruneState:
        state = self._pruning.begin(asked)
        self._sealer.seal(now)  # or it would wait for the next checkpoint, however long that is
        return state

    def _tidy(self, asked: wire.Wipe | wire.Vacuum) -> wire.Wiped | wire.Vacuumed:
        return (
            self._wiping.piece() if isinstance(asked, wire.Wipe) else self._vacuuming.piece(asked)
        )

    def _rotate_key(self, asked: wire.RotateKey, now: float) -> wire.KeyRotated:
        try:
            seq = self._sealer.rotate(self._own, asked.verifier_key)
        except KeyUnusable as error:
            raise wire.WireError(str(error)) from error
        return wire.KeyRotated(seq, self._sealer.take(now).note)
