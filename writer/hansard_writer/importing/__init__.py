"""Import: what others have written, into a log, from worker processes, each line or row once.

The key of a line is the content hash of its file and its line number, whatever the file is called
and whichever process sends it. What has keys of its own, as the rows of a table and the records of
other systems have, is known by these: the log keeps a ledger of them. So an import that was
interrupted, in whatever way, is continued by the same command.
"""

from hansard_writer.importing.drawing import Drawing
from hansard_writer.importing.fields import Event, Fields, Given, Place
from hansard_writer.importing.import_lock import ImportTaken
from hansard_writer.importing.keyed import KeyedSource, RecordSource, TableSource
from hansard_writer.importing.letters import cause_of
from hansard_writer.importing.mapping import mapped
from hansard_writer.importing.old_database import BadMap, OldDatabase, UnreadableDatabase
from hansard_writer.importing.presets import RECORDS, TABLES, RecordPreset, TablePreset
from hansard_writer.importing.run import Import, ImportFailed, NoWriter, Observer, Report
from hansard_writer.importing.source import Chunk, Content, Unreadable, chunks, examine
from hansard_writer.importing.taking_over import Preview, preview, take_over
from hansard_writer.json_path import Path

__all__ = [
    "RECORDS",
    "TABLES",
    "BadMap",
    "Chunk",
    "Content",
    "Drawing",
    "Event",
    "Fields",
    "Given",
    "Import",
    "ImportFailed",
    "ImportTaken",
    "KeyedSource",
    "NoWriter",
    "Observer",
    "OldDatabase",
    "Path",
    "Place",
    "Preview",
    "RecordPreset",
    "RecordSource",
    "Report",
    "TablePreset",
    "TableSource",
    "Unreadable",
    "UnreadableDatabase",
    "cause_of",
    "chunks",
    "examine",
    "mapped",
    "preview",
    "take_over",
]
