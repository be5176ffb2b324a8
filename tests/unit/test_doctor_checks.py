"""What the doctor makes of facts: a table of what is seen, what is said of it, and what to do."""

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click
import pytest

import hansard_writer.doctor
from hansard.settings import Settings
from hansard_writer.cli import main
from hansard_writer.doctor import Facts, Severity, diagnose
from hansard_writer.doctor.facts import (
    Letters,
    Losses,
    PlaceFacts,
    ShippingFacts,
    Trouble,
    Unfilled,
    Verified,
)
from healthy import (
    DAY,
    NOW,
    SECOND,
    facts,
    file,
    with_database,
    with_figures,
    with_files,
    with_log,
    with_spool,
    with_writer,
    without_files,
)

NOTE, ACTION = Severity.NOTE, Severity.ACTION
SHARED_TOP = file("audit", 0o2750, kind="directory")
SERVE = "`hansard serve --dir '/var/lib/my app/audit'`"
LETTER = Letters("invalid", 2, 7, NOW - 3_600 * SECOND)
ORPHANS = LETTER._replace(about="orphan")


def at_rest(**changed: object) -> Facts:
    """Nobody serves it, and its WAL is gone."""
    files = tuple(each for each in facts().files if not each.name.startswith("log.db-"))
    writer = facts().writer._replace(is_held=False, figures=None)
    return replace(facts(files=files, writer=writer, spools=()), **changed)


SHIPPED = ShippingFacts("postgresql://db/a", "waiting", "", 4_000, 5_000, NOW - 20 * SECOND)
HELD_UP = SHIPPED._replace(state="held up", why="no route to host")


def shipped(shipping: ShippingFacts) -> Facts:
    return facts(shipping=(shipping,))


SICK = [
    # shipping
    (
        facts(shipping=(SHIPPED._replace(state="killed"),)),
        "shipping",
        ACTION,
        "1,000 entries behind",
        "`hansard ship postgresql://db/a --dir",
    ),
    (
        facts(shipping=(SHIPPED._replace(state="failed", why="no such role"),)),
        "shipping",
        ACTION,
        "shipping ended: no such role",
        "if that is over, `rm ",
    ),
    (
        facts(shipping=(SHIPPED._replace(state="ended"),)),
        "shipping",
        NOTE,
        "nobody ships",
        "goes on",
    ),
    (facts(shipping=(HELD_UP,)), "shipping", NOTE, "no route to host", "by itself"),
    (
        facts(shipping=(HELD_UP._replace(at=NOW - DAY),)),
        "shipping",
        ACTION,
        "no route",
        "by itself",
    ),
    # the directory
    (facts(top=None), "directory", ACTION, "does not exist", SERVE),
    (facts(top=file("audit")), "directory", ACTION, "no directory", "--dir or HANSARD_DIR"),
    (facts(closed="it is root's", files=()), "directory", ACTION, "it is root's", "that user"),
    (without_files("spool"), "directory", ACTION, "spool/ is missing", "`mkdir -m 700 "),
    (with_files(file(".verified.17")), "directory", NOTE, "was killed", "`rm "),
    (with_files(file(".log.db.before.partial")), "directory", NOTE, "was killed", "`rm "),
    (
        with_files(file("restoring"), file("restoring/plan.json")),
        "directory",
        ACTION,
        "was cut short",
        "hansard restore BACKUP",
    ),
    (with_files(file("restoring")), "directory", NOTE, "before it changed", "next start"),
    (with_files(file("spool/a.damaged")), "directory", ACTION, "set aside", "/spool/a.damaged'`"),
    (with_files(file("before-restore-1")), "directory", NOTE, "as it was once", "`rm -r "),
    (with_files(file("log.db.before-v3-20260101Z")), "directory", NOTE, "redacted since", "rm -r"),
    (with_files(file("writer.key.new")), "directory", NOTE, "cut short", "hansard keys list"),
    (with_files(file("notes.txt")), "directory", NOTE, "not the log's", "move them away"),
    # modes and owners
    (with_files(file("log.db", 0o644)), "modes", ACTION, "log.db (0644)", "`chmod 0600 "),
    (with_files(file("log.db", 0o400)), "modes", ACTION, "closed to who", "`chmod 0600 "),
    (with_files(file("writer.key", 0o640)), "modes", ACTION, "sign in", "hansard keys rotate"),
    (with_files(file("before-restore-1", 0o644)), "modes", ACTION, "open", "chmod 0600"),
    (with_files(file("hansard.toml", 0o666)), "modes", ACTION, "hansard.toml", "chmod 0755"),
    (with_files(file("spool/a.spool", 0o660)), "modes", ACTION, "open to others", "chmod 0600"),
    (with_files(file("spool", 0o755)), "modes", NOTE, "others may list it", "chmod 0700"),
    (with_files(file("log.db", uid=7)), "modes", ACTION, "another user's", "`chown 1000 "),
    (facts(top=file("a", 0o755, kind="directory")), "modes", NOTE, "may list", "chmod 0700"),
    (facts(top=file("a", 0o777, kind="directory")), "modes", ACTION, "replace", "chmod 0700"),
    (facts(top=SHARED_TOP), "modes", ACTION, "spool/ has mode 0700: closed", "chmod 3730"),
    (facts(top=SHARED_TOP), "modes", ACTION, "log.db (0600)", "chmod 0640"),
    # the disk
    (facts(place=PlaceFacts("nfs4", False, 1 << 40, 10**6)), "place", ACTION, "nfs4", "local disk"),
    (facts(place=PlaceFacts(None, True, 1 << 40, 10**6)), "place", ACTION, "read-only", "remount"),
    (facts(place=PlaceFacts(None, False, 1 << 29, 10**6)), "place", ACTION, "disk_warn", "prune"),
    (facts(place=PlaceFacts(None, False, 1 << 20, 10**6)), "place", ACTION, "nothing is", "prune"),
    (facts(place=PlaceFacts(None, False, 1 << 40, 3)), "place", ACTION, "3 inodes", "remove files"),
    # the writer
    (at_rest(), "writer", NOTE, "none runs: what is recorded waits", SERVE),
    (at_rest(spools=with_spool(events=9).spools), "writer", ACTION, "9 events wait", SERVE),
    (at_rest(spools=facts().spools), "writer", ACTION, "1 producer may record", SERVE),
    (at_rest(files=facts().files), "writer", ACTION, "(pid 42) was killed", SERVE),
    (with_writer(is_held=None), "writer", NOTE, "cannot be seen", "the user of its writer"),
    (with_writer(state="T"), "writer", ACTION, "stopped (SIGSTOP)", "`kill -CONT 42`"),
    (with_writer(state="D"), "writer", ACTION, "waits for the disk", "`dmesg`"),
    (with_writer(state="S"), "writer", ACTION, "did not answer", "`kill -ABRT 42`"),
    (with_writer(state=None), "writer", ACTION, "a child that inherited it", "fuser"),
    (with_writer(lock={}), "writer", ACTION, "it did not answer", "fuser"),
    (with_figures(supervised_restarts=3), "writer", NOTE, "3 times", "journalctl"),
    (with_figures(suspended=True), "writer", ACTION, "suspended", "make room"),
    (with_figures(held_up_by="a lock"), "writer", ACTION, "intake waits: a lock", "fuser"),
    (with_figures(store_errors={"SQLITE_IOERR": 1}), "writer", NOTE, "SQLITE_IOERR (1)", "dmesg"),
    (
        facts(writer=facts().writer._replace(has_second_sqlite=True)),
        "writer",
        ACTION,
        "a second SQLite",
        "operations module",
    ),
    # the database
    (facts(database=None), "database", NOTE, "none yet", SERVE),
    (with_database(version=99, log=None), "database", ACTION, "newer release", "install"),
    (with_database(version=1, log=None), "database", ACTION, "older release", "hansard migrate"),
    (
        with_database(pages=40_000, free_pages=20_000),
        "database",
        NOTE,
        "78.1 MiB are free",
        "hansard prune --vacuum",
    ),
    (with_database(damage=("Tree 2",)), "database", ACTION, "Tree 2", "hansard restore BACKUP"),
    *(
        (with_database(trouble=trouble, unreadable="so", log=None), "database", severity, "so", do)
        for trouble, severity, do in (
            (Trouble.DAMAGED, ACTION, "hansard restore BACKUP"),
            (Trouble.ANOTHERS, ACTION, "move it away"),
            (Trouble.EMPTY, NOTE, SERVE),
            (Trouble.WAL_ALONE, ACTION, "what belongs together"),
            (Trouble.STARTING, NOTE, "try again"),
            (Trouble.BUSY, ACTION, "fuser"),
            (Trouble.CLOSED, ACTION, "the user of its writer"),
            (Trouble.FAILING, ACTION, "dmesg"),
        )
    ),
    # the WAL
    (
        with_figures(reader_age=90.0, wal_bytes_held=9, wal_held_by="pid 5 (python w.py)"),
        "wal",
        ACTION,
        "for 90 s: pid 5 (python w.py)",
        "`kill 5`",
    ),
    (
        with_figures(reader_age=90.0, wal_bytes_held=9, wal_held_by="pid 5 (a), pid 6 (b)"),
        "wal",
        ACTION,
        "pid 6 (b)",
        "end that transaction",
    ),
    (with_files(file("log.db-wal", size=1 << 30)), "wal", NOTE, "1.0 GiB of 64", "hansard stats"),
    (
        replace(with_files(file("log.db-wal", size=1 << 30)), writer=at_rest().writer),
        "wal",
        NOTE,
        "1.0 GiB",
        f"the next writer empties it: {SERVE}",
    ),
    # the proof
    (with_figures(checkpoint_held_up_by="EACCES"), "proof", ACTION, "EACCES", "mode, owner"),
    (with_log(signed=None), "proof", NOTE, "nothing is signed", "hansard checkpoint"),
    (
        with_log(signed=4_990, signed_at=NOW - 3_600 * SECOND),
        "proof",
        ACTION,
        "10 entries behind it are unsigned",
        "hansard checkpoint",
    ),
    (facts(checkpoint=6_000), "proof", ACTION, "an older copy", "hansard serve --accept-rollback"),
    (
        facts(checkpoint=None, checkpoint_is_odd=True),
        "proof",
        ACTION,
        "is no checkpoint",
        "put it back",
    ),
    (facts(checkpoint=None), "proof", NOTE, "checkpoint is missing", SERVE),
    (without_files("writer.key"), "proof", ACTION, "writer.key is missing", "--accept-lost-key"),
    (
        facts(verified=Verified("altered", 5_000, NOW - DAY)),
        "proof",
        ACTION,
        "found it altered",
        "hansard verify",
    ),
    (
        replace(with_log(unverified_since=NOW - DAY), verified=None),
        "proof",
        NOTE,
        "the oldest unverified entry is 1, for 24 h",
        "`hansard verify --dir",
    ),
    (
        replace(
            with_log(unverified_since=NOW - 40 * DAY), verified=Verified("intact", 9, NOW - DAY)
        ),
        "proof",
        ACTION,
        "the oldest unverified entry is 10, for 40 d",
        "`hansard verify --since 9 ",
    ),
    # what is not entered
    (with_log(letters=(LETTER,)), "dead letters", ACTION, "2 letters of 7 events", "dlq replay"),
    (
        with_log(letters=(LETTER._replace(about="bad_header", events=0),)),
        "dead letters",
        ACTION,
        "bad_header: 2 letters, the oldest for 60 min",
        "`hansard dlq drop --reason bad_header ",
    ),
    (
        with_log(
            letters=(LETTER._replace(about="orphan"),), orphans=(LETTER._replace(about="T1"),)
        ),
        "dead letters",
        ACTION,
        "of the tasks T1 (7)",
        "`log.register_task(…)`",
    ),
    (
        with_log(letters=(ORPHANS._replace(oldest_at=NOW - 9 * SECOND),)),
        "dead letters",
        NOTE,
        "for 9 s",
        "dlq drop --reason orphan",
    ),
    (
        with_log(letters=(LETTER._replace(about="redacted"),)),
        "dead letters",
        NOTE,
        "redacted: 2",
        "dlq drop --reason redacted",
    ),
    (
        with_log(letters=(LETTER._replace(about="unfit"),)),
        "dead letters",
        ACTION,
        "unfit: 2 letters",
        "import that; then `hansard dlq drop --reason unfit ",
    ),
    (with_log(letters_entered=95_000), "dead letters", ACTION, "of 100,000", "dlq drop --entered"),
    (with_log(letters_not_kept=5), "dead letters", NOTE, "5 letters found no room", "--entered"),
    (
        with_log(losses=Losses(1, NOW - 60 * SECOND, 12, 0)),
        "losses",
        ACTION,
        "1 entry hansard.lost",
        "hansard query --event-type hansard.lost",
    ),
    (
        with_log(losses=Losses(2, NOW - 9 * DAY, 12, 3)),
        "losses",
        NOTE,
        "12 events that queues had no room for, 3 in a log that went back",
        "hansard query",
    ),
    # spools
    (facts(spools_are_seen=False, spools=()), "spools", NOTE, "may not list", "its writer"),
    (with_spool(unreadable="Permission denied"), "spools", NOTE, "Permission denied", "the user"),
    (with_spool(damage="cut short"), "spools", NOTE, "is damaged: cut short", "sets it aside"),
    (
        with_spool(is_locked=False, log_id="cd" * 16, events=3),
        "spools",
        ACTION,
        "of another log (cdcdcdcd…), with 3 events",
        "that log's spool/",
    ),
    (with_spool(pid_seen=False), "spools", NOTE, "a child of a dead one", "fuser"),
    (
        with_spool(is_locked=False, events=3, bytes=90, oldest_at=NOW - 9 * SECOND),
        "spools",
        NOTE,
        "pid 77 on here: 3 events (90 bytes) of a dead producer wait for 9 s",
        "adopts it",
    ),
    (
        with_spool(events=3, oldest_at=NOW - 3_600 * SECOND),
        "spools",
        ACTION,
        "wait for 60 min, though a writer answers",
        "hansard stats",
    ),
    # upkeep
    (with_log(unfilled=(Unfilled("x", 7),)), "upkeep", NOTE, "7 earlier entries", "backfill"),
    (with_log(full_text_tail=20_000), "upkeep", NOTE, "20,000 entries behind", "while it is idle"),
    (with_figures(to_be_pruned=8), "upkeep", NOTE, "8 entries are still to", "hansard stats"),
    # what it rests on
    (facts(settings_error="spool_bytes is 1"), "settings", ACTION, "spool_bytes", "correct that"),
    (with_log(latest_at=NOW + DAY), "clock", ACTION, "24 h ahead", "timedatectl"),
    (with_writer(lock={"started_at": NOW + DAY}), "clock", ACTION, "24 h from now", "timedatectl"),
    (facts(clock_is_synchronised=False), "clock", NOTE, "not synchronised", "timedatectl"),
    (
        facts(versions={**facts().versions, "sqlite": "3.46.1"}),
        "software",
        ACTION,
        "SQLite 3.46.1 can corrupt a WAL: 3.51.3",
        "pip install --upgrade apsw",
    ),
]


@pytest.mark.parametrize(
    ("seen", "area", "severity", "said", "do"),
    SICK,
    ids=[f"{area}: {said:.40}" for _, area, _, said, _ in SICK],
)
def test_what_is_wrong_is_said_with_what_to_do(
    seen: Facts, area: str, severity: Severity, said: str, do: str
) -> None:
    found = [each for each in diagnose(seen).findings if each.area == area]
    fitting = [each for each in found if said in each.seen and do in each.do]
    assert [each.severity for each in fitting] == [severity], found


def test_a_healthy_log_needs_nothing() -> None:
    diagnosis = diagnose(facts())
    assert {each.severity for each in diagnosis.findings} == {Severity.OK}, diagnosis.findings
    assert not diagnosis.needs_action
    areas = list(dict.fromkeys(each.area for each in diagnosis.findings))
    assert len(areas) == len(diagnosis.findings) - 1  # two of the proof


def test_locks_of_a_backfill_and_of_an_import_are_the_logs_own() -> None:
    names = ("backfill.lock", "spool/ab.import", "spool/ab.workers", "spool/ab.tmp", ".verified.1")
    fresh = [file(name, modified_at=NOW) for name in names]
    findings = diagnose(with_files(*fresh)).findings
    assert {each.severity for each in findings} == {Severity.OK}, findings


def test_a_shared_log_has_modes_of_its_own() -> None:
    modes = {"log.db": 0o640, "writer.lock": 0o640, "checkpoint": 0o640, "writer.pub": 0o640}
    files = [file(name, mode) for name, mode in (modes | {"writer.key": 0o600}).items()]
    workers = file("spool/a.spool", 0o660, uid=7)  # another user's, in the group
    shared = facts(
        top=SHARED_TOP,
        files=(*files, file("spool", 0o3730), file("ack.sock", 0o660), workers),
    )
    said = [each.seen for each in diagnose(shared).findings if each.area == "modes"]
    assert said == ["all as they should be"]


def test_keys_for_other_hosts_have_the_modes_that_they_are_made_with() -> None:
    keys = file("curve.key", 0o600), file("curve.pub", 0o644), file("curve.allowed", 0o600)
    said = [each.seen for each in diagnose(with_files(*keys)).findings if each.area == "modes"]
    assert said == ["all as they should be"]


def test_every_finding_that_is_not_well_says_what_to_do() -> None:
    for seen, *_ in SICK:
        for each in diagnose(seen).findings:
            assert bool(each.do) is (each.severity is not Severity.OK), each


def test_a_busy_checkpoint_is_no_error_of_the_disk() -> None:
    findings = diagnose(with_figures(store_errors={"SQLITE_BUSY": 4})).findings
    assert {each.severity for each in findings} == {Severity.OK}


def test_many_odd_spools_are_counted() -> None:
    dead = with_spool(is_locked=False, events=1, oldest_at=NOW - SECOND).spools
    found = [each for each in diagnose(facts(spools=dead * 20)).findings if each.area == "spools"]
    assert len(found) == 1 + 5 + 1
    assert found[-1].seen == "15 more like these"


def test_settings_that_are_not_as_by_default_are_named() -> None:
    changed = facts(settings=Settings(disk_warn=0, disk_suspend=0), settings_given=("disk_warn",))
    (found,) = [each for each in diagnose(changed).findings if each.area == "settings"]
    assert found.seen == "disk_warn=0"


# --- advice that cannot rot ---

SOURCES = sorted(Path(hansard_writer.doctor.__file__).parent.glob("*.py"))


def advised() -> Iterator[str]:
    """Each command of ours that the checks can name; what is put into it is 1."""
    for path in SOURCES:
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and getattr(call.func, "attr", "") == "command":
                (words,) = call.args
                parts = words.values if isinstance(words, ast.JoinedStr) else [words]
                yield "".join(str(getattr(each, "value", "1")) if isinstance(each, ast.Constant)
                              else "1" for each in parts)  # fmt: skip


COMMANDS = sorted(set(advised()))


def test_advice_is_found() -> None:
    assert {"serve", "dlq drop --reason 1", "verify --since 1", "stats"} <= set(COMMANDS)


@pytest.mark.parametrize("words", COMMANDS)
def test_a_command_that_is_advised_exists_with_its_options(words: str) -> None:
    command, arguments = resolved([*shlex.split(words), "--dir", "d"])
    context = click.Context(command)
    _, left, _ = command.make_parser(context).parse_args(arguments)
    assert not left, f"{words}: {left} is too much"


def resolved(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command, and what is left of its words."""
    command: click.Command = main
    while isinstance(command, click.Group):
        name, *words = words
        found = command.get_command(click.Context(command), name)
        assert found is not None, f"there is no command {name!r}"
        command = found
    return command, words


def test_no_advice_names_a_command_past_the_test() -> None:
    """All others are made by `Facts.command`."""
    for path in SOURCES:
        tree = ast.parse(path.read_text())
        docs = {ast.get_docstring(each, clean=False) for each in ast.walk(tree)
                if isinstance(each, ast.Module | ast.ClassDef | ast.FunctionDef)}  # fmt: skip
        for each in ast.walk(tree):
            if isinstance(each, ast.Constant) and each.value not in docs:
                assert path.name == "facts.py" or "`hansard" not in str(each.value), each.value


def test_a_directory_found_by_default_needs_no_option() -> None:
    assert facts(is_found_by_default=True).command("stats") == "`hansard stats`"
    assert re.fullmatch(r"`hansard stats --dir '/var/lib/my app/audit'`", facts().command("stats"))
