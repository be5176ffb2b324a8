"""The spools of a log: whose they are, whether those live, and what waits in them.

It adopts nothing and writes nothing. A lock is tried for a moment, as shared: a writer that wants
it just then looks again half a second later.
"""

import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from hansard.spool import RECORD, SUFFIX, Identity, SpoolDamaged
from hansard.spool.orphan import Orphan
from hansard.wire import Frame
from hansard_writer.decoding import event_at
from hansard_writer.doctor.facts import SpoolFacts

SPOOLS_MAX: Final = 1_000
EVENTS_MAX: Final = 250_000  # that are counted, of all spools: about half a second


def look_at_spools(spool_directory: Path) -> tuple[SpoolFacts, ...]:
    """What is known of each spool there, at most `SPOOLS_MAX`."""
    return tuple(_looked_through(spool_directory))


def _looked_through(spool_directory: Path) -> Iterator[SpoolFacts]:
    try:
        paths = sorted(path for path in spool_directory.iterdir() if path.suffix == SUFFIX)
    except OSError:
        return  # that it cannot be looked through is told of the directory
    room = EVENTS_MAX
    for path in paths[:SPOOLS_MAX]:
        found = _look_at(path, room)
        if found is not None:
            room -= min(found.events, room)
            yield found


def _look_at(path: Path, room: int) -> SpoolFacts | None:
    """None for a spool that is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        return SpoolFacts(path.name, 0, unreadable=str(error.strerror))
    facts = os.fstat(descriptor)
    if not stat.S_ISREG(facts.st_mode):
        os.close(descriptor)
        return SpoolFacts(path.name, 0, damage="it is no regular file")
    is_locked = _is_locked(descriptor)
    try:
        spool = Orphan(path, descriptor)  # which closes it where it fails
    except SpoolDamaged as error:
        return SpoolFacts(path.name, facts.st_size, is_locked, damage=str(error))
    except OSError as error:
        return SpoolFacts(path.name, facts.st_size, is_locked, unreadable=str(error.strerror))
    try:
        return _counted(spool, SpoolFacts(path.name, facts.st_size, is_locked), room)
    except OSError as error:
        return SpoolFacts(path.name, facts.st_size, is_locked, unreadable=str(error.strerror))
    finally:
        spool.close()


def _is_locked(descriptor: int) -> bool:
    """Whether its producer holds it; a lock of ours goes at once."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False


def _counted(spool: Orphan, facts: SpoolFacts, room: int) -> SpoolFacts:
    """With its owner, and what waits. A living producer's changes meanwhile: what is read then ends
    early, and that is no damage."""
    events = used = oldest_at = 0
    is_counted = True
    for frame in spool.frames():
        oldest_at = oldest_at or _created_at(frame)
        events += frame.event_count
        used += len(frame.body) + frame.event_count * RECORD.size
        if events > room:
            is_counted = False
            break
    identity, log_id = spool.identity, spool.state.log_id
    return facts._replace(
        host=identity.host,
        pid=identity.pid,
        pid_seen=_is_seen(identity),
        log_id=log_id.hex() if log_id else "",
        events=events,
        bytes=used,
        is_counted=is_counted,
        oldest_at=oldest_at,
        damage="" if facts.is_locked else spool.damage,
    )


def _created_at(frame: Frame) -> int:
    """When the first event of a frame was recorded, 0 where it does not say."""
    event = event_at(frame, frame.first_seq)
    is_told = isinstance(event, list | tuple) and len(event) > 1 and isinstance(event[1], int)
    return event[1] if is_told and event else 0


def _is_seen(identity: Identity) -> bool | None:
    """Whether a process of that pid is to be seen; None where it is not this host's."""
    if identity.host != os.uname().nodename[:255]:
        return None
    return Path(f"/proc/{identity.pid}").exists() if Path("/proc/self").exists() else None
