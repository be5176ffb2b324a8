"""Exit codes, and which error ends a command with which.

0 done; 1 the answer is no; 2 usage; 3 no writer answers; 4 taken. A message goes to stderr; only a
fault of Hansard's own shows a traceback.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NoReturn

import click

from hansard.errors import (
    AckTimeout,
    AuditLogError,
    ConfigError,
    InvalidEvent,
    ProtocolMismatch,
    WriterUnavailable,
)
from hansard.wire import WireError
from hansard_writer.lock import DirectoryTaken

DONE: Final = 0
NO: Final = 1
USAGE: Final = 2
NO_WRITER: Final = 3
TAKEN: Final = 4


class AnswerIsNo(click.ClickException):
    """Found nothing, refused, damaged."""

    exit_code = NO


class Unusable(click.ClickException):
    """An argument, a setting or a directory that cannot be used."""

    exit_code = USAGE


class NoWriter(click.ClickException):
    """Nobody answers for this directory."""

    exit_code = NO_WRITER


class Taken(click.ClickException):
    """Somebody else does this already."""

    exit_code = TAKEN


@contextmanager
def errors_as_exits() -> Iterator[None]:
    """Within, errors that have a message for the user become that message and an exit code."""
    try:
        yield
    except BrokenPipeError:
        _end_quietly()
    except DirectoryTaken as error:
        raise Taken(str(error)) from error
    except (WriterUnavailable, AckTimeout) as error:
        raise NoWriter(str(error)) from error
    except (ConfigError, InvalidEvent, ProtocolMismatch) as error:
        raise Unusable(str(error)) from error
    except (AuditLogError, WireError) as error:
        raise AnswerIsNo(str(error)) from error


def _end_quietly() -> NoReturn:
    """Who read our output has enough (``| head``). What is still buffered goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
    raise click.exceptions.Exit(DONE)
