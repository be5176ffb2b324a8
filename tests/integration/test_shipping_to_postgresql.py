"""PostgreSQL as a target: a real server, and a delivery that the test steps."""

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest

from frames import event
from hansard.errors import ConfigError
from hansard_writer.derived.definitions import BUILT_IN
from hansard_writer.derived.extraction import Cause, Extractor, Payload
from hansard_writer.proof.merkle_hash_tree import Edge
from hansard_writer.shipping import delivery, postgresql
from hansard_writer.shipping.delivery import Delivery, Observer, Shipped
from hansard_writer.shipping.log_source import LogSource
from hansard_writer.shipping.postgresql import far_end, opener, schema, shipper_lock, target
from hansard_writer.shipping.postgresql.postgresql_far_end import MISFIT, NOT_COMPARED
from hansard_writer.shipping.target import TargetRefused, TargetTaken, TargetUnavailable
from hansard_writer.shipping.targets import TargetOptions
from postgresql_server import PostgresqlServer
from shipped import in_log, in_postgresql, rows
from support import query
from verifiable import SignedLog

FEW = TargetOptions(partitions=2)


@pytest.fixture(autouse=True)
def small_and_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "LogSource", partial(LogSource, entries_max=100))
    monkeypatch.setattr(delivery, "BACKOFF_S_MIN", 0.001)
    monkeypatch.setattr(delivery, "BACKOFF_S_MAX", 0.002)
    monkeypatch.setattr(shipper_lock, "WAIT_S_MAX", 0.2)
    monkeypatch.setattr(shipper_lock, "LOOK_S", 0.01)


@pytest.fixture
def log(directory: Path) -> Iterator[SignedLog]:
    log = SignedLog(directory)
    yield log
    log.close()


class Heard(Observer):
    def __init__(self, on_goes_on: Callable[[Shipped], None] = lambda _: None) -> None:
        self.held_up: list[str] = []
        self.goes_on = on_goes_on  # type: ignore[method-assign]

    def is_held_up(self, why: str, wait_s: float) -> None:
        self.held_up.append(why)


def ship(log: SignedLog, url: str, heard: Heard | None = None) -> Shipped:
    return Delivery(log.directory, "there", opener(url, FEW), heard or Heard()).run(once=True)


def documents(url: str) -> dict[int, Any]:
    return dict(rows(url, "SELECT seq, document FROM hansard.entries"))


def misfits(url: str, origin: str) -> list[tuple[int, str]]:
    far = far_end(url)
    try:
        assert far.head(origin) is not None
        return [each for page in far.pages(origin) for each in page.misfits]
    finally:
        far.close()


def database_name(url: str) -> str:
    return url.split("/")[3].split("?", maxsplit=1)[0]


# --- what is shipped ---


def test_every_column_of_every_entry_is_as_in_the_log(log: SignedLog, database: str) -> None:
    log.enter(
        *(event(f'{{"n": {number},"ü":"✓"}}', actor=None, task_id=None) for number in range(250)),
        event(None), event('{ "b":1, "a":1.50, "a":2e0 }', level="error"),
    )  # fmt: skip
    log.say("hansard.lost", count=3)
    log.seal()
    shipped = ship(log, database)
    assert shipped == (log.origin, 253, 253, 253)
    assert in_postgresql(database, log.origin) == in_log(log.directory)
    assert documents(database)[252] == {"b": 1, "a": 2}
    assert misfits(database, log.origin) == []


def test_it_goes_on_where_it_ended(log: SignedLog, database: str) -> None:
    for count in (1, 99, 101, 250):
        log.enter(count=count)
        log.seal()
        assert ship(log, database).entries == count
    assert ship(log, database).entries == 0
    assert in_postgresql(database, log.origin) == in_log(log.directory)


def test_logs_are_kept_apart(log: SignedLog, tmp_path: Path, database: str) -> None:
    other = SignedLog(tmp_path / "other")
    for each, count in ((log, 120), (other, 130)):
        each.enter(count=count)
        each.seal()
        ship(each, database)
    for each in (log, other):
        assert in_postgresql(database, each.origin) == in_log(each.directory)
    far = far_end(database)
    assert far.origins() == sorted([log.origin, other.origin])
    far.close()
    other.close()


HELD = '"stderr": "a held word"'
REFUSED = (
    r'{"a": "\u0000"}', r'{"\u0000": 1}', r'{"a": "\ud800"}', r'{"a": "\udc00\ud800"}',
    '{"a": 1e400000}', '{"a": -1e400000}', f'{{"a": {"9" * 140_000}}}',
    r'{"stderr": "a word \u0000"}',
)  # fmt: skip
TAKEN = (
    r'{"a": "\ud83d\ude00"}', r'{"a": "\\u0000"}', '{"a": 1e400}', '{"a": 1e-400}',
    '{"a": 12345678901234567890123456789012345678901234567890}',
    '{"a": ' + "[" * 62 + "]" * 62 + "}",
    f'{{"a": 0.{"1" * 10_000}}}',
)  # fmt: skip


@pytest.mark.parametrize("alone", [False, True])
def test_what_jsonb_refuses_is_shipped_as_text(log: SignedLog, database: str, alone: bool) -> None:
    """Whether the server is asked first, or only when the COPY has failed."""
    given = [*REFUSED, *TAKEN, f"{{{HELD}}}"]
    for text in given:
        log.enter(event(text, event_type="env.operation"))
        if alone:
            log.seal()
            ship(log, database)
    log.enter(count=1)
    log.seal()
    ship(log, database)
    assert in_postgresql(database, log.origin) == in_log(log.directory)
    found = documents(database)
    assert [text for seq, text in enumerate(given, 1) if found[seq] is None] == list(REFUSED)
    assert misfits(database, log.origin) == []


def test_a_row_that_the_server_objects_to_is_shipped_without_its_document(
    log: SignedLog, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it objects to: here an index that somebody made, which divides by what is there."""
    log.enter(count=1)
    log.seal()
    ship(log, database)
    rows(database, "CREATE INDEX ON hansard.entries ((1 / (document ->> 'd')::int))")
    log.enter(*(event(f'{{"d": {number % 40}}}') for number in range(1, 200)))
    log.seal()
    ship(log, database)
    assert in_postgresql(database, log.origin) == in_log(log.directory)
    assert [seq for seq, found in documents(database).items() if found is None] == [
        41,
        81,
        121,
        161,
    ]


EXTREMES = {
    "one word of a MiB": "x" * 1_000_000,
    "many words": " ".join(f"w{number}" for number in range(140_000)),
    "hyphens": "a-" * 500_000,
    "paths": "/a.b" * 250_000,
    "hosts": "a.bc/d?e=f " * 90_000,
    "mails": "a@b.cd " * 140_000,
    "four bytes each": "𐐀 " * 180_000,
    "letters that grow": "İ" * 400_000,
    "quotes": "'\"\\&|!:*" * 60_000,
}


@pytest.mark.parametrize("name", EXTREMES)
def test_extreme_texts_are_shipped_and_searched_as_far_as_they_go(
    log: SignedLog, database: str, name: str
) -> None:
    payload = orjson.dumps({"stderr": "needle " + EXTREMES[name]}).decode()
    log.enter(event(payload, event_type="env.operation"))
    log.seal()
    ship(log, database)
    assert in_postgresql(database, log.origin) == in_log(log.directory)
    found = rows(
        database,
        "SELECT id FROM hansard.env_operations"
        " WHERE to_tsvector('english', left(stderr, 65536)) @@ to_tsquery('english', 'needles')",
    )
    assert found == [(1,)]


def test_a_mebibyte_of_keys_numbers_and_nesting_is_shipped(log: SignedLog, database: str) -> None:
    for given in (
        {f"k{number}": number for number in range(60_000)},
        {"a": list(range(150_000))},
        {"k" * 500_000: "v" * 500_000},
    ):
        log.enter(event(orjson.dumps(given).decode()))
    log.seal()
    ship(log, database)
    assert in_postgresql(database, log.origin) == in_log(log.directory)
    assert None not in documents(database).values()


# --- redacted and pruned ---


def test_a_redaction_follows(log: SignedLog, database: str) -> None:
    log.enter(*(event(f'{{"secret": "s{number}"}}') for number in range(20)))
    log.redacted(2, 3)  # before it is shipped
    log.seal()
    ship(log, database)
    assert in_postgresql(database, log.origin) == in_log(log.directory)
    log.redacted(5, 6)  # after
    log.enter(count=1)
    log.redacted(23)  # of the same batch
    log.seal()
    ship(log, database)
    assert in_postgresql(database, log.origin) == in_log(log.directory)
    gone = rows(
        database,
        "SELECT seq FROM hansard.entries WHERE payload IS NULL AND document IS NULL"
        " AND salt IS NULL AND payload_hash IS NOT NULL ORDER BY seq",
    )
    assert [seq for (seq,) in gone] == [2, 3, 5, 6, 23]
    assert "s5" not in str(rows(database, "SELECT entries::text FROM hansard.entries"))


def test_a_prune_follows_and_the_tree_goes_on(log: SignedLog, database: str) -> None:
    log.enter(count=300)
    log.seal()
    ship(log, database)
    log.pruned(170)
    log.enter(count=10)
    log.seal()
    ship(log, database)
    assert in_postgresql(database, log.origin) == in_log(log.directory)
    assert in_log(log.directory)[0][0] == 171
    assert begun(database, log) == log.tree.edge(170)
    log.pruned(300)
    ship(log, database)
    assert in_postgresql(database, log.origin) == in_log(log.directory)
    assert begun(database, log) == log.tree.edge(300)


def test_what_was_pruned_before_it_was_shipped_leaves_a_beginning(
    log: SignedLog, database: str
) -> None:
    log.enter(count=300)
    log.seal()
    edge = log.tree.edge(170)
    log.pruned(170)
    ship(log, database)
    assert in_postgresql(database, log.origin) == in_log(log.directory)
    assert begun(database, log) == edge


def test_what_was_pruned_behind_what_was_shipped_leaves_a_hole_until_the_log_says_so(
    log: SignedLog, database: str
) -> None:
    log.enter(count=50)
    log.seal()
    ship(log, database)
    log.enter(count=450)
    log.seal()
    edge = log.tree.edge(170)
    log.pruned(170)

    held: list[tuple[int, Any]] = []

    def look(_: Shipped) -> None:
        ((first,),) = rows(database, "SELECT min(seq) FROM hansard.entries")
        held.append((first, begun(database, log)))

    ship(log, database, Heard(look))
    assert held[0] == held[1] == (1, Edge())
    assert in_postgresql(database, log.origin) == in_log(log.directory)
    assert begun(database, log) == edge


def begun(url: str, log: SignedLog) -> Any:
    far = far_end(url)
    head = far.head(log.origin)
    far.close()
    assert head is not None
    return head.begun


# --- the views ---


def test_the_views_say_what_those_of_the_log_say(log: SignedLog, database: str) -> None:
    operation = {
        "workflow_id": "wf", "node_id": "n", "version_id": "v", "operation": "add_deps",
        "status": "failed", "stdout": "o", "stderr": "it timed out", "exit_code": -9,
        "duration_ms": 12, "metadata": {"error": "x"},
    }  # fmt: skip
    log.enter(
        event(orjson.dumps(operation).decode(), event_type="env.operation", task_id=None),
        event('{"repo_id": "r"}'), event(None, actor=None), event("{}", created_at=1_234_567),
        event('{"repo_id": "r2"}', event_type="env.operation", created_at=2 * 10**18 - 1),
    )  # fmt: skip
    log.redacted(2)
    log.seal()
    ship(log, database)
    for view, order in (
        ("events", "id"), ("task_audits", "audit_id"), ("env_operations", "id"),
        ("signed_events", "id"),
    ):  # fmt: skip
        columns = [name for (_, name, *_) in query(log.directory, f"PRAGMA table_info({view})")]
        of_log = query(log.directory, f"SELECT {', '.join(columns)} FROM {view} ORDER BY {order}")
        here = rows(database, f"SELECT * FROM hansard.{view} ORDER BY {order}")
        assert [row[0] for row in here] == [log.origin] * len(of_log)
        assert [tuple(map(plain, row[1:])) for row in here] == [
            tuple(map(plain, r)) for r in of_log
        ]


def plain(value: Any) -> Any:
    """JSON text and JSONB, 1 and true, are the same to who reads a view."""
    if isinstance(value, dict):
        return orjson.dumps(value).decode()
    return value


MOMENTS = (
    '"2024-01-31T12:00:00"', '"2024-01-31"', '"2024-01-31T12:00:00.123456789+02:00"', "1706702400",
    '"1706702400123"', "1706702400123456", "1706702400123456789", "1706702400.25", '"x"', "true",
    '"2024-01-31 12:00Z"', "null", "[1]", '"2024-13-31"', "-5", "1e30", '"2300-01-01"',
    '"1969-12-31"', '"20240131"', "0", '"99999999999"',
)  # fmt: skip
HARDLY_WRITTEN = {'"20240131"'}  # and so not read


def test_moments_are_derived_as_the_log_does_it(log: SignedLog, database: str) -> None:
    payloads = [f'{{"source_ts": {given}}}' for given in MOMENTS]
    log.enter(*(event(text, event_type="SUPERVISOR_TICK") for text in payloads))
    log.enter(event(payloads[0]))
    log.seal()
    ship(log, database)
    found = rows(
        database,
        "SELECT source_event_ts, supervisor_processed_at FROM hansard.task_audits"
        " ORDER BY audit_id",
    )
    drawn = [Extractor(BUILT_IN[0]).draw(Payload(text)) for text in payloads]
    expected = [
        None if isinstance(ns, Cause) or given in HARDLY_WRITTEN else iso_text(int(ns))
        for given, ns in zip(MOMENTS, drawn, strict=True)
    ]
    assert found == [(each, None) for each in [*expected, None]]


def iso_text(ns: int) -> str:
    moment = datetime.fromtimestamp(ns // 10**9, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{ns % 10**9 // 1_000:06}Z"


# --- the schema ---


def test_two_first_shippers_make_one_schema(database: str) -> None:
    errors: list[BaseException] = []

    def first() -> None:
        try:
            opener(database, FEW)().close()
        except BaseException as error:  # noqa: BLE001 - for the test
            errors.append(error)

    threads = [threading.Thread(target=first) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert errors == []
    assert rows(database, "SELECT version FROM hansard.versions") == [(schema.VERSION,)]
    assert rows(database, "SELECT count(*) FROM pg_inherits WHERE inhparent = 'hansard.entries'::"
                "regclass") == [(2,)]  # fmt: skip


def test_a_newer_schema_is_refused_by_name(database: str) -> None:
    opener(database, FEW)().close()
    rows(database, "INSERT INTO hansard.versions(version) VALUES (99)")
    for open_ in (opener(database, FEW), partial(far_end, database)):
        with pytest.raises(TargetRefused, match=r"newer hansard \(schema 99.*upgrade"):
            open_()


def test_where_nothing_was_shipped_there_is_nothing_to_verify(database: str) -> None:
    with pytest.raises(TargetRefused, match="nothing was shipped"):
        far_end(database)


# --- who may, and who is there ---


def test_who_may_not_make_the_schema_is_told_what_to_grant(
    postgresql: PostgresqlServer, log: SignedLog, database: str
) -> None:
    name = database.split("/")[3].split("?", maxsplit=1)[0]
    rows(database, f"CREATE ROLE r_{name} LOGIN")
    stranger = postgresql.url(name, f"r_{name}")
    with pytest.raises(TargetRefused, match=r"42501.*GRANT CREATE ON DATABASE"):
        opener(stranger, FEW)()
    opener(database, FEW)().close()
    with pytest.raises(TargetRefused, match="GRANT USAGE ON SCHEMA hansard"):
        opener(stranger, FEW)()
    rows(database, f"GRANT USAGE ON SCHEMA hansard TO r_{name}")
    rows(database, f"GRANT SELECT ON ALL TABLES IN SCHEMA hansard TO r_{name}")
    far_end(stranger).close()
    theirs = opener(stranger, FEW)()
    with pytest.raises(TargetRefused, match="INSERT"):
        theirs.edge(log.origin)
    theirs.close()
    rows(database, f"GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA hansard TO r_{name}")
    log.enter(count=1)
    log.seal()
    assert ship(log, stranger).entries == 1


def test_no_password_is_shown(postgresql: PostgresqlServer, database: str) -> None:
    name = database.split("/")[3].split("?", maxsplit=1)[0]
    rows(database, f"CREATE ROLE p_{name} LOGIN PASSWORD 'right'")
    wrong = postgresql.tcp_url(name, f"p_{name}", "hushhush")
    with pytest.raises(TargetRefused, match="password authentication failed") as failed:
        opener(wrong, FEW)()
    assert "hushhush" not in repr(failed.value)
    assert failed.value.__cause__ is None
    with pytest.raises(TargetRefused, match="does not exist"):
        opener(postgresql.url("nowhere"), FEW)()
    for malformed in ("postgresql://u:hushhush@h:port/db?a", "postgresql://u:hushhush@h/db?x=1"):
        with pytest.raises(ConfigError, match="no URL of PostgreSQL") as refused:
            opener(malformed, FEW)
        assert "hushhush" not in str(refused.value)


def test_what_may_pass_is_tried_again(postgresql: PostgresqlServer, database: str) -> None:
    with pytest.raises(TargetUnavailable, match="refused"):
        opener("postgresql://u:hushhush@127.0.0.1:1/db", FEW)()
    url = postgresql.new_database("CONNECTION LIMIT 0")
    name = database_name(url)
    rows(database, f"CREATE ROLE c_{name} LOGIN")
    with pytest.raises(TargetUnavailable, match="too many connections"):
        opener(postgresql.url(name, f"c_{name}"), FEW)()


def test_a_database_in_another_encoding_is_refused(postgresql: PostgresqlServer) -> None:
    url = postgresql.new_database("ENCODING", "'LATIN1'", "TEMPLATE", "template0")
    with pytest.raises(TargetRefused, match="LATIN1: make one with ENCODING 'UTF8'"):
        opener(url, FEW)()


def test_of_very_many_logs_only_some_stay_locked(
    log: SignedLog, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relay ships all logs over one connection, and the server has room for so many locks."""
    monkeypatch.setattr(target, "LOCKS_HELD_MAX", 2)
    log.enter(count=5)
    log.seal()
    source = LogSource(log.directory)
    batch = source.next(0)
    source.close()
    assert batch
    relay = opener(database, FEW)()
    edge = relay.edge(log.origin)
    for number in (0, 1, 2, 3, 3, 2):
        relay.edge(f"{log.origin}/{number}")
    held = rows(database, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
    assert held == [(2,)]
    relay.append(batch, batch.checked(edge))  # which rests on the size, and not on the lock
    relay.close()
    assert in_postgresql(database, log.origin) == in_log(log.directory)


def test_a_second_shipper_of_a_log_is_refused_and_one_of_another_log_is_not(
    log: SignedLog, database: str
) -> None:
    first, second = opener(database, FEW)(), opener(database, FEW)()
    first.edge(log.origin)
    second.edge("hansard/ff")
    with pytest.raises(TargetTaken, match=r"'hansard ship' .*pg_terminate_backend\(\d+\)"):
        second.edge(log.origin)
    first.close()
    assert second.edge(log.origin).size == 0
    second.close()


def test_a_shipper_that_lost_its_connection_is_not_refused_on_its_own_account(
    log: SignedLog, database: str
) -> None:
    """The network took it, and the server has not heard."""
    open_ = opener(database, FEW)
    lost = open_()
    lost.edge(log.origin)
    again = open_()
    assert again.edge(log.origin).size == 0
    with pytest.raises(TargetUnavailable):
        lost.edge(log.origin)
    again.close()
    lost.close()


def test_who_ships_unseen_is_noticed_by_the_size(log: SignedLog, database: str) -> None:
    """No lock keeps two apart behind a pooler that hands out transactions."""
    log.enter(count=20)
    log.seal()
    source = LogSource(log.directory, entries_max=10)
    ours = opener(database, FEW)()
    batch = source.next(0)
    assert batch is not None
    checked = batch.checked(ours.edge(log.origin))
    ours.append(batch, checked)
    rows(database, "UPDATE hansard.origins SET size = size + 1")
    following = source.next(10)
    assert following is not None
    with pytest.raises(TargetUnavailable, match="somebody else ships"):
        ours.append(following, following.checked(checked.edge))
    ours.close()
    source.close()
    assert len(in_postgresql(database, log.origin)) == 10


# --- when it fails ---

FULL = """
    CREATE FUNCTION hansard.is_full() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '{0}'; END $$
"""
FULL_TRIGGER = """
    CREATE TRIGGER full_for_now AFTER INSERT ON hansard.entries FOR EACH ROW
    WHEN (NEW.seq = 170) EXECUTE FUNCTION hansard.is_full()
"""


def test_a_full_disk_is_waited_for_and_nothing_is_lost_or_doubled(
    log: SignedLog, database: str
) -> None:
    log.enter(count=300)
    log.seal()
    opener(database, FEW)().close()
    rows(database, FULL.format("53100"))
    rows(database, FULL_TRIGGER)
    heard = Heard()
    with pytest.raises(TargetUnavailable, match=r"could not extend file \(53100\). Make room"):
        ship(log, database, heard)
    assert len(in_postgresql(database, log.origin)) == 100
    rows(database, "DROP TRIGGER full_for_now ON hansard.entries")
    assert ship(log, database).entries == 200
    assert in_postgresql(database, log.origin) == in_log(log.directory)


def test_somebodys_own_check_ends_it_in_the_servers_words(log: SignedLog, database: str) -> None:
    log.enter(event('{"a":"hushhush"}'))
    log.seal()
    opener(database, FEW)().close()
    rows(database, "ALTER TABLE hansard.entries ADD CONSTRAINT ours CHECK (level <> 'info')")
    with pytest.raises(TargetRefused, match=r"violates check constraint.*\(23514\)") as refused:
        ship(log, database)
    assert "hushhush" not in str(refused.value)


def test_a_read_only_database_is_waited_for(log: SignedLog, database: str) -> None:
    log.enter(count=1)
    log.seal()
    opener(database, FEW)().close()
    ours = opener(database, FEW)()
    ours._connection.execute("SET default_transaction_read_only = on")  # type: ignore[attr-defined]
    with pytest.raises(TargetUnavailable, match="target_session_attrs=read-write"):
        ours.edge(log.origin)
    ours.close()


@pytest.mark.parametrize("stage", ["_grow", "_producers", "_copy", "_redact", "commit"])
def test_a_connection_that_is_cut_leaves_a_batch_in_it_wholly_or_not_at_all(
    log: SignedLog, database: str, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    log.enter(count=300)
    log.seal()
    cut: list[int] = []

    def cutting(step: Callable[..., Any]) -> Callable[..., Any]:
        def run(self: Any, *arguments: Any, **options: Any) -> Any:
            if stage == "commit":
                done = step(self, *arguments, **options)
            if len(cut) < 2:
                cut.append(self.backend.pid)
                rows(database, "SELECT pg_terminate_backend(%s, 5000)", self.backend.pid)
            return done if stage == "commit" else step(self, *arguments, **options)

        return run

    name = "_append" if stage == "commit" else stage
    step = getattr(target.PostgresqlTarget, name)
    monkeypatch.setattr(target.PostgresqlTarget, name, cutting(step))
    heard = Heard()
    assert ship(log, database, heard).shipped_to == 300
    assert len(cut) == 2
    assert in_postgresql(database, log.origin) == in_log(log.directory)


# --- the far end ---


def test_a_document_that_is_not_its_text_is_a_misfit(log: SignedLog, database: str) -> None:
    log.enter(*(event(f'{{"n": {number}.0}}') for number in range(600)), event(REFUSED[0]))
    log.redacted(9)
    log.seal()
    ship(log, database)
    deep = "[" * 100_000
    for seq, change in (
        (2, """document = '{"n": 2}'"""), (300, "document = NULL"), (301, "payload = '{}'"),
        (601, "document = '{}'"), (9, "document = '{}'"), (400, f"payload = '{deep}'"),
        (500, "payload = 'no JSON'"),
    ):  # fmt: skip
        rows(database, f"UPDATE hansard.entries SET {change} WHERE seq = {seq}")
    wrong = [2, 9, 300, 301, 400, 500, 601]
    found = misfits(database, log.origin)
    assert found == [(seq, NOT_COMPARED if seq == 400 else MISFIT) for seq in wrong]


def test_what_is_read_is_of_one_moment(log: SignedLog, database: str) -> None:
    log.enter(count=200)
    log.seal()
    ship(log, database)
    far = far_end(database)
    head = far.head(log.origin)
    log.enter(count=100)
    log.seal()
    ship(log, database)
    assert head is not None
    assert head.size == 200
    assert len(list(far.notes(log.origin))) == 1
    assert sum(len(page.rows) for page in far.pages(log.origin)) == 200
    head = far.head(log.origin)
    assert head is not None
    assert head.size == 300
    assert far.head("hansard/00") is None
    far.close()


def test_it_hands_rows_leaves_and_owners_as_they_are_kept(log: SignedLog, database: str) -> None:
    log.enter(count=300)
    log.redacted(4)
    log.seal()
    ship(log, database)
    rows(database, "DELETE FROM hansard.entries WHERE seq = 7")
    rows(database, "UPDATE hansard.entries SET salt = NULL WHERE seq = 8")
    rows(database, "UPDATE hansard.entries SET producer = 99 WHERE seq = 9")
    far = far_end(database)
    far.head(log.origin)
    found: dict[int, Any] = {}
    for page in far.pages(log.origin):
        for row, leaf in zip(page.rows, page.leaves, strict=True):
            found[row[0]] = (page.owners[row[1]], row, leaf)
    far.close()
    assert sorted(found) == [each for each in range(1, 302) if each != 7]
    assert found[4][1][9] is None
    assert found[8][1][9] == b""
    assert found[9][0] is None
    ((salt, payload),) = query(log.directory, "SELECT salt, payload FROM entries WHERE seq = 5")
    assert found[5][1][9] == salt + payload.encode()
    assert b"".join(found[seq][2] for seq in range(1, 7)) == b"".join(
        log.tree.node(0, at) for at in range(6)
    )


# --- without the library ---


def test_a_missing_library_is_named_with_the_line_that_mends_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(postgresql, "find_spec", lambda _name: None)
    for use in (partial(opener, "postgresql://h/d", FEW), partial(far_end, "postgresql://h/d")):
        with pytest.raises(ConfigError, match=r"pip install 'hansard\[postgres\]'"):
            use()
