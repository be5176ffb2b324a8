"""Kombu's broker of files with messages that appear whole; to import it is to have it.

Its own makes a file and then writes it: a worker that looks in between takes an empty message, and
ends by it.
"""

import os
import uuid
from pathlib import Path
from time import monotonic_ns
from typing import Any

from kombu.transport import filesystem
from kombu.utils.json import dumps


def put(channel: Any, queue: str, payload: Any, **_: Any) -> None:
    """Write it under a name that no queue has, and rename it."""
    folder = Path(channel.data_folder_out)
    name = f"{monotonic_ns():020}_{uuid.uuid4()}.{queue}.msg"
    unfinished = folder / f".{name}"
    unfinished.write_text(dumps(payload))
    os.rename(unfinished, folder / name)  # noqa: PTH104 - said plainly


filesystem.Channel._put = put
