"""What belongs to nothing in a page: found where it is, and nowhere else."""

import struct

import pytest

from hansard_writer.free_space import PAGE_BYTES, residue

LEAF = 13
INNER = 5


def page(kind: int = LEAF, cells: int = 3, content: int = 4_000, at: int = 0) -> bytearray:
    """A page with some cells at its end, and zeros in between."""
    made = bytearray(PAGE_BYTES)
    made[at] = kind
    struct.pack_into(">HH", made, at + 3, cells, content)
    made[content:] = b"c" * (PAGE_BYTES - content)
    return made


def test_a_page_without_residue_has_none() -> None:
    assert residue(bytes(page()), 2) is None


@pytest.mark.parametrize(("kind", "header"), [(2, 12), (INNER, 12), (10, 8), (LEAF, 8)])
def test_residue_lies_between_the_pointers_and_the_cells(kind: int, header: int) -> None:
    for at in (header + 6, 3_999):
        made = page(kind)
        made[at] = 1
        assert residue(bytes(made), 2) == (header + 6, 4_000)
    made = page(kind)
    made[header : header + 6] = b"abcdef"  # pointers
    assert residue(bytes(made), 2) is None


def test_on_the_first_page_the_files_header_comes_first() -> None:
    made = page(at=100)
    made[:100] = b"x" * 100
    assert residue(bytes(made), 1) is None
    made[2_000] = 1
    assert residue(bytes(made), 1) == (114, 4_000)


@pytest.mark.parametrize(
    "kind",
    [pytest.param(0, id="overflow or free"), pytest.param(1, id="a pointer map's"), 12, 255],
)
def test_what_is_no_page_of_a_b_tree_is_not_looked_into(kind: int) -> None:
    made = page(kind)
    made[100:200] = b"x" * 100
    assert residue(bytes(made), 2) is None


@pytest.mark.parametrize(("cells", "content"), [(2_100, 4_000), (3, 10), (65_535, 4_000)])
def test_a_page_that_cannot_be_is_not_touched(cells: int, content: int) -> None:
    made = page()
    made[100:200] = b"x" * 100
    struct.pack_into(">HH", made, 3, cells, content)
    assert residue(bytes(made), 2) is None


def test_a_page_full_to_the_last_byte_has_none() -> None:
    assert residue(bytes(page(cells=1_000, content=2_008)), 2) is None
