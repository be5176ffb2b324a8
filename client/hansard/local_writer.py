"""The writer of a directory, as who is beside it knows it: its lock, its sockets, words for it.

It asks the writer nothing.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import zmq

from hansard import directory as layout
from hansard.complaints import Complaints
from hansard.errors import ConfigError, WriterUnavailable
from hansard.route import Route

RECONNECT_MS: Final = 20
RECONNECT_MS_MAX: Final = 100  # a new writer is met so much later at most
SILENCE_S: Final = 1.0  # an answer overdue: look whether another writer has come

_OPTIONS: Final[Mapping[int, int]] = {
    int(zmq.RECONNECT_IVL): RECONNECT_MS,
    int(zmq.RECONNECT_IVL_MAX): RECONNECT_MS_MAX,
}


class LocalWriter:
    """The same face as `hansard.remote_writer.RemoteWriter`."""

    silence_s: Final = SILENCE_S
    patience_max: Final = 1  # a lost one is known by its lock
    backoff_s_max: Final = 1.0
    gone: Final = "ended"

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.name = f"the writer of {directory}"
        self.whose = f"in {directory}"  # files
        self.where = f"in {directory}"

    def way_out(self, refusal: str = "") -> str:  # noqa: ARG002 - over ipc there is none
        """What to do about its silence."""
        return (
            f"start one with `hansard serve --dir {self.directory}`, or name another directory "
            "(HANSARD_DIR)"
        )

    def route(self) -> Route:
        """How to reach it now."""
        paths = layout.SocketPaths(self.directory)
        return Route(paths.push, paths.ack, _OPTIONS, int(zmq.EVENT_CONNECTED), {}, paths.close)

    def require_directory(self) -> None:
        """Raises where nobody can ask through it."""
        if not self.directory.is_dir():
            raise WriterUnavailable(
                f"{self.directory} does not exist: `hansard serve --dir` makes it"
            )
        if not os.access(self.directory, os.X_OK):
            raise ConfigError(layout.foreign_directory(self.directory))

    def may_live(self) -> bool:
        """False where certainly nobody answers."""
        return layout.a_writer_lives(self.directory)

    def run_id(self) -> str | None:
        """Of the run that the lock names, in hex; None where that is unknown."""
        run_id = layout.read_lock_file(self.directory).get("run_id")
        return None if run_id is None else str(run_id)

    def has_ended(self, run_id: str | None) -> bool:
        """Whether a run is over; where it is unknown, it is not."""
        if run_id is None:
            return False
        return (self.run_id() or run_id) != run_id or not self.may_live()

    def is_another_than(self, run_id: bytes) -> bool:
        """Whether another run than this one serves the directory, as far as that is known."""
        return (self.run_id() or run_id.hex()) != run_id.hex()

    def silent(self, when: str) -> str:
        """Says that it lives and did not answer, such as ``in time``; empty where none lives."""
        return layout.silent_writer(self.directory, when)

    def adopter(self, complaints: Complaints) -> None:
        """Nobody: what the dead leave in its directory it adopts itself."""

    def owners_token(self) -> bytes | None:
        """What shows that the owner of the directory asks; None in one that is not shared. Raises
        `ConfigError` for others."""
        try:
            return (self.directory / layout.OWNERS).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise ConfigError(
                f"only the owner of {self.directory} may ask for that ({layout.OWNERS}: "
                f"{error.strerror}): run it as the user of its writer"
            ) from error
