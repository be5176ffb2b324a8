"""Files of JSON records: one a line, or whole documents that hold them in a list, plain or gzip.

Each record comes as the text that it has in the file. Nothing here looks into one.
"""

import json
import re
from collections.abc import Iterator
from contextlib import closing
from typing import Final

from hansard_writer.importing.source import (
    LINE_BYTES_MAX,
    Content,
    lines_of,
    whole_of,
)

DOCUMENT_BYTES_MAX: Final = 512 << 20  # of one that is spread over lines, which is read at once

_DECODER: Final = json.JSONDecoder(parse_int=str, parse_float=str)  # any number, however long
_SPACE: Final = re.compile(r"[ \t\r\n]*")  # as JSON has it
Record = tuple[int, bytes]  # the line where it begins, and its text


def records(content: Content, lists: tuple[str, ...]) -> Iterator[Record]:
    """The records of a file that was examined: of each line, or of documents over several lines;
    where one has a list under a name of ``lists``, or is a list, its elements.

    What is no JSON comes as it is. Raises `Unreadable`.
    """
    with closing(lines_of(content, DOCUMENT_BYTES_MAX)) as lines:
        first = next((line for line in lines if line), None)
    if first is None:
        return
    if first[:1] in (b"{", b"[") and not _begins_as_json(first):
        data = whole_of(content, DOCUMENT_BYTES_MAX)
        if _begins_as_json(data):  # else it is lines, of which the first is broken
            yield from _of_document(data, lists)
            return
    marks = tuple(f'"{name}"'.encode() for name in lists)
    for number, line in enumerate(lines_of(content, DOCUMENT_BYTES_MAX), 1):
        if not line:
            continue
        if line[:1] == b"[" or any(mark in line for mark in marks):
            yield from ((number, each) for _, each in _elements(line, lists))
        else:
            yield number, line[: LINE_BYTES_MAX + 1]


def _of_document(data: bytes, lists: tuple[str, ...]) -> Iterator[Record]:
    line, counted_to = 1, 0
    for start, each in _elements(data, lists):
        line += data.count(b"\n", counted_to, start)
        counted_to = start
        yield line, each


def _begins_as_json(data: bytes) -> bool:
    try:
        text = data.decode()
        _DECODER.raw_decode(text, _after_space(text, 0))
    except (ValueError, RecursionError):
        return False
    return True


def _elements(data: bytes, lists: tuple[str, ...]) -> Iterator[tuple[int, bytes]]:
    """The records in JSON text, which may be several values one behind the other, and where each
    begins, in bytes. What is left where it is no JSON any more is one of them."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        yield 0, data[: LINE_BYTES_MAX + 1]
        return
    position, offset, offset_of = _after_space(text, 0), 0, 0
    while position < len(text):
        try:
            spans, end = _spans(text, position, lists)
        except (ValueError, IndexError, RecursionError):
            spans, end = [(position, len(text))], len(text)
        for start, stop in spans:
            offset, offset_of = offset + len(text[offset_of:start].encode()), start
            yield offset, text[start:stop].strip().encode()[: LINE_BYTES_MAX + 1]
        position = _after_space(text, end)


def _spans(text: str, position: int, lists: tuple[str, ...]) -> tuple[list[tuple[int, int]], int]:
    """Where the records of the value at a position begin and end, and where the value ends.
    Raises ValueError or IndexError where it is no JSON."""
    if text[position] == "[":
        return _list_spans(text, position)
    if text[position] != "{" or not lists:
        end = _DECODER.raw_decode(text, position)[1]
        return [(position, end)], end
    start, found = position, None
    position = _after_space(text, position + 1)
    while text[position] != "}":
        name, position = _DECODER.raw_decode(text, position)
        position = _behind(text, position, ":")
        if name in lists and text[position] == "[" and found is None:
            found, position = _list_spans(text, position)
        else:
            position = _DECODER.raw_decode(text, position)[1]
        position = _after_space(text, position)
        if text[position] != "}":
            position = _behind(text, position, ",")
    end = position + 1
    return ([(start, end)] if found is None else found), end


def _list_spans(text: str, position: int) -> tuple[list[tuple[int, int]], int]:
    spans = []
    position = _after_space(text, position + 1)
    while text[position] != "]":
        _, end = _DECODER.raw_decode(text, position)
        spans.append((position, end))
        position = _after_space(text, end)
        if text[position] != "]":
            position = _behind(text, position, ",")
    return spans, position + 1


def _behind(text: str, position: int, mark: str) -> int:
    position = _after_space(text, position)
    if text[position] != mark:
        raise ValueError(f"no {mark!r} at {position}")
    return _after_space(text, position + 1)


def _after_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position
