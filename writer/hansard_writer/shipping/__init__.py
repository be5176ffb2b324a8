"""Shipping: a log's entries, once, in order and verified, to engines that are made for many logs.

log_source    a log, in batches that prove themselves
batch         what a batch is, and its verification        pure
target        the contract of those who keep batches
delivery      from the one to the other, until told to end
relay         from a stream of batches of many logs to a target
standing      how far it has got, for `hansard stats`
targets       which target a text names
postgresql/   jetstream/   parquet/   the targets
"""
