"""An operation's output: what is kept of it, and what is said of the rest."""

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansard.output import as_bytes, as_text, keep

LINE = re.compile(r"\[([\d,]+) of ([\d,]+) bytes left out; SHA-256 of all: ([0-9a-f]{64})\]\n")


def parts(text: str) -> tuple[str, str, int, int, str]:
    """Head, tail, what the line between says: left out, of how many, digest."""
    (line,) = LINE.finditer(text)
    left_out, size = (int(number.replace(",", "")) for number in line.group(1, 2))
    return text[: line.start()], text[line.end() :], left_out, size, line.group(3)


@pytest.mark.parametrize("output", [b"", b"all of it", b"x" * 10])
def test_output_within_the_limit_is_kept_as_it_is(output: bytes) -> None:
    assert keep(output, 10) == (output.decode(), len(output), "")


def test_longer_output_keeps_head_and_tail_and_says_what_is_missing() -> None:
    output = b"begin\n" + b"." * 100_000 + b"\nend"
    kept = keep(output, 9)
    digest = hashlib.sha256(output).hexdigest()
    assert kept.text == (
        f"begin\n[100,001 of 100,010 bytes left out; SHA-256 of all: {digest}]\n\nend"
    )
    assert (kept.size_bytes, kept.sha256) == (100_010, digest)


def test_the_line_is_one_of_its_own() -> None:
    head, tail, *_ = parts(keep(b"a" * 100, 9).text)
    assert (head, tail) == ("aaaaa\n", "aaaa")


def test_with_nothing_to_keep_only_the_line_is_left() -> None:
    head, tail, left_out, size, _ = parts(keep(b"secret", 0).text)
    assert (head, tail, left_out, size) == ("", "", 6, 6)


@given(st.text(min_size=1), st.integers(0, 40))
def test_no_character_is_cut_in_two(text: str, bytes_max: int) -> None:
    output = text.encode()
    kept = keep(output, bytes_max)
    if not kept.sha256:
        assert kept.text == text
        return
    line = LINE.search(kept.text)
    assert line is not None
    head, tail = kept.text[: line.start()], kept.text[line.end() :]
    assert text.startswith((head, head.removesuffix("\n")))
    assert text.endswith(tail)
    assert len(tail.encode()) <= bytes_max // 2
    assert len(head.removesuffix("\n").encode()) <= bytes_max - bytes_max // 2


@given(st.binary(min_size=1), st.integers(0, 40))
def test_every_byte_is_kept_or_counted_whatever_the_bytes_are(
    output: bytes, bytes_max: int
) -> None:
    kept = keep(output, bytes_max)
    assert kept.size_bytes == len(output)
    assert bool(kept.sha256) == (len(output) > bytes_max)
    assert kept.sha256 in ("", hashlib.sha256(output).hexdigest())


def test_what_is_no_utf_8_is_cut_where_the_limit_is() -> None:
    head, tail, left_out, *_ = parts(keep(b"\x80" * 100, 10).text)
    assert (head, tail, left_out) == ("\\x80" * 5 + "\n", "\\x80" * 5, 90)


def test_what_is_no_utf_8_is_shown() -> None:
    assert as_text(b"caf\xe9 \xff") == "caf\\xe9 \\xff"


def test_a_lone_surrogate_is_shown() -> None:
    assert as_bytes("a\udc80b") == b"a\\udc80b"
    assert as_bytes(b"\xff") == b"\xff"
