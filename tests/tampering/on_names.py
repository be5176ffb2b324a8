"""Attacks on what surrounds the record: triggers, views, names; and what no proof covers."""

from tampering.attack import Section, altered, not_found
from tampering.attackers import Attacker
from tampering.files import Files
from tampering.on_entries import CHOSEN

NAMES = Section("Schema and names")
UNCOVERED = Section("What no proof covers")


@NAMES.deed("the triggers that refuse changes are dropped", altered())
def triggers_dropped(files: Files, _: Attacker) -> None:
    for (name,) in files.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'"):
        files.execute(f"DROP TRIGGER {name}")


@NAMES.deed("they are left unlocked, as for a redaction", altered())
def left_unlocked(files: Files, _: Attacker) -> None:
    files.execute("INSERT INTO meta VALUES('unlocked', 'redact')")


@NAMES.deed("a view is made to hide an entry from readers", altered())
def view_replaced(files: Files, _: Attacker) -> None:
    (sql,) = files.execute("SELECT sql FROM sqlite_schema WHERE name = 'events'")[0]
    files.execute("DROP VIEW events")
    files.execute(f"{sql} WHERE e.seq <> {CHOSEN}")


@NAMES.deed("the table of entries is made a view over an edited one", altered())
def table_replaced(files: Files, _: Attacker) -> None:
    """Both stand in the file: what is shown is not what is proved."""
    files.execute("PRAGMA legacy_alter_table = on")
    files.execute("ALTER TABLE entries RENAME TO kept")
    files.execute(
        "CREATE VIEW entries AS SELECT seq, producer, producer_seq, created_at, event_type, level,"
        " 'agent:8' AS actor, task_id, payload, salt, payload_hash FROM kept"
    )


@NAMES.deed("the table `meta` is dropped", altered())
def meta_dropped(files: Files, _: Attacker) -> None:
    files.execute("DROP TABLE meta")


@NAMES.deed("the log is given another log_id", altered())
def log_id(files: Files, _: Attacker) -> None:
    files.execute("UPDATE meta SET value = ? WHERE key = 'log_id'", bytes(16))


# --- not covered ---


def _uncovered(why: str, title: str, statement: str) -> None:
    def run(files: Files, _: Attacker) -> None:
        before = files.connection.total_changes()
        files.execute(statement)
        assert files.connection.total_changes() > before, "it has changed nothing"

    run.__name__ = title.strip("`").replace(" ", "_").replace("`", "")
    UNCOVERED.deed(title, not_found(why))(run)


_uncovered(
    "they are what could not be entered: no part of the record",
    "dead letters are deleted",
    "DELETE FROM dead_letters",
)
_uncovered(
    "each registration is an entry of its own, which is proved; the table only answers faster",
    "a task's attributes are edited",
    "UPDATE tasks SET attributes = '{}'",
)
_uncovered(
    "a producer says of itself where it runs; its hash is proved",
    "a producer's host and pid are edited",
    "UPDATE producers SET host = 'elsewhere', pid = 1 WHERE id = 1",
)
_uncovered(
    "they answer `lookup`, and follow from the entries",
    "runs of numbers are deleted",
    "DELETE FROM runs",
)
_uncovered(
    "they are drawn from payloads, which are proved: `hansard backfill --verify` draws them again",
    "a derived value is made up",
    "INSERT INTO derived_values(field, seq, value) SELECT id, 1, 0 FROM derived_fields",
)
_uncovered(
    "it says a writer where to go on; what is gone is seen in the entries",
    "`meta` says that entries are pruned which are there",
    "INSERT INTO meta VALUES('pruned_to', 40)",
)
_uncovered(
    "it counts starts of the writer",
    "the epoch is set back",
    "UPDATE meta SET value = 1 WHERE key = 'epoch'",
)


@UNCOVERED.deed(
    "a trigger is added that does something at each entry",
    not_found("triggers, views and tables of your own are yours; what they do to entries is found"),
)
def trigger_added(files: Files, _: Attacker) -> None:
    files.execute(
        "CREATE TRIGGER tidy AFTER INSERT ON entries BEGIN"
        " DELETE FROM dead_letters WHERE producer = NEW.producer; END"
    )


@UNCOVERED.deed(
    "an index is emptied behind the schema's back",
    not_found("it follows from the entries: `PRAGMA integrity_check` finds it, REINDEX mends it"),
)
def index_emptied(files: Files, _: Attacker) -> None:
    """It was made anew with a condition that nothing meets, and says what it said before."""
    (sql,) = files.execute("SELECT sql FROM sqlite_schema WHERE name = 'entries_by_task'")[0]
    files.execute("DROP INDEX entries_by_task")
    files.execute("CREATE INDEX entries_by_task ON entries(task_id) WHERE 0")
    files.rewrite_schema("entries_by_task", sql)


@UNCOVERED.deed(
    "the origin in `meta` is edited",
    not_found("it says the next start of a writer what the signed entries say"),
)
def origin(files: Files, _: Attacker) -> None:
    files.execute("INSERT OR REPLACE INTO meta VALUES('origin', 'hansard/another')")
