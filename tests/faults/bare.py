"""The measure of a disk: bare inserts into a log's own table, as durable as the writer's.

Run as ``python -m faults.bare DIR SECONDS EVENTS PADDING``: commits EVENTS rows at a time for that
long, and prints how many rows a second that were. DIR holds a log that nobody serves.
"""

import json
import sys
import time
from pathlib import Path
from typing import Final

import apsw

_INSERT: Final = (
    "INSERT INTO entries(seq, producer, producer_seq, created_at, event_type, level, actor,"
    " task_id, payload) VALUES(?1, 0, ?1, ?2, 'step.done', 'info', NULL, NULL, ?3)"
)


def main() -> None:
    """Insert until the time is over."""
    directory, seconds, events_per_commit, padding_bytes = sys.argv[1:]
    connection = apsw.Connection(str(Path(directory) / "log.db"))
    for pragma in ("synchronous = FULL", "cache_size = -65536", "secure_delete = ON"):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    padding, seq, began = "x" * int(padding_bytes), 0, time.monotonic()
    while time.monotonic() - began < float(seconds):
        rows = [
            (number, time.time_ns(), json.dumps({"w": "w", "n": number, "padding": padding}))
            for number in range(seq + 1, seq + 1 + int(events_per_commit))
        ]
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(_INSERT, rows)
        connection.execute("COMMIT")
        seq += len(rows)
    print(seq / (time.monotonic() - began))


if __name__ == "__main__":
    main()
