"""What every event recorded in this context gets besides: bound by hand, or of a span that runs.

A context is that of `contextvars`: each thread has its own, each asyncio task a copy of its
maker's. It records nothing; the encoder merges what is bound here into each event.
"""
