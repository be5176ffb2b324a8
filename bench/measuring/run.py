"""What a part of the bench is given. It measures nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class Run(NamedTuple):
    """One part's share of a run.

    * ``place``: a directory of its own, not made yet, removed behind it.
    * ``workers``, ``events``: processes that record, and events in all, where a part takes them.
    * ``is_quick``: under a minute for all quick parts together, without servers; otherwise minutes.
    * ``tell``: what is going on now, in a few words, for who waits.
    """

    place: Path
    workers: int
    events: int
    is_quick: bool
    tell: Callable[[str], None]
