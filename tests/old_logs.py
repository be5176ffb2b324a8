"""The logs that earlier releases have left, unpacked: see ``data/schemas``."""

import json
import tarfile
from pathlib import Path
from typing import Any, NamedTuple

from hansard_writer import schema

SCHEMAS = Path(__file__).resolve().parent / "data" / "schemas"
RELEASED = range(1, schema.VERSION + 1)
EARLIER = range(1, schema.VERSION)


class OldLog(NamedTuple):
    """A log's directory, and what its tables held: rows by column, blobs in hex."""

    directory: Path
    held: dict[str, list[dict[str, Any]]]


def old_log(version: int, directory: Path) -> OldLog:
    """The log of a release whose schema was of that version, in a directory of its own."""
    directory.mkdir(mode=0o700)
    with tarfile.open(SCHEMAS / f"v{version}.tar.xz") as archive:
        archive.extractall(directory, filter="data")
    held = directory / "held.json"
    found = json.loads(held.read_bytes())
    held.unlink()
    return OldLog(directory, found)
