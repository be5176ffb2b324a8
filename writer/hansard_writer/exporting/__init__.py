"""Export: entries of a log in formats that others read, oldest first, in constant memory.

An encoder a format turns entries into bytes and touches nothing; `export` reads the entries and
hands the bytes on; `destination` is a file that is there whole or not at all.

    with LogReader("DIR") as reader, destination(Path("logins.csv")) as write:
        export(reader, "csv", write, event_type="user.login")
"""

from hansard_writer.exporting.destination import destination, format_of
from hansard_writer.exporting.encoding import FORMATS, Encoder
from hansard_writer.exporting.extraction import Exported, Progress, export

__all__ = [
    "FORMATS",
    "Encoder",
    "Exported",
    "Progress",
    "destination",
    "export",
    "format_of",
]
