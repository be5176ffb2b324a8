"""A log with a proof, made in the test's own process: entries, and checkpoints when it likes."""

from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from frames import Chain, event
from hansard_writer.intake import Intake
from hansard_writer.proof.checkpoint import Checkpoint, sign_checkpoint
from hansard_writer.proof.signed_note import SigningKey
from hansard_writer.proof.stored_tree import DELETE_ROWS, READ_ROW, StoredTree, rows_within
from hansard_writer.store import Store


def signing_key(name: str, seed: int = 1) -> SigningKey:
    """The same key for the same seed."""
    return SigningKey(name, Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32))


class ProvableLog:
    """The real store, and a key that signs what it is told to."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.store = Store(
            directory / "log.db", 0o600, dead_letters_max=10, dead_letters_bytes_max=1_000
        )
        self.execute = self.store.connection.execute
        self.origin = f"hansard/{self.store.log_id.hex()}"
        self.key = signing_key(self.origin)
        self._chain = Chain()
        self._intake = Intake(
            self.store.find_producer, self.store.next_producer_id, self.store.own_producer()
        )

    @property
    def keys(self) -> list[Any]:
        """What whoever checks its proofs needs."""
        return [self.key.verifier_key]

    @property
    def tree(self) -> StoredTree:
        return StoredTree(lambda *row: self.execute(READ_ROW, row).get)

    def enter(self, *events: bytes, count: int = 0) -> None:
        """Enter these events, or so many of any kind."""
        if not events:
            events = tuple(event(f'{{"n":{number}}}') for number in range(count))
        for start in range(0, len(events), 1_000):
            piece = events[start : start + 1_000]
            state = self._intake.greet(
                self._chain.hello(self._chain.seq + 1, self._chain.crc), 0.0, 5
            )
            self._intake.take(state, self._chain.frame(*piece), 0.0, 5)
            self.store.write(self._intake.batch, 5)
            self._intake.fresh_batch()

    def note(self, size: int | None = None, origin: str | None = None, root: bytes = b"") -> str:
        """A checkpoint of the tree as it was at a size, or is."""
        size = self.store.size if size is None else size
        checkpoint = Checkpoint(origin or self.origin, size, root or self.tree.root(size))
        return sign_checkpoint(checkpoint, [self.key])

    def sign(self, size: int | None = None) -> str:
        """The same, in the database and in its file too."""
        note = self.note(size)
        size = self.store.size if size is None else size
        self.execute(
            "INSERT INTO checkpoints(size, origin, created_at, note) VALUES(?,?,?,?)",
            (size, self.origin, 10**18, note),
        )
        (self.directory / "checkpoint").write_text(note)
        return note

    def change(self, statement: str, *bindings: Any) -> None:
        """What a thief of the file does, whom no trigger stops."""
        found = self.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall()
        for (name,) in found:
            if name.startswith("entries_"):
                self.execute(f"DROP TRIGGER {name}")
        self.execute(statement, bindings)

    def redact(self, seq: int) -> None:
        """Payload and salt are gone."""
        self.change("UPDATE entries SET payload = NULL, salt = NULL WHERE seq = ?", seq)

    def prune(self, last: int) -> None:
        """Entries up to one are gone, and what of the tree may go with them."""
        self.change("DELETE FROM entries WHERE seq <= ?", last)
        for place in rows_within(last):
            self.execute(DELETE_ROWS, place)
        self.execute("INSERT OR REPLACE INTO meta VALUES('pruned_to', ?)", (last,))

    def close(self) -> None:
        self.store.close()
