"""The keys that a run of the writer signs with, and their files.

Two while one takes the other's place: both sign the first checkpoint behind the entry that says so,
and only then does the file change. When to sign, and what, is not decided here.
"""

import contextlib
import logging
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hansard import directory as layout
from hansard_writer.durable_files import sync_directory
from hansard_writer.proof import keys
from hansard_writer.proof.checkpoint import Checkpoint, sign_checkpoint
from hansard_writer.proof.signed_note import SigningKey, VerifierKey

SHARED_PUBLIC_MODE: Final = 0o640

_LOG: Final = logging.getLogger("hansard.writer")


class Signing:
    """Who signs the log in a directory: one key, or two of which the last takes over."""

    def __init__(
        self,
        directory: Path,
        signers: tuple[SigningKey, ...],
        *,
        is_rotating: bool,
        is_shared: bool,
    ) -> None:
        self._directory = directory
        self._signers = signers
        self.is_rotating = is_rotating
        self.public_mode = SHARED_PUBLIC_MODE if is_shared else layout.PRIVATE_FILE_MODE

    @property
    def verifier_key(self) -> VerifierKey:
        """The one that signs from now on."""
        return self._signers[-1].verifier_key

    @property
    def origin(self) -> str:
        """Of the checkpoints."""
        return self.verifier_key.name

    def sign(self, size: int, root: bytes) -> str:
        """The note of a checkpoint."""
        return sign_checkpoint(Checkpoint(self.origin, size, root), self._signers)

    # --- one key takes another's place ---

    def proposed(self, verifier_key: str) -> SigningKey:
        """The key that waits to take over, if that is its public half. Raises `KeyUnusable`."""
        path = self._directory / layout.NEXT_KEY
        if self.is_rotating:
            raise keys.KeyUnusable(f"a rotation to {self.verifier_key} is under way: try again")
        key = read_optional_key(path)
        if key is None:
            raise keys.KeyUnusable(f"there is no {path}: `hansard keys rotate` puts a key there")
        proposed = SigningKey(self.origin, key)
        if proposed.verifier_key == self.verifier_key:
            raise keys.KeyUnusable(f"{path} is the key that signs already: give another")
        if str(proposed.verifier_key) != verifier_key:
            raise keys.KeyUnusable(f"{path} is another key, {proposed.verifier_key}: try again")
        return proposed

    def begin_rotation(self, key: SigningKey) -> None:
        """The entry that names the key is committed."""
        self._signers = (self._signers[-1], key)
        self.is_rotating = True

    def end_rotation(self) -> None:
        """The checkpoint that both have signed is written. Raises OSError; then again, please."""
        with contextlib.suppress(FileNotFoundError):  # the last try came so far
            (self._directory / layout.NEXT_KEY).replace(self._directory / layout.KEY)
        sync_directory(self._directory)
        self._signers = self._signers[-1:]
        self.publish()
        self.is_rotating = False
        _LOG.info("%s is replaced: the log is signed as %s", layout.KEY, self.verifier_key)

    # --- files ---

    def publish(self) -> None:
        """Have writer.pub say who signs. Raises OSError."""
        path = self._directory / layout.PUBLIC_KEY
        with contextlib.suppress(keys.KeyUnusable, FileNotFoundError):
            if keys.read_verifier_key(path) == self.verifier_key:
                return
        keys.write_verifier_key(path, self.verifier_key, self.public_mode)

    def forget_next_key(self) -> None:
        """Remove a key that was to take over, but is named by no entry. Raises OSError."""
        path = self._directory / layout.NEXT_KEY
        if path.exists():
            path.unlink()
            _LOG.warning("%s is removed: its rotation had not begun", path)


def read_optional_key(path: Path) -> Ed25519PrivateKey | None:
    """As `keys.read_key`; None where there is no file."""
    try:
        return keys.read_key(path)
    except FileNotFoundError:
        return None
