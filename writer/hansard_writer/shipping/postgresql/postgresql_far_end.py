"""What PostgreSQL keeps of the logs that were shipped to it, for whoever verifies it there.

All that it says of a log is of one snapshot. It writes nothing, and compares nothing with the tree;
only the JSONB it has the server hold against the text.
"""

from collections.abc import Iterator
from typing import Any, Final

import psycopg

from hansard_writer.proof.leaves import SALT_BYTES
from hansard_writer.proof.merkle_hash_tree import Edge
from hansard_writer.proof.verifying.entry_rows import PRODUCER, SEQ
from hansard_writer.shipping.far_end import Head, Page
from hansard_writer.shipping.postgresql.connecting import Address
from hansard_writer.shipping.postgresql.errors import is_of_content, translated
from hansard_writer.shipping.postgresql.making import found_version, require_known
from hansard_writer.shipping.postgresql.packed_edge import unpack_edge
from hansard_writer.shipping.target import TargetRefused

PAGE_ENTRIES: Final = 256  # read at once: an entry may have 1 MiB
NOTES_AT_ONCE: Final = 1_000
OWNERS_REMEMBERED_MAX: Final = 10_000
SEQ_MIN: Final = -(1 << 63)  # no log has one below 1; somebody may have put it there

MISFIT: Final = "its JSONB is not what its payload says"
NOT_COMPARED: Final = "its JSONB could not be held against its payload"

_BEGIN: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
# Without statistics, as right behind a first shipping, the planner would sort all that is left of a
# log for each page of it.
_BY_INDEX: Final = ("SET LOCAL enable_sort = off", "SET LOCAL enable_bitmapscan = off")
_SAVEPOINT: Final = "SAVEPOINT before_page"
_BACK: Final = "ROLLBACK TO SAVEPOINT before_page"
_ORIGINS: Final = """
    SELECT origin FROM hansard.origins WHERE size > 0 ORDER BY origin COLLATE "C"
"""
_HEAD: Final = "SELECT id, size, begun, proof FROM hansard.origins WHERE origin = %s"
_NOTES: Final = f"""
    SELECT size, note FROM hansard.checkpoints
    WHERE origin = %s AND size > %s ORDER BY size LIMIT {NOTES_AT_ONCE}
"""  # noqa: S608 - our own words
_PRODUCERS: Final = """
    SELECT id, producer_hash FROM hansard.producers WHERE origin = %s AND id = ANY(%s)
"""
_MISFITS: Final = """
    CASE WHEN payload IS NULL THEN document IS NOT NULL
         WHEN pg_input_is_valid(payload, 'jsonb') THEN document IS DISTINCT FROM payload::jsonb
         ELSE document IS NOT NULL END
"""
_HASHED: Final = f"""
    CASE WHEN payload IS NOT NULL AND length(salt) = {SALT_BYTES}
         THEN salt || convert_to(payload, 'UTF8')
         WHEN payload IS NOT NULL OR salt IS NOT NULL THEN '' END
"""


_ROW_VALUES: Final = 10  # then what is kept beside a row
_LEAF: Final = 10
_MISFIT: Final = 11


def _page(misfits: str) -> str:
    return f"""
        SELECT seq, producer, producer_seq, created_at, event_type, level, actor, task_id,
               payload_hash, {_HASHED}, leaf, {misfits}
        FROM hansard.entries WHERE origin = %s AND seq >= %s ORDER BY seq LIMIT %s
    """  # noqa: S608 - our own words


_PAGE: Final = _page(_MISFITS)
_PAGE_NOT_COMPARED: Final = _page("NULL")


class PostgresqlFarEnd:
    """A `FarEnd` over one connection; one thread's."""

    def __init__(self, address: Address) -> None:
        self.name = address.name
        self._password = address.password
        self._ids: dict[str, int] = {}  # of the one that has begun
        self._connection = address.connect("hansard verify", read_only=True)
        self._cursor = self._connection.cursor(binary=True)
        try:
            with translated(self.name, self._password):
                version = found_version(self._connection)
            require_known(version, self.name)
            if version == 0:
                raise TargetRefused(
                    f"{self.name} has no tables of hansard: nothing was shipped there"
                )
        except BaseException:
            self._connection.close()
            raise

    def origins(self) -> list[str]:
        return [origin for (origin,) in self._rows(_ORIGINS)]

    def head(self, origin: str) -> Head | None:
        with translated(self.name, self._password):
            self._connection.rollback()
            for statement in (_BEGIN, *_BY_INDEX):
                self._connection.execute(statement)
        found = self._rows(_HEAD, origin)
        if not found:
            return None
        id_, size, begun, proof = found[0]
        self._rows(_SAVEPOINT)
        self._ids = {origin: id_}
        return Head(size, self._unpacked(begun, origin), proof)

    def notes(self, origin: str) -> Iterator[str]:
        size, id_ = SEQ_MIN, self._ids[origin]
        while rows := self._rows(_NOTES, id_, size):
            yield from (note for _, note in rows)
            size = rows[-1][0]

    def pages(self, origin: str) -> Iterator[Page]:
        id_, first, count = self._ids[origin], SEQ_MIN, PAGE_ENTRIES
        owners: dict[int, bytes | None] = {}
        while True:
            rows = self._page(id_, first, count)
            if rows is None:  # one of them cannot be compared: come closer to it
                count //= 2
                continue
            if not rows:
                return
            first, count = rows[-1][SEQ] + 1, min(max(count, 1) * 2, PAGE_ENTRIES)
            self._learn(owners, id_, {row[PRODUCER] for row in rows})
            yield Page(
                [row[:_ROW_VALUES] for row in rows],
                owners,
                [row[_LEAF] for row in rows],
                [
                    (row[SEQ], NOT_COMPARED if row[_MISFIT] is None else MISFIT)
                    for row in rows
                    if row[_MISFIT] is not False
                ],
            )

    def close(self) -> None:
        self._connection.close()

    # --- inside ---

    def _page(self, id_: int, first: int, count: int) -> list[Any] | None:
        """So many entries from one on, None where the server does not get through comparing them;
        with a count of 0 one entry, not compared."""
        statement = _PAGE if count else _PAGE_NOT_COMPARED
        with translated(self.name, self._password):
            try:
                self._cursor.execute(statement, (id_, first, max(count, 1)))
                rows: list[Any] = self._cursor.fetchall()
            except psycopg.Error as error:
                if not (count and is_of_content(error)):
                    raise
                self._connection.execute(_BACK)
                return None
        return rows

    def _learn(self, owners: dict[int, bytes | None], id_: int, wanted: set[int]) -> None:
        """Have the hashes of producers, None for one that is not there."""
        if len(owners) > OWNERS_REMEMBERED_MAX:
            owners.clear()
        unknown = wanted.difference(owners)
        if unknown:
            owners.update(dict.fromkeys(unknown))
            owners.update(self._rows(_PRODUCERS, id_, list(unknown)))

    def _rows(self, statement: str, *values: Any) -> list[Any]:
        with translated(self.name, self._password):
            found = self._cursor.execute(statement, values)
            return found.fetchall() if found.description else []

    def _unpacked(self, packed: bytes, origin: str) -> Edge:
        try:
            return unpack_edge(packed)
        except ValueError:
            raise TargetRefused(
                f"{self.name}: where {origin} begins does not make sense, somebody has altered it"
            ) from None
