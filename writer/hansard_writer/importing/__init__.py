"""Import: files of JSON lines into a log, from worker processes, each line once.

The key of a line is the content hash of its file and its line number, whatever the file is called
and whichever process sends it. So an import that was interrupted, in whatever way, is continued by
the same command.
"""

from hansard_writer.importing.fields import Fields
from hansard_writer.importing.run import Import, ImportFailed, NoWriter, Observer, Report
from hansard_writer.importing.source import Chunk, Content, Unreadable, chunks, examine
from hansard_writer.json_path import Path

__all__ = [
    "Chunk",
    "Content",
    "Fields",
    "Import",
    "ImportFailed",
    "NoWriter",
    "Observer",
    "Path",
    "Report",
    "Unreadable",
    "chunks",
    "examine",
]
