"""The writer's figures for Prometheus, over HTTP, from a thread of its process.

The thread asks the writer as anybody does, over its sockets: the loop knows nothing of it, and what
comes over HTTP can neither stop it nor hold it up.
"""
