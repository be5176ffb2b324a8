"""The schema as the database has it, against the one that the writer makes.

A trigger that is gone lets entries be changed, and a view that is another shows them changed. What
users add beside is their own.
"""

from functools import cache
from typing import Any, Final

import apsw

from hansard.reader_connection import ReadConnection
from hansard_writer.proof.verifying.findings import Findings

TABLES_READ: Final = frozenset({"entries", "producers", "tree", "checkpoints", "meta"})
_KINDS: Final = ("table", "view", "trigger")
_FULL_TEXT: Final = "full_text_"  # tables that SQLite makes for itself, each version its own

_READ: Final = "SELECT type, name, sql FROM sqlite_schema"
_UNLOCKED: Final = "SELECT value FROM meta WHERE key = 'unlocked'"  # nobody sees a writer do so


def check_schema(connection: ReadConnection, findings: Findings) -> bool:
    """Note what differs; whether the tables are those that are to be read."""
    stored = {(kind, name): sql for kind, name, sql in connection.rows(_READ)}
    are_ours = True
    for (kind, name), sql in _made_by_the_writer().items():
        if stored.get((kind, name)) == sql:
            continue
        state = "another" if (kind, name) in stored else "gone"
        findings.add(f"the {kind} {name} of the database is {state}")
        are_ours = are_ours and name not in TABLES_READ
    if are_ours and (found := connection.rows(_UNLOCKED)):
        findings.add(f"the triggers that refuse changes are unlocked ({found[0][0]})")
    return are_ours


@cache
def _made_by_the_writer() -> dict[tuple[str, str], str]:
    """The statement of each table, view and trigger, as SQLite keeps it."""
    from hansard_writer import schema  # it imports the proof

    connection = apsw.Connection(":memory:")
    for migration in schema.MIGRATIONS:
        for statement in migration:
            connection.execute(statement)
    found: list[Any] = connection.execute(_READ).fetchall()
    connection.close()
    return {
        (kind, name): sql
        for kind, name, sql in found
        if kind in _KINDS and not name.startswith(_FULL_TEXT) and not name.startswith("sqlite_")
    }
