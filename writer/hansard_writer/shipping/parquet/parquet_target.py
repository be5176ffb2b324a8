"""A directory of Parquet files, to who ships there.

It finds the directory and the files of each log; what is in them, `log_files` knows.
"""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from hansard import directory as log_layout
from hansard_writer.proof.merkle_hash_tree import Edge
from hansard_writer.shipping.batch import Batch, Checked
from hansard_writer.shipping.parquet import layout
from hansard_writer.shipping.parquet.log_files import LogFiles
from hansard_writer.shipping.parquet.storage import storage_errors
from hansard_writer.shipping.target import TargetRefused, TargetTaken, TargetUnavailable
from hansard_writer.shipping.targets import TargetOptions

_LOG: Final = logging.getLogger("hansard.ship")


class ParquetOpener:
    """Opens the target: as often as something went wrong with the one before."""

    def __init__(self, directory: Path, options: TargetOptions) -> None:
        self._directory = directory
        self._options = options
        self._was_there = False

    def __call__(self) -> "ParquetTarget":
        directory = self._directory
        for each in (directory, *directory.parents):
            if (each / log_layout.DATABASE).exists():
                raise TargetRefused(
                    f"{directory} is in the directory of a log, {each}: name one of its own, on "
                    "another disk if you can"
                )
        entries = directory / layout.ENTRIES
        if self._was_there and not entries.is_dir():
            raise TargetUnavailable(f"{entries} is gone: see whether {directory} is mounted")
        with storage_errors(directory):
            with contextlib.suppress(FileExistsError):
                directory.mkdir()  # not its parents, or a disk that is not mounted would be made
            entries.mkdir(exist_ok=True)
        self._was_there = True
        return ParquetTarget(directory, self._options)


class ParquetTarget:
    """A `Target` that gathers. Entries are in the files that others read when there are enough of
    them, or they have waited long enough, or it is closed."""

    def __init__(self, directory: Path, options: TargetOptions) -> None:
        self.name = str(directory)
        self._directory = directory
        self._options = options
        self._logs: dict[str, LogFiles] = {}

    def edge(self, origin: str) -> Edge:
        """Of what it has of a log: and nobody else ships that log there from now on."""
        log = self._logs.get(origin)
        if log is None:
            self._finish_earlier(origin)
            log = self._logs[origin] = LogFiles(self._directory, origin, self._options)
        return log.edge

    def append(self, batch: Batch, checked: Checked) -> None:
        """Durable in one file, or not at all."""
        self._logs[batch.origin].append(batch, checked)

    def put_away_due(self) -> None:
        """Put what has waited long enough where others read it."""
        for log in self._logs.values():
            log.put_away_due()

    def close(self) -> None:
        """Put all that waits where others read it, and let go."""
        logs, self._logs = self._logs, {}
        for log in logs.values():
            with _remainder_told():
                log.close()

    def _finish_earlier(self, origin: str) -> None:
        """Finish what was under way of a log under its earlier origins, under which nobody ships it
        any more: what is to be taken out there would stay for ever."""
        with storage_errors(self._directory):
            earlier = layout.left_of_others(self._directory, origin)
        for each in earlier:
            if each in self._logs:  # a stream may bring more of it
                continue
            with _remainder_told():
                LogFiles(self._directory, each, self._options).close()


@contextlib.contextmanager
def _remainder_told() -> Iterator[None]:
    try:
        yield
    except (TargetUnavailable, TargetRefused, TargetTaken) as error:
        _LOG.warning("some entries wait for the next `hansard ship` there: %s", error)
