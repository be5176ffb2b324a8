"""Hansard in what an application already runs: one module for each, imported by itself.

A module here turns what its other party calls (a handler, a middleware, a signal) into `record`
calls, and does nothing else. ``import hansard`` loads none of them, and none loads another's party.
"""

import os
from pathlib import Path
from typing import Any, Final

from hansard.audit_log import AuditLog
from hansard.settings import log_directory

LogOrDirectory = AuditLog | str | os.PathLike[str] | None

_shared: Final[dict[Path, AuditLog]] = {}


def shared_log(log: LogOrDirectory = None, **settings: Any) -> AuditLog:
    """The log that an integration records into: ``log`` itself, or this process's one of a
    directory, found as by `AuditLog` where none is given.

    All that name no `AuditLog` of their own share one for each directory, so that a process is one
    producer with one spool however many integrations it has. ``settings`` count for whoever asks
    first. One that was closed is followed by a new one. Raises `ConfigError`.
    """
    if isinstance(log, AuditLog):
        return log
    directory = log_directory(log)
    shared = _shared.get(directory)
    if shared is None or not shared.is_open:
        # Two threads may make one each: the other opens nothing before its first event.
        shared = _shared[directory] = AuditLog(directory, **settings)
    return shared
