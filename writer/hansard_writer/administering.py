"""What administrators ask of the writer, verb by verb: who does it, and what is said of it.

When it may be done, behind which batch, and what becomes of errors, is the loop's business.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from hansard import wire
from hansard_writer.own_entries import OwnEntries
from hansard_writer.proof.keys import KeyUnusable
from hansard_writer.pruning import Pruning
from hansard_writer.reconsidering import Reconsidering
from hansard_writer.redacting import Redacting
from hansard_writer.sealing import Sealer
from hansard_writer.wiping import Wiping

VERBS: Final = frozenset({"replay", "drop", "prune", "redact", "wipe", "checkpoint", "rotate_key"})
NEED_LITTLE_ROOM: Final = frozenset({"drop"})  # and give it back


class Administration:
    """Of one log, in one run of its writer. What raises `StoreUnready` has changed nothing."""

    def __init__(
        self,
        *,
        own: OwnEntries,
        letters: Reconsidering,
        pruning: Pruning,
        redacting: Redacting,
        wiping: Wiping,
        sealer: Sealer,
    ) -> None:
        self._own = own
        self._pruning = pruning
        self._redacting = redacting
        self._wiping = wiping
        self._sealer = sealer
        self._does: Mapping[str, Callable[[list[Any], float], tuple[Any, ...]]] = {
            "replay": lambda arguments, _: letters.replay(wire.replay_of(arguments)),
            "drop": lambda arguments, _: letters.drop(wire.drop_letters_of(arguments)),
            "prune": self._prune,
            "redact": self._redact,
            "wipe": lambda _, __: wiping.piece(),
            "checkpoint": self._take_checkpoint,
            "rotate_key": self._rotate_key,
        }

    def known(self, verb: str, arguments: list[Any]) -> tuple[Any, ...] | None:
        """The answer where nothing is to be done for it; None where something is."""
        if verb == "prune" and self._pruning.is_begun(wire.prune_of(arguments)):
            return self._pruning.state
        return None

    def do(self, verb: str, arguments: list[Any], now: float) -> tuple[Any, ...]:
        """Do it, or begin to; the answer. MUST NOT be called while a batch holds what is not
        committed. Raises `WireError` for what cannot be done."""
        return self._does[verb](arguments, now)

    # --- inside ---

    def _prune(self, arguments: list[Any], now: float) -> wire.PruneState:
        state = self._pruning.begin(wire.prune_of(arguments))
        self._sealer.seal(now)  # or it would wait for the next checkpoint
        return state

    def _redact(self, arguments: list[Any], _now: float) -> wire.Redacted:
        redacted = self._redacting.redact(wire.redact_of(arguments))
        if redacted.entries or redacted.letters:
            self._wiping.begin()
        return redacted

    def _take_checkpoint(self, arguments: list[Any], now: float) -> wire.Sealed:
        wire.take_checkpoint_of(arguments)
        return self._sealer.take(now)

    def _rotate_key(self, arguments: list[Any], now: float) -> wire.KeyRotated:
        verifier_key = wire.rotate_key_of(arguments).verifier_key
        try:
            seq = self._sealer.rotate(self._own, verifier_key)
            return wire.KeyRotated(seq, self._sealer.take(now).note)
        except KeyUnusable as error:
            raise wire.WireError(str(error)) from error
