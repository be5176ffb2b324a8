"""Hansard's writer: the process that owns a log, and what is made of it.

Its names are loaded when they are asked for: who loads a part of this package, such as pytest the
plugin that it finds here, does not load the store for it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hansard_writer.backups import Backup, BackupFailed
    from hansard_writer.backups import back_up as backup
    from hansard_writer.operations import operation
    from hansard_writer.running_writer import RunningWriter, running

__all__ = ["Backup", "BackupFailed", "RunningWriter", "backup", "operation", "running"]

_PLACES = {
    "Backup": ("backups", "Backup"),
    "BackupFailed": ("backups", "BackupFailed"),
    "RunningWriter": ("running_writer", "RunningWriter"),
    "backup": ("backups", "back_up"),
    "operation": ("operations", "operation"),
    "running": ("running_writer", "running"),
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _PLACES[name]
    value = getattr(import_module(f"{__name__}.{module}"), attribute)
    globals()[name] = value
    return value
