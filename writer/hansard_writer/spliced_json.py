"""A row as a JSON object on one line, in which a text that is JSON already stands as it is. Pure.

Nothing of that text is encoded again: its numbers keep every digit, its names their order. What
the text should be, and whose the row is, it does not know.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

import orjson

from hansard.wording import kind_of

_LINE: Final = orjson.OPT_APPEND_NEWLINE


def json_line(row: Mapping[str, Any], spliced: str) -> bytes:
    """The row, and a line feed. What it has under the name ``spliced`` goes in as the JSON that it
    is; as a string where it is none, and as null where it is None. Bytes are shown in hex."""
    values = dict(row)
    text = values.get(spliced)
    if isinstance(text, str) and _is_json(text):
        # A line break in valid JSON stands between two tokens, where a space does as well.
        line = text.replace("\n", " ").replace("\r", " ")
        values[spliced] = orjson.Fragment(line.encode())
    try:
        return orjson.dumps(values, default=as_hex, option=_LINE)
    except orjson.JSONEncodeError:
        exact = {name: _exactly(value) for name, value in values.items()}
        return orjson.dumps(exact, option=_LINE)


def as_hex(value: object) -> str:
    """What JSON has no word for: bytes. Raises TypeError for anything else."""
    if isinstance(value, bytes):
        return value.hex()
    raise TypeError(f"{kind_of(value)} is no cell")


def _exactly(value: object) -> orjson.Fragment:
    """What orjson refuses too: integers beyond 64 bits, lone surrogates."""
    if isinstance(value, orjson.Fragment):
        return value
    return orjson.Fragment(json.dumps(value, default=as_hex, separators=(",", ":")).encode())


def _is_json(text: str) -> bool:
    """Whether it is JSON to everybody: SQLite takes JSON5 too, which would break the line."""
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:  # or holds a lone surrogate, which is an escape and valid
        try:
            json.loads(text, parse_int=str, parse_constant=_refuse)
        except (ValueError, RecursionError):
            return False
    return True


def _refuse(constant: str) -> None:
    raise ValueError(constant)
