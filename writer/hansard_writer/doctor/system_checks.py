"""What a log rests on: its disk, its settings, the clock, and the versions of what it runs on.

Pure: facts in, findings out.
"""

from collections.abc import Iterator
from typing import Final

from hansard.reader_connection import SQLITE_VERSION_MIN
from hansard.wording import counted
from hansard_writer.doctor import amounts
from hansard_writer.doctor.facts import Facts, PlaceFacts
from hansard_writer.doctor.findings import Finding, action, note, ok

INODES_FREE_MIN: Final = 1_000
AHEAD_S_MAX: Final = 60  # of an entry's time, before a clock is wrong

PLACE: Final = "place"
SETTINGS: Final = "settings"
CLOCK: Final = "clock"
SOFTWARE: Final = "software"


# --- the disk ---


def check_place(facts: Facts) -> Iterator[Finding]:
    """Whether the disk can hold a log, and has room."""
    place = facts.place
    if place is None:
        return
    if place.network:
        yield action(
            PLACE,
            f"on a network file system ({place.network}), where SQLite's locks cannot be trusted",
            "stop its writer, and move the directory to a local disk",
        )
    if place.read_only:
        yield action(
            PLACE, "mounted read-only: nothing can be entered", "see dmesg, and remount it"
        )
    room = _little_room(facts, place)
    if room:
        yield room
    elif not (place.network or place.read_only):
        yield ok(PLACE, f"a local disk with {amounts.size(place.free_bytes)} free")
    if place.inodes_free is not None and place.inodes_free < INODES_FREE_MIN:
        yield action(
            PLACE,
            f"{counted(place.inodes_free, 'inode')} free: no spool can be made soon",
            "remove files from that disk",
        )


def _little_room(facts: Facts, place: PlaceFacts) -> Finding | None:
    settings, free = facts.settings, amounts.size(place.free_bytes)
    way_out = f"make room on it; {facts.command('prune --before 90d --dry-run')} says what could go"
    if place.free_bytes < settings.disk_suspend:
        limit = amounts.size(settings.disk_suspend)
        return action(
            PLACE, f"{free} free: below disk_suspend ({limit}) nothing is entered", way_out
        )
    if place.free_bytes < settings.disk_warn:
        limit = amounts.size(settings.disk_warn)
        return action(PLACE, f"{free} free: below disk_warn ({limit})", way_out)
    return None


# --- settings, clock, software ---


def check_settings(facts: Facts) -> Iterator[Finding]:
    """Whether a writer could start with them."""
    if facts.settings_error:
        yield action(
            SETTINGS, facts.settings_error, "correct that: with it no writer starts, and no client"
        )
    elif facts.is_directory and not facts.closed:
        given = [f"{name}={getattr(facts.settings, name)}" for name in facts.settings_given]
        yield ok(SETTINGS, ", ".join(given) or "all as by default")


def check_clock(facts: Facts) -> Iterator[Finding]:
    """Now against what was recorded, and what the kernel says."""
    latest = facts.log.latest_at if facts.log else 0
    started = facts.writer.lock.get("started_at")
    limit = facts.now + AHEAD_S_MAX * amounts.SECOND
    way_out = "set the clock (`timedatectl`), or find who records with a created_at to come"
    if latest > limit:
        yield action(
            CLOCK,
            f"an entry's time is {amounts.since(facts.now, latest)} ahead of this clock",
            way_out,
        )
    if isinstance(started, int) and started > limit:
        yield action(
            CLOCK,
            f"its writer began {amounts.since(facts.now, started)} from now: it was set back",
            "set the clock right (`timedatectl`)",
        )
    if facts.clock_is_synchronised is False:
        yield note(
            CLOCK,
            "the kernel says that it is not synchronised",
            "let a time service run (`timedatectl set-ntp true`), if the entries' times matter",
        )
    elif latest <= limit:
        told = {True: ", synchronised", None: "", False: ""}[facts.clock_is_synchronised]
        yield ok(CLOCK, f"{amounts.moment(facts.now)}{told}")


def check_software(facts: Facts) -> Iterator[Finding]:
    """SQLite's version, and those of what else matters in a report of a fault."""
    versions = facts.versions
    version, least = versions["sqlite"], ".".join(map(str, SQLITE_VERSION_MIN))
    if tuple(map(int, version.split("."))) < SQLITE_VERSION_MIN:
        yield action(
            SOFTWARE,
            f"SQLite {version} can corrupt a WAL: {least} or later is needed",
            "`pip install --upgrade apsw`",
        )
    names = ("hansard", "python", "sqlite", "apsw", "libzmq", "pyzmq", "msgpack")
    yield ok(SOFTWARE, ", ".join(f"{name} {versions[name]}" for name in names))
