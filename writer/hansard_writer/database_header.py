"""The first hundred bytes of a database: whose it is, and how it is kept. Pure.

https://www.sqlite.org/fileformat.html#the_database_header
"""

from typing import Final, NamedTuple

HEADER_BYTES: Final = 100

_MAGIC: Final = b"SQLite format 3\0"
_WAL_MODE: Final = 2


class DatabaseHeader(NamedTuple):
    """What it says. ``page_bytes`` is 1 for pages of 65,536 bytes."""

    application_id: int
    user_version: int
    page_bytes: int
    pages: int
    is_wal: bool


def read_header(header: bytes) -> DatabaseHeader | None:
    """What the beginning of a file says; None where that is no database."""
    if len(header) < HEADER_BYTES or not header.startswith(_MAGIC):
        return None
    return DatabaseHeader(
        application_id=_number(header[68:72]),
        user_version=_number(header[60:64]),
        page_bytes=_number(header[16:18]),
        pages=_number(header[28:32]),
        is_wal=header[18] == _WAL_MODE,
    )


def _number(data: bytes) -> int:
    return int.from_bytes(data, "big")
