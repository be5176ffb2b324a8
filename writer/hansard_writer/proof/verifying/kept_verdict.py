"""The last verdict on a log, kept in its directory for whoever wants to know how it stands."""

import contextlib
import os
import stat
from pathlib import Path
from typing import Final

import orjson

from hansard import directory as layout
from hansard_writer.durable_files import replace_file
from hansard_writer.proof.verifying.findings import Report

SHARED_MODE: Final = 0o640


def keep_verdict(directory: Path, report: Report) -> None:
    """Put a report into ``DIR/verified``, as JSON, in place of the last one; nothing where the
    directory is somebody else's, or cannot be written to."""
    with contextlib.suppress(OSError):
        facts = directory.stat()
        if facts.st_uid != os.geteuid():
            return
        mode = SHARED_MODE if facts.st_mode & stat.S_ISGID else layout.PRIVATE_FILE_MODE
        content = orjson.dumps(report.as_dict(), option=orjson.OPT_INDENT_2) + b"\n"
        replace_file(directory / layout.VERIFIED, content, mode)
