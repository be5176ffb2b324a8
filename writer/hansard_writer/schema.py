"""The database: tables, indexes, triggers and views, and the migrations that made them.

Forward only; ``user_version`` counts the migrations applied. Text only: how a log of an earlier
version gets to this one, with what statements cannot do, is `hansard_writer.migrating`'s.
"""

from typing import Final

from hansard.reader.search import FULL_TEXT_TABLE
from hansard.reader_connection import APPLICATION_ID, SCHEMA_VERSION

__all__ = ["APPLICATION_ID", "MIGRATIONS", "SUMMARIES", "VERSION"]

# One statement an element: apsw runs several in one string lazily, and stops at the first row.
_V1: Final = (
    """
    CREATE TABLE meta(key TEXT PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE producers(
        id INTEGER PRIMARY KEY,
        producer_hash BLOB NOT NULL UNIQUE,      -- SHA-256 of the id on the wire
        host TEXT NOT NULL,
        pid INTEGER NOT NULL,
        started_at INTEGER NOT NULL,             -- ns since 1970 UTC
        watermark INTEGER NOT NULL,              -- all up to this producer_seq is committed
        crc INTEGER NOT NULL,                    -- CRC-32 over the event bytes up to there
        dropped INTEGER NOT NULL                 -- events that the producer could not keep
    ) STRICT
    """,
    """
    CREATE TABLE entries(
        seq INTEGER PRIMARY KEY,                 -- explicit, from 1, without holes
        producer INTEGER NOT NULL,
        producer_seq INTEGER NOT NULL,
        created_at INTEGER NOT NULL,             -- ns since 1970 UTC, when record() was called
        event_type TEXT NOT NULL,
        level TEXT NOT NULL,
        actor TEXT,
        task_id TEXT,
        payload TEXT CHECK (                     -- strict JSON: json_type() alone takes JSON5
            payload IS NULL OR (json_valid(payload) AND json_type(payload) = 'object')
        ),
        salt BLOB,
        payload_hash BLOB
    ) STRICT
    """,
    "CREATE INDEX entries_by_task ON entries(task_id) WHERE task_id IS NOT NULL",
    "CREATE INDEX entries_by_type ON entries(event_type, created_at)",
    """
    CREATE TRIGGER entries_are_not_updated BEFORE UPDATE ON entries
    BEGIN SELECT RAISE(ABORT, 'the log is append-only: entries are not updated'); END
    """,
    """
    CREATE TRIGGER entries_are_not_deleted BEFORE DELETE ON entries
    BEGIN SELECT RAISE(ABORT, 'the log is append-only: entries are not deleted'); END
    """,
    """
    CREATE TABLE runs(                           -- which numbers became which entries
        producer INTEGER NOT NULL,
        first_producer_seq INTEGER NOT NULL,
        count INTEGER NOT NULL,
        first_seq INTEGER NOT NULL,
        PRIMARY KEY (producer, first_producer_seq)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE tasks(
        task_id TEXT PRIMARY KEY,
        created_at INTEGER NOT NULL,
        attributes TEXT
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE dead_letters(
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        received_at INTEGER NOT NULL,            -- ns since 1970 UTC
        producer INTEGER,                        -- NULL where the frame did not say
        producer_seq INTEGER,
        count INTEGER NOT NULL,                  -- how many numbers it stands for
        reason TEXT NOT NULL,
        detail TEXT NOT NULL,
        frame BLOB NOT NULL,                     -- the bytes that were refused
        attempts INTEGER NOT NULL DEFAULT 0,
        replayed_as INTEGER
    ) STRICT
    """,
    "CREATE INDEX dead_letters_by_number ON dead_letters(producer, producer_seq)",
    """
    CREATE TABLE tree(
        level INTEGER NOT NULL, idx INTEGER NOT NULL, hashes BLOB NOT NULL,
        PRIMARY KEY (level, idx)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE checkpoints(
        size INTEGER NOT NULL, origin TEXT NOT NULL, created_at INTEGER NOT NULL,
        note TEXT NOT NULL, PRIMARY KEY (origin, size)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE calls(
        call_id BLOB PRIMARY KEY, created_at INTEGER NOT NULL, name TEXT NOT NULL,
        outcome BLOB
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE VIEW events(id, created_at, created_at_ns, event_type, level, actor, task_id,
                       payload, producer, producer_seq, host, pid) AS
    SELECT e.seq,
           strftime('%Y-%m-%dT%H:%M:%S', e.created_at / 1000000000, 'unixepoch')
               || printf('.%06dZ', (e.created_at % 1000000000) / 1000),
           e.created_at, e.event_type, e.level, e.actor, e.task_id, e.payload,
           lower(hex(p.producer_hash)), e.producer_seq, p.host, p.pid
    FROM entries AS e JOIN producers AS p ON p.id = e.producer
    """,
)

# Orphans wait for their task; and how many of a producer's numbers are no entries. Of what is
# lost, one part was dropped by the producer and one was in a log that went back in time.
_V2_TASKS: Final[tuple[str, ...]] = (
    "ALTER TABLE producers ADD COLUMN refused INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE producers ADD COLUMN returned INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE producers ADD COLUMN orphaned INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE producers ADD COLUMN lost INTEGER NOT NULL DEFAULT 0",
    # What a log of version 1 has refused and lost, as far as it says so.
    """
    UPDATE producers AS p SET
        refused = (
            SELECT coalesce(sum(count), 0) FROM dead_letters WHERE producer = p.id
        ),
        lost = (
            SELECT coalesce(sum(payload ->> '$.count'), 0) FROM entries
            WHERE event_type = 'hansard.lost'
            AND payload ->> '$.producer' = lower(hex(producer_hash))
            AND payload ->> '$.reason' = 'the log went back in time'
        )
    """,
    "ALTER TABLE dead_letters ADD COLUMN task_id TEXT",
    """
    CREATE INDEX dead_letters_by_task ON dead_letters(task_id)
    WHERE reason = 'orphan' AND replayed_as IS NULL
    """,
)

# ISO 8601 UTC, cut to microseconds.
_CREATED_AT: Final = """strftime('%Y-%m-%dT%H:%M:%S', e.created_at / 1000000000, 'unixepoch')
               || printf('.%06dZ', (e.created_at % 1000000000) / 1000)"""


def _derived_moment(field: str) -> str:
    """A derived timestamp of the entry ``e``, as `_CREATED_AT` shows one."""
    return f"""(
               SELECT strftime('%Y-%m-%dT%H:%M:%S', value / 1000000000, 'unixepoch')
                   || printf('.%06dZ', (value % 1000000000) / 1000)
               FROM derived_values WHERE seq = e.seq AND field = (
                   SELECT id FROM derived_fields WHERE name = '{field}' AND is_current
               )
           )"""  # noqa: S608 - our own words


# A query uses a partial index only if it says the expression and the WHERE as the index does. One
# costs an entry of another type about 0.1 µs; so there are no more than the lookups need.
_OPERATIONS: Final = "WHERE event_type = 'env.operation'"

# The views and indexes that predecessors' readers look for, and full text.
_V2_READING: Final[tuple[str, ...]] = (
    f"""
    CREATE VIEW task_audits(audit_id, task_id, repo_id, level, event_type, payload, created_at,
                            source_event_ts, supervisor_processed_at) AS
    SELECT e.seq, e.task_id, e.payload ->> '$.repo_id', e.level, e.event_type, e.payload,
           {_CREATED_AT},
           NULL, NULL
    FROM entries AS e WHERE e.task_id IS NOT NULL
    """,  # noqa: S608 - our own words
    f"""
    CREATE VIEW env_operations(id, workflow_id, node_id, version_id, operation, status, stdout,
                               stderr, exit_code, duration_ms, metadata, created_at) AS
    SELECT e.seq, e.payload ->> '$.workflow_id', e.payload ->> '$.node_id',
           e.payload ->> '$.version_id', e.payload ->> '$.operation', e.payload ->> '$.status',
           e.payload ->> '$.stdout', e.payload ->> '$.stderr', e.payload ->> '$.exit_code',
           e.payload ->> '$.duration_ms', e.payload -> '$.metadata',
           {_CREATED_AT}
    FROM entries AS e WHERE e.event_type = 'env.operation'
    """,  # noqa: S608 - our own words
    f"""
    CREATE INDEX operations_by_workflow ON entries(
        payload ->> '$.workflow_id', payload ->> '$.node_id', payload ->> '$.version_id'
    ) {_OPERATIONS}
    """,
    f"""
    CREATE INDEX operations_by_node ON entries(
        payload ->> '$.node_id', payload ->> '$.operation'
    ) {_OPERATIONS}
    """,
    f"""
    CREATE INDEX operations_by_status ON entries(
        payload ->> '$.status', payload ->> '$.workflow_id'
    ) {_OPERATIONS}
    """,
    f"CREATE INDEX operations_by_version ON entries(payload ->> '$.version_id') {_OPERATIONS}",
    f"CREATE INDEX operations_by_name ON entries(payload ->> '$.operation') {_OPERATIONS}",
    """
    CREATE INDEX refusals_by_agent ON entries(actor) WHERE event_type = 'governance.refusal'
    """,
    FULL_TEXT_TABLE,
    # What is deleted from it leaves no trace: its own 'delete' needs the text once more for that.
    "INSERT INTO full_text(full_text, rank) VALUES('secure-delete', 1)",
    """
    INSERT INTO meta VALUES('full_text_indexed_to', 0), ('full_text_event_types', '[]')
    """,
    """
    CREATE VIEW full_text_state(indexed_to, event_types) AS
    SELECT max(value) FILTER (WHERE key = 'full_text_indexed_to'),
           max(value) FILTER (WHERE key = 'full_text_event_types')
    FROM meta WHERE key IN ('full_text_indexed_to', 'full_text_event_types')
    """,
    # The text of an entry: of the types that the state names, all names and values of the payload;
    # of an operation stderr, and the error in its metadata. The unary plus keeps to the order of
    # seq, by which it is asked.
    """
    CREATE VIEW full_text_source(id, text) AS
    SELECT e.seq, CASE
        WHEN e.event_type IN (
            SELECT value FROM json_each((SELECT event_types FROM full_text_state))
        ) THEN (
            SELECT group_concat(concat_ws(' ', iif(typeof(key) = 'text', key, NULL), CASE
                WHEN type IN ('true', 'false') THEN type
                WHEN type = 'integer' AND typeof(atom) = 'real' THEN e.payload -> fullkey
                ELSE atom
            END), ' ') FROM json_tree(e.payload)
        )
        ELSE nullif(concat_ws(' ', e.payload ->> '$.stderr', e.payload ->> '$.metadata.error'), '')
    END
    FROM entries AS e
    WHERE +e.event_type IN (
        SELECT 'env.operation' UNION ALL
        SELECT value FROM json_each((SELECT event_types FROM full_text_state))
    )
    """,
)

# Outcomes of calls are forgotten by age.
_V2_CALLS: Final = ("CREATE INDEX calls_by_age ON calls(created_at)",)

# The proof. Entries change in one way only, and go in one way only: the writer says in `meta`, for
# the length of its own transaction, that it redacts or prunes.
_V3_ENTRIES: Final = (
    "DROP TRIGGER IF EXISTS entries_are_not_updated",
    """
    CREATE TRIGGER entries_are_not_updated BEFORE UPDATE ON entries
    WHEN NOT (
        EXISTS (SELECT 1 FROM meta WHERE key = 'unlocked' AND value = 'redact')
        AND NEW.payload IS NULL AND NEW.salt IS NULL
        AND (NEW.seq, NEW.producer, NEW.producer_seq, NEW.created_at, NEW.event_type, NEW.level,
             NEW.actor, NEW.task_id, NEW.payload_hash)
         IS (OLD.seq, OLD.producer, OLD.producer_seq, OLD.created_at, OLD.event_type, OLD.level,
             OLD.actor, OLD.task_id, OLD.payload_hash)
    )
    BEGIN SELECT RAISE(ABORT, 'the log is append-only: entries are not updated'); END
    """,
    "DROP TRIGGER entries_are_not_deleted",
    """
    CREATE TRIGGER entries_are_not_deleted BEFORE DELETE ON entries
    WHEN NOT EXISTS (SELECT 1 FROM meta WHERE key = 'unlocked' AND value = 'prune')
    BEGIN SELECT RAISE(ABORT, 'the log is append-only: entries are not deleted'); END
    """,
)
_V3_CHECKPOINTS: Final = (
    "DROP TABLE checkpoints",  # nothing was ever in it
    # One for a size, ever: another origin begins behind an entry that says why.
    """
    CREATE TABLE checkpoints(
        size INTEGER PRIMARY KEY,
        origin TEXT NOT NULL,
        created_at INTEGER NOT NULL,             -- ns since 1970 UTC
        note TEXT NOT NULL,                      -- as it was signed
        root TEXT GENERATED ALWAYS AS (substr(note, length(origin) + length(size) + 3, 44)),
        signature TEXT GENERATED ALWAYS AS (
            rtrim(substr(note, instr(note, char(10) || char(10)) + 2), char(10))
        )
    ) STRICT
    """,
    f"""
    CREATE VIEW signed_events(id, sequence, agent_id, event_type, payload_hash, prev_root,
                              signature, attest_level, timestamp) AS
    SELECT e.seq, e.seq, e.actor, e.event_type, lower(hex(e.payload_hash)), c.root,
           c.signature, iif(c.size IS NULL, 'unsigned', 'checkpoint'),
           {_CREATED_AT}
    FROM entries AS e LEFT JOIN checkpoints AS c
    ON c.size = (SELECT min(size) FROM checkpoints WHERE size >= e.seq)
    """,  # noqa: S608 - our own words
)

# A payload that is gone is told from one that never was.
_V3_REDACTION: Final = (
    "DROP VIEW events",
    f"""
    CREATE VIEW events(id, created_at, created_at_ns, event_type, level, actor, task_id,
                       payload, producer, producer_seq, host, pid, redacted) AS
    SELECT e.seq, {_CREATED_AT},
           e.created_at, e.event_type, e.level, e.actor, e.task_id, e.payload,
           lower(hex(p.producer_hash)), e.producer_seq, p.host, p.pid,
           e.payload IS NULL AND e.payload_hash IS NOT NULL
    FROM entries AS e JOIN producers AS p ON p.id = e.producer
    """,  # noqa: S608 - our own words
)

# Values drawn out of payloads, which no proof covers. A definition that changes gets another id.
_V4_DERIVED: Final = (
    """
    CREATE TABLE derived_fields(
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL,
        definition TEXT NOT NULL,                -- JSON: paths, type, event_types
        declared_at INTEGER NOT NULL,            -- entries behind this one had it when entered
        filled_to INTEGER NOT NULL,              -- earlier ones up to this one were looked at
        is_current INTEGER NOT NULL DEFAULT 1
    ) STRICT
    """,
    "CREATE UNIQUE INDEX derived_fields_by_name ON derived_fields(name) WHERE is_current",
    """
    CREATE TABLE derived_values(
        field INTEGER NOT NULL, seq INTEGER NOT NULL, value ANY NOT NULL,
        PRIMARY KEY (field, seq)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX derived_values_by_value ON derived_values(field, value)",
    """
    CREATE VIEW derived(id, field, value) AS
    SELECT v.seq, f.name, v.value
    FROM derived_fields AS f JOIN derived_values AS v ON v.field = f.id WHERE f.is_current
    """,
    "DROP VIEW task_audits",
    f"""
    CREATE VIEW task_audits(audit_id, task_id, repo_id, level, event_type, payload, created_at,
                            source_event_ts, supervisor_processed_at) AS
    SELECT e.seq, e.task_id, e.payload ->> '$.repo_id', e.level, e.event_type, e.payload,
           {_CREATED_AT},
           {_derived_moment("source_event_ts")},
           {_derived_moment("supervisor_processed_at")}
    FROM entries AS e WHERE e.task_id IS NOT NULL
    """,  # noqa: S608 - our own words
)

# Whose a producer is: the name of the key that it came with over tcp, NULL over ipc.
_V5_CLIENTS: Final = ("ALTER TABLE producers ADD COLUMN client TEXT",)

MIGRATIONS: Final = (
    _V1,
    (*_V2_TASKS, *_V2_READING, *_V2_CALLS),
    (*_V3_ENTRIES, *_V3_CHECKPOINTS, *_V3_REDACTION),
    _V4_DERIVED,
    _V5_CLIENTS,
)
VERSION: Final = len(MIGRATIONS)

# What each does, in a sentence, for who is about to migrate.
SUMMARIES: Final = (
    "makes the tables of entries, producers, tasks and dead letters",
    "keeps orphans and accounts that add up; adds task_audits, env_operations and full text",
    "gives every entry a salt, a hash and a leaf of the Merkle tree; adds signed checkpoints",
    "keeps what is derived from payloads beside the entries; task_audits shows it",
    "remembers which client of another host a producer belongs to",
)

assert VERSION == SCHEMA_VERSION, "the reader must know the newest schema"
assert len(SUMMARIES) == VERSION, "each migration says what it does"
