"""Another system's SQLite database, read-only: its tables, their keys, and rows by page.

It holds no transaction between two pages, so that whoever still uses the database is not hindered.
What the values mean is said in `rows`.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import apsw

PAGE_ROWS: Final = 500
BUSY_TIMEOUT_S: Final = 5.0  # while somebody holds the old database exclusively
_ROWIDS: Final = ("rowid", "_rowid_", "oid")

Key = int | float | str | bytes | tuple[Any, ...]


class UnreadableDatabase(Exception):
    """An old database, or a table of it, that cannot be read. Says why, and the way out."""


class BadMap(Exception):
    """A table or columns that the database does not have so. Says which would do."""


@dataclass(frozen=True, slots=True)
class Undecodable:
    """A text that is no UTF-8, as its bytes."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Table:
    """A table as it is read: its columns, and those that are a row's key. ``has_lasting_keys`` is
    false for a rowid that no column names, which VACUUM may change."""

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    has_lasting_keys: bool


class OldDatabase:
    """One read-only connection, for one thread. Raises `UnreadableDatabase`, here and in every
    method."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection = self._open()

    def close(self) -> None:
        """End. Idempotent."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def table(self, name: str, key: Sequence[str] = ()) -> Table:
        """A table or view by its name; ``key`` names the columns that tell its rows apart, by
        default its primary key, else its rowid. Raises `BadMap` too."""
        found = self._rows("SELECT name, type FROM sqlite_schema WHERE type IN ('table', 'view')")
        names = {each.casefold(): each for each, _ in found}
        if name.casefold() not in names:
            there = ", ".join(sorted(each for each in names.values() if each[:7] != "sqlite_"))
            raise BadMap(f"{self.path} has no table {name}; it has {there or 'none at all'}")
        name = names[name.casefold()]
        described = self._rows("SELECT name, type, pk FROM pragma_table_xinfo(?)", name)
        columns = tuple(column for column, _, _ in described)
        if key:
            known = {column.casefold(): column for column in columns}
            chosen = self._chosen_key(name, [known.get(each.casefold(), each) for each in key])
            return Table(name, columns, chosen, True)
        primary = [row for row in sorted(described, key=lambda row: row[2]) if row[2]]
        rowid = self._rowid(name, columns)
        if len(primary) == 1 and primary[0][1].upper() == "INTEGER" and rowid:
            return Table(name, columns, (primary[0][0],), True)
        names_of_key = tuple(column for column, _, _ in primary)
        if names_of_key and not self._has_null(name, names_of_key):
            return Table(name, columns, names_of_key, True)
        if rowid is None:
            raise BadMap(
                f"{name} of {self.path} has no key: name the columns that tell its rows apart "
                "with --map key=COLUMN"
            )
        return Table(name, columns, (rowid,), False)

    def count(self, table: Table) -> int:
        """How many rows it has now."""
        count: int = self._rows(f"SELECT count(*) FROM {_quoted(table.name)}")[0][0]  # noqa: S608
        return count

    def pages(self, table: Table) -> Iterator[list[tuple[Key, tuple[Any, ...]]]]:
        """Its rows with their keys, in the order of the keys, a page at a time."""
        after: tuple[Any, ...] | None = None
        while page := self._page(table, after):
            yield [(keyed(row[: len(table.key)]), row[len(table.key) :]) for row in page]
            last = page[-1][: len(table.key)]
            if any(isinstance(each, Undecodable) for each in last):
                raise UnreadableDatabase(
                    f"{table.name} of {self.path} has a key that is no UTF-8 behind {after}: name "
                    "other columns with --map key=COLUMN"
                )
            after = last

    def row(self, table: Table, key: Key) -> tuple[Any, ...] | None:
        """The values of the row with a key, None where there is none, or it cannot be decoded."""
        values = key if isinstance(key, tuple) else (key,)
        where = " AND ".join(f"{_quoted(column)} = ?" for column in table.key)
        columns = ", ".join(map(_quoted, table.columns))
        try:
            sql = f"SELECT {columns} FROM {_quoted(table.name)} WHERE {where}"  # noqa: S608
            rows = self._rows(sql, *values)
        except UnicodeDecodeError:
            return None
        return rows[0] if rows else None

    def _page(self, table: Table, after: tuple[Any, ...] | None) -> list[tuple[Any, ...]]:
        key = ", ".join(map(_quoted, table.key))
        where = f"WHERE ({key}) > ({', '.join('?' * len(table.key))})" if after else ""
        chosen = (*table.key, *table.columns)
        end = f"FROM {_quoted(table.name)} {where} ORDER BY {key} LIMIT {PAGE_ROWS}"
        try:
            return self._rows(f"SELECT {', '.join(map(_quoted, chosen))} {end}", *(after or ()))
        except UnicodeDecodeError:
            return self._page_by_bytes(chosen, end, after or ())

    def _page_by_bytes(
        self, chosen: Sequence[str], end: str, after: tuple[Any, ...]
    ) -> list[tuple[Any, ...]]:
        """The same where some text is no UTF-8: text is read as bytes, and told from blobs."""
        texts = ", ".join(
            f"typeof({name}) = 'text', iif(typeof({name}) = 'text', CAST({name} AS BLOB), {name})"
            for name in map(_quoted, chosen)
        )
        rows = self._rows(f"SELECT {texts} {end}", *after)
        return [
            tuple(
                _decoded(value) if is_text else value
                for is_text, value in zip(row[::2], row[1::2], strict=True)
            )
            for row in rows
        ]

    def _chosen_key(self, name: str, key: Sequence[str]) -> tuple[str, ...]:
        columns = ", ".join(map(_quoted, key))
        rows, kinds = self._rows(
            f"SELECT sum(n), count(*) FROM (SELECT count(*) AS n FROM {_quoted(name)} "  # noqa: S608
            f"GROUP BY {columns})"
        )[0]
        if rows != kinds and rows is not None:
            raise BadMap(
                f"{columns} is no key of {name}: {rows:,} rows have {kinds:,} values of it; name "
                "columns that tell the rows apart, --map key=A,B"
            )
        if self._has_null(name, key):
            raise BadMap(f"{columns} is no key of {name}: it is NULL in some rows")
        return tuple(key)

    def _has_null(self, name: str, key: Sequence[str]) -> bool:
        missing = " OR ".join(f"{_quoted(column)} IS NULL" for column in key)
        sql = f"SELECT EXISTS (SELECT 1 FROM {_quoted(name)} WHERE {missing})"  # noqa: S608
        return bool(self._rows(sql)[0][0])

    def _rowid(self, name: str, columns: Sequence[str]) -> str | None:
        """A name of the rowid that no column has taken; None where there is no rowid."""
        taken = {column.casefold() for column in columns}
        for each in _ROWIDS:
            if each in taken:
                continue
            try:
                self._connection.execute(f"SELECT {each} FROM {_quoted(name)} LIMIT 0")  # noqa: S608
            except apsw.SQLError:
                return None
            return each
        return None

    def _rows(self, sql: str, *bindings: Any) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(sql, bindings).fetchall()
        except apsw.Error as error:
            raise UnreadableDatabase(self._why(error)) from error

    def _open(self) -> apsw.Connection:
        """As it is; where SQLite may make no shared memory beside it and no WAL waits, as one that
        nobody changes."""
        try:
            with self.path.open("rb"):
                pass
        except OSError as error:
            raise UnreadableDatabase(f"cannot read {self.path}: {error.strerror}") from error
        try:
            return self._open_as("mode=ro")
        except (apsw.CantOpenError, apsw.ReadOnlyError) as error:
            if self._waits("-wal") or self._waits("-journal"):
                raise UnreadableDatabase(self._why(error)) from error
        except apsw.Error as error:
            raise UnreadableDatabase(self._why(error)) from error
        try:
            return self._open_as("mode=ro&immutable=1")
        except apsw.Error as error:
            raise UnreadableDatabase(self._why(error)) from error

    def _open_as(self, parameters: str) -> apsw.Connection:
        connection = apsw.Connection(
            f"{self.path.absolute().as_uri()}?{parameters}",
            flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI,
        )
        try:
            connection.set_busy_timeout(round(BUSY_TIMEOUT_S * 1_000))
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
        except BaseException:
            connection.close()
            raise
        return connection

    def _waits(self, suffix: str) -> bool:
        beside = self.path.with_name(self.path.name + suffix)
        return beside.exists() and beside.stat().st_size > 0

    def _why(self, error: apsw.Error) -> str:
        if isinstance(error, apsw.NotADBError):
            return f"{self.path} is no SQLite database"
        if isinstance(error, apsw.BusyError | apsw.LockedError):
            return (
                f"{self.path} is in use: somebody has held it for {BUSY_TIMEOUT_S:g} s; stop them, "
                "or import a copy (`sqlite3 OLD.db '.backup COPY.db'`) with --source"
                f" {self.path.name}"
            )
        if isinstance(error, apsw.CantOpenError | apsw.ReadOnlyError):
            beside = "-wal" if self._waits("-wal") else "-journal"
            return (
                f"{self.path}{beside} holds what is not in the file yet, and this user (uid "
                f"{os.geteuid()}) may not make what SQLite needs to read it in "
                f"{self.path.absolute().parent}: run this as the user of the old program, or copy "
                f"both files to where you may write and say --source {self.path.name}"
            )
        return f"cannot read {self.path}: {error}"


def keyed(values: Sequence[Any]) -> Key:
    """A row's key: the value of its column, or all of them."""
    key: Key = values[0] if len(values) == 1 else tuple(values)
    return key


def _decoded(data: bytes) -> str | Undecodable:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return Undecodable(data)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
