"""Hansard's writer: the process that owns a log, and what is made of it."""

from hansard_writer.backups import Backup, BackupFailed
from hansard_writer.backups import back_up as backup
from hansard_writer.operations import operation
from hansard_writer.running import RunningWriter, running

__all__ = ["Backup", "BackupFailed", "RunningWriter", "backup", "operation", "running"]
