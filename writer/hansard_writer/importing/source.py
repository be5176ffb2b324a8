"""Source files: their content's hash, and the chunks that workers record.

Where a chunk begins depends on the content alone, and so do the chunk's producer id and the
numbers in it: that makes an import repeatable. Nothing here looks into a line.
"""

import gzip
import hashlib
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, NamedTuple, cast

from hansard import wire

# Part of the key of every line: another value here, and files imported before are other files.
CHUNK_LINES_MAX: Final = 500
CHUNK_BYTES_MAX: Final = 4 << 20
_KEY: Final = b"hansard import\0"

LINE_BYTES_MAX: Final = wire.EVENT_BYTES_MAX
_READ_BYTES: Final = 1 << 20
_GZIP_MAGIC: Final = b"\x1f\x8b"
_SQLITE_MAGIC: Final = b"SQLite format 3\0"
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
JSON_SPACE: Final = b" \t\r\n"


class Unreadable(Exception):
    """A file that cannot be read to its end. Says which, and why."""


@dataclass(frozen=True, slots=True)
class Content:
    """A file as the first pass found it: SHA-256 and lines of its decompressed content."""

    path: Path
    sha256: bytes
    lines: int


class Chunk(NamedTuple):
    """Consecutive lines of a file, a producer of their own.

    Lines come without the white space around them. Of one that is too long to be an event only the
    first ``LINE_BYTES_MAX + 1`` bytes are there, which are too long as well.
    """

    producer_id: bytes
    first_line: int
    lines: list[bytes]

    @property
    def first_place(self) -> int:
        return self.first_line

    @property
    def items(self) -> Iterator[tuple[int, bytes]]:
        """Each line with its number."""
        return enumerate(self.lines, self.first_line)

    @property
    def size(self) -> int:
        return len(self.lines)


def examine(path: Path) -> Content:
    """Read a file once, to know it again; raises `Unreadable`."""
    digest = hashlib.sha256()
    lines = 0
    last = b"\n"
    with _opened(path) as file:
        while block := file.read(_READ_BYTES):
            if not lines and block.startswith(_SQLITE_MAGIC):
                raise Unreadable(
                    f"{path} is an SQLite database, whose rows are no lines: import a table of it "
                    f"with --sqlite {path} --table TABLE"
                )
            digest.update(block)
            lines += block.count(b"\n")
            last = block[-1:]
    return Content(path, digest.digest(), lines + (last != b"\n"))


def chunks(content: Content) -> Iterator[Chunk]:
    """Cut a file that was examined; raises `Unreadable`, also when it is no longer the same."""
    first_line, lines, size = 1, list[bytes](), 0
    for line in lines_of(content):
        if lines and (len(lines) == CHUNK_LINES_MAX or size + len(line) > CHUNK_BYTES_MAX):
            yield Chunk(producer_id(content.sha256, first_line), first_line, lines)
            first_line, lines, size = first_line + len(lines), [], 0
        lines.append(line)
        size += len(line)
    if lines:
        yield Chunk(producer_id(content.sha256, first_line), first_line, lines)


def producer_id(content_sha256: bytes, first_line: int) -> bytes:
    """The id of the producer whose events are the lines of a chunk."""
    key = _KEY + content_sha256 + str(first_line).encode()
    return hashlib.sha256(key).digest()[: wire.PRODUCER_ID_BYTES]


def lines_of(
    content: Content, line_bytes_max: int = LINE_BYTES_MAX
) -> Generator[bytes, None, None]:
    """The lines of a file that was examined, without the white space around them; of one that is
    too long only the first ``line_bytes_max + 1`` bytes. Raises `Unreadable`."""
    digest = hashlib.sha256()
    with _opened(content.path) as file:
        is_first = True
        while line := file.readline(line_bytes_max + 2):
            digest.update(line)
            if len(line) > line_bytes_max + 1:
                yield line[: line_bytes_max + 1]
                while not line.endswith(b"\n") and (line := file.readline(line_bytes_max)):
                    digest.update(line)
            else:
                yield (line.removeprefix(_BYTE_ORDER_MARK) if is_first else line).strip(JSON_SPACE)
            is_first = False
    _require_same(content, digest.digest())


def whole_of(content: Content, bytes_max: int) -> bytes:
    """A file that was examined, at once; raises `Unreadable`, also where it is too large."""
    with _opened(content.path) as file:
        data = file.read(bytes_max + 1)
    if len(data) > bytes_max:
        raise Unreadable(
            f"{content.path} is one JSON document of more than {bytes_max >> 20} MiB: write its "
            "records one a line (`jq -c`), which are read one by one"
        )
    _require_same(content, hashlib.sha256(data).digest())
    return data.removeprefix(_BYTE_ORDER_MARK)


def _require_same(content: Content, sha256: bytes) -> None:
    if sha256 != content.sha256:
        raise Unreadable(
            f"{content.path} changed while it was imported: what is in the log is what was read; "
            "import files that nobody writes to any more"
        )


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """A file's content, decompressed where it begins as gzip does; errors as `Unreadable`."""
    try:
        with path.open("rb") as file:
            packed = file.peek(len(_GZIP_MAGIC))[: len(_GZIP_MAGIC)] == _GZIP_MAGIC
            yield cast("IO[bytes]", gzip.GzipFile(fileobj=file)) if packed else file
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise Unreadable(f"{path} is broken gzip: {error}") from error
    except OSError as error:
        raise Unreadable(f"{path} cannot be read: {error.strerror}") from error
