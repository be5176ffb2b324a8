"""Source files: cut the same way whenever and however they are read."""

import gzip
import hashlib
from pathlib import Path

import pytest

from hansard import wire
from hansard_writer.importing import source
from hansard_writer.importing.source import Unreadable, chunks, examine


def cut(path: Path) -> list[source.Chunk]:
    return list(chunks(examine(path)))


def write(tmp_path: Path, content: bytes, name: str = "f.jsonl") -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


def test_a_chunk_holds_at_most_500_lines(tmp_path: Path) -> None:
    found = cut(write(tmp_path, b"".join(b'{"n":%d}\n' % n for n in range(1_201))))
    assert [(each.first_line, len(each.lines)) for each in found] == [
        (1, 500),
        (501, 500),
        (1_001, 201),
    ]
    assert found[2].lines[-1] == b'{"n":1200}'


def test_a_chunk_holds_at_most_4_mib(tmp_path: Path) -> None:
    line = b'{"a":"' + b"x" * 900_000 + b'"}'
    found = cut(write(tmp_path, (line + b"\n") * 10))
    assert [(each.first_line, len(each.lines)) for each in found] == [(1, 4), (5, 4), (9, 2)]


def test_gzip_is_told_by_content_and_has_the_same_keys(tmp_path: Path) -> None:
    content = b'{"a":1}\n{"a":2}\n' * 400
    plain = write(tmp_path, content, "plain")
    packed = write(tmp_path, gzip.compress(content), "packed")
    assert cut(plain) == cut(packed)
    assert examine(plain).sha256 == examine(packed).sha256 == hashlib.sha256(content).digest()
    assert examine(packed).lines == 800


def test_the_producer_id_is_made_of_content_and_first_line(tmp_path: Path) -> None:
    content = b"{}\n" * 501
    first, second = cut(write(tmp_path, content))
    key = b"hansard import\0" + hashlib.sha256(content).digest()
    assert first.producer_id == hashlib.sha256(key + b"1").digest()[:16]
    assert second.producer_id == hashlib.sha256(key + b"501").digest()[:16]


def test_lines_come_without_line_ends_white_space_and_byte_order_mark(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbf{"a":1}\r\n\t {"b":"\x0b\xc2\xa0"} \n\n{"c":1}'
    path = write(tmp_path, content)
    assert cut(path)[0].lines == [b'{"a":1}', b'{"b":"\x0b\xc2\xa0"}', b"", b'{"c":1}']
    assert examine(path).lines == 4


@pytest.mark.parametrize("over", [0, 1, 2, 3_000_000])
def test_a_line_too_long_is_kept_in_part_and_costs_only_itself(tmp_path: Path, over: int) -> None:
    long = b"x" * (source.LINE_BYTES_MAX + over)
    lines = cut(write(tmp_path, b"{}\n" + long + b'\n{"a":1}\n'))[0].lines
    assert lines == [b"{}", long[: wire.EVENT_BYTES_MAX + 1], b'{"a":1}']


def test_an_empty_file_has_no_chunks(tmp_path: Path) -> None:
    path = write(tmp_path, b"")
    assert examine(path).lines == 0
    assert cut(path) == []


def test_a_file_that_changes_between_the_passes_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, b"{}\n")
    content = examine(path)
    path.write_bytes(b"{}\n{}\n")
    with pytest.raises(Unreadable, match="changed while it was imported"):
        list(chunks(content))


@pytest.mark.parametrize("damage", [slice(0, -20), slice(0, 40)])
def test_broken_gzip_says_so_in_the_first_pass(tmp_path: Path, damage: slice) -> None:
    path = write(tmp_path, gzip.compress(bytes(range(256)) * 100)[damage])
    with pytest.raises(Unreadable, match="is broken gzip"):
        examine(path)


def test_a_file_that_is_gone_says_so(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="cannot be read: No such file"):
        examine(tmp_path / "none")


def test_a_database_says_how_its_tables_are_imported(tmp_path: Path) -> None:
    path = write(tmp_path, b"SQLite format 3\0" + bytes(100), "old.db")
    with pytest.raises(Unreadable, match=r"with --sqlite .*old\.db --table TABLE"):
        examine(path)
