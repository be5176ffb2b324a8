-- Derived fields of a log, held against its payloads, by a plain sqlite3 (3.40, as Debian 12 has it).
--
-- On a copy, never on a log in use: a second SQLite beside the writer is no good neighbour. Get one with
--     hansard backup --to copy.db
--     sqlite3 -readonly copy.db < scripts/verify_backfill.sql
-- and remove it afterwards. Nothing is written but tables in temporary files, which may need as much
-- room as the values. The same figures, by the code that fills the fields, are in `hansard backfill
-- --verify`, which also says by its exit status whether all is well.
--
-- Fields come from derived_fields, so your own ones are covered too. What SQL reads of a timestamp is
-- ISO 8601 with - and : (a fraction and a zone may follow) and numbers of s, ms, µs or ns since 1970;
-- a value that was read from another form (20240101T120000Z, weeks) is "not compared". A number with a
-- fraction is compared up to a microsecond, because SQL has it as a double. All other types are
-- compared exactly, reals up to their last digit.

.bail on
.headers on
.mode box

CREATE TEMP TABLE field AS
SELECT id, name, definition ->> '$.type' AS type, declared_at, filled_to
FROM derived_fields WHERE is_current;

-- Which event types a field has: a pattern's * and ? are GLOB's.
CREATE TEMP TABLE type AS
SELECT DISTINCT f.id AS field, t.event_type
FROM (SELECT DISTINCT event_type FROM entries) AS t
JOIN derived_fields AS f JOIN json_each(f.definition, '$.event_types') AS pattern
ON t.event_type GLOB pattern.value WHERE f.is_current;
CREATE INDEX temp.type_by_name ON type(event_type, field);

-- A path's names, one a row: dots stand between them, and a backslash makes the next character a part
-- of a name.
CREATE TEMP TABLE step(field INTEGER, rank INTEGER, depth INTEGER, name TEXT, is_last INTEGER);
INSERT INTO step
WITH RECURSIVE split(field, rank, depth, name, rest) AS (
    SELECT f.id, path.key, 1, '', path.value || '.'
    FROM derived_fields AS f JOIN json_each(f.definition, '$.paths') AS path WHERE f.is_current
    UNION ALL
    SELECT field, rank, depth + (substr(rest, 1, 1) = '.'),
           CASE substr(rest, 1, 1) WHEN '.' THEN ''
               WHEN '\' THEN name || substr(rest, 2, 1) ELSE name || substr(rest, 1, 1) END,
           substr(rest, iif(substr(rest, 1, 1) = '\', 3, 2))
    FROM split WHERE rest <> ''
)
SELECT field, rank, depth, name, depth = max(depth) OVER (PARTITION BY field, rank)
FROM split WHERE substr(rest, 1, 1) = '.';
CREATE INDEX temp.step_by_depth ON step(field, rank, depth, name);

CREATE TEMP TABLE first_step AS
SELECT t.event_type, s.name, s.field, s.rank, s.is_last
FROM step AS s JOIN type AS t ON t.field = s.field WHERE s.depth = 1;
CREATE INDEX temp.first_step_by_name ON first_step(event_type, name);

-- What is at each path of each entry. Of a name that comes twice the last one counts.
CREATE TEMP TABLE found AS
WITH RECURSIVE at(field, seq, rank, depth, is_last, type, value, place) AS (
    SELECT s.field, e.seq, s.rank, 1, s.is_last, j.type, j.value, printf('%09d', j.id)
    FROM entries AS e
    CROSS JOIN json_each(iif(json_valid(e.payload), e.payload, '{}')) AS j
    CROSS JOIN first_step AS s ON s.event_type = e.event_type AND s.name = j.key
    WHERE e.event_type IN (SELECT event_type FROM type)
    UNION ALL
    SELECT a.field, a.seq, a.rank, s.depth, s.is_last, j.type, j.value,
           a.place || printf('%09d', j.id)
    FROM at AS a
    CROSS JOIN step AS s ON s.field = a.field AND s.rank = a.rank AND s.depth = a.depth + 1
    CROSS JOIN json_each(a.value) AS j ON CAST(j.key AS TEXT) = s.name
    WHERE a.type IN ('object', 'array')
)
SELECT field, seq, rank, type, value, max(place)
FROM at WHERE is_last AND type <> 'null' GROUP BY field, seq, rank;

-- Timestamps of text, taken apart: day, minute, second, fraction, zone; or the digits of a number.
CREATE TEMP TABLE moment AS
WITH texts AS (
    SELECT f.field, f.seq, f.rank, f.value AS t FROM found AS f JOIN field ON field.id = f.field
    WHERE field.type = 'timestamp' AND f.type = 'text'
), clocks AS (
    SELECT *, substr(t, 1, 10) AS day,
        iif(length(t) = 10, '00:00', substr(t, 12, 5)) AS minute,
        iif(substr(t, 17, 1) = ':', substr(t, 18, 2), '00') AS second,
        substr(t, iif(substr(t, 17, 1) = ':', 20, 17)) AS tail
    FROM texts
), parts AS (
    SELECT *, day || ' ' || minute || ':' || second AS clock,
        iif(substr(tail, 1, 1) IN ('.', ','), ltrim(substr(tail, 2), '0123456789'), tail) AS zone
    FROM clocks
), fractions AS (
    SELECT *, substr(tail, 2, length(tail) - 1 - length(zone)) AS digits,
        CASE WHEN zone IN ('', 'Z') THEN 0
            WHEN zone GLOB '[+-][0-9][0-9]:[0-9][0-9]' OR zone GLOB '[+-][0-9][0-9][0-9][0-9]'
                OR zone GLOB '[+-][0-9][0-9]'
            THEN (substr(zone, 1, 1) || '1')
                * (substr(zone, 2, 2) * 3600 + substr(replace(zone, ':', ''), 4, 2) * 60) END AS ahead
    FROM parts
), seconds AS (
    SELECT *, strftime('%s', clock) - ahead AS since FROM fractions
    WHERE datetime(clock, '+0 seconds') = clock AND (tail = zone OR digits <> '')
), numbers AS (
    SELECT field, seq, rank, substr(t, 1, instr(t || '.', '.') - 1) AS whole,
        substr(t, instr(t || '.', '.') + 1) AS digits
    FROM texts
    WHERE length(t) > 8 AND t NOT GLOB '*[^0-9.]*' AND t NOT GLOB '*.*.*' AND t GLOB '[0-9]*[0-9]'
)
SELECT field, seq, rank, since * 1000000000 + substr(digits || '000000000', 1, 9) AS ns
FROM seconds WHERE since BETWEEN 0 AND 9223372035
UNION ALL
SELECT field, seq, rank, CASE
    WHEN whole + 0 < 100000000000 THEN whole * 1000000000 + substr(digits || '000000000', 1, 9)
    WHEN whole + 0 < 100000000000000 THEN whole * 1000000 + substr(digits || '000000', 1, 6)
    WHEN whole + 0 < 100000000000000000 THEN whole * 1000 + substr(digits || '000', 1, 3)
    ELSE whole + 0 END
FROM numbers;
CREATE INDEX temp.moment_by_place ON moment(field, seq, rank);

-- What is there, as a value of the field's type; or why it is none.
CREATE TEMP TABLE reading AS
WITH typed AS (
    SELECT f.field, f.seq, f.rank, f.type AS json, field.type, f.value, moment.ns
    FROM found AS f JOIN field ON field.id = f.field LEFT JOIN moment USING (field, seq, rank)
), numbered AS (
    SELECT *, CASE
        WHEN type = 'timestamp' AND json = 'text' THEN ns
        WHEN type = 'timestamp' AND json IN ('integer', 'real') THEN value * CASE
            WHEN abs(value) < 100000000000 THEN 1000000000
            WHEN abs(value) < 100000000000000 THEN 1000000
            WHEN abs(value) < 100000000000000000 THEN 1000 ELSE 1 END
        WHEN type = 'text' AND json = 'text' AND length(CAST(value AS BLOB)) <= 1024 THEN value
        WHEN type = 'integer' AND json = 'integer' AND typeof(value) = 'integer' THEN value
        WHEN type = 'real' AND json IN ('integer', 'real') AND abs(value) <= 1.7976931348623157e308
            THEN CAST(value AS REAL)
        WHEN type = 'boolean' AND json IN ('true', 'false') THEN json = 'true'
        END AS read
    FROM typed
), bounded AS (
    SELECT *, CASE
        WHEN type <> 'timestamp' THEN read
        WHEN typeof(read) = 'integer' AND read >= 0 THEN read
        WHEN typeof(read) = 'real' AND read >= 0 AND read < 9223372036854774784
            THEN CAST(read AS INTEGER) END AS drawn
    FROM numbered
)
SELECT field, seq, rank, drawn AS value, json = 'real' AS is_about,
    type = 'timestamp' AND json = 'text' AND drawn IS NULL AS is_unread,
    CASE WHEN drawn IS NOT NULL THEN NULL
        WHEN type = 'timestamp' AND json IN ('text', 'integer', 'real') THEN 'broken timestamp'
        WHEN type = 'text' AND json = 'text' THEN 'too long'
        ELSE 'another type' END AS cause
FROM bounded;

-- Of the paths the first with a value counts; without one, the first with anything tells the cause.
CREATE TEMP TABLE drawn AS
SELECT field, seq, value, cause, is_about, is_unread FROM (
    SELECT field, seq, value, cause, is_about, max(is_unread) OVER (PARTITION BY field, seq) AS is_unread,
        row_number() OVER (PARTITION BY field, seq ORDER BY value IS NULL, rank) AS place
    FROM reading
) WHERE place = 1;
CREATE UNIQUE INDEX temp.drawn_by_entry ON drawn(field, seq);

-- Each entry that a field concerns: what the payload says, what is kept, and what that comes to.
CREATE TEMP TABLE compared AS
SELECT t.field, e.seq, e.event_type, e.created_at, v.value AS kept, CASE
    WHEN v.value IS NULL AND d.value IS NOT NULL
        THEN iif(e.seq > f.filled_to AND e.seq <= f.declared_at, 'left', 'missing')
    WHEN typeof(v.value) = typeof(d.value) AND (
        v.value = d.value
        OR d.is_about AND f.type = 'timestamp' AND abs(v.value - d.value) <= 1000
        OR f.type = 'real' AND abs(v.value - d.value) <= abs(d.value) * 1e-15
    ) THEN 'equal'
    WHEN v.value IS NOT NULL AND d.is_unread THEN 'not compared'
    WHEN v.value IS NOT NULL THEN iif(d.value IS NULL, 'unexpected', 'differs')
    WHEN e.payload IS NULL THEN 'no payload'
    WHEN NOT json_valid(e.payload) THEN 'invalid JSON'
    ELSE coalesce(d.cause, 'missing at every path') END AS outcome
FROM entries AS e JOIN type AS t ON t.event_type = e.event_type JOIN field AS f ON f.id = t.field
LEFT JOIN drawn AS d ON d.field = t.field AND d.seq = e.seq
LEFT JOIN derived_values AS v ON v.field = t.field AND v.seq = e.seq;

-- Values of entries that the field does not concern, or that are not there.
CREATE TEMP TABLE stray AS
SELECT v.field, v.seq FROM derived_values AS v JOIN field AS f ON f.id = v.field
WHERE NOT EXISTS (
    SELECT 1 FROM entries AS e JOIN type AS t ON t.event_type = e.event_type
    WHERE e.seq = v.seq AND t.field = v.field
);

.print 'Coverage: entries that a field concerns, and those that have a value; left are still to be filled.'
SELECT f.name AS field, f.type, count(c.seq) AS entries, count(c.kept) AS "values",
    round(100.0 * count(c.kept) / max(count(c.seq), 1), 2) AS percent,
    count(*) FILTER (WHERE c.outcome = 'left') AS "left"
FROM field AS f LEFT JOIN compared AS c ON c.field = f.id GROUP BY f.id ORDER BY f.id;

.print 'Consistency: values held against payloads. All but equal should be 0; not compared is what SQL cannot read.'
SELECT f.name AS field,
    count(*) FILTER (WHERE c.outcome = 'equal') AS equal,
    count(*) FILTER (WHERE c.outcome = 'differs') AS differs,
    count(*) FILTER (WHERE c.outcome = 'missing') AS missing,
    count(*) FILTER (WHERE c.outcome = 'unexpected')
        + (SELECT count(*) FROM stray WHERE stray.field = f.id) AS unexpected,
    count(*) FILTER (WHERE c.outcome = 'not compared') AS not_compared
FROM field AS f LEFT JOIN compared AS c ON c.field = f.id GROUP BY f.id ORDER BY f.id;

.print 'The first entries that are not as they should be.'
SELECT field, entry, outcome FROM (
    SELECT f.id, f.name AS field, c.seq AS entry, c.outcome FROM compared AS c
    JOIN field AS f ON f.id = c.field
    WHERE c.outcome IN ('differs', 'missing', 'unexpected', 'left')
    UNION ALL
    SELECT f.id, f.name, s.seq, 'unexpected' FROM stray AS s JOIN field AS f ON f.id = s.field
) ORDER BY id, entry LIMIT 20;

.print 'Empty: entries without a value whose payload has none, and why.'
SELECT f.name AS field, iif(outcome = 'missing at every path', 'missing', outcome) AS cause,
    count(*) AS entries, min(seq) AS first, max(seq) AS last
FROM compared AS c JOIN field AS f ON f.id = c.field
WHERE kept IS NULL AND outcome NOT IN ('missing', 'left')
GROUP BY f.id, outcome ORDER BY f.id, cause;

.print 'Event types.'
SELECT f.name AS field, c.event_type, count(*) AS entries, count(c.kept) AS "values"
FROM compared AS c JOIN field AS f ON f.id = c.field
GROUP BY f.id, c.event_type ORDER BY f.id, c.event_type;

.print 'Range of the values; timestamps in UTC.'
SELECT f.name AS field,
    CASE f.type WHEN 'timestamp'
        THEN strftime('%Y-%m-%dT%H:%M:%S', min(v.value) / 1000000000, 'unixepoch')
            || printf('.%06dZ', min(v.value) % 1000000000 / 1000)
        WHEN 'boolean' THEN iif(min(v.value), 'true', 'false') ELSE min(v.value) END AS least,
    CASE f.type WHEN 'timestamp'
        THEN strftime('%Y-%m-%dT%H:%M:%S', max(v.value) / 1000000000, 'unixepoch')
            || printf('.%06dZ', max(v.value) % 1000000000 / 1000)
        WHEN 'boolean' THEN iif(max(v.value), 'true', 'false') ELSE max(v.value) END AS greatest
FROM field AS f JOIN derived_values AS v ON v.field = f.id GROUP BY f.id ORDER BY f.id;

.print 'Lag, in seconds: from one moment to the other.'
SELECT lag, count(*) AS entries, round(min(ns) / 1e9, 6) AS least, round(avg(ns) / 1e9, 6) AS mean,
    round(max(ns) / 1e9, 6) AS greatest
FROM (
    SELECT f.id, f.name || ' to created_at' AS lag, c.created_at - c.kept AS ns
    FROM compared AS c JOIN field AS f ON f.id = c.field
    WHERE f.type = 'timestamp' AND typeof(c.kept) = 'integer'
    UNION ALL
    SELECT 0, 'source_event_ts to supervisor_processed_at', processed.kept - source.kept
    FROM compared AS source JOIN compared AS processed ON processed.seq = source.seq
    WHERE source.field = (SELECT id FROM field WHERE name = 'source_event_ts')
    AND processed.field = (SELECT id FROM field WHERE name = 'supervisor_processed_at')
    AND typeof(source.kept) = 'integer' AND typeof(processed.kept) = 'integer'
) GROUP BY id, lag ORDER BY id, lag;

.print 'Index use: a value is looked for in derived_values_by_value, and a column of task_audits by its key.'
EXPLAIN QUERY PLAN SELECT id FROM derived WHERE field = 'source_event_ts' AND value >= 0;
EXPLAIN QUERY PLAN SELECT source_event_ts FROM task_audits WHERE audit_id = 1;
