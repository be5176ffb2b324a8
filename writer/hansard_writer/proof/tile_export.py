"""A log's tree as C2SP tlog-tiles: static files that any web server serves. It writes files.

Nothing is exported that does not lead to the root that was signed. What is full never changes and
is written once; the checkpoint comes last, so that whoever reads it finds the tiles it needs.

Entries that were pruned are not there, and neither are tiles that are wholly of them; a bundle of
which the first entries were pruned is left out too: the minimum index that the format speaks of is
the next multiple of 256. Files of an earlier export stay.
"""

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from hansard.errors import AuditLogError
from hansard.reader_connection import ReadConnection
from hansard_writer.proof import leaves
from hansard_writer.proof.checkpoint import Checkpoint, read_checkpoint
from hansard_writer.proof.merkle_hash_tree import (
    HASH_BYTES,
    ROW_HASHES,
    Edge,
    leaf_hash,
    root,
    split_hashes,
    tree_hash,
)
from hansard_writer.proof.proving import (
    NotProvable,
    checkpoint_of_size,
    pruned_to,
)
from hansard_writer.proof.signed_note import NOTE_BYTES_MAX, MalformedNote
from hansard_writer.proof.stored_tree import NodeMissing, stored_tree
from hansard_writer.proof.tiles import TILE_HASHES, TILE_HEIGHT, Tile, bundle, levels, tiles

CHECKPOINT: Final = "checkpoint"

_ROWS_A_TILE: Final = TILE_HASHES // ROW_HASHES
_HASHES: Final = "SELECT hashes FROM tree WHERE level = ? AND idx BETWEEN ? AND ? ORDER BY idx"
_ENTRIES: Final = (
    "SELECT e.seq, p.producer_hash, e.producer_seq, e.created_at, e.event_type, e.level, e.actor,"
    " e.task_id, e.payload_hash FROM entries AS e JOIN producers AS p ON p.id = e.producer"
    " WHERE e.seq BETWEEN ? AND ? ORDER BY e.seq"
)


Progress = Callable[[int], None]
"""Hears, again and again, up to which entry the export is."""


class ExportFailed(AuditLogError):
    """The log cannot be exported to this place. The message says why, and what to do."""


class Exported(NamedTuple):
    """What an export has come to: how many entries the tree has, how many of them are new since
    the export before, how many files were written, and from which entry on, counted from 0,
    bundles are there."""

    size: int
    new_entries: int
    files: int
    minimum_index: int


def export_tiles(
    log: ReadConnection, note: str, directory: Path, progress: Progress = lambda _: None
) -> Exported:
    """Write the tree of one of the log's checkpoints, given as its note, to a directory: what an
    earlier export there lacks. Raises `ExportFailed`, and OSError; the directory then has the
    checkpoint that it had, and all that this one names."""
    checkpoint = read_checkpoint(note)
    export = _Export(log, directory, checkpoint.size, _size_before(log, checkpoint, directory))
    partial = [export.level(level, progress) for level in levels(checkpoint.size)]
    if root(Edge(checkpoint.size, tuple(partial))) != checkpoint.root:
        raise ExportFailed("the log's tree is not the one that was signed; see `hansard verify`")
    os.sync()  # the tiles, before the checkpoint that names them
    export.write(CHECKPOINT, note.encode())
    export.drop_outgrown()
    return export.outcome()


class _Export:
    """One export on its way."""

    def __init__(self, log: ReadConnection, directory: Path, size: int, before: int) -> None:
        self._log = log
        self._tree = stored_tree(log.rows)
        self._pruned_to = pruned_to(log)
        self._directory = directory
        self._size = size
        self._before = before
        self._files = 0
        self._outgrown: list[Path] = []

    def level(self, level: int, progress: Progress) -> bytes:
        """Write the tiles of a level, and the bundles under it; the hashes of its partial tile."""
        for tile in tiles(level, self._size, self._before):
            if tile.end_entry <= self._pruned_to:
                continue
            hashes = self._hashes(tile)
            if level == 0:
                self._write_bundle(tile, hashes)
                progress(tile.first_entry + tile.width)
            self._write_tile(tile.path, hashes, tile)
            if not tile.is_full:
                return hashes
        return b""

    def write(self, path: str, content: bytes) -> None:
        """Put content into a file all at once, unless it is there."""
        place = self._directory / path
        if place.is_file() and place.read_bytes() == content:
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = place.with_name(f".{place.name}.{os.getpid()}")
        try:
            temporary.write_bytes(content)
            temporary.replace(place)
        finally:
            temporary.unlink(missing_ok=True)  # of an export that fails, or is interrupted
        self._files += 1

    def drop_outgrown(self) -> None:
        """Remove the partial files that are the beginning of full ones now."""
        for each in self._outgrown:
            shutil.rmtree(each, ignore_errors=True)

    def outcome(self) -> Exported:
        """What it has come to."""
        minimum = -(-self._pruned_to // TILE_HASHES) * TILE_HASHES
        return Exported(
            self._size, self._size - self._before, self._files, min(minimum, self._size)
        )

    # --- inside ---

    def _write_tile(self, path: str, content: bytes, tile: Tile) -> None:
        self.write(path, content)
        if tile.is_full:
            self._outgrown.append(self._directory / f"{path}.p")

    def _write_bundle(self, tile: Tile, hashes: bytes) -> None:
        """The entries of a tile, which MUST hash to it."""
        first, end = tile.first_entry, tile.first_entry + tile.width
        if first < self._pruned_to:
            return
        try:
            rows = self._log.rows(_ENTRIES, first + 1, end)
            entries = [leaves.entry_bytes(*row) for row in rows]
        except UnicodeDecodeError:
            entries = []
        if b"".join(map(leaf_hash, entries)) != hashes:
            raise self._disagreement(f"entries {first + 1:,} to {end:,}")
        self._write_tile(tile.bundle_path, bundle(entries), tile)

    def _hashes(self, tile: Tile) -> bytes:
        """A tile's hashes. Those of a full one MUST lead to what the tile above has of it."""
        level, first = 2 * tile.level, tile.number * _ROWS_A_TILE
        rows = self._log.rows(_HASHES, level, first, first + _ROWS_A_TILE - 1)
        hashes = b"".join(row for (row,) in rows)[: tile.width * HASH_BYTES]
        if len(hashes) != tile.width * HASH_BYTES:
            raise self._disagreement(f"the hashes of {tile.path}")
        if tile.is_full and tree_hash(split_hashes(hashes)) != self._node_above(tile):
            raise self._disagreement(f"the hashes of {tile.path}")
        return hashes

    def _node_above(self, tile: Tile) -> bytes | None:
        with contextlib.suppress(NodeMissing):
            return self._tree.node(TILE_HEIGHT * (tile.level + 1), tile.number)
        return None

    def _disagreement(self, what: str) -> ExportFailed:
        if pruned_to(self._log) != self._pruned_to:
            return ExportFailed("entries were pruned meanwhile: export once more")
        return ExportFailed(f"{what} are gone, or altered; see `hansard verify`")


def _size_before(log: ReadConnection, checkpoint: Checkpoint, directory: Path) -> int:
    """How many entries an earlier export has, of this log's own history."""
    path = directory / CHECKPOINT
    try:
        with path.open("rb") as file:
            before = read_checkpoint(file.read(NOTE_BYTES_MAX + 1))
    except FileNotFoundError:
        return 0
    except MalformedNote as error:
        raise ExportFailed(f"{path} is no checkpoint ({error}): name an empty directory") from error
    if before.size > checkpoint.size or before.root != _root(log, before.size):
        raise ExportFailed(
            f"{directory} has {before.size:,} entries of {before.origin!r:.100}, which are not "
            "those of this log: name an empty directory"
        )
    return before.size


def _root(log: ReadConnection, size: int) -> bytes | None:
    """The root that the log had; of a size that was pruned, the one that was signed."""
    try:
        return stored_tree(log.rows).root(size)
    except NodeMissing:
        with contextlib.suppress(NotProvable):
            return read_checkpoint(checkpoint_of_size(log, size)).root
        return None
