"""The WAL's index in shared memory (``-shm``): its system calls, which may fail like all others.

An apsw VFS has no methods for it (xShmMap, xShmLock); but SQLite lets its system calls be replaced,
for the whole process. It decides no fault: that is the hook's of a `HookedVfs`.
"""

import contextlib
import ctypes
import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from hooked_vfs import HookedVfs

_INT, _LONG = ctypes.c_int, ctypes.c_long
_POINTER, _SIZE = ctypes.c_void_p, ctypes.c_size_t
_FAILED: Final = -1
_MAP_FAILED: Final = ctypes.c_void_p(-1).value


def _prototype(*types: Any) -> Any:
    return ctypes.CFUNCTYPE(*types, use_errno=True)


# By the name in SQLite: the C type, which argument says the file, and what means failure.
_CALLS: Final[Mapping[str, tuple[Any, int, int | None]]] = MappingProxyType(
    {
        "open": (_prototype(_INT, ctypes.c_char_p, _INT, _INT), 0, _FAILED),
        "fcntl": (_prototype(_INT, _INT, _INT, _POINTER), 0, _FAILED),
        "pwrite64": (
            _prototype(ctypes.c_ssize_t, _INT, _POINTER, _SIZE, _LONG),
            0,
            _FAILED,
        ),
        "mmap": (_prototype(_POINTER, _POINTER, _SIZE, _INT, _INT, _INT, _LONG), 4, _MAP_FAILED),
    }
)


class SystemCallFails(Exception):
    """Raised by a hook: the system call fails with this errno."""

    def __init__(self, errno: int) -> None:
        super().__init__(os.strerror(errno))
        self.errno = errno


@contextlib.contextmanager
def shared_memory_hooked(vfs: HookedVfs) -> Iterator[None]:
    """Within, the hook is also asked before each system call on a ``-shm``, by the call's name, and
    may raise `SystemCallFails`. It MUST NOT raise for SQLite's methods then: the system calls of
    their clearing up would run into apsw's pending exception."""
    replaced = []
    for name, (prototype, argument, failed) in _CALLS.items():
        address = vfs.xGetSystemCall(name)
        assert address is not None, f"SQLite has no system call {name} here"
        original = prototype(address)
        call = prototype(_asking(vfs, name, original, argument, failed))
        vfs.xSetSystemCall(name, ctypes.cast(call, _POINTER).value)
        replaced.append((name, address, call))
    try:
        yield
    finally:
        for name, address, _ in replaced:
            vfs.xSetSystemCall(name, address)


def _asking(
    vfs: HookedVfs, name: str, original: Any, argument: int, failed: int | None
) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        file = _file_of(arguments[argument])
        if file.endswith("-shm") and not (name == "fcntl" and _unlocks(*arguments[1:])):
            try:
                vfs.may_fail(name, file)
            except SystemCallFails as error:
                ctypes.set_errno(error.errno)
                return failed
        return original(*arguments)

    return call


def _unlocks(command: int, argument: int | None) -> bool:
    """A lock of a file of this machine may be refused; that it is given back may not."""
    if command != fcntl.F_SETLK or argument is None:
        return False
    return ctypes.c_short.from_address(argument).value == fcntl.F_UNLCK  # l_type comes first


def _file_of(said: bytes | int | None) -> str:
    """A file's name by its path or its descriptor."""
    if isinstance(said, bytes):
        return os.path.basename(os.fsdecode(said))  # noqa: PTH119 - for each call of SQLite's
    if said is None or said < 0:
        return ""
    return os.path.basename(os.readlink(f"/proc/self/fd/{said}"))  # noqa: PTH115, PTH119
