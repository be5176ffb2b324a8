"""What the SQL of a named operation may do: SQLite's authorizer, and its reasons in words.

It decides by the actions that SQLite names while it prepares a statement, triggers included:
https://www.sqlite.org/c3ref/c_alter_table.html. It executes nothing.
"""

import contextlib
import functools
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import apsw

from hansard_writer import schema

RESERVED_PREFIX: Final = "hansard_"  # for what a later release may add

_WRITES: Final = frozenset({apsw.SQLITE_INSERT, apsw.SQLITE_UPDATE, apsw.SQLITE_DELETE})
_CREATES: Final = frozenset(
    {
        apsw.SQLITE_CREATE_TABLE,
        apsw.SQLITE_CREATE_INDEX,
        apsw.SQLITE_CREATE_VIEW,
        apsw.SQLITE_CREATE_TRIGGER,
    }
)
_DROPS: Final = frozenset(
    {
        apsw.SQLITE_DROP_TABLE,
        apsw.SQLITE_DROP_INDEX,
        apsw.SQLITE_DROP_VIEW,
        apsw.SQLITE_DROP_TRIGGER,
        apsw.SQLITE_REINDEX,  # each CREATE INDEX asks for it too
    }
)
_READS: Final = frozenset(
    {apsw.SQLITE_SELECT, apsw.SQLITE_READ, apsw.SQLITE_FUNCTION, apsw.SQLITE_RECURSIVE}
)
_FORBIDDEN: Final = MappingProxyType(
    {
        apsw.SQLITE_SAVEPOINT: "use savepoints: each runs in a transaction of its own",
        apsw.SQLITE_ATTACH: "ATTACH a database, nor VACUUM",
        apsw.SQLITE_DETACH: "DETACH a database",
        apsw.SQLITE_ANALYZE: "ANALYZE",
        apsw.SQLITE_CREATE_VTABLE: "make virtual tables",
        apsw.SQLITE_DROP_VTABLE: "drop virtual tables",
    }
)
_SCHEMA_TABLE: Final = "sqlite_master"  # SQLite itself refuses statements that write to it


class Authorizer:
    """The callback for ``Connection.set_authorizer``. Whatever is not allowed here is denied.

    ``refusal`` says why the last statement was denied, None if none was.
    """

    def __init__(self) -> None:
        self.refusal: str | None = None
        self.renames = False  # SQLite does not say to what: see `reserved_name`
        self._own = own_objects()
        virtual = (name for name, kind in self._own.items() if kind == "virtual table")
        self._own_prefixes = (RESERVED_PREFIX, *(f"{name}_" for name in virtual))
        self._alters = False

    def begin_statement(self) -> None:
        """What SQLite asks from now on belongs to another statement."""
        self._alters = False

    def __call__(
        self,
        action: int,
        first: str | None,
        second: str | None,
        database: str | None,
        trigger: str | None,
    ) -> int:
        refusal = self._refusal(action, first or "", second or "", database)
        if refusal is None:
            return apsw.SQLITE_OK
        through = f" (through {trigger!r})" if trigger else ""
        self.refusal = f"operations may not {refusal}{through}"
        return apsw.SQLITE_DENY

    def reserved_name(self, connection: apsw.Connection) -> str | None:
        """A name in the schema that is the log's by its beginning but not one of its own."""
        rows: Any = connection.execute("SELECT lower(name) FROM sqlite_schema").fetchall()
        strange = (name for (name,) in rows if name not in self._own)
        return next((name for name in strange if name.startswith(self._own_prefixes)), None)

    def _refusal(self, action: int, first: str, second: str, database: str | None) -> str | None:
        if action in _READS:
            return None
        if action == apsw.SQLITE_TRANSACTION:
            return f"{first}: each runs in a transaction of its own"
        if action == apsw.SQLITE_PRAGMA:
            return None if self._is_sqlites_own_pragma(first, second) else f"use PRAGMA {first}"
        if action == apsw.SQLITE_ALTER_TABLE:
            self._alters = self.renames = True
            return self._touch("change", second)
        if self._alters and first.lower().startswith("sqlite_"):
            return None  # what ALTER and DROP do by themselves
        if database == "temp":
            return "use temporary tables, views or triggers: make ordinary ones"
        if action in _WRITES:
            return self._touch("write to", first)
        if action in _CREATES or action in _DROPS:
            if action == apsw.SQLITE_DROP_TABLE:
                self._alters = True
            return self._touch("make or change", first) or self._touch("change", second)
        return _FORBIDDEN.get(action, f"do this (SQLite's action {action})")

    def _is_sqlites_own_pragma(self, name: str, argument: str) -> bool:
        """What SQLite asks for inside of a full-text search, and of an ALTER TABLE."""
        return (name == "data_version" and not argument) or (name == "quick_check" and self._alters)

    def _touch(self, verb: str, name: str) -> str | None:
        folded = name.lower()
        if folded in {"", _SCHEMA_TABLE}:
            return None
        if folded in self._own:
            return f"{verb} the log's own {self._own[folded]} {name!r}"
        if folded.startswith("sqlite_autoindex_"):
            return None
        if folded.startswith("sqlite_"):
            return f"{verb} SQLite's own table {name!r}"
        if folded.startswith(self._own_prefixes):
            return f"{verb} {name!r}: names that begin so are kept for the log"
        return None


@functools.cache
def own_objects() -> Mapping[str, str]:
    """What the log's schema consists of: lower-case name → table, virtual table, index, view or
    trigger. A database in memory tells: it alone knows all that the statements make."""
    with contextlib.closing(apsw.Connection(":memory:")) as scratch:
        for migration in schema.MIGRATIONS:
            for statement in migration:
                scratch.execute(statement)
        rows: Any = scratch.execute(
            "SELECT lower(name),"
            " iif(sql LIKE 'CREATE VIRTUAL TABLE%', 'virtual table', type) FROM sqlite_schema"
        ).fetchall()
    return MappingProxyType(dict(rows))
