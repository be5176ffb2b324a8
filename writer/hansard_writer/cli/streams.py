"""The standard streams of the command, where one may be closed, or its disk full.

It prints nothing; what a failure ends with is `hansard_writer.cli.exits`'s business.
"""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any

STDIN, STDOUT, STDERR = range(3)


class OutputFailed(OSError):
    """Stdout cannot be written to; other than the same error from any other file."""

    def __str__(self) -> str:
        return f"stdout cannot be written to: {self.strerror}"


class _Stdout(io.BufferedWriter):
    """Tells who has failed. Not the raw file: where Ctrl-C came between its write and the
    buffer's knowing of it, the same lines would be written twice."""

    def write(self, data: Any) -> int:  # a buffer of any kind
        with _telling():
            return super().write(data)

    def flush(self) -> None:
        with _telling():
            super().flush()


@contextlib.contextmanager
def _telling() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputFailed(error.errno, error.strerror) from error


@contextlib.contextmanager
def prepared() -> Iterator[None]:
    """Within, every stream is there, and stdout fails as `OutputFailed`.

    What was closed is opened so that only its use fails: otherwise the next file to be opened,
    perhaps a database, would be what we print into.
    """
    if sys.stdin is None:
        _occupy(STDIN, os.O_WRONLY)
        sys.stdin = os.fdopen(STDIN, closefd=False)
    if sys.stdout is None:
        _occupy(STDOUT, os.O_RDONLY)
        sys.stdout = os.fdopen(STDOUT, "w", closefd=False)
    if sys.stderr is None:
        _occupy(STDERR, os.O_WRONLY)
        sys.stderr = os.fdopen(STDERR, "w", closefd=False)
    before = sys.stdout
    with contextlib.suppress(OSError):  # a caller's own object, which is no file
        sys.stdout = io.TextIOWrapper(
            _Stdout(io.FileIO(before.fileno(), "w", closefd=False)),
            before.encoding,
            before.errors,
            line_buffering=bool(before.line_buffering),
        )
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            try:
                sys.stdout.flush()
            except OSError:
                drop_output()
        sys.stdout = before


def drop_output() -> None:
    """What is still buffered goes nowhere, so that the interpreter's end does not complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _occupy(descriptor: int, flags: int) -> None:
    opened = os.open(os.devnull, flags)
    if opened != descriptor:
        os.dup2(opened, descriptor)
        os.close(opened)
