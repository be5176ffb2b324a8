"""A log that is signed, and whoever writes its files: what verification is held against.

The thief drops triggers and puts them back, so that only what he is after can be found.
"""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from hansard_writer.own_entries import OwnEntries
from hansard_writer.proof import Report, verify
from hansard_writer.proof.checkpoint import Checkpoint, sign_checkpoint
from hansard_writer.proof.leaves import entry_bytes, payload_hash
from hansard_writer.proof.merkle_hash_tree import Edge, grow, leaf_hash
from hansard_writer.proof.signed_note import SigningKey
from hansard_writer.proof.stored_tree import READ_ROW, WRITE_ROW, StoredTree
from provable import ProvableLog, signing_key


class SignedLog(ProvableLog):
    """The real store, its own entries, and checkpoints where the writer leaves them."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.execute("PRAGMA synchronous = OFF")  # nothing fails here
        self.own = OwnEntries(self.store, self.store.own_producer(), lambda: 5)
        self.publish(self.key)

    def copied(self, directory: Path) -> "SignedLog":
        """The same log, closed before, to go on with elsewhere."""
        shutil.copytree(self.directory, directory)
        copy = SignedLog(directory)
        copy._chain.seq, copy._chain.crc = self._chain.seq, self._chain.crc
        return copy

    def publish(self, key: SigningKey) -> None:
        """As the writer does once that key signs."""
        self.key = key
        self.execute(
            "INSERT OR IGNORE INTO meta VALUES('verifier_key', ?)", (str(key.verifier_key),)
        )
        (self.directory / "writer.pub").write_text(f"{key.verifier_key}\n")

    def say(self, event_type: str, **facts: Any) -> int:
        """An entry of the writer's own; its seq."""
        with self.own.entering() as entering:
            return self.own.enter(event_type, "warning", facts, entering)

    def seal(self, *keys: SigningKey, size: int | None = None) -> str:
        """A checkpoint, in the database and beside it."""
        size = self.store.size if size is None else size
        signers = keys or (self.key,)
        origin = signers[-1].verifier_key.name
        note = sign_checkpoint(Checkpoint(origin, size, self.tree.root(size)), signers)
        put_checkpoint(self.store.connection, size, origin, note)
        (self.directory / "checkpoint").write_text(note)
        return note

    def rotate(self, seed: int) -> SigningKey:
        """Another key takes over."""
        new = signing_key(self.key.verifier_key.name, seed)
        old = self.key.verifier_key
        self.say(
            "hansard.key", reason="rotated", retired=str(old), verifier_key=str(new.verifier_key)
        )
        return new

    def redacted(self, seq: int, last: int | None = None) -> int:
        """As the writer does it: the payloads are gone, and an entry says so."""
        last = last or seq
        with self.unlocked():
            self.execute("UPDATE entries SET payload = NULL, salt = NULL WHERE seq BETWEEN ? AND ?",
                         (seq, last))  # fmt: skip
        return self.say("hansard.redacted", by="ann", reason="r", entries=[[seq, last]], asked={})

    def pruned(self, last: int) -> None:
        """As the writer does it: said, signed, gone."""
        self.say(
            "hansard.pruned", by="ann", reason=None, first=1, last=last, before="", archive=None
        )
        self.seal()
        with self.unlocked():
            self.delete_prefix(last)

    def delete_prefix(self, last: int) -> None:
        self.execute("DELETE FROM entries WHERE seq <= ?", (last,))
        for level in range(12):
            width = 16 ** (level + 1)
            self.execute(
                "DELETE FROM tree WHERE level = ? AND (idx + 1) * ? <= ?", (level, width, last)
            )

    @contextmanager
    def unlocked(self) -> Iterator[None]:
        """Within, no trigger stops anybody; behind it they are as they were."""
        with unlocked(self.store.connection):
            yield

    def verify(self, **options: Any) -> Report:
        return verify(self.directory, **options)


class Thief:
    """Who has a copy of a log's files, its writer gone, and all rights to them."""

    def __init__(self, log: SignedLog, directory: Path) -> None:
        self.directory = directory
        shutil.copytree(log.directory, directory)
        self.key = log.key
        self._database = directory / "log.db"

    def __call__(self, *statements: str) -> Report:
        """What verification says once these have run."""
        self.change(*statements)
        return self.verify()

    @contextmanager
    def connection(self) -> Iterator[apsw.Connection]:
        connection = apsw.Connection(str(self._database))
        connection.pragma("synchronous", "off")
        try:
            with unlocked(connection):
                yield connection
        finally:
            connection.close()

    def change(self, *statements: str) -> None:
        with self.connection() as connection:
            for statement in statements:
                connection.execute(statement).fetchall()

    def verify(self, **options: Any) -> Report:
        return verify(self.directory, **options)

    def rebuild_tree(self) -> None:
        """Payload hashes and all of the tree, from what the entries are now."""
        with self.connection() as connection:
            rows = connection.execute(
                "SELECT seq, producer_hash, producer_seq, e.created_at, event_type, level, actor,"
                " task_id, salt, payload, payload_hash FROM entries AS e"
                " JOIN producers AS p ON p.id = e.producer ORDER BY seq"
            ).fetchall()
            leaves = b""
            for *facts, salt, payload, kept in rows:
                hidden = kept if payload is None else payload_hash(salt, payload.encode())
                connection.execute(
                    "UPDATE entries SET payload_hash = ? WHERE seq = ?", (hidden, facts[0])
                )
                leaves += leaf_hash(entry_bytes(*facts, hidden))
            connection.execute("DELETE FROM tree")
            connection.executemany(WRITE_ROW, grow(Edge(), leaves)[1])

    def hash_payload(self, seq: int) -> None:
        """The payload's hash, and nothing of the tree."""
        with self.connection() as connection:
            salt, payload = connection.execute(
                "SELECT salt, payload FROM entries WHERE seq = ?", (seq,)
            ).get
            hidden = payload_hash(salt, payload.encode())
            connection.execute("UPDATE entries SET payload_hash = ? WHERE seq = ?", (hidden, seq))

    def sign_again(self, key: SigningKey, *others: SigningKey) -> None:
        """Every checkpoint, for the tree as it is now."""
        with self.connection() as connection:
            tree = StoredTree(lambda *row: connection.execute(READ_ROW, row).get)
            sizes = connection.execute("SELECT size FROM checkpoints ORDER BY size").fetchall()
            connection.execute("DELETE FROM checkpoints")
            for (size,) in sizes:
                origin = key.verifier_key.name
                text = Checkpoint(origin, size, tree.root(size))
                note = sign_checkpoint(text, [*others, key])
                put_checkpoint(connection, size, origin, note)
                (self.directory / "checkpoint").write_text(note)

    def publish(self, key: SigningKey) -> None:
        (self.directory / "writer.pub").write_text(f"{key.verifier_key}\n")


def put_checkpoint(connection: apsw.Connection, size: int, origin: str, note: str) -> None:
    connection.execute(
        "INSERT INTO checkpoints(size, origin, created_at, note) VALUES(?,?,?,?)",
        (size, origin, time.time_ns(), note),
    )


@contextmanager
def unlocked(connection: apsw.Connection) -> Iterator[None]:
    """Within, a transaction in which no trigger stops anybody; behind it they are as they were."""
    triggers = connection.execute(
        "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'"
    ).fetchall()
    connection.execute("BEGIN")
    for name, _ in triggers:
        connection.execute(f"DROP TRIGGER {name}")
    yield
    for _, sql in triggers:
        connection.execute(sql)
    connection.execute("COMMIT")
