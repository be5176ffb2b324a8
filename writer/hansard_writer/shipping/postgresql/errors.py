"""What an error of PostgreSQL, or of the way there, means to who ships: try again, or end.

Its words are the server's own first line, with the way out behind it; never its detail, which may
show a row, and never a password. It knows no statement.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg

from hansard_writer.shipping.postgresql.schema import SCHEMA
from hansard_writer.shipping.target import TargetRefused, TargetUnavailable

# SQLSTATEs, or the classes that are their first two characters ("PostgreSQL Error Codes").
_PASSING: Final = frozenset(
    {
        "08",  # of the connection
        "40",  # rolled back: serialization, deadlock
        "53",  # no room: disk full, out of memory, too many connections
        "57",  # an operator: shutting down, starting up, cancelled
        "58",  # the system beneath: I/O
        "25006",  # read-only: a standby, until it is promoted
        "25P03", "25P04",  # idle for too long
        "55P03",  # a lock was not to be had in time
        "XX000",  # of the server itself
    }
)  # fmt: skip
_OF_CONTENT: Final = frozenset({"22", "54"})  # data exceptions, and limits of values
_NOT_ALLOWED: Final = "42501"
_READ_ONLY: Final = "25006"
_DISK_FULL: Final = "53100"

# A connection that does not come about has no SQLSTATE: libpq has words only. Of those that are not
# in English, none ends it.
_ENDS: Final = re.compile(
    "authentication failed|no password supplied|no pg_hba.conf entry|"
    r"(?:database|role) .* (?:does not exist|is not permitted)|certificate verify failed|"
    "permission denied for database"
)


@contextmanager
def translated(name: str, password: str | None = None) -> Iterator[None]:
    """Within, errors of psycopg become those of a target; ``name`` is what it is known by."""
    try:
        yield
    except psycopg.Error as error:
        raise translate(error, name, password) from None  # its cause would show what it must not


def translate(
    error: Any, name: str, password: str | None = None
) -> TargetUnavailable | TargetRefused:
    """What it means."""
    state = error.sqlstate
    said = error.diag.message_primary or " ".join(str(error).split()) or type(error).__name__
    if password:
        said = said.replace(password, "…")
    shown = f"{name}: {said}" + (f" ({state})" if state else "")
    if state is None:
        is_passing = isinstance(
            error, psycopg.OperationalError | psycopg.InterfaceError
        ) and not _ENDS.search(said)
    else:
        is_passing = state in _PASSING or state[:2] in _PASSING
    if is_passing:
        return TargetUnavailable(shown + _HINTS.get(state, ""))
    return TargetRefused(shown + _HINTS.get(state, ""))


def is_of_content(error: Any) -> bool:
    """Whether another row would have been taken."""
    state = error.sqlstate or ""
    return state[:2] in _OF_CONTENT


_HINTS: Final = {
    _NOT_ALLOWED: (
        f'. Let this user make its schema, GRANT CREATE ON DATABASE "…" TO "…"; or where another '
        f'user has made it: GRANT USAGE ON SCHEMA {SCHEMA} TO "…"; GRANT SELECT, INSERT, UPDATE, '
        f'DELETE ON ALL TABLES IN SCHEMA {SCHEMA} TO "…" (to verify, SELECT is enough)'
    ),
    _READ_ONLY: (
        ". It is a standby, or was made read-only: name the primary, or all of them with "
        "?target_session_attrs=read-write"
    ),
    _DISK_FULL: ". Make room there",
}
