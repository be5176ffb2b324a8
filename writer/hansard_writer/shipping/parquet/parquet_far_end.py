"""A directory of Parquet files, to who verifies what is there. It writes and locks nothing.

One moment is had by listing: what is a range by then never changes but for a redaction or a prune,
and what waits is held open. Where a file is another one than was listed, it says so.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow.parquet as pq

from hansard_writer.proof.checkpoint import SIZE_MAX, read_checkpoint
from hansard_writer.proof.merkle_hash_tree import Edge
from hansard_writer.proof.signed_note import NoteError
from hansard_writer.proof.verifying.entry_rows import SEQ
from hansard_writer.shipping.far_end import Head, Page
from hansard_writer.shipping.parquet import layout
from hansard_writer.shipping.parquet.columns import pages_of
from hansard_writer.shipping.parquet.facts import Facts, facts_of
from hansard_writer.shipping.parquet.layout import Part
from hansard_writer.shipping.parquet.storage import storage_errors
from hansard_writer.shipping.target import TargetRefused, TargetUnavailable

PAGE_ENTRIES: Final = 1_000
TRIES: Final = 10  # while batches become ranges

_Identity = tuple[int, int]


class _Moment(NamedTuple):
    """What was there: ranges, and what each was; batches that wait, open; checkpoints by size."""

    ranges: list[tuple[Part, _Identity]]
    waiting: list[tuple[Part, Any]]
    checkpoints: list[tuple[int, Path]]


class ParquetFarEnd:
    """A `FarEnd`. Raises `TargetUnavailable` where the directory is not there."""

    def __init__(self, directory: Path) -> None:
        self.name = str(directory)
        self._directory = directory
        self._moments: dict[str, _Moment] = {}
        if not directory.is_dir():
            raise TargetUnavailable(f"{directory} is not there: see whether it is mounted")

    def origins(self) -> list[str]:
        """Of what is among the entries, or waits."""
        with storage_errors(self._directory):
            return layout.origins_in(self._directory)

    def head(self, origin: str) -> Head | None:
        """By the names of its files, and what the first and the last one say."""
        self._forget(origin)
        place = layout.place_of(self._directory, origin)
        with storage_errors(self._directory):
            moment = self._moments[origin] = _look(place)
        parts = [*(part for part, _ in moment.ranges), *(part for part, _ in moment.waiting)]
        if not parts:
            return None
        begun, last = Edge(), self._said(moment, parts[-1])
        if parts[0].first > 1:
            said = self._said(moment, parts[0])
            if said is None or said.front.size != parts[0].first - 1:
                raise TargetRefused(
                    f"{parts[0].path} does not say what comes before entry {parts[0].first:,}: put "
                    "a copy of it back that `hansard ship` wrote"
                )
            begun = said.front
        return Head(parts[-1].last, begun, last.proof if last else [])

    def notes(self, origin: str) -> Iterator[str]:
        """The files of checkpoints, and those of the batches that wait."""
        moment = self._moments[origin]
        for _, path in moment.checkpoints:
            with storage_errors(path):
                yield path.read_bytes().decode(errors="replace")
        held = moment.checkpoints[-1][0] if moment.checkpoints else 0
        for part, _ in moment.waiting:
            said = self._said(moment, part)
            for note in said.notes if said else []:
                size = _size(note)
                if size > held:
                    yield note
                    held = size if size <= SIZE_MAX else held

    def pages(self, origin: str) -> Iterator[Page]:
        """Row group by row group."""
        moment = self._moments[origin]
        before = 0
        for part, identity in moment.ranges:
            with storage_errors(part.path), _opened(part.path, identity) as file:
                yield from pages_of(file, origin, PAGE_ENTRIES)
            before = max(before, part.last)
        for part, file in moment.waiting:
            with storage_errors(part.path):
                for page in pages_of(file, origin, PAGE_ENTRIES):
                    yield page if part.first > before else _behind(page, before)

    def close(self) -> None:
        """Of the files that are held open, too."""
        for origin in list(self._moments):
            self._forget(origin)

    def _forget(self, origin: str) -> None:
        moment = self._moments.pop(origin, None)
        if moment is not None:
            _close(moment.waiting)

    def _said(self, moment: _Moment, part: Part) -> Facts | None:
        """What a file says of itself; None where another program wrote it once more."""
        with storage_errors(part.path):
            waiting = dict(moment.waiting)
            if part in waiting:
                return _facts(waiting[part])
            identity = dict(moment.ranges)[part]
            with _opened(part.path, identity) as file:
                return _facts(file)


def _look(place: layout.LogPlace) -> _Moment:
    """What is there at one moment. Raises `TargetUnavailable` where none can be had."""
    for _ in range(TRIES):
        waiting: list[tuple[Part, Any]] = []
        staged, checkpoints = _listed(place)
        if any(part.is_pending for part in staged):
            raise TargetUnavailable(
                f"a redaction or a prune is being carried out in {place.entries}: try again; if no "
                "`hansard ship` runs there, start one, and it is finished"
            )
        try:
            waiting.extend((part, pq.ParquetFile(part.path.open("rb"))) for part in staged)
            ranges = [
                (part, _identity(part.path.stat())) for part in layout.parts_in(place.entries)
            ]
        except FileNotFoundError:
            ranges = None
        if ranges is None or _listed(place) != (staged, checkpoints):
            _close(waiting)
            continue
        last = max((part.last for part, _ in ranges), default=0)
        _close([each for each in waiting if each[0].last <= last])
        return _Moment(ranges, [each for each in waiting if each[0].last > last], checkpoints)
    raise TargetUnavailable(f"{place.entries} changes faster than it can be listed: try again")


def _listed(place: layout.LogPlace) -> tuple[list[Part], list[tuple[int, Path]]]:
    return layout.parts_in(place.staging), layout.sizes_in(place.checkpoints)


def _behind(page: Page, before: int) -> Page:
    """What of a page comes behind an entry."""
    kept = [at for at, row in enumerate(page.rows) if row[SEQ] > before]
    rows, leaves = [page.rows[at] for at in kept], [page.leaves[at] for at in kept]
    return Page(rows, page.owners, leaves, [each for each in page.misfits if each[0] > before])


@contextlib.contextmanager
def _opened(path: Path, identity: _Identity) -> Iterator[Any]:
    """A file that was listed. Raises `TargetUnavailable` where it is another one by now."""
    try:
        with path.open("rb") as file:
            if _identity(os.fstat(file.fileno())) != identity:
                raise _changed(path)
            yield pq.ParquetFile(file)
    except FileNotFoundError:
        raise _changed(path) from None


def _identity(found: os.stat_result) -> _Identity:
    return found.st_size, found.st_mtime_ns


def _facts(file: Any) -> Facts | None:
    try:
        return facts_of(file.metadata.metadata)
    except ValueError:
        return None


def _size(note: str) -> int:
    """What a note claims; more than any log has, where it is no checkpoint."""
    try:
        return read_checkpoint(note).size
    except NoteError:
        return SIZE_MAX + 1


def _close(waiting: list[tuple[Part, Any]]) -> None:
    for _, file in waiting:
        file.close(force=True)


def _changed(path: Path) -> TargetUnavailable:
    return TargetUnavailable(
        f"{path} was changed while it was read: entries of it were redacted or pruned; try again"
    )
