"""SQLite's errors, told apart: what may pass by itself, and what must end the writer.

Pure, by extended result code and the system's errno. It never looks at an error's text, which
SQLite may reword and a trigger may choose. https://www.sqlite.org/rescode.html
"""

import errno
from enum import Enum
from typing import Final

import apsw


class Kind(Enum):
    """What an error asks for. What is not known is fatal: nothing can be relied upon."""

    BUSY = "busy"  # another program holds a lock: wait, however long it takes
    FULL = "full"  # no room: keep everything, and wait for room
    TRANSIENT = "transient"  # may be gone at the next try
    CONTENT = "content"  # of what was to be written: it would fail again, the rest would not
    FATAL = "fatal"  # end the process, and never touch the handle again


_BY_PRIMARY_CODE: Final = {
    apsw.SQLITE_BUSY: Kind.BUSY,
    apsw.SQLITE_FULL: Kind.FULL,
    apsw.SQLITE_CONSTRAINT: Kind.CONTENT,
    apsw.SQLITE_TOOBIG: Kind.CONTENT,
    apsw.SQLITE_MISMATCH: Kind.CONTENT,
    apsw.SQLITE_RANGE: Kind.CONTENT,
    apsw.SQLITE_LOCKED: Kind.TRANSIENT,  # this connection's own doing: no other program ends it
    apsw.SQLITE_PROTOCOL: Kind.TRANSIENT,  # lost a race for the WAL's locks, many times over
    apsw.SQLITE_NOMEM: Kind.TRANSIENT,
    apsw.SQLITE_SCHEMA: Kind.TRANSIENT,  # changed again and again while it was prepared
    apsw.SQLITE_INTERRUPT: Kind.TRANSIENT,  # rolled back, and nothing is wrong
}
_BY_EXTENDED_CODE: Final = {
    # Only what a virtual table keeps of its own: it is derived, and is made anew.
    apsw.SQLITE_CORRUPT_VTAB: Kind.CONTENT,
    # Neither a sync nor a sign of damage; the transaction is rolled back, and may go through next
    # time: a path of several that failed, memory or locks that ran out.
    **dict.fromkeys(
        (
            apsw.SQLITE_IOERR_ACCESS,
            apsw.SQLITE_IOERR_BLOCKED,
            apsw.SQLITE_IOERR_CHECKRESERVEDLOCK,
            apsw.SQLITE_IOERR_DELETE,
            apsw.SQLITE_IOERR_DELETE_NOENT,
            apsw.SQLITE_IOERR_FSTAT,
            apsw.SQLITE_IOERR_LOCK,
            apsw.SQLITE_IOERR_MMAP,
            apsw.SQLITE_IOERR_NOMEM,
            apsw.SQLITE_IOERR_RDLOCK,
            apsw.SQLITE_IOERR_READ,
            apsw.SQLITE_IOERR_SEEK,
            apsw.SQLITE_IOERR_SHMLOCK,
            apsw.SQLITE_IOERR_SHMMAP,
            apsw.SQLITE_IOERR_SHMOPEN,
            apsw.SQLITE_IOERR_SHMSIZE,
            apsw.SQLITE_IOERR_SHORT_READ,
            apsw.SQLITE_IOERR_TRUNCATE,
            apsw.SQLITE_IOERR_UNLOCK,
            apsw.SQLITE_IOERR_WRITE,
        ),
        Kind.TRANSIENT,
    ),
}
NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_NO_DESCRIPTORS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})

_PRIMARY_MASK: Final = 0xFF
_NAMES: Final[dict[int, str]] = {
    code: name
    for mapping in (apsw.mapping_result_codes, apsw.mapping_extended_result_codes)
    for code, name in mapping.items()
    if isinstance(code, int) and isinstance(name, str)
}
_CODES_OF_TYPES: Final = {
    type(apsw.exception_for(code)): code
    for code in range(apsw.SQLITE_ERROR, apsw.SQLITE_NOTADB + 1)
}


def kind_of(code: int, system_errno: int = 0) -> Kind:
    """What an error asks for; ``system_errno`` is that of the call below it, 0 for none.

    SQLite says FULL only for ENOSPC at a write. A quota, and a full disk under the shared memory,
    are I/O errors to it.
    """
    primary = code & _PRIMARY_MASK
    kind = _BY_EXTENDED_CODE.get(code) or _BY_PRIMARY_CODE.get(primary, Kind.FATAL)
    if primary == apsw.SQLITE_IOERR and kind is Kind.TRANSIENT and system_errno in NO_ROOM:
        return Kind.FULL
    if primary == apsw.SQLITE_CANTOPEN:
        if system_errno in NO_ROOM:
            return Kind.FULL
        return Kind.TRANSIENT if system_errno in _NO_DESCRIPTORS else Kind.FATAL
    return kind


def code_of(error: apsw.Error) -> int:
    """The extended result code of an error, as far as it says one; MISUSE where apsw complains."""
    code: int | None = getattr(error, "extendedresult", None)
    return _CODES_OF_TYPES.get(type(error), apsw.SQLITE_MISUSE) if code is None else code


def name_of(code: int) -> str:
    """A code's name, such as ``SQLITE_IOERR_FSYNC``."""
    return _NAMES.get(code) or _NAMES.get(code & _PRIMARY_MASK) or f"SQLite error {code}"


def is_failed_sync(code: int) -> bool:
    """Whether the kernel could not say that something written is on the disk."""
    return code in (apsw.SQLITE_IOERR_FSYNC, apsw.SQLITE_IOERR_DIR_FSYNC)


def is_damage(code: int) -> bool:
    """Whether what is in the file cannot be a log of ours."""
    return code & _PRIMARY_MASK in (apsw.SQLITE_CORRUPT, apsw.SQLITE_NOTADB)
