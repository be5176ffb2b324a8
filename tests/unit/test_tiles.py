"""The shape of tlog-tiles: which files a tree of any size has, and what they are called."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hansard_writer.proof.tiles import ENTRY_BYTES_MAX, Tile, bundle, levels, tiles


def shape(size: int) -> list[tuple[int, int, int]]:
    """Level, how many full tiles, and the width of the partial one."""
    found = []
    for level in levels(size):
        of_level = list(tiles(level, size))
        full = [tile for tile in of_level if tile.is_full]
        assert [tile.number for tile in of_level] == list(range(len(of_level)))
        partial = of_level[len(full) :]
        found.append((level, len(full), partial[0].width if partial else 0))
    return found


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (0, []),
        (1, [(0, 0, 1)]),
        (255, [(0, 0, 255)]),
        (256, [(0, 1, 0), (1, 0, 1)]),
        (257, [(0, 1, 1), (1, 0, 1)]),
        (65_535, [(0, 255, 255), (1, 0, 255)]),
        (65_536, [(0, 256, 0), (1, 1, 0), (2, 0, 1)]),
        (70_000, [(0, 273, 112), (1, 1, 17), (2, 0, 1)]),  # the specification's own example
    ],
)
def test_a_tree_has_the_tiles_of_the_specification(
    size: int, expected: list[tuple[int, int, int]]
) -> None:
    assert shape(size) == expected


@settings(derandomize=True, deadline=None, database=None, max_examples=200)
@given(size=st.integers(0, 300_000), before=st.integers(0, 300_000))
def test_an_export_that_goes_on_has_what_the_one_before_had_not(size: int, before: int) -> None:
    before = min(before, size)
    for level in levels(size):
        whole, new = set(tiles(level, size)), list(tiles(level, size, before))
        old = {tile for tile in tiles(level, before) if tile.is_full}
        assert whole == {*new} | old
        assert not old & {*new}
        width = size // 256**level % 256
        assert [tile.width for tile in whole if not tile.is_full] == [width] * (width > 0)


@pytest.mark.parametrize(
    ("number", "path"),
    [
        (0, "000"),
        (67, "067"),
        (999, "999"),
        (1_000, "x001/000"),
        (999_999, "x999/999"),
        (1_234_067, "x001/x234/067"),
        (1_000_000_000, "x001/x000/x000/000"),
    ],
)
def test_numbers_are_paths_of_three_digits(number: int, path: str) -> None:
    assert Tile(0, number).path == f"tile/0/{path}"
    assert Tile(2, number, 17).path == f"tile/2/{path}.p/17"
    assert Tile(0, number).bundle_path == f"tile/entries/{path}"
    assert Tile(0, number, 255).bundle_path == f"tile/entries/{path}.p/255"


def test_a_tile_knows_its_entries() -> None:
    assert (Tile(0, 3).first_entry, Tile(0, 3).end_entry) == (768, 1_024)
    assert (Tile(1, 1, 5).first_entry, Tile(1, 1, 5).end_entry) == (65_536, 131_072)


def test_entries_stand_behind_their_lengths() -> None:
    assert bundle([]) == b""
    assert bundle([b"ab", b"", b"c" * 300]) == b"\0\2ab" + b"\0\0" + b"\1\x2c" + b"c" * 300
    assert bundle([b"x" * ENTRY_BYTES_MAX])[:2] == b"\xff\xff"
    with pytest.raises(ValueError, match="65,536 bytes: 65,535 at most"):
        bundle([b"x" * (ENTRY_BYTES_MAX + 1)])
