"""What the database shows: itself, its entries, and what is kept beside them.

Pure: facts in, findings out.
"""

from collections.abc import Iterator
from typing import Final

from hansard.reader_connection import SCHEMA_VERSION
from hansard.wording import counted
from hansard_writer.doctor import amounts
from hansard_writer.doctor.facts import DatabaseFacts, Facts, LogFacts, Trouble
from hansard_writer.doctor.findings import Finding, action, note, ok

FREE_SHARE_MIN: Final = 4  # a quarter of the pages, and
FREE_BYTES_MIN: Final = 64 << 20  # so much, are worth giving back
FULL_TEXT_TAIL_MAX: Final = 10_000  # entries that each search looks at one by one

DATABASE: Final = "database"
ENTRIES: Final = "entries"
UPKEEP: Final = "upkeep"


# --- the file ---


def check_database(facts: Facts) -> Iterator[Finding]:
    """Whether it can be read, by this release, and what it weighs."""
    database = facts.database
    if database is None:
        if facts.is_directory and not facts.closed:
            yield note(
                DATABASE, "there is none yet", f"its writer makes it: {facts.command('serve')}"
            )
        return
    if database.trouble:
        yield _in_trouble(facts, database.trouble, database.unreadable)
        return
    if database.version > SCHEMA_VERSION:
        yield action(
            DATABASE,
            f"schema {database.version}, of a newer release: this one reads {SCHEMA_VERSION}",
            "install the release of its writer",
        )
    elif database.version < SCHEMA_VERSION:
        yield action(
            DATABASE,
            f"schema {database.version}, of an older release: this one reads {SCHEMA_VERSION}",
            f"{facts.command('migrate')} brings it up to date",
        )
    free_bytes = database.free_pages * database.page_bytes
    size = amounts.size(database.pages * database.page_bytes)
    told = f"schema {database.version}; {size}, of which {amounts.size(free_bytes)} are free"
    if free_bytes >= FREE_BYTES_MIN and database.free_pages * FREE_SHARE_MIN >= database.pages:
        yield note(
            DATABASE, told, f"new entries use it; {facts.command('prune --vacuum')} gives it back"
        )
    else:
        yield ok(DATABASE, told)
    yield from _checked(facts, database)


def _checked(facts: Facts, database: DatabaseFacts) -> Iterator[Finding]:
    if database.damage:
        yield action(DATABASE, f"damaged: {'; '.join(database.damage)}", _put_back(facts))
    elif database.damage is not None:
        yield ok(DATABASE, "SQLite finds nothing wrong with the file")


def _in_trouble(facts: Facts, trouble: Trouble, told: str) -> Finding:
    steps = {
        Trouble.DAMAGED: _put_back(facts),
        Trouble.ANOTHERS: "move it away, or name another directory",
        Trouble.EMPTY: f"a writer makes a log of it: {facts.command('serve')}",
        Trouble.WAL_ALONE: "put back what belongs together, or start the writer, which says what "
        f"it can use: {facts.command('serve')}",
        Trouble.STARTING: "try again; if it stays so, see its stderr",
        Trouble.BUSY: "end the program that holds it (`fuser -v` names who has it open)",
        Trouble.CLOSED: "run this as the user of its writer",
        Trouble.FAILING: "look after the disk (`dmesg`), and try again",
    }
    find = note if trouble in (Trouble.EMPTY, Trouble.STARTING) else action
    return find(DATABASE, told, steps[trouble])


def _put_back(facts: Facts) -> str:
    return (
        "stop its writer, keep these files as evidence, and put a backup back: "
        f"{facts.command('restore BACKUP')}"
    )


# --- entries ---


def check_entries(facts: Facts) -> Iterator[Finding]:
    """How many, since when, how fast."""
    log = facts.log
    if log is None:
        return
    if not log.last:
        yield ok(ENTRIES, "none yet")
        return
    pruned = f" ({log.first - 1:,} pruned)" if log.first > 1 else ""
    yield ok(
        ENTRIES,
        f"{log.last - log.first + 1:,}{pruned}, the first made {amounts.moment(log.first_at)}, "
        f"the last {amounts.moment(log.last_at)}; the newest {log.recent:,} made within "
        f"{amounts.since(log.recent_since, facts.now)}; "
        f"{counted(log.producers, 'producer')} ever",
    )


# --- what the writer does beside ---


def check_upkeep(facts: Facts) -> Iterator[Finding]:
    """What is behind: derived fields, full text, pruning."""
    log = facts.log
    if log is None:
        return
    found = [*_unfilled(facts, log), *_behind(facts, log)]
    yield from found
    if not found:
        yield ok(UPKEEP, "derived fields, full text and pruning are up to date")


def _unfilled(facts: Facts, log: LogFacts) -> Iterator[Finding]:
    if log.unfilled:
        most = max(each.entries for each in log.unfilled)
        names = ", ".join(each.name for each in log.unfilled)
        yield note(
            UPKEEP,
            f"{counted(most, 'earlier entry', 'earlier entries')} may lack derived fields: {names}",
            f"{facts.command('backfill')} fills them in",
        )


def _behind(facts: Facts, log: LogFacts) -> Iterator[Finding]:
    figures = facts.writer.figures or {}
    if log.full_text_tail > FULL_TEXT_TAIL_MAX:
        yield note(
            UPKEEP,
            f"full text is {log.full_text_tail:,} entries behind: searches are slow, but complete",
            "the writer catches up while it is idle"
            + ("" if figures else f": {facts.command('serve')}"),
        )
    if figures.get("to_be_pruned"):
        yield note(
            UPKEEP,
            f"{figures['to_be_pruned']:,} entries are still to be pruned",
            "the writer goes on by itself; " + facts.command("stats") + " says how far it is",
        )
