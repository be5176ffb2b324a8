"""The proof: that the log's history is the one that was signed, in formats that others check.

What computes is pure, takes values and returns values, and needs no log: `merkle_hash_tree`,
`leaves`, `signed_note`, `checkpoint`, `key_chain`.
"""
