"""Records out of files as other systems deliver them: each with its own text, and its line."""

import gzip
import json
from pathlib import Path

import pytest

from hansard_writer.importing import source
from hansard_writer.importing.documents import records
from hansard_writer.importing.source import Unreadable, examine


def found(tmp_path: Path, content: bytes, *lists: str) -> list[tuple[int, bytes]]:
    path = tmp_path / "f.json"
    path.write_bytes(content)
    return list(records(examine(path), lists))


def test_a_line_is_a_record_and_empty_lines_are_none(tmp_path: Path) -> None:
    assert found(tmp_path, b'\n{"a": 1}\r\n\n{"b":2 }') == [(2, b'{"a": 1}'), (4, b'{"b":2 }')]


@pytest.mark.parametrize(
    "content",
    [
        b'{"Records":[{"a": 1},{"b":2 }]}',
        b'{"Records":[{"a": 1},{"b":2 }]}\n',
        b'{"Count": 2, "Records" : [ {"a": 1} , {"b":2 } ], "x": {"Records": [7]}}',
        b'{"Records":[{"a": 1}]}\n{"Records":[{"b":2 }]}\n',
        b'{"Records":[{"a": 1}]}{"Records":[{"b":2 }]}',
        b'[{"a": 1}, {"b":2 }]',
        b'{"a": 1}\n{"b":2 }\n{"Records": []}\n',
        b'\xef\xbb\xbf{"a": 1}\n{"b":2 }\n',
    ],
)
def test_a_list_in_a_document_holds_the_records(tmp_path: Path, content: bytes) -> None:
    texts = [text for _, text in found(tmp_path, content, "Records")]
    assert texts == [b'{"a": 1}', b'{"b":2 }']


def test_a_document_over_several_lines_is_known_by_its_first_line(tmp_path: Path) -> None:
    document = b'{\n "Records": [\n  {"a":\n 1},\n\n  {"\xc3\xa9": 2}\n ]\n}\n'
    assert found(tmp_path, document, "Records") == [
        (3, b'{"a":\n 1}'),
        (6, b'{"\xc3\xa9": 2}'),
    ]
    assert found(tmp_path, b'{\n"a": 1}\n{"b":\n2}') == [(1, b'{\n"a": 1}'), (3, b'{"b":\n2}')]


def test_text_is_as_it_was_whatever_the_numbers(tmp_path: Path) -> None:
    text = b'{"n": 123456789012345678901234567890, "f": 1.0e400, "d": ' + b"9" * 5_000 + b"}"
    assert found(tmp_path, b'{"Records": [' + text + b"]}", "Records") == [(1, text)]


def test_what_is_no_json_comes_as_it_is_and_costs_only_itself(tmp_path: Path) -> None:
    assert found(tmp_path, b'{"a": \n{"b": 2}\nno\n\xff{}\n', "Records") == [
        (1, b'{"a":'),
        (2, b'{"b": 2}'),
        (3, b"no"),
        (4, b"\xff{}"),
    ]
    broken = b'{"Records": [{"a": 1}, {"b"'
    assert found(tmp_path, b'{"Records": []}\n' + broken, "Records") == [(2, broken)]


def test_only_the_first_mebibyte_of_a_long_record_comes(tmp_path: Path) -> None:
    long = json.dumps({"a": "x" * (source.LINE_BYTES_MAX + 7)}).encode()
    texts = [text for _, text in found(tmp_path, b'[{"b": 2},' + long + b"]")]
    assert texts == [b'{"b": 2}', long[: source.LINE_BYTES_MAX + 1]]


def test_gzip_is_told_by_content(tmp_path: Path) -> None:
    packed = gzip.compress(b'{"items": [{"a": 1}]}')
    assert found(tmp_path, packed, "items") == [(1, b'{"a": 1}')]


def test_a_document_that_is_too_large_to_be_read_at_once_says_how_to_mend_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hansard_writer.importing.documents.DOCUMENT_BYTES_MAX", 1 << 20)
    content = b'{\n"Records": ["' + b"x" * (1 << 20) + b'"]}'
    with pytest.raises(Unreadable, match=r"more than 1 MiB: write its records one a line"):
        found(tmp_path, content, "Records")
