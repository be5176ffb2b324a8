"""What whoever backfills is told meanwhile, and which fields he means. Pure."""

from collections.abc import Sequence

from hansard_writer.derived.deriving import StoredField


class NoSuchField(ValueError):
    """A field that the log does not have; the message names those that it has."""


class Observer:
    """Is told how far it is. Of use as it is, too."""

    def begin(self, entries: int) -> None:
        """So many entries are to be gone through."""

    def through(self, entries: int) -> None:
        """So many more are."""

    def step_back(self) -> None:
        """Others use the log: from here on this process MUST NOT be in their way."""

    def away(self, why: str) -> None:
        """The writer does not answer; it is waited for."""


def chosen(fields: Sequence[StoredField], names: Sequence[str]) -> list[StoredField]:
    """The fields with these names; all of them where none is named. Raises `NoSuchField`."""
    known = [each.field.name for each in fields]
    if unknown := [name for name in names if name not in known]:
        raise NoSuchField(
            f"there is no derived field {unknown[0]!r:.80}: there are {', '.join(known)}; "
            "declare others as [derived.NAME] in hansard.toml"
        )
    return [each for each in fields if not names or each.field.name in names]
