"""The demonstration's last part: somebody who may write every file changes an entry of a copy.

The log itself is only read.
"""

import shutil
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

import apsw

from hansard import directory as layout
from hansard_writer.proof import Report, verify

FILES: Final = (layout.DATABASE, layout.CHECKPOINT, layout.PUBLIC_KEY)
CHANGED: Final = ("failed", "success")  # what the payload says, and what it is made to say


class Tampered(NamedTuple):
    """The entry that was changed in the copy; what `verify` says of the log, and of the copy."""

    seq: int
    before: Report
    after: Report


def tamper(directory: Path, seq: int) -> Tampered:
    """Change entry ``seq`` in a copy of a log whose writer has ended, and verify both."""
    before = verify(directory)
    with tempfile.TemporaryDirectory(prefix="hansard-demo-tampered-") as place:
        for name in FILES:
            shutil.copy(directory / name, place)
        connection = apsw.Connection(str(Path(place, layout.DATABASE)))
        trigger: str = connection.execute(
            "SELECT sql FROM sqlite_schema WHERE name = 'entries_are_not_updated'"
        ).get
        connection.execute("DROP TRIGGER entries_are_not_updated")
        connection.execute(
            "UPDATE entries SET payload = replace(payload, ?, ?) WHERE seq = ?", (*CHANGED, seq)
        )
        connection.execute(trigger)  # as if nothing had been
        connection.close()
        return Tampered(seq, before, verify(place))
