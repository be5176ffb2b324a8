"""Hansard's writer: the process that owns a log, and what is made of it."""

from hansard_writer.operations import operation
from hansard_writer.running import RunningWriter, running

__all__ = ["RunningWriter", "operation", "running"]
