"""How many descriptors the writer may have: each connection takes one.

Where none is left, libzmq aborts the process at the next connection over ipc (`ipc_listener.cpp`).
So there are many, and other hosts never get all of them.
"""

import contextlib
import resource
from typing import Final

WANTED: Final = 65_536
REMOTE_CONNECTIONS_MAX: Final = 16_384  # a worker has two; one that was just made takes 4 KiB


def raise_limit() -> None:
    """Allow this process as many as it may allow itself, and needs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def remote_connections_max() -> int:
    """How many connections of other hosts leave enough for this one's, and for files."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return REMOTE_CONNECTIONS_MAX
    return min(REMOTE_CONNECTIONS_MAX, soft // 2)
