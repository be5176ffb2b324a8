"""What the writer shows, and what waits for it: the process, its WAL, the spools.

Pure: facts in, findings out.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from hansard import directory as layout
from hansard.wording import counted
from hansard_writer.doctor import amounts
from hansard_writer.doctor.facts import Facts, SpoolFacts, WriterFacts
from hansard_writer.doctor.findings import Finding, action, note, ok

WAITS_S_MAX: Final = 60  # what waits longer beside a writer does so for a reason
SPOOLS_NAMED_MAX: Final = 5

WRITER: Final = "writer"
WAL: Final = "wal"
SPOOLS: Final = "spools"

_STOPPED: Final = "T"  # by a signal: proc(5)
_ON_DISK: Final = "D"
_BUSY: Final = "SQLITE_BUSY"  # a reader stood in a checkpoint's way: that is told of the WAL


def check_writer(facts: Facts) -> Iterator[Finding]:
    """Whether one runs, answers, and takes in what it is sent."""
    writer = facts.writer
    if not facts.is_directory or facts.closed:
        return
    if writer.figures is not None:
        yield from _serving(facts, writer, writer.figures)
    elif writer.is_held is False:
        yield from _nobody(facts, writer)
    elif writer.is_held is None:
        yield note(
            WRITER,
            f"whether one runs cannot be seen: {layout.LOCK} is another user's",
            "run this as the user of its writer",
        )
    else:
        yield _silent(facts, writer)
    if writer.has_second_sqlite:
        yield action(
            WRITER,
            "its process has loaded a second SQLite, which silently drops the locks of log.db",
            "find the operations module that loads it, and use the connection that it is given",
        )


def _serving(facts: Facts, writer: WriterFacts, figures: Mapping[str, Any]) -> Iterator[Finding]:
    pid, epoch = figures.get("pid"), figures.get("epoch")
    started = writer.lock.get("started_at")
    up = f", up {amounts.since(started, facts.now)}" if isinstance(started, int) else ""
    restarts = figures.get("supervised_restarts")
    yield ok(
        WRITER,
        f"pid {pid} answers in {writer.answer_s * 1_000:.0f} ms; epoch {epoch}{up}"
        + {None: ", unsupervised", 0: ", supervised"}.get(restarts, ""),
    )
    if restarts:
        yield note(
            WRITER,
            f"its supervisor had to start it again, {counted(restarts, 'time')}",
            "see why on its stderr, or in `journalctl -u hansard`",
        )
    if figures.get("suspended"):
        yield action(
            WRITER,
            "intake is suspended for want of disk space; spools hold what is recorded",
            f"make room on the disk of {facts.directory}",
        )
    elif figures.get("held_up_by"):
        yield action(
            WRITER,
            f"intake waits: {figures['held_up_by']}",
            "end the program that holds it (`fuser -v` names who has log.db open)",
        )
    errors = [
        f"{name} ({count})"
        for name, count in figures.get("store_errors", {}).items()
        if not name.startswith(_BUSY)
    ]
    if errors:
        told = f"errors of SQLite that passed: {', '.join(errors)}"
        yield note(WRITER, told, "look after the disk (`dmesg`)")


def _nobody(facts: Facts, writer: WriterFacts) -> Iterator[Finding]:
    wal = facts.file(f"{layout.DATABASE}-wal")
    waiting = sum(each.events for each in facts.spools)
    living = sum(each.is_locked is True for each in facts.spools)
    serve = f"start one: {facts.command('serve')}, or with --supervise"
    if wal and wal.size:
        last = f" (pid {writer.pid})" if writer.pid else ""
        yield action(
            WRITER,
            f"none runs: the last one{last} was killed, and left {amounts.size(wal.size)} of WAL",
            serve,
        )
    elif waiting:
        yield action(WRITER, f"none runs, and {counted(waiting, 'event')} wait in spools", serve)
    elif living:
        yield action(WRITER, f"none runs, and {counted(living, 'producer')} may record", serve)
    else:
        yield note(WRITER, "none runs: what is recorded waits in spools", serve)


def _silent(facts: Facts, writer: WriterFacts) -> Finding:
    """It lives, as its lock says, and does not answer."""
    pid = writer.pid
    shown = "it" if pid is None else f"pid {pid}"
    silent = f"{shown} did not answer within {writer.answer_s:.0f} s"
    if pid is None:
        return action(WRITER, silent, "see who it is: `fuser -v` of its writer.lock")
    if writer.state == _STOPPED:
        return action(
            WRITER, f"{shown} is stopped (SIGSTOP), and answers nobody", f"`kill -CONT {pid}`"
        )
    if writer.state == _ON_DISK:
        return action(WRITER, f"{silent}: it waits for the disk", "look after the disk (`dmesg`)")
    if writer.state is None:
        return action(
            WRITER,
            f"{silent}; no such process is to be seen here, but its lock is held: by another "
            "container, or by a child that inherited it",
            "look in that container; or find the child, "
            f"`fuser -v {facts.directory / layout.LOCK}`, and end it",
        )
    return action(
        WRITER,
        f"{silent}: it is busy, perhaps in a named operation, or hangs",
        f"try again; if it stays so, `kill -ABRT {pid}` has it say where it is, and end; then "
        "start it again",
    )


# --- the WAL ---


def check_wal(facts: Facts) -> Iterator[Finding]:
    """Its size, and who keeps it from being emptied."""
    wal = facts.file(f"{layout.DATABASE}-wal")
    if facts.database is None or facts.closed:
        return
    target = facts.settings.wal_bytes_target
    wal_bytes = wal.size if wal else 0
    told = f"{amounts.size(wal_bytes)} of {amounts.size(target)} (wal_bytes_target)"
    figures = facts.writer.figures or {}
    age, held = figures.get("reader_age", 0.0), figures.get("wal_bytes_held", 0)
    if age >= facts.settings.reader_age_max and held:
        who = figures.get("wal_held_by") or ", ".join(facts.database.readers)
        yield action(
            WAL,
            f"{told}; a read transaction has held it for {amounts.span(age)}: "
            + (who or "whose cannot be seen from here"),
            "end that transaction, or its process" + _kill(who),
        )
    elif wal_bytes > target and facts.writer.is_held is False:
        yield note(WAL, told, f"the next writer empties it: {facts.command('serve')}")
    elif wal_bytes > target:
        who = ", ".join(facts.database.readers)
        yield note(
            WAL,
            told + (f"; read by {who}" if who else ""),
            f"it is emptied once nobody reads or writes: see {facts.command('stats')} "
            "(wal_held_by), if it stays so",
        )
    else:
        readers = len(facts.database.readers)
        reading = f"; {counted(readers, 'process', 'processes')} reading now" if readers else ""
        yield ok(WAL, told + reading)


def _kill(who: object) -> str:
    """The command, where it is one process."""
    words = str(who).split(" ")
    is_one = words[0] == "pid" and len(words) > 1 and str(who).count("pid ") == 1
    return f": `kill {words[1]}`" if is_one else ""


# --- spools ---


def check_spools(facts: Facts) -> Iterator[Finding]:
    """Whose they are, and what waits in them."""
    spools = facts.spools
    if not facts.file(layout.SPOOL):
        return
    if not facts.spools_are_seen:
        yield note(SPOOLS, "this user may not list them", "run this as the user of its writer")
        return
    if not spools:
        yield ok(SPOOLS, "none: no producer lives here, and nothing waits")
        return
    yield ok(SPOOLS, _in_sum(facts))
    odd = [found for each in spools if (found := _odd(facts, each))]
    yield from odd[:SPOOLS_NAMED_MAX]
    if len(odd) > SPOOLS_NAMED_MAX:
        yield note(
            SPOOLS,
            f"{len(odd) - SPOOLS_NAMED_MAX:,} more like these",
            f"{facts.command('doctor --format json')} names all of them",
        )


def _in_sum(facts: Facts) -> str:
    spools = facts.spools
    living = sum(each.is_locked is True for each in spools)
    dead = sum(each.is_locked is False for each in spools)
    told = f"{living:,} of living producers, {dead:,} of dead ones; "
    events = sum(each.events for each in spools)
    if not events:
        return told + "nothing waits"
    least = "" if all(each.is_counted for each in spools) else "at least "
    oldest = min(each.oldest_at or facts.now for each in spools)
    held = amounts.size(sum(each.bytes for each in spools))
    age = amounts.since(oldest, facts.now)
    return f"{told}{least}{counted(events, 'event')} ({held}) wait, the oldest for {age}"


def _odd(facts: Facts, spool: SpoolFacts) -> Finding | None:
    """What is to be said of one spool, if anything is."""
    path = facts.directory / layout.SPOOL / spool.name
    whose = f"{spool.name[:8]}… of pid {spool.pid} on {spool.host}"
    is_served = facts.writer.figures is not None
    if spool.unreadable:
        return note(
            SPOOLS,
            f"{spool.name[:8]}… cannot be read: {spool.unreadable}",
            "run this as the user of its writer",
        )
    if spool.damage:
        return note(
            SPOOLS,
            f"{spool.name[:8]}… is damaged: {spool.damage}",
            "its writer enters what is whole, and sets it aside"
            + ("" if is_served else f": {facts.command('serve')}"),
        )
    ours = facts.log.log_id if facts.log else ""
    if spool.log_id and ours and spool.log_id != ours and spool.is_locked is False:
        return action(
            SPOOLS,
            f"{whose} is of another log ({spool.log_id[:8]}…), with "
            f"{counted(spool.events, 'event')}: this one never takes them",
            f"move it to that log's {layout.SPOOL}/: {path}",
        )
    waits_s = (facts.now - spool.oldest_at) / amounts.SECOND if spool.oldest_at else 0
    what = f"{whose}: {counted(spool.events, 'event')} ({amounts.size(spool.bytes)})"
    if spool.is_locked and spool.pid_seen is False:
        return note(
            SPOOLS,
            f"{what}; it is locked, and no such process is to be seen here: another container's, "
            "or held by a child of a dead one",
            f"if it is no container's: `fuser -v {path}`, and end that child",
        )
    if not spool.events:
        return None
    if not spool.is_locked:
        step = (
            "the writer adopts it" if is_served else f"a writer adopts it: {facts.command('serve')}"
        )
        return (action if is_served and waits_s > WAITS_S_MAX else note)(
            SPOOLS, f"{what} of a dead producer wait for {amounts.span(waits_s)}", step
        )
    if is_served and waits_s > WAITS_S_MAX:
        return action(
            SPOOLS,
            f"{what} wait for {amounts.span(waits_s)}, though a writer answers",
            f"see {facts.command('stats')} (suspended, held_up_by), and that process's warnings",
        )
    return None
