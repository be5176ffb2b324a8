"""The read side: what is in a log, for any number of readers in any process.

Needs apsw, so it is imported by itself, and what a worker loads never imports it. It never
writes.
"""

from hansard.reader.conditions import Conditions, Moment, OperationConditions, nanoseconds
from hansard.reader.containment import Path
from hansard.reader.derived import Between
from hansard.reader.log_reader import LogReader
from hansard.reader.rows import DeadLetter, Event, Extent, Operation, Refusal

__all__ = [
    "Between",
    "Conditions",
    "DeadLetter",
    "Event",
    "Extent",
    "LogReader",
    "Moment",
    "Operation",
    "OperationConditions",
    "Path",
    "Refusal",
    "nanoseconds",
]
