"""A line at DEBUG for each committed event of a task, as P1's users know it.

Asked for only where a caller has waited for the commit: `record()` without a wait pays nothing.
"""

import contextlib
import json
import logging
import threading
from collections.abc import Mapping

import orjson

from hansard.complaints import LOGGER
from hansard.texts import Payload

_speaking = threading.local()  # a handler that records through Hansard would never come to an end


def trace_recorded(task_id: str, payload: Payload) -> None:
    """Say that an event of ``task_id`` is committed, if anybody listens."""
    if not LOGGER.isEnabledFor(logging.DEBUG) or getattr(_speaking, "now", False):
        return
    known: Mapping[str, object] = {}
    if isinstance(payload, Mapping):
        known = payload
    elif payload is not None:
        with contextlib.suppress(ValueError):  # an integer that Python will not read
            known = json.loads(orjson.dumps(payload))
    _speaking.now = True
    try:
        LOGGER.debug(
            "Recorded audit: task=%s, repo=%s, operation=%s, status=%s",
            task_id,
            known.get("repo_id"),
            known.get("operation"),
            known.get("status"),
        )
    finally:
        _speaking.now = False
