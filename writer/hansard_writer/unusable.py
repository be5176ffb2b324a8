"""What is raised for a log that cannot be served. It loads no SQLite: a supervisor knows it too."""

from hansard.errors import AuditLogError


class LogUnusable(AuditLogError):
    """What is in the directory cannot be served as it is, and was not touched. Read what the
    message says to do."""


class LogRefused(LogUnusable):
    """It is not served before somebody has decided or mended something: another start alone
    changes nothing. Read what the message says to do."""
