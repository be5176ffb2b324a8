"""Verification: all of a log's proof recomputed from its columns, and what does not fit.

It reads, and changes nothing; pages of entries are one read transaction each.
"""

from hansard_writer.proof.verifying.findings import Finding, Fork, Report, Verdict
from hansard_writer.proof.verifying.verification import Progress, verify

__all__ = ["Finding", "Fork", "Progress", "Report", "Verdict", "verify"]
