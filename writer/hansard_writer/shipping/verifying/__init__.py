"""Verification at the far end: what was shipped, held against the origins' checkpoints and keys.

It believes nothing that is kept there but what a trusted signature bears, and changes nothing.
"""

from hansard_writer.shipping.verifying.verification import FarReport, LogReport, verify_far

__all__ = ["FarReport", "LogReport", "verify_far"]
