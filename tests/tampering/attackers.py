"""Who attacks: both may read and write every file; one of them also has the key that signs."""

from abc import ABC, abstractmethod

from tampering.files import Files
from tampering.forging import Signer, new_signer


class Attacker(ABC):
    """Somebody with full access to the files of a log."""

    name: str

    @abstractmethod
    def signer(self, files: Files) -> Signer:
        """The key to sign with in the log's name; what says whose key it is, says so then."""

    def cover(self, files: Files) -> None:
        """Make all of the proof again, so that it belongs to the entries as they are now."""
        files.hide_again()
        files.write_tree()
        files.sign_again(self.signer(files))


class WithoutKey(Attacker):
    """Whom the operating system's rights, or a key kept elsewhere, have kept from writer.key. Makes
    a key of their own."""

    name = "without the key"

    def signer(self, files: Files) -> Signer:
        signer = new_signer(files.origin)
        files.publish(signer)
        return signer

    def cover_unsigned(self, files: Files) -> None:
        """The same, without a wrong signature: what does not fit any more is gone."""
        files.hide_again()
        files.write_tree()
        files.drop_unfit()


class WithKey(Attacker):
    """The log's own operator, or whoever became root there. Only what has left the machine, a
    checkpoint, is out of their reach."""

    name = "with the key"

    def signer(self, files: Files) -> Signer:
        return files.own_signer


ATTACKERS: tuple[Attacker, ...] = (WithoutKey(), WithKey())
