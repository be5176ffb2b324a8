"""The proof: that the log's history is the one that was signed, in formats that others check.

What computes is pure, takes values and returns values, and needs no log: `merkle_hash_tree`,
`leaves`, `signed_note`, `checkpoint`, `key_chain`, `logged_entry`, `proofs`. What is exported here
is what checks proofs, and makes them from values::

    from hansard_writer.proof import VerifierKey, check_inclusion_proof

    proven = check_inclusion_proof(text, [VerifierKey.parse(key_line)])
    proven.entry.payload, proven.checkpoint.size
"""

from hansard_writer.proof.checkpoint import Checkpoint, open_checkpoint, read_checkpoint
from hansard_writer.proof.logged_entry import LoggedEntry, MalformedEntry
from hansard_writer.proof.proofs import (
    ConsistencyProof,
    InclusionProof,
    MalformedProof,
    NotProven,
    ProofError,
    ProvenConsistency,
    ProvenEntry,
    check_consistency_proof,
    check_inclusion_proof,
    check_proof,
    make_consistency_proof,
    make_inclusion_proof,
    parse_consistency_proof,
    parse_inclusion_proof,
)
from hansard_writer.proof.signed_note import NoteError, VerifierKey
from hansard_writer.proof.verifying import Finding, Report, Verdict, verify

__all__ = [
    "Checkpoint",
    "ConsistencyProof",
    "Finding",
    "InclusionProof",
    "LoggedEntry",
    "MalformedEntry",
    "MalformedProof",
    "NotProven",
    "NoteError",
    "ProofError",
    "ProvenConsistency",
    "ProvenEntry",
    "Report",
    "Verdict",
    "VerifierKey",
    "check_consistency_proof",
    "check_inclusion_proof",
    "check_proof",
    "make_consistency_proof",
    "make_inclusion_proof",
    "open_checkpoint",
    "parse_consistency_proof",
    "parse_inclusion_proof",
    "read_checkpoint",
    "verify",
]
