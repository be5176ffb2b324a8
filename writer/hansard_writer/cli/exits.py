"""Exit codes, and which error ends a command with which.

0 done; 1 the answer is no, or it failed; 2 usage; 3 no writer answers; 4 taken; 130 interrupted. A
message goes to stderr; only a fault of Hansard's own shows a traceback.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, Final

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
from hansard_writer.cli.streams import OutputFailed, drop_output
from hansard_writer.lock import DirectoryTaken
from hansard_writer.unusable import LogRefused

DONE: Final = 0
NO: Final = 1
USAGE: Final = 2
NO_WRITER: Final = 3
TAKEN: Final = 4
INTERRUPTED: Final = 130  # 128 + SIGINT, as shells have it


class _NoError(click.ClickException):
    """A message that does not call itself an error."""

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(self.format_message(), file=file, err=True)


class AnswerIsNo(_NoError):
    """Found nothing, or damage."""

    exit_code = NO


class Interrupted(_NoError):
    """Ctrl-C, and what became of the work."""

    exit_code = INTERRUPTED


class Failed(click.ClickException):
    """It could not be done."""

    exit_code = NO


class Refused(Failed):
    """It cannot be done before somebody has decided or mended something."""


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
        drop_output()
        raise click.exceptions.Exit(DONE) from None  # who read it has enough (`| head`)
    except OutputFailed as error:
        raise Failed(str(error)) from error
    except KeyboardInterrupt:
        raise Interrupted("Interrupted.") from None
    except DirectoryTaken as error:
        raise Taken(str(error)) from error
    except (WriterUnavailable, AckTimeout) as error:
        raise NoWriter(str(error)) from error
    except (ConfigError, InvalidEvent, ProtocolMismatch) as error:
        raise Unusable(str(error)) from error
    except LogRefused as error:
        raise Refused(str(error)) from error
    except (AuditLogError, WireError) as error:
        raise Failed(str(error)) from error
