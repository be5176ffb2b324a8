"""Retention: an administrator asks for the oldest entries to be deleted, and how far that is; and
for free pages of the database to be given back to the file system.

Which entries, whoever asks has found out; it is asked again to hear of the progress.
"""

from typing import Any, Final, NamedTuple

from hansard.wire.values import WireError, is_natural

TEXT_BYTES_MAX: Final = 4_096  # of by, reason and archive


class Prune(NamedTuple):
    """Asks to delete the entries up to ``last``, all of which were created before ``before`` (ns
    since 1970 UTC). ``by`` whom, for which ``reason``, and the name of the ``archive`` that has
    them, are what the log will say. Asked again, it only tells how far it is."""

    last: int
    before: int
    by: str
    reason: str | None
    archive: str | None


class PruneState(NamedTuple):
    """How far it is: entries up to ``pruned_to`` are deleted, those up to ``last`` will be. What
    keeps the next from it, in words, or nothing."""

    last: int
    pruned_to: int
    held_up_by: str


class Vacuum(NamedTuple):
    """Asks to give back so many pages, of which the writer does a piece; or none, but to see that
    the file is as small as the log by now."""

    pages: int


class Vacuumed(NamedTuple):
    """``freed`` pages were given back, and so many are still ``free`` in the database, in a log of
    so many ``entries``. What keeps it from going on, in words, or nothing."""

    freed: int
    free: int
    entries: int
    held_up_by: str


def vacuum_of(arguments: list[Any]) -> Vacuum:
    """A checked `Vacuum`; raises `WireError`."""
    if len(arguments) != len(Vacuum._fields) or not is_natural(arguments[0]):
        raise WireError("vacuum takes a natural number of pages")
    return Vacuum(*arguments)


def vacuumed_of(content: Any) -> Vacuumed:
    """The `Vacuumed` of a reply's content; raises `WireError`."""
    if type(content) is not list or len(content) != len(Vacuumed._fields):
        raise WireError(f"a vacuum's answer has {len(Vacuumed._fields)} fields")
    vacuumed = Vacuumed(*content)
    if not all(map(is_natural, vacuumed[:3])) or type(vacuumed.held_up_by) is not str:
        raise WireError("a vacuum's answer has three natural numbers and a string")
    return vacuumed


def prune_of(arguments: list[Any]) -> Prune:
    """A checked `Prune`; raises `WireError`."""
    if len(arguments) != len(Prune._fields):
        raise WireError(f"prune takes {len(Prune._fields)} arguments")
    prune = Prune(*arguments)
    for name in ("last", "before"):
        if not is_natural(getattr(prune, name)):
            raise WireError(f"{name} of a prune is a natural number")
    for name in ("by", "reason", "archive"):
        text = getattr(prune, name)
        if not (text is None and name in _MAY_BE_NIL) and not _is_short(text):
            or_nil = ", or nil" if name in _MAY_BE_NIL else ""
            raise WireError(
                f"{name} of a prune is a string of at most {TEXT_BYTES_MAX} bytes{or_nil}"
            )
    return prune


def prune_state_of(content: Any) -> PruneState:
    """The `PruneState` of a reply's content; raises `WireError`."""
    if type(content) is not list or len(content) != len(PruneState._fields):
        raise WireError(f"a prune's answer has {len(PruneState._fields)} fields")
    state = PruneState(*content)
    if not all(map(is_natural, state[:2])) or type(state.held_up_by) is not str:
        raise WireError("a prune's answer has two natural numbers and a string")
    return state


def _is_short(text: object) -> bool:
    return type(text) is str and len(text.encode()) <= TEXT_BYTES_MAX


_MAY_BE_NIL: Final = frozenset({"reason", "archive"})
