"""Taking over another system's log: everything of some sources that the log lacks, once.

And the same looked at only: what would be entered, what would not and why.
"""

import logging
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from hansard.errors import InvalidEvent
from hansard.events import EventEncoder
from hansard.settings import load_settings
from hansard_writer.importing.fields import Event, Place
from hansard_writer.importing.import_lock import ImportLock
from hansard_writer.importing.keyed import KeyedSource, Ledgers
from hansard_writer.importing.known_keys import KnownKeys
from hansard_writer.importing.ledger import Forgotten
from hansard_writer.importing.run import Import, ImportFailed, Observer, Part, Report

SAMPLES_MAX: Final = 3


def take_over(
    directory: Path,
    name: str,
    sources: Sequence[tuple[KeyedSource, Report]],
    *,
    workers: int,
    wait_s: float,
    observer: Observer,
) -> None:
    """Enter what the log lacks of sources that have one name, and count it in their reports.

    Raises as `Import.enter`, and `ImportTaken` where another does it already.
    """
    with _quiet(), ImportLock(directory, name) as lock:
        run = Import(directory, workers=workers, wait_s=wait_s, observer=observer, guard=lock.guard)
        ledgers = Ledgers(directory, name, run.note_silence)
        try:
            with closing(_parts(ledgers, sources, observer)) as parts:
                run.enter(parts)
        except Forgotten as error:
            raise ImportFailed(str(error)) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Within, the client warns of nothing: the observer is told."""
    logger = logging.getLogger("hansard")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _parts(
    ledgers: Ledgers, sources: Sequence[tuple[KeyedSource, Report]], observer: Observer
) -> Generator[Part, None, None]:
    for source, report in sources:
        yield from ledgers.parts(source, report, observer.through)


@dataclass(slots=True)
class Preview:
    """What an import would do: rows by what would become of them, and some of the events."""

    total: int = 0
    already: int = 0
    fit: int = 0
    unfit: int = 0
    samples: list[tuple[Path, Place, Event]] = field(default_factory=list)


def preview(
    directory: Path, name: str, sources: Sequence[KeyedSource], observer: Observer
) -> Preview:
    """Look at what `take_over` would do. Writes nothing, and needs no writer. Raises as it."""
    settings = load_settings(directory)
    encoder = EventEncoder(settings.event_types, settings.actor)
    ledgers, found = Ledgers(directory, name, None), Preview()
    seen: dict[str, KnownKeys] = {}
    try:
        for source in sources:
            for collection, keyed in source.rows():
                found.total += 1
                observer.through(1)
                here = seen.setdefault(collection, KnownKeys())
                if keyed.key in ledgers.of(collection, source) or keyed.key in here:
                    found.already += 1
                    continue
                here.add([keyed.key])
                try:
                    event = source.reading.event(keyed.row)
                    event.check(encoder)
                except InvalidEvent as error:
                    found.unfit += 1
                    observer.refused(source.path, keyed.place, str(error))
                    continue
                found.fit += 1
                if len(found.samples) < SAMPLES_MAX:
                    found.samples.append((source.path, keyed.place, event))
    except Forgotten as error:
        raise ImportFailed(str(error)) from error
    return found
