"""An operation's output: as text, and cut to its head and tail where it is too long.

Bytes in, text out. What runs commands is `hansard.commands`.
"""

from typing import Final, NamedTuple

_CONTINUATION: Final = 0b10  # the upper two bits of a UTF-8 byte that begins no character
_CHARACTER_BYTES_MAX: Final = 4


class Kept(NamedTuple):
    """Output as an entry has it. ``sha256`` is of all of it, in hex; empty where nothing was
    cut."""

    text: str
    size_bytes: int
    sha256: str


def keep(output: bytes, bytes_max: int) -> Kept:
    """``output`` as text, of at most ``bytes_max`` bytes and one line that says what is missing.

    Half of it is head, half tail, neither of which ends within a UTF-8 character. Bytes that are
    no UTF-8 become ``\\xff``.
    """
    size = len(output)
    if size <= bytes_max:
        return Kept(as_text(output), size, "")
    import hashlib  # as in `hansard.wire.values`

    sha256 = hashlib.sha256(output).hexdigest()
    head_end = _boundary_before(output, bytes_max - bytes_max // 2)
    tail_start = _boundary_after(output, size - bytes_max // 2)
    head, tail = as_text(output[:head_end]), as_text(output[tail_start:])
    line = f"[{tail_start - head_end:,} of {size:,} bytes left out; SHA-256 of all: {sha256}]"
    start = "" if not head or head.endswith("\n") else "\n"
    return Kept(f"{head}{start}{line}\n{tail}", size, sha256)


def as_text(output: bytes) -> str:
    """UTF-8 as text, and what is none visibly."""
    return output.decode("utf-8", "backslashreplace")


def as_bytes(output: str | bytes) -> bytes:
    """Text as UTF-8, and lone surrogates visibly."""
    return output.encode("utf-8", "backslashreplace") if isinstance(output, str) else output


def _boundary_before(output: bytes, end: int) -> int:
    """The last end of a character at or before ``end``; ``end`` itself in what is no UTF-8."""
    for cut in range(end, max(end - _CHARACTER_BYTES_MAX, -1), -1):
        if not _continues(output, cut):
            return cut
    return end


def _boundary_after(output: bytes, start: int) -> int:
    """The first start of a character at or behind ``start``; ``start`` in what is no UTF-8."""
    for cut in range(start, min(start + _CHARACTER_BYTES_MAX, len(output) + 1)):
        if not _continues(output, cut):
            return cut
    return start


def _continues(output: bytes, index: int) -> bool:
    """Whether the byte there belongs to the character before it."""
    return index < len(output) and output[index] >> 6 == _CONTINUATION
