"""What came of the entries that were looked at for a field: how many have a value, and of the
others why not. Pure."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from hansard_writer.derived.definitions import DerivedField
from hansard_writer.derived.extraction import Cause, Value

IDS_NAMED_MAX: Final = 100  # of the entries without a value, for each cause
SAMPLES_MAX: Final = 5


@dataclass(slots=True)
class Without:
    """Entries that have no value for one cause: how many, and the ids of the first."""

    count: int = 0
    ids: list[int] = dataclasses.field(default_factory=list)

    def add(self, count: int, ids: list[int]) -> None:
        """So many more."""
        self.count += count
        self.ids += ids[: IDS_NAMED_MAX - len(self.ids)]


@dataclass(slots=True)
class Tally:
    """Of one field. ``filled`` entries have a value, ``without`` have none, by cause; ``samples``
    are ids of entries with their values."""

    field: DerivedField
    filled: int = 0
    samples: list[tuple[int, Value]] = dataclasses.field(default_factory=list)
    without: dict[Cause, Without] = dataclasses.field(default_factory=dict)

    @property
    def entries(self) -> int:
        """How many were looked at: those of the field's event types."""
        return self.filled + sum(each.count for each in self.without.values())

    def lacks(self, seq: int, cause: Cause) -> None:
        """An entry has no value."""
        self.without.setdefault(cause, Without()).add(1, [seq])

    def has(self, seqs: list[int], values: list[Value]) -> None:
        """Entries have these values."""
        self.filled += len(seqs)
        room = SAMPLES_MAX - len(self.samples)
        self.samples += zip(seqs[:room], values[:room], strict=True)

    def add(self, other: "Tally") -> None:
        """Count what came of other entries too."""
        self.filled += other.filled
        self.samples += other.samples[: SAMPLES_MAX - len(self.samples)]
        for cause, without in other.without.items():
            self.without.setdefault(cause, Without()).add(without.count, without.ids)

    def causes(self) -> Iterator[tuple[Cause, Without]]:
        """The causes that came up, in their own order."""
        return ((cause, self.without[cause]) for cause in Cause if cause in self.without)
