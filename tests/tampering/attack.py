"""An attack: what is done, and what must find it. The definitions make tests and page alike."""

import dataclasses
import enum
from collections.abc import Callable
from typing import Any

from tampering.attackers import Attacker
from tampering.files import Files


class By(enum.IntEnum):
    """What an attack is found with, the least first; whoever has more finds it too."""

    VERIFY = 0  # hansard verify, with nothing but the files
    KEY = 1  # and the verifier key, as it was handed out
    CHECKPOINT = 2  # and a checkpoint that has left the machine
    NOTHING = 3


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """With what an attack is found, and the verdict then. ``entries`` are all that it names;
    None where they are many, or none. ``looks`` is the verdict of who has less than that; by
    default, that of the log before the attack. ``cleared``: who has more sees that the record is
    as it was. ``why`` is for the reader of the page."""

    by: By
    verdict: str
    entries: tuple[int, ...] | None = None
    looks: str = ""
    cleared: bool = False
    why: str = ""

    def given(self, by: By) -> "Found":
        """The same, found with more."""
        return dataclasses.replace(self, by=by)


@dataclasses.dataclass(frozen=True, slots=True)
class Attack:
    """``left``: what finds it when nothing is done to hide it; None for what is no change of
    entries. ``covered``: what finds it when the attacker, the one without the key or the one with
    it, has then made all of the proof again; for what is not covered up, what finds it."""

    name: str
    title: str
    log: str
    run: Callable[[Files, Attacker], None]
    left: Found | None
    covered: tuple[Found | None, Found | None]


def altered(*entries: int) -> Found:
    """Found by ``hansard verify`` alone, which names these entries, and no others."""
    return Found(By.VERIFY, "altered", entries or None)


def not_found(why: str, verdict: str = "") -> Found:
    """Nobody can tell, and why."""
    return Found(By.NOTHING, "", looks=verdict, why=why)


FORKED = Found(By.VERIFY, "forked")
TRUNCATED = Found(By.VERIFY, "truncated")
ANOTHER_KEY = Found(By.KEY, "altered")
ANOTHER_HISTORY = Found(By.CHECKPOINT, "forked")
COVERED = (ANOTHER_KEY, ANOTHER_HISTORY)
NOT_TRIED = (None, None)
CAN_RECORD = not_found("who has the key can record")


def in_vain(found: Found) -> tuple[Found, Found]:
    """To make all of the proof again does not hide it: the same is found."""
    return found, found


class Section:
    """Attacks of one kind."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.attacks: list[Attack] = []

    def change(
        self,
        title: str,
        left: Found,
        covered: tuple[Found | None, Found | None] = COVERED,
        log: str = "plain",
    ) -> Callable[[Callable[[Files], Any]], Callable[[Files], Any]]:
        """Something done to the record itself: left as it is, and covered up by each attacker."""

        def define(change: Callable[[Files], Any]) -> Callable[[Files], Any]:
            def run(files: Files, _attacker: Attacker) -> None:
                change(files)

            self.attacks.append(Attack(change.__name__, title, log, run, left, covered))
            return change

        return define

    def deed(
        self, title: str, without_key: Found, with_key: Found | None = None, log: str = "plain"
    ) -> Callable[[Callable[[Files, Attacker], Any]], Callable[[Files, Attacker], Any]]:
        """Something done to what proves it, by each attacker as far as they can."""

        def define(run: Callable[[Files, Attacker], Any]) -> Callable[[Files, Attacker], Any]:
            found = (without_key, with_key or without_key)
            self.attacks.append(Attack(run.__name__, title, log, run, None, found))
            return run

        return define
