"""Where a producer's numbers begin: at 1 under a new id, or where another process stopped."""

import os
from typing import NamedTuple

from hansard.wire import PRODUCER_ID_BYTES


class Source(NamedTuple):
    """A producer whose events are numbered by what they come from (a file's lines), so that
    another process can go on where one stopped: its id, and what the log already has."""

    producer_id: bytes
    watermark: int = 0
    crc: int = 0


def new_producer_id() -> bytes:
    """A secret that nobody guesses, and nobody else has."""
    return os.urandom(PRODUCER_ID_BYTES)
