"""Which files of the spool directory may still hold what was redacted, and what to do about each.

It reads their headers, and what the log has under the numbers that may be in them. It changes none.
"""

import os
import stat
from pathlib import Path
from typing import Final, NamedTuple

from hansard.spool import RECORDS_AT, SUFFIX, TEMPORARY_SUFFIX, Identity, SpoolDamaged, SpoolState
from hansard.spool.layout import read_identity, read_state
from hansard.spool.orphan import is_abandoned
from hansard_writer.redacted_numbers import is_any_redacted
from hansard_writer.store import Store

HOLDERS_MAX: Final = 20  # named; more of them are counted
EVENT_BYTES_MIN: Final = 20  # its seven fields; joined ones share a record's header


class _Header(NamedTuple):
    identity: Identity
    state: SpoolState
    last_number: int  # that could be in the file


def holders(store: Store, spools: Path) -> list[str]:
    """What each of those files is, and the way out; `HOLDERS_MAX` of them, and how many more."""
    found = [why for path in sorted(spools.iterdir()) if (why := _holds(store, path))]
    more = len(found) - HOLDERS_MAX
    return found[:HOLDERS_MAX] + ([f"and {more:,} more files in {spools}"] if more > 0 else [])


def _holds(store: Store, path: Path) -> str:
    """Why a file may hold what was redacted; empty where it does not."""
    try:
        header = _header(path)
        if header is None:
            return ""
        numbers = header.state.base_seq + 1, header.last_number
        if not is_any_redacted(store, header.identity.producer_id, *numbers):
            return ""
        return _way_out(store, path, header)
    except FileNotFoundError:
        return ""  # its producer has ended, or the writer has entered it
    except OSError as error:
        return f"{path} cannot be read ({error.strerror}): see whose it is, and remove it"
    except SpoolDamaged as error:
        if path.suffix in (SUFFIX, TEMPORARY_SUFFIX):
            return ""  # is being made, or is set aside in a moment
        return f"{path} was set aside ({error}), and nobody can tell what is in it: remove it"


def _header(path: Path) -> _Header | None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode) or not facts.st_size:
            return None
        data = os.pread(descriptor, RECORDS_AT, 0)
    finally:
        os.close(descriptor)
    if len(data) < RECORDS_AT:
        raise SpoolDamaged(f"{len(data)} bytes are too few for a spool")
    state = read_state(data, facts.st_size)
    most = (facts.st_size - RECORDS_AT) // EVENT_BYTES_MIN
    return _Header(read_identity(data), state, state.base_seq + most)


def _way_out(store: Store, path: Path, header: _Header) -> str:
    identity = header.identity
    whose = f"pid {identity.pid} on {identity.host}"
    if path.suffix not in (SUFFIX, TEMPORARY_SUFFIX):
        return f"{path}, set aside, is of {whose}: remove it once you need nothing else of it"
    if header.state.log_id not in (None, store.log_id):
        return f"{path} of {whose} belongs to another log: move it there, or remove it"
    if is_abandoned(path):
        return f"{path} of {whose}, who is dead: the writer takes it in, and removes it"
    return f"{path} of {whose}, who has not heard yet that it is committed: let it run, or end it"
