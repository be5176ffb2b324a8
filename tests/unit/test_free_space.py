"""What belongs to nothing in a page: found where it is, and nowhere else."""

import struct
from pathlib import Path

import apsw
import pytest

from hansard_writer.database_file import DatabaseFile
from hansard_writer.free_space import PAGE_BYTES, is_pointer_map, residue

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


def test_pages_of_pointer_maps_are_where_sqlite_has_them(tmp_path: Path) -> None:
    connection = apsw.Connection(str(tmp_path / "mapped.db"))
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}").fetchall()
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL").fetchall()
    connection.execute("CREATE TABLE mine(blob)")
    connection.execute("INSERT INTO mine VALUES(zeroblob(?))", (2_000 * PAGE_BYTES,))
    (pages,) = connection.execute("PRAGMA page_count").fetchall()[0]
    in_b_trees = {row[0] for row in connection.execute("SELECT pageno FROM dbstat")}
    connection.close()
    maps = set(range(1, pages + 1)) - in_b_trees
    assert maps == {number for number in range(1, pages + 1) if is_pointer_map(number)}
    assert maps == {2, 822, 1_642}
    lock_byte = (1 << 30) // PAGE_BYTES + 1
    assert not is_pointer_map(lock_byte), "SQLite would take the next one"


@pytest.mark.parametrize("number", [2, 822])
def test_a_page_of_a_pointer_map_that_looks_like_a_b_trees_is_not_cleared(
    tmp_path: Path, number: int
) -> None:
    path = tmp_path / "file"
    data = bytearray(number * PAGE_BYTES)
    made = page(INNER)
    made[100:105] = b"entry"
    data[-PAGE_BYTES:] = made
    path.write_bytes(data)
    file = DatabaseFile(path)
    assert file.clear(1, number, has_maps=True) == 0
    assert path.read_bytes() == data
    assert file.clear(1, number, has_maps=False) == 1
    file.close()
