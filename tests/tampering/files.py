"""A log's files in the hands of somebody who may write to all of them, while no writer serves it.

What is done by hand is done here: rows changed in spite of triggers, the proof made again.
"""

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import apsw
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tampering import forging
from tampering.forging import Signer

_LEAF_COLUMNS = (
    "seq, producer, producer_seq, created_at, event_type, level, actor, task_id, payload_hash"
)

RECORD = ("log.db", "checkpoint", "verified", "writer.key", "writer.pub")


class Files:
    """A closed log's directory, open for tampering. Closing it leaves no WAL behind. ``old`` is the
    same log as it was before the last run of its writer: somebody has kept a copy."""

    def __init__(self, directory: Path, old: Path | None = None) -> None:
        self.directory = directory
        self.old = old
        self.open()

    def open(self) -> None:
        """Open the database that is there."""
        self.connection = apsw.Connection(str(self.directory / "log.db"))
        self.execute("PRAGMA synchronous = off")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def execute(self, statement: str, *arguments: Any) -> list[Any]:
        """Run one statement, as it is."""
        return self.connection.execute(statement, arguments).fetchall()

    @contextlib.contextmanager
    def without_triggers(self) -> Iterator[None]:
        """Within, nothing refuses a change; behind it the triggers are there as they were."""
        triggers = self.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'")
        for name, _ in triggers:
            self.execute(f"DROP TRIGGER {name}")
        yield
        for _, sql in triggers:
            self.execute(sql)

    def force(self, statement: str, *arguments: Any) -> None:
        """Run a statement that the triggers would refuse."""
        with self.without_triggers():
            self.execute(statement, *arguments)

    def rewrite_schema(self, name: str, sql: str) -> None:
        """Have a table or an index say that it is another, without making it anew."""
        self.execute("PRAGMA writable_schema = on")
        self.execute("UPDATE sqlite_schema SET sql = ? WHERE name = ?", sql, name)
        self.execute("PRAGMA writable_schema = reset")

    @contextlib.contextmanager
    def without_types(self, table: str) -> Iterator[None]:
        """Within, a table takes values of any type, and whatever fails a check."""
        (sql,) = self.execute("SELECT sql FROM sqlite_schema WHERE name = ?", table)[0]
        self.rewrite_schema(table, re.sub(r"\b(INTEGER(?! PRIMARY KEY)|TEXT|BLOB)\b", "ANY", sql))
        self.execute("PRAGMA ignore_check_constraints = on")
        yield
        self.rewrite_schema(table, sql)

    # --- entries ---

    def entry(self, seq: int) -> dict[str, Any]:
        """A row of `entries`."""
        return self.entries("WHERE seq = ?", seq)[0]

    def entries(self, condition: str = "", *arguments: Any) -> list[dict[str, Any]]:
        """Rows of `entries`, in order."""
        cursor = self.connection.execute(
            f"SELECT * FROM entries {condition} ORDER BY seq", arguments
        )
        rows = cursor.fetchall()
        names = [row[1] for row in self.execute("PRAGMA table_info(entries)")]
        return [dict(zip(names, row, strict=True)) for row in rows]

    def change(self, seq: int, **columns: Any) -> None:
        """Change columns of an entry."""
        what = ", ".join(f"{name} = ?" for name in columns)
        self.force(f"UPDATE entries SET {what} WHERE seq = ?", *columns.values(), seq)

    def change_payload(self, seq: int, payload: str) -> None:
        """Another payload, with a salt and a hash that belong to it."""
        salt = os.urandom(16)
        hidden = forging.payload_hash(salt, payload)
        self.change(seq, payload=payload, salt=salt, payload_hash=hidden)

    def hide_again(self) -> None:
        """Give each payload a hash that fits, and a salt where it has none."""
        for entry in self.entries("WHERE payload IS NOT NULL"):
            salt = entry["salt"] or os.urandom(16)
            hidden = forging.payload_hash(salt, entry["payload"])
            if (salt, hidden) != (entry["salt"], entry["payload_hash"]):
                self.change(entry["seq"], salt=salt, payload_hash=hidden)

    def insert(self, **entry: Any) -> None:
        """A row more, as it is."""
        names, marks = ", ".join(entry), ", ".join("?" * len(entry))
        self.execute(f"INSERT INTO entries({names}) VALUES({marks})", *entry.values())

    def append(self, event_type: str, payload: str, *, producer: int = 1, **columns: Any) -> int:
        """An entry more at the end, whole in itself, as a producer's next."""
        last = self.entries()[-1]
        salt = os.urandom(16)
        numbers = "SELECT coalesce(max(producer_seq), 0) FROM entries WHERE producer = ?"
        facts = {
            "seq": last["seq"] + 1,
            "producer": producer,
            "producer_seq": self.execute(numbers, producer)[0][0] + 1,
            "created_at": last["created_at"] + 1,
            "event_type": event_type,
            "level": "info",
            "payload": payload,
            "salt": salt,
            "payload_hash": forging.payload_hash(salt, payload),
        } | columns
        self.insert(**facts)
        return int(facts["seq"])

    # --- the tree ---

    def tree(self) -> forging.Tree:
        """The tree that the entries make; of what is pruned, with the nodes that are kept."""
        hashes = dict(self.execute("SELECT id, producer_hash FROM producers"))
        leaves = {
            entry["seq"] - 1: forging.leaf_hash(entry, hashes.get(entry["producer"], b""))
            for entry in self.entries()
        }
        nodes = {}
        for level, idx, row in self.execute("SELECT level, idx, hashes FROM tree"):
            for place in range(len(row) // 32):
                nodes[level, 16 * idx + place] = row[32 * place : 32 * place + 32]
        return forging.Tree(max(leaves) + 1, leaves, nodes)

    def write_tree(self) -> None:
        """All rows of the tree made again from the entries."""
        rows = self.tree().rows()
        self.execute("DELETE FROM tree")
        self._put_rows(rows)

    def write_leaves(self) -> None:
        """The lowest rows made again from the entries, and no node above them."""
        rows = self.tree().rows()
        self._put_rows({place: hashes for place, hashes in rows.items() if place[0] == 0})

    def row(self, level: int, idx: int) -> bytes:
        """A row of the tree."""
        found: bytes = self.execute(
            "SELECT hashes FROM tree WHERE level = ? AND idx = ?", level, idx
        )[0][0]
        return found

    def _put_rows(self, rows: Mapping[tuple[int, int], bytes]) -> None:
        self.connection.executemany(
            "INSERT OR REPLACE INTO tree(level, idx, hashes) VALUES(?, ?, ?)",
            [(*place, hashes) for place, hashes in rows.items()],
        )

    # --- checkpoints ---

    @property
    def origin(self) -> str:
        """The name that the log signs in."""
        return self.public.partition("+")[0]

    @property
    def public(self) -> str:
        """What writer.pub says."""
        return (self.directory / "writer.pub").read_text().strip()

    def publish(self, signer: Signer) -> None:
        """Have all that says whose key it is say that it is this one."""
        (self.directory / "writer.pub").write_text(signer.verifier_key + "\n")
        self.execute("INSERT OR REPLACE INTO meta VALUES('verifier_key', ?)", signer.verifier_key)

    @property
    def own_signer(self) -> Signer:
        """The log's own key."""
        pem = (self.directory / "writer.key").read_bytes()
        key = load_pem_private_key(pem, None)
        assert isinstance(key, Ed25519PrivateKey)
        return Signer(self.origin, key)

    def sizes(self) -> list[int]:
        """Of the checkpoints, in order."""
        return [size for (size,) in self.execute("SELECT size FROM checkpoints ORDER BY size")]

    def note(self, size: int) -> str:
        """The checkpoint of that size."""
        text: str = self.execute("SELECT note FROM checkpoints WHERE size = ?", size)[0][0]
        return text

    def put_note(self, size: int, note: str) -> None:
        """Put a note where a checkpoint was; in DIR/checkpoint too, where it is the last."""
        was_last = self.execute("SELECT max(size) FROM checkpoints")[0][0]
        self.execute("UPDATE checkpoints SET note = ? WHERE size = ?", note, size)
        if size == was_last:
            self.last.write_text(note)

    @property
    def last(self) -> Path:
        """DIR/checkpoint."""
        return self.directory / "checkpoint"

    def sign_again(self, signer: Signer) -> None:
        """Make every checkpoint again, of the entries as they are; the last one of all of them."""
        tree = self.tree()
        rows = self.execute("SELECT size, created_at, note FROM checkpoints ORDER BY size")
        self.execute("DELETE FROM checkpoints")
        kept = [row for row in rows if row[0] < tree.size]
        for size, created_at, note in [*kept, (tree.size, *rows[-1][1:])]:
            try:
                text = forging.checkpoint_text(note.partition("\n")[0], size, tree.root(size))
            except KeyError:  # of entries that are pruned: nothing of them was changed
                text = note.partition("\n\n")[0] + "\n"
            self.add_note(size, forging.signed(text, [signer]), created_at)
        self.last.write_text(self.note(tree.size))

    def drop_unfit(self) -> None:
        """Delete the checkpoints that are not of the entries as they are."""
        tree = self.tree()
        for size in self.sizes():
            if size > tree.size or not self._fits(size, tree):
                self.execute("DELETE FROM checkpoints WHERE size = ?", size)
        if sizes := self.sizes():
            self.last.write_text(self.note(sizes[-1]))
        else:
            self.remove("checkpoint")

    def _fits(self, size: int, tree: forging.Tree) -> bool:
        try:
            text = forging.checkpoint_text(self.origin, size, tree.root(size))
        except KeyError:  # of entries that are pruned: nothing of them was changed
            return True
        return self.note(size).startswith(text)

    def add_note(self, size: int, note: str, created_at: int) -> None:
        """A checkpoint more."""
        self.execute(
            "INSERT INTO checkpoints(size, origin, created_at, note) VALUES(?, ?, ?, ?)",
            size,
            note.partition("\n")[0],
            created_at,
            note,
        )

    # --- facts about the log ---

    def meta(self, key: str) -> Any:
        """A value of `meta`."""
        return self.execute("SELECT value FROM meta WHERE key = ?", key)[0][0]

    def remove(self, name: str) -> None:
        """One of the directory's files."""
        (self.directory / name).unlink(missing_ok=True)


def copy_of(directory: Path, place: Path) -> Path:
    """The files of a closed log that make its record, somewhere else."""
    place.mkdir(parents=True)
    for name in RECORD:
        if (directory / name).exists():
            shutil.copy(directory / name, place / name)
    return place


def json_text(**facts: Any) -> str:
    """A payload's text."""
    return json.dumps(facts, separators=(",", ":"))
