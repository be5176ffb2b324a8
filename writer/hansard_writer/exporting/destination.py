"""Where an export goes when it is a file: there whole and durable, or not at all.

What is in it, it does not know; of its name only the suffix.
"""

import gzip
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from hansard_writer.durable_files import written_whole

MODE: Final = 0o600  # as the log's own files
GZIP_SUFFIX: Final = ".gz"
GZIP_LEVEL: Final = 6

Write = Callable[[bytes], object]

_FORMATS: Final = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".parquet": "parquet",
    ".cloudevents": "cloudevents",
    ".ocsf": "ocsf",
}


def format_of(path: Path) -> str | None:
    """The format that a file's name asks for, None where it does not."""
    name = path.name.removesuffix(GZIP_SUFFIX)
    return _FORMATS.get(Path(name).suffix)


def is_compressed(path: Path) -> bool:
    """Whether a file of this name is gzip."""
    return path.suffix == GZIP_SUFFIX


@contextmanager
def destination(path: Path, *, replace: bool = False) -> Iterator[Write]:
    """Within, a function that takes the bytes of a file; at its end the file is there, 0600, and
    compressed where its name ends with .gz. What is raised within leaves no file.

    Raises OSError; FileExistsError where there is one and ``replace`` is false.
    """
    if not replace and path.exists():
        raise FileExistsError(f"{path} exists")  # before hours of work, not behind them
    with written_whole(path, MODE, replace=replace) as file:
        if not is_compressed(path):
            yield file.write
            return
        with gzip.GzipFile("", "wb", GZIP_LEVEL, file, mtime=0) as compressed:
            yield compressed.write
