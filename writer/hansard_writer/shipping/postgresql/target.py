"""PostgreSQL as a target: a batch is one transaction, and its entries are one COPY.

It verifies nothing, and decides nothing about when it is tried again.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple

import psycopg

from hansard_writer.proof.checkpoint import read_checkpoint
from hansard_writer.proof.merkle_hash_tree import Edge, grow
from hansard_writer.proof.verifying.entry_rows import SEQ, Row
from hansard_writer.proof.verifying.statements import Ranges
from hansard_writer.shipping.batch import Batch, Checked, Owner, payloads
from hansard_writer.shipping.postgresql.connecting import Address
from hansard_writer.shipping.postgresql.errors import is_of_content, translated
from hansard_writer.shipping.postgresql.making import make
from hansard_writer.shipping.postgresql.packed_edge import pack_edge, unpack_edge
from hansard_writer.shipping.postgresql.rows_to_copy import COLUMNS, CopyEncoder, suspects
from hansard_writer.shipping.postgresql.shipper_lock import Backend, lock, own_backend, unlock
from hansard_writer.shipping.target import TargetRefused, TargetUnavailable

PRODUCERS_REMEMBERED_MAX: Final = 10_000  # of an origin, before it starts over
LOCKS_HELD_MAX: Final = 1_000  # the server has room for some thousands, of all its connections
LEAVES_AT_ONCE: Final = 50_000

_COPY: Final = f"COPY hansard.entries({', '.join(COLUMNS)}) FROM STDIN (FORMAT binary)"
_ADD_ORIGIN: Final = """
    INSERT INTO hansard.origins(origin, log_id, edge, begun) VALUES (%s, %s, %s, %s)
    ON CONFLICT (origin) DO NOTHING
"""
_ORIGIN: Final = "SELECT id, size, edge FROM hansard.origins WHERE origin = %s"
_GROW: Final = """
    UPDATE hansard.origins
    SET size = %s, edge = %s, proof = %s, updated_at = now()
    WHERE id = %s AND size = %s
"""
_ADD_PRODUCERS: Final = """
    INSERT INTO hansard.producers(origin, producer_hash, host, pid, started_at)
    SELECT %s, * FROM unnest(%s::bytea[], %s::text[], %s::bigint[], %s::bigint[])
    ON CONFLICT (origin, producer_hash) DO NOTHING
"""
_PRODUCERS: Final = """
    SELECT producer_hash, id FROM hansard.producers WHERE origin = %s AND producer_hash = ANY(%s)
"""
_ADD_CHECKPOINT: Final = """
    INSERT INTO hansard.checkpoints(origin, size, note) VALUES (%s, %s, %s)
    ON CONFLICT (origin, size) DO NOTHING
"""
_REFUSED: Final = """
    SELECT at FROM unnest(%s::bigint[], %s::text[]) AS given(at, payload)
    WHERE NOT pg_input_is_valid(payload, 'jsonb')
"""
_REDACT: Final = """
    UPDATE hansard.entries SET payload = NULL, document = NULL, salt = NULL
    WHERE origin = %s AND seq BETWEEN %s AND %s AND (payload IS NOT NULL OR salt IS NOT NULL)
"""
_BEGUN: Final = "SELECT begun, resumed, pruned_to FROM hansard.origins WHERE id = %s"
_LEAVES: Final = """
    SELECT leaf FROM hansard.entries WHERE origin = %s AND seq > %s AND seq <= %s ORDER BY seq
"""
_PRUNE: Final = "DELETE FROM hansard.entries WHERE origin = %s AND seq <= %s"
_PRUNED: Final = """
    UPDATE hansard.origins SET begun = %s, resumed = %s, pruned_to = %s WHERE id = %s
"""
_BEGIN_BEHIND: Final = "UPDATE hansard.origins SET begun = %s WHERE id = %s"
_RESUME_BEHIND: Final = "UPDATE hansard.origins SET resumed = %s WHERE id = %s"


class _Origin(NamedTuple):
    """A log, as this connection ships it."""

    id: int
    size: int
    producers: dict[bytes, int]


class PostgresqlTarget:
    """A `Target` over one connection; one thread's.

    ``lost`` is the backend of an earlier connection of the same shipper, if any: see `lock`.
    """

    def __init__(self, address: Address, partitions: int, lost: Backend | None = None) -> None:
        self.name = address.name
        self._password = address.password
        self._lost = lost
        self._encoder = CopyEncoder()
        self._origins: dict[str, _Origin] = {}
        self._locked: dict[str, None] = {}  # the one that was locked longest ago first
        self._connection = address.connect("hansard ship", read_only=False)
        try:
            with translated(self.name, self._password):
                make(self._connection, self.name, partitions)
                self.backend = own_backend(self._connection)
        except BaseException:
            self._connection.close()
            raise

    def edge(self, origin: str) -> Edge:
        with translated(self.name, self._password):
            self._lock(origin)
            empty = pack_edge(Edge())
            self._execute(_ADD_ORIGIN, origin, _log_id(origin), empty, empty)
            id_, size, packed = self._row(_ORIGIN, origin)
        edge = self._unpacked(packed, origin)
        if edge.size != size:
            raise self._is_altered(origin)
        self._origins[origin] = _Origin(id_, size, {})
        return edge

    def append(self, batch: Batch, checked: Checked) -> None:
        with translated(self.name, self._password):
            try:
                self._append(batch, checked, self._refused(suspects(batch.rows), batch.rows))
            except psycopg.Error as error:
                if not is_of_content(error):
                    raise
                # Asked about all first: of a flood of such rows each would be a COPY.
                refused = self._refused(range(len(batch.rows)), batch.rows)
                self._append(batch, checked, refused, one_by_one=True)

    def close(self) -> None:
        self._connection.close()

    # --- inside ---

    def _append(
        self,
        batch: Batch,
        checked: Checked,
        refused: Collection[int],
        *,
        one_by_one: bool = False,
    ) -> None:
        origin = self._origins[batch.origin]
        with self._connection.transaction():
            self._grow(batch, checked, origin)
            producers = self._producers(batch.owners, origin)
            copying = self._copy_apart if one_by_one else self._copy
            copying(origin.id, batch.rows, checked.leaves, producers, refused)
            for note in batch.notes:
                size = read_checkpoint(note).size
                self._execute(_ADD_CHECKPOINT, origin.id, size, note)
            self._redact(origin.id, checked.redacted)
            if checked.pruned_to:
                self._prune(origin.id, checked.pruned_to, batch.origin)
        known = {
            owner.producer_hash: id_
            for owner, id_ in zip(batch.owners, producers.values(), strict=True)
        }
        if len(origin.producers) <= PRODUCERS_REMEMBERED_MAX:
            known = origin.producers | known
        self._origins[batch.origin] = _Origin(origin.id, checked.edge.size, known)

    def _lock(self, origin: str) -> None:
        """Be the only one who ships a log; of very many, of those that were asked for last."""
        if origin in self._locked:  # locks of a session are counted
            return
        lock(self._connection, origin, self.name, self._lost)
        self._locked[origin] = None
        if len(self._locked) > LOCKS_HELD_MAX:
            longest_ago = next(iter(self._locked))
            del self._locked[longest_ago]
            unlock(self._connection, longest_ago)

    def _grow(self, batch: Batch, checked: Checked, origin: _Origin) -> None:
        """The origin's row is locked from here on."""
        edge = pack_edge(checked.edge)
        grown = self._execute(_GROW, checked.edge.size, edge, batch.proof, origin.id, origin.size)
        if grown.rowcount != 1:
            raise TargetUnavailable(
                f"{self.name} has other entries of {batch.origin} than it had: somebody else ships"
            )
        if batch.begun is not None and batch.before > origin.size:
            self._skip(batch.begun, batch.origin, origin)

    def _skip(self, begun: Edge, name: str, origin: _Origin) -> None:
        """Entries in front of these were pruned in the log, and will never come. Those that are
        here stay until the log's own entry says so."""
        first, _, _ = self._row(_BEGUN, origin.id)
        has_none = self._unpacked(first, name).size == origin.size
        statement = _BEGIN_BEHIND if has_none else _RESUME_BEHIND
        self._execute(statement, pack_edge(begun), origin.id)

    def _producers(self, owners: Sequence[Owner], origin: _Origin) -> dict[int, int]:
        """Their ids, by their index."""
        known = origin.producers
        unknown = [owner for owner in owners if owner.producer_hash not in known]
        if unknown:
            hashes, hosts, pids, started = (list(column) for column in zip(*unknown, strict=True))
            hosts = [host.replace("\0", "") for host in hosts]
            self._execute(_ADD_PRODUCERS, origin.id, hashes, hosts, pids, started)
            rows = self._execute(_PRODUCERS, origin.id, hashes).fetchall()
            known = known | dict(rows)
        return {at: known[owner.producer_hash] for at, owner in enumerate(owners)}

    def _copy(
        self,
        origin: int,
        rows: Sequence[Row],
        leaves: bytes,
        producers: Mapping[int, int],
        refused: Collection[int],
    ) -> None:
        with self._connection.cursor() as cursor, cursor.copy(_COPY) as copy:
            for piece in self._encoder.encode(origin, rows, leaves, producers, refused):
                copy.write(piece)

    def _copy_apart(
        self,
        origin: int,
        rows: Sequence[Row],
        leaves: bytes,
        producers: Mapping[int, int],
        refused: Collection[int],
    ) -> None:
        """The same where the server objects to the content of a row, whichever that is: without
        its document it is text and bytes, to which nothing objects."""
        try:
            with self._connection.transaction():
                self._copy(origin, rows, leaves, producers, refused)
        except psycopg.Error as error:
            if not is_of_content(error):
                raise
        else:
            return
        if len(rows) == 1:
            self._copy(origin, rows, leaves, producers, {rows[0][SEQ]})
            return
        middle = len(rows) // 2
        cut = len(leaves) // len(rows) * middle
        self._copy_apart(origin, rows[:middle], leaves[:cut], producers, refused)
        self._copy_apart(origin, rows[middle:], leaves[cut:], producers, refused)

    def _refused(self, indices: Sequence[int], rows: Sequence[Row]) -> set[int]:
        """The seqs of those of the rows whose payload JSONB refuses, by the server's own word."""
        if not indices:
            return set()
        asked = [rows[at] for at in indices]
        texts = [None if text is None else text.decode() for _, text in payloads(asked)]
        found = self._execute(_REFUSED, [row[SEQ] for row in asked], texts)
        return {seq for (seq,) in found}

    def _redact(self, origin: int, ranges: Ranges) -> None:
        found = list(ranges)
        if found:
            with self._connection.cursor() as cursor:
                cursor.executemany(_REDACT, [(origin, first, last) for first, last in found])

    def _prune(self, origin: int, to: int, name: str) -> None:
        """Take out the entries up to one, and keep the edge of the tree in front of the others."""
        begun, resumed, pruned_to = self._row(_BEGUN, origin)
        if to <= pruned_to:
            return
        edge = self._grown(origin, self._unpacked(begun, name), to)
        if edge is None and resumed is not None:  # some were pruned before they came
            edge, resumed = self._grown(origin, self._unpacked(resumed, name), to), None
        if edge is None:
            raise self._is_altered(name)
        self._execute(_PRUNE, origin, to)
        self._execute(_PRUNED, pack_edge(edge), resumed, to, origin)

    def _grown(self, origin: int, edge: Edge, to: int) -> Edge | None:
        """The edge of the tree behind entry ``to``, from one before it; None where entries are
        missing."""
        with self._connection.cursor("leaves") as cursor:
            cursor.execute(_LEAVES, (origin, edge.size, to))
            while rows := cursor.fetchmany(LEAVES_AT_ONCE):
                edge, _ = grow(edge, b"".join(leaf for (leaf,) in rows))
        return edge if edge.size >= to else None

    def _execute(self, statement: str, *values: Any) -> Any:
        return self._connection.execute(statement, values)

    def _row(self, statement: str, *values: Any) -> Any:
        return self._execute(statement, *values).fetchone()

    def _unpacked(self, packed: bytes, origin: str) -> Edge:
        try:
            return unpack_edge(packed)
        except ValueError:
            raise self._is_altered(origin) from None

    def _is_altered(self, origin: str) -> TargetRefused:
        return TargetRefused(
            f"{self.name}: what is kept of {origin} does not fit together, somebody has altered "
            f"it: `hansard verify {self.name}` says where"
        )


def _log_id(origin: str) -> bytes | None:
    try:
        return bytes.fromhex(origin.split("/")[1])
    except (IndexError, ValueError):
        return None
