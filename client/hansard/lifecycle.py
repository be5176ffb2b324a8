"""Fork and exit: which hooks fire where, and what each does for the logs of this process.

No exit hook fires everywhere. ``atexit`` does not run in multiprocessing's children, whose own
``Finalize`` does; a child that ends by ``os._exit`` or a signal runs nothing. So the hooks only
hurry what the spool keeps anyway.
"""

import atexit
import contextlib
import os
import sys
import weakref
from pathlib import Path
from typing import Protocol


class _Log(Protocol):
    directory: Path

    def close(self, timeout: float | None = None) -> int: ...
    def _become_child(self) -> None: ...


_logs: "weakref.WeakSet[_Log]" = weakref.WeakSet()
_finalizer_of: int | None = None  # the pid that has registered multiprocessing's hook


def watch(log: _Log) -> None:
    """Take care of ``log`` at forks and at exit."""
    _logs.add(log)


def logs_of(directory: Path) -> list[_Log]:
    """This process's logs of a directory."""
    return [log for log in list(_logs) if log.directory == directory]


def register_exit_hook() -> None:
    """At the first use in a process: not at the fork, where multiprocessing wipes it."""
    global _finalizer_of  # noqa: PLW0603 - a fact about the process
    util = sys.modules.get("multiprocessing.util")
    if util is not None and _finalizer_of != os.getpid():
        _finalizer_of = os.getpid()
        util.Finalize(None, _close_all, exitpriority=100)


@atexit.register
def _close_all() -> None:
    for log in list(_logs):
        with contextlib.suppress(Exception):  # nothing may keep a process from ending
            log.close()


def _in_child() -> None:
    for log in list(_logs):
        with contextlib.suppress(Exception):  # the other logs must become this process's too
            log._become_child()


os.register_at_fork(after_in_child=_in_child)
