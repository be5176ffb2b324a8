"""The writer's side of derived fields: which there are, and values of earlier entries.

Somebody else reads payloads and draws values; here they are kept, a small transaction at a time.
"""

from collections.abc import Callable, Sequence
from itertools import chain, repeat
from typing import Final

import apsw

from hansard import wire
from hansard.errors import ConfigError
from hansard_writer.derived.definitions import DerivedField
from hansard_writer.derived.deriving import Deriving, StoredField
from hansard_writer.derived.extraction import Value
from hansard_writer.derived.stored_fields import stored_fields
from hansard_writer.store import Store

ROWS_PER_STATEMENT: Final = 100  # each statement costs half a microsecond, beside two a row
CLEARED_PER_PIECE_MAX: Final = 2_000  # values of a definition that is none any more

_RETIRE: Final = "UPDATE derived_fields SET is_current = 0 WHERE id = ?"
_DECLARE: Final = (
    "INSERT INTO derived_fields(name, definition, declared_at, filled_to) VALUES(?,?,?,?)"
)
_RETIRED: Final = "SELECT id FROM derived_fields WHERE NOT is_current ORDER BY id LIMIT 1"
_CLEAR: Final = (
    "DELETE FROM derived_values WHERE field = ?1 AND seq <= (SELECT max(seq) FROM ("
    "SELECT seq FROM derived_values WHERE field = ?1 ORDER BY seq LIMIT ?2))"
)
_FORGET: Final = "DELETE FROM derived_fields WHERE id = ?"
_EMPTY: Final = "DELETE FROM derived_values WHERE field = ? AND seq > ? AND seq <= ?"
_INSERT: Final = "INSERT INTO derived_values(field, seq, value)"
_STILL_THERE: Final = "SELECT ?1, seq, ?3 FROM entries WHERE seq = ?2 AND payload IS NOT NULL"
_FILLED: Final = "UPDATE derived_fields SET filled_to = ? WHERE id = ?"
_BEGIN_ANEW: Final = "UPDATE derived_fields SET declared_at = ?, filled_to = ? WHERE id = ?"


class Filling:
    """Derived fields of one log, in one run of its writer.

    ``read_declared`` says which there are to be; it raises `ConfigError`. MUST NOT be used while a
    batch holds what is not committed. Raises `hansard_writer.retries.StoreUnready`, with nothing
    changed.
    """

    def __init__(
        self,
        store: Store,
        read_declared: Callable[[], Sequence[DerivedField]],
        is_in_use: Callable[[], bool],
    ) -> None:
        self._store = store
        self._read_declared = read_declared
        self._is_in_use = is_in_use
        self.fields = self._declare()

    def declare(self, asked: wire.Declare) -> wire.DerivedFields:
        """Look again at what is declared: what was changed or is new begins anew, for entries to
        come at once; and what is asked to, whose values stay until they are filled over. Raises
        `WireError` where the settings file is wrong, or has no such field."""
        try:
            self.fields = self._declare()
        except ConfigError as error:
            raise wire.WireError(str(error)) from error
        if asked.anew:
            self._begin_anew(asked.anew)
        return wire.DerivedFields(
            [
                [each.id, each.field.name, each.field.definition, each.declared_at, each.filled_to]
                for each in self.fields
            ],
            self._as_of(),
            self._retired() is not None,
            self._is_in_use(),
        )

    def fill(self, asked: wire.Fill) -> wire.Filled:
        """Keep values of entries behind ``after`` up to ``upto``, or clear some of those of a
        definition that is none any more. Raises `WireError` for a field that is not there yet, or
        is further already."""
        fills = wire.values_of(asked)
        if not fills:
            return self._clear()
        fields = {each.id: each for each in self.fields}
        for id_, _, _ in fills:
            field = fields.get(id_)
            if field is None:
                raise wire.WireError(f"there is no derived field {id_}: it was declared anew")
            if field.filled_to != asked.after or asked.upto > field.declared_at:
                raise wire.WireError(
                    f"{field.field.name} is filled up to {field.filled_to} of {field.declared_at}"
                    f", not to {asked.after}: somebody else fills it too"
                )
        as_of = self._as_of()
        with self._store.transaction() as connection:
            for id_, seqs, values in fills:
                connection.execute(_EMPTY, (id_, asked.after, asked.upto))
                if asked.as_of == as_of:
                    _insert(connection, id_, seqs, values)
                else:  # perhaps payloads are gone that the values were drawn from
                    rows = zip(repeat(id_), seqs, values, strict=False)
                    connection.executemany(f"{_INSERT} {_STILL_THERE}", rows)
                connection.execute(_FILLED, (asked.upto, id_))
        filled = {id_ for id_, _, _ in fills}
        self.fields = [
            each._replace(filled_to=asked.upto) if each.id in filled else each
            for each in self.fields
        ]
        return wire.Filled(asked.upto, self._retired() is not None, self._is_in_use())

    # --- inside ---

    def _declare(self) -> list[StoredField]:
        declared = {(each.name, each.definition): each for each in self._read_declared()}
        stored = stored_fields(self._store.connection.execute)
        known = {(each.field.name, each.field.definition) for each in stored}
        new = [field for key, field in declared.items() if key not in known]
        gone = [
            each.id for each in stored if (each.field.name, each.field.definition) not in declared
        ]
        if not new and not gone:
            return stored
        size, pruned = self._store.size, self._store.pruned.to
        connection = self._store.connection
        with self._store.handle.transaction():
            connection.executemany(_RETIRE, [(id_,) for id_ in gone])
            connection.executemany(
                _DECLARE, [(each.name, each.definition, size, pruned) for each in new]
            )
            stored = stored_fields(connection.execute)
        self._store.deriving = Deriving(stored)
        return stored

    def _as_of(self) -> int:
        """Grows with each redaction, of which there is an entry, and each piece that is pruned."""
        return self._store.own_producer().watermark + self._store.pruned.to

    def _begin_anew(self, names: Sequence[str]) -> None:
        fields = {each.field.name: each for each in self.fields}
        if unknown := [name for name in names if name not in fields]:
            raise wire.WireError(f"there is no derived field {unknown[0]!r:.80}")
        size, pruned = self._store.size, self._store.pruned.to
        with self._store.transaction() as connection:
            for after, upto in ((-wire.INT64_MAX, pruned), (size, wire.INT64_MAX)):  # no entries
                connection.executemany(_EMPTY, [(fields[name].id, after, upto) for name in names])
            connection.executemany(_BEGIN_ANEW, [(size, pruned, fields[name].id) for name in names])
            self.fields = stored_fields(connection.execute)

    def _retired(self) -> int | None:
        found: int | None = self._store.handle.one(_RETIRED)
        return found

    def _clear(self) -> wire.Filled:
        retired = self._retired()
        if retired is not None:
            with self._store.transaction() as connection:
                connection.execute(_CLEAR, (retired, CLEARED_PER_PIECE_MAX))
                if connection.changes() < CLEARED_PER_PIECE_MAX:
                    connection.execute(_FORGET, (retired,))
        return wire.Filled(0, self._retired() is not None, self._is_in_use())


def _insert(
    connection: apsw.Connection, field: int, seqs: Sequence[int], values: Sequence[Value]
) -> None:
    for start in range(0, len(seqs), ROWS_PER_STATEMENT):
        end = start + ROWS_PER_STATEMENT
        rows = list(chain.from_iterable(zip(seqs[start:end], values[start:end], strict=True)))
        places = ",(?1,?,?)" * (len(rows) // 2)
        connection.execute(f"{_INSERT} VALUES{places[1:]}", (field, *rows))
