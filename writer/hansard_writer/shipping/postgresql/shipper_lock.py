"""One shipper a log: an advisory lock of the session, which ends with the connection.

It is a courtesy to who starts a second one: that no entry comes twice rests on the size of the log,
which each transaction compares, and on the key of `entries`.
"""

import hashlib
import time
from typing import Any, Final, NamedTuple

from hansard_writer.shipping.target import TargetTaken

WAIT_S_MAX: Final = 5.0  # as long as a killed shipper's backend may take to end
LOOK_S: Final = 0.1

_TRY: Final = "SELECT pg_try_advisory_lock(%s)"
_UNLOCK: Final = "SELECT pg_advisory_unlock(%s)"
_HOLDER: Final = """
    SELECT a.pid, a.backend_start, a.application_name, a.client_addr
    FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND (l.classid::bigint << 32) | l.objid::bigint = %s
"""
_OWN: Final = "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
_END: Final = "SELECT pg_terminate_backend(%s)"


class Backend(NamedTuple):
    """A process of the server: what a connection has at its other end."""

    pid: int
    started_at: Any


def own_backend(connection: Any) -> Backend:
    """That of a connection."""
    return Backend(*connection.execute(_OWN).fetchone())


def lock(connection: Any, origin: str, name: str, lost: Backend | None) -> None:
    """Be the only one who ships a log to the database called ``name``, while the connection lasts.

    ``lost`` is the backend of an earlier connection of this very shipper: it is ended if it still
    holds the lock, as happens where the network took the connection and the server has not heard.
    Raises `TargetTaken`.
    """
    key = _key(origin)
    deadline = time.monotonic() + WAIT_S_MAX
    while not connection.execute(_TRY, (key,)).fetchone()[0]:
        holder = connection.execute(_HOLDER, (key,)).fetchone()
        if holder and holder[:2] == lost:
            connection.execute(_END, (holder[0],))
        elif time.monotonic() > deadline:
            raise TargetTaken(_taken(origin, name, holder))
        time.sleep(LOOK_S)


def unlock(connection: Any, origin: str) -> None:
    """Let another one ship a log."""
    connection.execute(_UNLOCK, (_key(origin),))


def _key(origin: str) -> int:
    return int.from_bytes(hashlib.sha256(origin.encode()).digest()[:8], signed=True)


def _taken(origin: str, name: str, holder: Any) -> str:
    if holder is None:
        return f"somebody else ships {origin} to {name}: let that one go on, or end it"
    pid, since, application, address = holder
    shown = ""
    if since is not None:  # who is of another role is not shown
        shown = f" since {since:%Y-%m-%d %H:%M:%S} UTC, {application!r} from {address or 'there'}"
    return (
        f"somebody else ships {origin} to {name}{shown}: let that one go on, or end it where it "
        f"runs, or by SELECT pg_terminate_backend({pid})"
    )
