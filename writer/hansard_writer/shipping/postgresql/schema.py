"""The tables, indexes and views in PostgreSQL, and the migrations that make them. Text only.

Forward only; the table `versions` counts the migrations applied. All is in a schema of its own, and
nobody else's index, trigger or grant on it is touched.
"""

from typing import Final

from hansard_writer.derived.definitions import BUILT_IN

SCHEMA: Final = "hansard"
STDERR_CHARS_MAX: Final = 65_536  # that are searched: a tsvector has less than 1 MiB

# ISO 8601 UTC, cut to microseconds, as a log's own views have it. A double holds these exactly.
_TO_TEXT: Final = """'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'"""
_CREATED_AT: Final = (
    "to_char(timestamp '1970-01-01' + (e.created_at / 1000) * interval '1 microsecond', "
    f"{_TO_TEXT})"
)


def _derived(name: str) -> str:
    """A moment of the entry ``e``: of the first path of a built-in field at which one is."""
    field = next(each for each in BUILT_IN if each.name == name)
    moments = ", ".join(
        f"hansard.moment(e.document #> '{{{path.replace('.', ',')}}}')" for path in field.paths
    )
    concerned = " OR ".join(
        f"e.event_type LIKE '{pattern.replace('*', '%')}'" for pattern in field.event_types
    )
    return f"CASE WHEN {concerned} THEN coalesce({moments}) END"


_V1_TABLES: Final = (
    """
    CREATE TABLE hansard.origins(
        id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        origin text NOT NULL UNIQUE,             -- of the checkpoints: hansard/LOG_ID[/N]
        log_id bytea,
        size bigint NOT NULL DEFAULT 0,          -- entries of the log that are here, or were
        edge bytea NOT NULL,                     -- of the tree behind them; msgpack
        begun bytea NOT NULL,                    -- of the tree in front of the first one kept
        resumed bytea,                           -- behind entries pruned before they came
        pruned_to bigint NOT NULL DEFAULT 0,
        proof bytea[] NOT NULL DEFAULT '{}',     -- from size to that of the newest checkpoint
        updated_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    """
    CREATE TABLE hansard.producers(
        id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        origin integer NOT NULL,
        producer_hash bytea NOT NULL,
        host text NOT NULL,
        pid bigint NOT NULL,
        started_at bigint NOT NULL,              -- ns since 1970 UTC
        UNIQUE (origin, producer_hash)
    )
    """,
    """
    CREATE TABLE hansard.checkpoints(
        origin integer NOT NULL,
        size bigint NOT NULL,
        note text NOT NULL,                      -- as it was signed
        PRIMARY KEY (origin, size)
    )
    """,
    """
    CREATE TABLE hansard.entries(
        origin integer NOT NULL,
        seq bigint NOT NULL,
        producer integer NOT NULL,
        producer_seq bigint NOT NULL,
        created_at bigint NOT NULL,              -- ns since 1970 UTC
        event_type text NOT NULL,
        level text NOT NULL,
        actor text,
        task_id text,
        payload text,                            -- as it was recorded: this is what verifies
        document jsonb,                          -- the same; NULL where JSONB refuses it
        salt bytea,
        payload_hash bytea,
        leaf bytea NOT NULL,                     -- the leaf hash
        PRIMARY KEY (origin, seq)
    ) PARTITION BY HASH (origin)
    """,
)

# Of documents hashes of paths with their values: they answer @>, @? and @@, cost two thirds of what
# jsonb_ops does, and hold no word of a payload that is redacted.
_V1_INDEXES: Final = (
    "CREATE INDEX entries_by_document ON hansard.entries USING gin (document jsonb_path_ops)",
    f"""
    CREATE INDEX entries_by_stderr ON hansard.entries
    USING gin (to_tsvector('english', left(document ->> 'stderr', {STDERR_CHARS_MAX})))
    WHERE event_type = 'env.operation'
    """,
    "CREATE INDEX entries_by_time ON hansard.entries USING brin (created_at)",
)

# What `derived` reads as a timestamp, but for forms of ISO 8601 that hardly anybody writes.
_V1_MOMENT: Final = (
    rf"""
    CREATE FUNCTION hansard.moment(given jsonb) RETURNS text
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE AS $$
    DECLARE
        value text := given #>> '{{}}';
        number numeric;
        kind text := jsonb_typeof(given);
    BEGIN
        IF kind = 'number' OR kind = 'string' AND length(value) > 8
            AND value ~ '^-?\d+(\.\d+)?$'
        THEN
            number := value;
            number := trunc(CASE
                WHEN abs(number) < 1e11 THEN number * 1e6
                WHEN abs(number) < 1e14 THEN number * 1e3
                WHEN abs(number) < 1e17 THEN number
                ELSE number / 1e3
            END);
        ELSIF kind = 'string' AND value ~ (
            '^\d{{4}}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d(:?\d\d)?)?)?$'
        ) THEN
            value := regexp_replace(value, '(\.\d{{6}})\d+', '\1');
            IF value !~ '[T ].*(Z|[+-]\d\d(:?\d\d)?)$' THEN
                value := value || CASE WHEN length(value) > 10 THEN 'Z' ELSE 'T00:00Z' END;
            END IF;
            number := extract(epoch FROM value::timestamptz) * 1000000;
        END IF;
        IF number < 0 OR number > 9223372036854775 THEN
            RETURN NULL;
        END IF;
        RETURN to_char(
            timestamp '1970-01-01' + number::float8 * interval '1 microsecond', {_TO_TEXT}
        );
    EXCEPTION WHEN data_exception THEN
        RETURN NULL;
    END
    $$
    """,
)

_V1_VIEWS: Final = (
    f"""
    CREATE VIEW hansard.events(origin, id, created_at, created_at_ns, event_type, level, actor,
                               task_id, payload, producer, producer_seq, host, pid, redacted) AS
    SELECT o.origin, e.seq, {_CREATED_AT},
           e.created_at, e.event_type, e.level, e.actor, e.task_id, e.payload,
           encode(p.producer_hash, 'hex'), e.producer_seq, p.host, p.pid,
           e.payload IS NULL AND e.payload_hash IS NOT NULL
    FROM hansard.entries AS e JOIN hansard.producers AS p ON p.id = e.producer
    JOIN hansard.origins AS o ON o.id = e.origin
    """,  # noqa: S608 - our own words
    f"""
    CREATE VIEW hansard.task_audits(origin, audit_id, task_id, repo_id, level, event_type, payload,
                                    created_at, source_event_ts, supervisor_processed_at) AS
    SELECT o.origin, e.seq, e.task_id, e.document ->> 'repo_id', e.level, e.event_type, e.payload,
           {_CREATED_AT},
           {_derived("source_event_ts")},
           {_derived("supervisor_processed_at")}
    FROM hansard.entries AS e JOIN hansard.origins AS o ON o.id = e.origin
    WHERE e.task_id IS NOT NULL
    """,  # noqa: S608 - our own words
    rf"""
    CREATE VIEW hansard.env_operations(origin, id, workflow_id, node_id, version_id, operation,
                                       status, stdout, stderr, exit_code, duration_ms, metadata,
                                       created_at) AS
    SELECT o.origin, e.seq, e.document ->> 'workflow_id', e.document ->> 'node_id',
           e.document ->> 'version_id', e.document ->> 'operation', e.document ->> 'status',
           e.document ->> 'stdout', e.document ->> 'stderr',
           CASE WHEN e.document ->> 'exit_code' ~ '^-?\d{{1,18}}$'
                THEN (e.document ->> 'exit_code')::bigint END,
           CASE WHEN jsonb_typeof(e.document -> 'duration_ms') = 'number'
                THEN (e.document ->> 'duration_ms')::numeric END,
           e.document -> 'metadata',
           {_CREATED_AT}
    FROM hansard.entries AS e JOIN hansard.origins AS o ON o.id = e.origin
    WHERE e.event_type = 'env.operation'
    """,  # noqa: S608 - our own words
    rf"""
    CREATE VIEW hansard.signed_events(origin, id, sequence, agent_id, event_type, payload_hash,
                                      prev_root, signature, attest_level, timestamp) AS
    SELECT o.origin, e.seq, e.seq, e.actor, e.event_type,
           coalesce(encode(e.payload_hash, 'hex'), ''),
           split_part(c.note, E'\n', 3),
           rtrim(substr(c.note, strpos(c.note, E'\n\n') + 2), E'\n'),
           CASE WHEN c.size IS NULL THEN 'unsigned' ELSE 'checkpoint' END,
           {_CREATED_AT}
    FROM hansard.entries AS e JOIN hansard.origins AS o ON o.id = e.origin
    LEFT JOIN LATERAL (
        SELECT size, note FROM hansard.checkpoints
        WHERE origin = e.origin AND size >= e.seq ORDER BY size LIMIT 1
    ) AS c ON true
    """,  # noqa: S608 - our own words
)


def partitions(count: int) -> tuple[str, ...]:
    """What makes the partitions of `entries`, once: their number stays."""
    return tuple(
        f"CREATE TABLE hansard.entries_{number} PARTITION OF hansard.entries"
        f" FOR VALUES WITH (MODULUS {count}, REMAINDER {number})"
        for number in range(count)
    )


MIGRATIONS: Final = ((*_V1_TABLES, *_V1_INDEXES, *_V1_MOMENT, *_V1_VIEWS),)
VERSION: Final = len(MIGRATIONS)

VERSIONS: Final = (
    f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}",
    """
    CREATE TABLE IF NOT EXISTS hansard.versions(
        version integer PRIMARY KEY,
        applied_at timestamptz NOT NULL DEFAULT now()
    )
    """,
)
"""What says which version it is."""
