"""Hansard: the audit log of multi-process Python applications, seen from a worker process."""

from hansard.audit_log import AuditLog
from hansard.calls import CallKey, CallOutcome
from hansard.context import bind, bound, unbind
from hansard.entry import Entry, Key
from hansard.errors import (
    AckTimeout,
    AuditLogError,
    ClosedError,
    ConfigError,
    InvalidEvent,
    ProtocolMismatch,
    QueueFull,
    Rejected,
    WriterUnavailable,
)
from hansard.operations import Environment, Operation
from hansard.settings import Settings

__version__ = "0.1.0"

__all__ = [
    "AckTimeout",
    "AuditLog",
    "AuditLogError",
    "CallKey",
    "CallOutcome",
    "ClosedError",
    "ConfigError",
    "Entry",
    "Environment",
    "InvalidEvent",
    "Key",
    "Operation",
    "ProtocolMismatch",
    "QueueFull",
    "Rejected",
    "Settings",
    "WriterUnavailable",
    "__version__",
    "bind",
    "bound",
    "unbind",
]
