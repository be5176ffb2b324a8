"""Which bytes of a page belong to nothing, and are not zero. Pure: bytes in, numbers out.

A b-tree that is balanced copies cells to other pages, and leaves their bytes where they were:
between a page's cell pointers and its cells. What is deleted later is overwritten where it is then,
not where it once was, whatever `secure_delete` says.
Pages: https://www.sqlite.org/fileformat2.html#b_tree_pages
"""

import struct
from typing import Final

PAGE_BYTES: Final = 4_096
FILE_HEADER_BYTES: Final = 100  # in front of the first page's own

# An overflow page begins with the number of the next, and a free one with that of the next trunk or
# with zeros. In a file of fewer pages, none of them begins with the byte that a b-tree's has.
TELLABLE_PAGES_MAX: Final = 2 << 24

# Where there is auto_vacuum, each page of a pointer map has an entry for each page behind it, up to
# the next map. https://www.sqlite.org/fileformat2.html#ptrmap (None of them is the lock byte's.)
FIRST_MAP: Final = 2
PAGES_PER_MAP: Final = PAGE_BYTES // 5

_HEADER_BYTES: Final = {2: 12, 5: 12, 10: 8, 13: 8}  # by the first byte: inner pages, and leaves
_COUNT_AND_CONTENT: Final = struct.Struct(">HH")  # how many cells, and where they begin
_POINTER_BYTES: Final = 2


def is_pointer_map(number: int) -> bool:
    """Whether a page, by its number from 1 on, is a pointer map's in a database that has some. It
    may begin as a b-tree's does."""
    return number >= FIRST_MAP and (number - FIRST_MAP) % (PAGES_PER_MAP + 1) == 0


def residue(page: bytes, number: int) -> tuple[int, int] | None:
    """From where to where a page, by its number from 1 on, holds what belongs to nothing; None
    where there is nothing but zeros, or the page is none of a b-tree."""
    at = FILE_HEADER_BYTES if number == 1 else 0
    header = _HEADER_BYTES.get(page[at])
    if header is None:
        return None
    cells, content = _COUNT_AND_CONTENT.unpack_from(page, at + 3)
    start = at + header + cells * _POINTER_BYTES
    if not start <= content <= len(page):
        return None  # no page of ours: nothing of it is touched
    if page.count(0, start, content) == content - start:
        return None
    return start, content
