"""What the SQL of an operation may do: SQLite asks, the authorizer says no in words."""

from collections.abc import Iterator

import apsw
import pytest

from hansard_writer import authorizer, schema
from hansard_writer.authorizer import Authorizer, own_objects

OWN_TABLES = sorted(name for name, kind in own_objects().items() if kind == "table")


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> Iterator[apsw.Connection]:
    """A database with the log's schema and a table of a user's, in a transaction."""
    connection = apsw.Connection(":memory:")
    connection.execute("PRAGMA recursive_triggers = ON")
    for migration in schema.MIGRATIONS:
        for statement in migration:
            connection.execute(statement)
    connection.execute("CREATE TABLE mine(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE)")
    connection.execute("INSERT INTO mine(name) VALUES('a')")
    connection.execute("BEGIN IMMEDIATE")
    yield connection
    connection.set_authorizer(None)
    connection.close()


def refusal(connection: apsw.Connection, *statements: str) -> str | None:
    """What is said to the last of these statements, the others being allowed."""
    rules = Authorizer()
    connection.set_authorizer(rules)
    try:
        for statement in statements:
            assert rules.refusal is None
            rules.begin_statement()
            connection.execute(statement).fetchall()
    except apsw.AuthError:
        assert rules.refusal is not None
        return rules.refusal
    finally:
        connection.set_authorizer(None)
    return rules.refusal


def columns_of(connection: apsw.Connection, table: str) -> list[str]:
    return [row[1] for row in connection.execute(f"PRAGMA table_info({table})").fetchall()]


# --- what is ours ---


def test_the_names_that_are_ours_are_those_of_a_fresh_database() -> None:
    assert own_objects()["entries"] == "table"
    assert own_objects()["events"] == "view"
    assert own_objects()["entries_are_not_updated"] == "trigger"
    assert own_objects()["entries_by_task"] == "index"
    assert own_objects()["sqlite_sequence"] == "table"
    assert "mine" not in own_objects()


@pytest.mark.parametrize("table", OWN_TABLES)
@pytest.mark.parametrize("write", ["INSERT", "REPLACE", "UPDATE", "DELETE", "UPSERT", "CTE"])
def test_none_of_the_logs_own_tables_is_written_to(
    connection: apsw.Connection, table: str, write: str
) -> None:
    column = columns_of(connection, table)[0]
    statement = {
        "INSERT": f"INSERT INTO {table}({column}) VALUES(1)",
        "REPLACE": f"REPLACE INTO {table}({column}) VALUES(1)",
        "UPDATE": f"UPDATE {table} SET {column} = 1",
        "DELETE": f"DELETE FROM {table}",
        "UPSERT": f"INSERT INTO {table}({column}) VALUES(1) ON CONFLICT DO NOTHING RETURNING 1",
        "CTE": f"WITH x AS (SELECT 1) INSERT INTO {table}({column}) SELECT * FROM x",
    }[write]
    said = refusal(connection, statement)
    assert said == f"operations may not write to the log's own table {table!r}"


@pytest.mark.parametrize(
    ("name", "kind"),
    sorted((n, kind) for n, kind in own_objects().items() if "autoindex" not in n),
)
def test_nothing_of_the_logs_own_is_dropped(
    connection: apsw.Connection, name: str, kind: str
) -> None:
    said = refusal(connection, f"DROP {kind.removeprefix('virtual ')} {name}")
    assert said is not None
    assert said.startswith("operations may not")


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("ALTER TABLE entries RENAME TO old", "change the log's own table 'entries'"),
        ("ALTER TABLE entries ADD COLUMN x", "change the log's own table 'entries'"),
        ("ALTER TABLE entries DROP COLUMN salt", "change the log's own table 'entries'"),
        ("CREATE INDEX i ON entries(level)", "change the log's own table 'entries'"),
        (
            "CREATE TRIGGER t AFTER INSERT ON entries BEGIN SELECT 1; END",
            "change the log's own table 'entries'",
        ),
        (
            "CREATE TRIGGER t INSTEAD OF INSERT ON events BEGIN SELECT 1; END",
            "change the log's own view 'events'",
        ),
        ("REINDEX", "make or change the log's own index"),
        ("REINDEX entries", "make or change the log's own index"),
        ("ANALYZE", "ANALYZE"),
        ("ANALYZE mine", "ANALYZE"),
        ("UPDATE \"EnTrIeS\" SET level = 'x'", "write to the log's own table 'entries'"),
        ("UPDATE main.entries SET level = 'x'", "write to the log's own table 'entries'"),
        ("CREATE TABLE hansard_x(a)", "names that begin so are kept for the log"),
        ("CREATE TABLE Hansard_X AS SELECT 1", "names that begin so are kept for the log"),
        ("CREATE VIEW hansard_x AS SELECT 1", "names that begin so are kept for the log"),
        ("CREATE INDEX hansard_x ON mine(name)", "names that begin so are kept for the log"),
        ("UPDATE sqlite_sequence SET seq = 0", "write to the log's own table 'sqlite_sequence'"),
        ("DELETE FROM sqlite_sequence", "write to the log's own table 'sqlite_sequence'"),
    ],
)
def test_what_is_the_logs_own_is_refused_by_its_name(
    connection: apsw.Connection, statement: str, said: str
) -> None:
    refused = refusal(connection, statement)
    assert refused is not None
    assert refused.startswith("operations may not ")
    assert said in refused


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("BEGIN", "BEGIN: each runs in a transaction of its own"),
        ("COMMIT", "COMMIT: each runs in a transaction of its own"),
        ("END", "COMMIT: each runs in a transaction of its own"),
        ("ROLLBACK", "ROLLBACK: each runs in a transaction of its own"),
        ("SAVEPOINT x", "use savepoints: each runs in a transaction of its own"),
        ("RELEASE x", "use savepoints: each runs in a transaction of its own"),
        ("ROLLBACK TO x", "use savepoints: each runs in a transaction of its own"),
        ("ATTACH ':memory:' AS other", "ATTACH a database, nor VACUUM"),
        ("DETACH main", "DETACH a database"),
        ("PRAGMA synchronous = OFF", "use PRAGMA synchronous"),
        ("PRAGMA writable_schema = ON", "use PRAGMA writable_schema"),
        ("PRAGMA journal_mode", "use PRAGMA journal_mode"),
        ("PRAGMA quick_check", "use PRAGMA quick_check"),
        ("SELECT * FROM pragma_table_info('mine')", "use PRAGMA table_info"),
        ("CREATE TEMP TABLE x(a)", "use temporary tables"),
        ("CREATE TABLE temp.x(a)", "use temporary tables"),
        ("CREATE TEMP VIEW entries AS SELECT 1", "use temporary tables"),
        (
            "CREATE TEMP TRIGGER t AFTER INSERT ON main.entries BEGIN SELECT 1; END",
            "use temporary tables",
        ),
        ("CREATE VIRTUAL TABLE x USING fts5(a)", "make virtual tables"),
    ],
)
def test_what_reaches_beyond_the_operation_is_refused(
    connection: apsw.Connection, statement: str, said: str
) -> None:
    refused = refusal(connection, statement)
    assert refused is not None
    assert refused.startswith(f"operations may not {said}")


def test_a_trigger_of_the_users_cannot_write_to_the_log(connection: apsw.Connection) -> None:
    said = refusal(
        connection,
        "CREATE TRIGGER t AFTER INSERT ON mine BEGIN DELETE FROM dead_letters; END",
        "INSERT INTO mine(name) VALUES('b')",
    )
    assert said == "operations may not write to the log's own table 'dead_letters' (through 't')"


def test_replacing_a_row_cannot_write_to_the_log_through_its_delete_trigger(
    connection: apsw.Connection,
) -> None:
    said = refusal(
        connection,
        "CREATE TRIGGER t AFTER DELETE ON mine BEGIN DELETE FROM tasks; END",
        "REPLACE INTO mine(name) VALUES('a')",
    )
    assert said == "operations may not write to the log's own table 'tasks' (through 't')"


def test_a_statement_prepared_before_is_asked_about_again(connection: apsw.Connection) -> None:
    statement = "UPDATE producers SET watermark = 0"
    connection.execute(statement)  # apsw keeps it, prepared
    assert refusal(connection, statement) is not None
    assert connection.execute(statement).fetchall() == []  # it is the log's own again


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM entries",
        "SELECT count(*) FROM events JOIN mine ON mine.name = events.actor",
        "SELECT name FROM sqlite_schema",
        "SELECT value FROM json_each('[1, 2]')",
        "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r LIMIT 3) SELECT n FROM r",
        "INSERT INTO mine(name) VALUES('b') ON CONFLICT(name) DO UPDATE SET name = 'c'",
        "REPLACE INTO mine(name) VALUES('a')",
        "DELETE FROM mine RETURNING id",
        "CREATE TABLE copies AS SELECT seq FROM entries",
        "CREATE TABLE words(word TEXT PRIMARY KEY) WITHOUT ROWID",
        "CREATE TABLE hansards(a REFERENCES tasks(task_id) ON DELETE CASCADE, b UNIQUE)",
        "CREATE TABLE counted(id INTEGER PRIMARY KEY AUTOINCREMENT)",
        "CREATE INDEX mine_by_name ON mine(name)",
        "CREATE VIEW my_view AS SELECT * FROM events",
        "CREATE TRIGGER t AFTER INSERT ON mine BEGIN DELETE FROM mine WHERE id = 0; END",
        "ALTER TABLE mine RENAME TO ours",
        "ALTER TABLE mine RENAME COLUMN name TO title",
        "ALTER TABLE mine ADD COLUMN age INTEGER CHECK (age > 0)",
        "DROP TABLE mine",
        "PRAGMA data_version",  # full-text search asks for it
    ],
)
def test_what_is_the_users_own_is_allowed(connection: apsw.Connection, statement: str) -> None:
    assert refusal(connection, statement) is None


def test_what_alter_and_drop_do_by_themselves_nobody_else_may(connection: apsw.Connection) -> None:
    said = refusal(connection, "ALTER TABLE mine RENAME TO ours", "DELETE FROM sqlite_sequence")
    assert said == "operations may not write to the log's own table 'sqlite_sequence'"


def test_a_name_of_the_logs_that_a_rename_gave_is_found(connection: apsw.Connection) -> None:
    rules = Authorizer()
    assert rules.reserved_name(connection) is None
    connection.set_authorizer(rules)
    connection.execute("ALTER TABLE mine RENAME TO Hansard_Mine")
    assert rules.renames
    assert rules.reserved_name(connection) == "hansard_mine"


def test_the_shadow_tables_of_a_full_text_index_are_ours(
    connection: apsw.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = "CREATE VIRTUAL TABLE words USING fts5(text)"
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, (words,)))
    own_objects.cache_clear()
    try:
        connection.execute(words)
        connection.execute("INSERT INTO words VALUES('a rare word')")
        for statement in (
            "INSERT INTO words VALUES('x')",
            "DELETE FROM words_data",
            "UPDATE words_config SET v = 0",
            "CREATE TABLE words_more(a)",
            "DROP TABLE words",
        ):
            assert refusal(connection, statement) is not None
        assert refusal(connection, "SELECT * FROM words WHERE words MATCH 'rare'") is None
    finally:
        monkeypatch.undo()
        own_objects.cache_clear()


def test_an_action_that_is_not_known_is_denied() -> None:
    rules = Authorizer()
    assert rules(999, None, None, "main", None) == apsw.SQLITE_DENY
    assert rules.refusal == "operations may not do this (SQLite's action 999)"
    assert authorizer.RESERVED_PREFIX == "hansard_"
