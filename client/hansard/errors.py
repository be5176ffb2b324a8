"""Every error that Hansard raises, and what to do about each.

Errors that the caller caused raise at once. Errors of the log itself raise only with
``best_effort=False``; otherwise they are logged as warnings and counted.
"""

from typing import Any

__all__ = [
    "AckTimeout",
    "AuditLogError",
    "ClosedError",
    "ConfigError",
    "InvalidEvent",
    "ProtocolMismatch",
    "QueueFull",
    "Rejected",
    "WriterUnavailable",
]


class AuditLogError(Exception):
    """The root of the tree. Catch it to catch everything that Hansard raises."""


class ConfigError(AuditLogError):
    """A setting or the log directory cannot be used. Correct what the message names."""


class InvalidEvent(AuditLogError, ValueError):
    """The event breaks a rule of the wire format. Correct the argument that the message names."""


class ClosedError(AuditLogError):
    """The log was closed before this call. Keep it open, or make a new ``AuditLog``."""


class QueueFull(AuditLogError):
    """No room is left for uncommitted events. Start the writer, or raise ``spool_bytes``."""


class AckTimeout(AuditLogError):
    """No ack in time: the outcome is unknown, not failed. Settle it later with ``lookup(key)``."""

    key: Any = None  # of the call that was not answered, for `AuditLog.lookup`


class WriterUnavailable(AuditLogError):
    """No writer answers for this directory. Start one with ``hansard serve --dir DIR``, or wait for
    one that is busy; the message says which."""

    was_sent: bool = False  # whether a writer may have got the question
    writer_ended: bool = False  # after that, and before it answered


class Rejected(AuditLogError):
    """The writer refused the event or call. Read the reason, and see ``hansard dlq list``."""


class ProtocolMismatch(AuditLogError):
    """Client and writer speak different wire versions. Install the same release for both."""
