"""Proofs: how long one takes out of a long log, and how much of the tree it reads.

The long log is written through the store itself, salts, leaves and tree included; each proof is
made as `hansard prove` makes it, connection and all but the start of a process, and is checked.
For the longer log only rows of hashes are made, of no entries: what is counted is bytes.
"""

from typing import Final

PART: Final = "proof"
ENTRIES: Final = 1_000_000
LARGE_ENTRIES: Final = 10_000_000
BATCH: Final = 2_000  # entries a transaction
PROOFS: Final = 500
PROOF_MS_MAX: Final = 10.0
BYTES_MAX: Final = 8_192  # "a few kilobytes"
