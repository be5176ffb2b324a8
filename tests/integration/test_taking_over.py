"""The command `hansard import` on old databases and other systems' records, beside one writer."""

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest
from click.testing import CliRunner, Result

import hansard_writer
import others_logs
from hansard import wire
from hansard.events import EventEncoder
from hansard.reader import LogReader
from hansard.settings import MIB
from hansard.source import Source
from hansard.spool import Identity, Spool, SpoolState
from hansard_writer import importing
from hansard_writer.cli import main
from hansard_writer.importing.appending import appending
from hansard_writer.importing.import_lock import ImportLock
from hansard_writer.importing.ledger import RESUMED, Keyed, Ledger
from others_logs import audit
from support import assert_log_is_sound, assert_verifies, query, wait_until

DATA = Path(__file__).parent.parent / "data"

Import = Callable[..., Result]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A log with its writer, for all tests here: each has a source of its own."""
    directory = tmp_path_factory.mktemp("log")
    with hansard_writer.running(directory):
        yield directory
    assert_log_is_sound(directory)
    assert_verifies(directory)


@pytest.fixture
def run(served: Path, tmp_path: Path) -> Import:
    def run(*arguments: object, dir: Path = served, source: bool = True) -> Result:  # noqa: A002
        named = ("--source", tmp_path.name) if source else ()
        given = ["import", "--dir", dir, "--workers", 1, *arguments, *named]
        return CliRunner().invoke(main, list(map(str, given)))

    return run


@pytest.fixture
def take(run: Import, tmp_path: Path) -> Import:
    """Import `task_audits` of old.db."""
    return lambda *more, **options: run(
        "--sqlite", tmp_path / "old.db", "--table", "task_audits", *more, **options
    )


def entered(served: Path, source: str, table: str = "task_audits") -> list[Any]:
    """The keys of the source's rows that are entries, in order."""
    rows = query(
        served,
        "SELECT payload ->> '$.imported_from.key' FROM events"
        " WHERE payload ->> '$.imported_from.source' = ? AND"
        " payload ->> '$.imported_from.table' = ? ORDER BY id",
        (source, table),
    )
    return [key for (key,) in rows]


def sums(result: Result) -> str:
    """The summary, without the time."""
    (line,) = [each for each in result.stderr.splitlines() if " already there" in each]
    return line.split(";")[0].split(": ")[1]


def test_task_audits_of_a_predecessor_are_shown_as_native_ones(
    served: Path, take: Import, tmp_path: Path
) -> None:
    payload = '{"repo_id": "r9",  "big": 123456789012345678901234567890}'
    others_logs.make(
        tmp_path / "old.db",
        others_logs.TASK_AUDITS,
        [
            audit(1, payload=payload, level="WARN", created_at="2024-01-01T12:00:00.123456+02:00"),
            audit(2, payload='{"a": 1}', event_type="SUPERVISOR_DECISION", source_event_ts="2024"),
            audit(3, payload=None, level=40, created_at=1704110400.5),
        ],
    )
    assert take().exit_code == 0
    source = tmp_path.name
    rows = query(
        served,
        "SELECT repo_id, level, event_type, payload, created_at, task_id, payload ->>"
        " '$.source_event_ts' FROM task_audits WHERE payload ->> '$.imported_from.source' = ?"
        " ORDER BY audit_id",
        (source,),
    )
    first, second, third = rows
    origin = f'"imported_from":{{"source":"{source}","table":"task_audits","key":1}}}}'
    text = f"{payload[:-1]},{origin}"
    when = "2024-01-01T10:00:00.123456Z"
    assert first == ("r9", "warning", "task.write_file", text, when, "T1", None)
    assert (second[0], second[6]) == ("r1", "2024"), "what the payload lacks is added"
    assert (third[0], third[1], third[4]) == ("r1", "error", "2024-01-01T12:00:00.500000Z")


def test_operations_of_a_predecessor_are_read_as_native_ones(
    served: Path, run: Import, tmp_path: Path
) -> None:
    row = ("wf9", "n1", None, "add_deps", "failed", "out", "no such package", 1, 12.5)
    metadata = '{"packages": ["numpy"], "n": 12345678901234567890123}'
    others_logs.make(
        tmp_path / "ops.db",
        others_logs.ENV_OPERATIONS,
        [
            (7, *row, metadata, "2024-02-01 00:00:00+00"),
            (8, *row[:4], "success", "x" * 2_000_000, None, 0, 3, None, "2024-02-01 00:00:01"),
            (9, *row[:4], "running", None, None, None, None, None, "2024-02-01 00:00:01"),
        ],
    )
    result = run("--sqlite", tmp_path / "ops.db", "--table", "env_operations")
    assert (result.exit_code, sums(result)) == (1, "2 entered, 0 already there, 1 refused")
    with LogReader(served) as reader:
        newest, oldest = reader.operations(workflow_id="wf9")
        (found,) = reader.operations(workflow_id="wf9", metadata={"packages": ["numpy"]})
        (by_text,) = reader.search("error OR package", workflow_id="wf9")  # type: ignore[call-arg]
    assert found == oldest
    assert by_text.id == oldest.id
    assert (oldest.status, oldest.error, oldest.exit_code) == ("failed", "no such package", 1)
    assert (oldest.duration_ms, oldest.created_at) == (12.5, "2024-02-01T00:00:00.000000Z")
    assert oldest.metadata["n"] == 12345678901234567890123
    assert newest.stdout is not None
    assert "SHA-256 of all" in newest.stdout, "too large for an event: cut as a native one is"


def test_any_table_goes_by_naming_its_columns(served: Path, run: Import, tmp_path: Path) -> None:
    row = ("k1", "agent:7", "governance.refusal", b"\xff\x00", b"s", "unsigned", "1704110400123")
    others_logs.make(tmp_path / "chain.db", others_logs.SIGNED_EVENTS, [(*row, b"p", 1)])
    result = run(
        "--sqlite", tmp_path / "chain.db", "--table", "SIGNED_EVENTS",
        "--map", "event_type=event_type", "--map", "actor=Agent_ID",
        "--map", "created_at=timestamp", "--map", "key=sequence",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    (event,) = query(
        served,
        "SELECT actor, created_at, payload FROM events WHERE event_type = 'governance.refusal'",
    )
    assert event[:2] == ("agent:7", "2024-01-01T12:00:00.123000Z")
    assert json.loads(event[2]) == {
        "id": "k1",
        "payload_hash": "/wA=",
        "signature": "cw==",
        "attest_level": "unsigned",
        "prev_hash": "cA==",
        "imported_from": {"source": tmp_path.name, "table": "signed_events", "key": 1},
    }


def test_rows_are_entered_once_whatever_becomes_of_the_table(
    served: Path, run: Import, take: Import, tmp_path: Path
) -> None:
    path, source = tmp_path / "old.db", tmp_path.name
    others_logs.audits(path, [*range(1, 700), *range(800, 900)])
    assert sums(take()) == "799 entered, 0 already there, 0 refused"
    assert sums(take()) == "0 entered, 799 already there, 0 refused"
    others_logs.with_rows(path, [("DELETE FROM task_audits WHERE audit_id IN (1, 300, 850)", ())])
    others_logs.add_audits(path, audit(750), audit(1000), audit(-5))
    path.rename(tmp_path / "moved.db")
    again = ("--sqlite", tmp_path / "moved.db", "--table", "task_audits")
    assert sums(run(*again)) == "3 entered, 796 already there, 0 refused"
    expected = [*range(1, 700), *range(800, 900), -5, 750, 1000]
    assert entered(served, source) == expected


def test_keys_of_any_type_are_keys(served: Path, run: Import, tmp_path: Path) -> None:
    keys = ["b", "a", b"\x00\xff", 7, 2.5, "ü"]
    path = others_logs.make(
        tmp_path / "keys.db",
        "CREATE TABLE odd(k PRIMARY KEY, v, w) WITHOUT ROWID",
        [(key, 1, 2) for key in keys],
    )
    given = ("--sqlite", path, "--table", "odd", "--event-type", "odd")
    assert sums(run(*given)) == "6 entered, 0 already there, 0 refused"
    assert sums(run(*given)) == "0 entered, 6 already there, 0 refused"
    with_two = ("--sqlite", path, "--table", "pairs", "--event-type", "pair")
    others_logs.with_rows(
        path,
        [
            ("CREATE TABLE pairs(a TEXT, b INT, v, PRIMARY KEY (a, b))", ()),
            ("INSERT INTO pairs VALUES ('x', 1, 0), ('x', 2, 0), ('y', 1, 0)", ()),
        ],
    )
    assert sums(run(*with_two)) == "3 entered, 0 already there, 0 refused"
    assert sums(run(*with_two)) == "0 entered, 3 already there, 0 refused"
    assert entered(served, tmp_path.name, "pairs") == ['["x",1]', '["x",2]', '["y",1]']


def test_rows_that_do_not_fit_are_dead_letters_with_their_bytes_and_are_not_tried_again(
    served: Path, take: Import, tmp_path: Path
) -> None:
    others_logs.make(
        tmp_path / "old.db",
        others_logs.TASK_AUDITS,
        [
            audit(1, payload="{nonsense"),
            audit(2, payload="[1]"),
            audit(3, event_type="9 lives"),
            audit(4, event_type=None),
            audit(5, created_at="yesterday"),
            audit(6, created_at=None),
            audit(7, level="LOUD"),
            audit(8, payload=json.dumps({"big": "x" * 1_100_000})),
            audit(9, payload='{"d":' * 65 + "1" + "}" * 65),
            audit(10),
        ],
    )
    others_logs.with_rows(
        tmp_path / "old.db",
        [("UPDATE task_audits SET repo_id = CAST(x'ff41' AS TEXT) WHERE audit_id = 10", ())],
    )
    others_logs.add_audits(tmp_path / "old.db", audit(11))
    dry = take("--dry-run")
    assert dry.exit_code == 1
    assert "1 would be entered, 0 are there already, 10 would be dead letters" in dry.stdout
    result = take()
    assert (result.exit_code, sums(result)) == (1, "1 entered, 0 already there, 10 refused")
    causes = "3 payload, 2 event type, 2 time, 1 level, 1 encoding, 1 limits"
    for said in (dry, result):
        found = said.stderr.split("refused: ")[-1].split("They do not fit: ")[-1]
        assert sorted(found.split(".\n")[0].split(";")[0].split(", ")) == sorted(causes.split(", "))
    assert f"{tmp_path / 'old.db'}:5: time: 'yesterday' is not ISO 8601" in result.stderr
    with LogReader(served) as reader:
        letters = [
            letter
            for each in reader.dead_letters("unfit")
            if (letter := reader.dead_letter(each.id))
            and letter.frame
            and tmp_path.name.encode() in letter.frame
        ]
    assert len(letters) == 10
    by_key = {
        json.loads(letter.first_event.payload or "{}")["imported_from"]["key"]: letter
        for letter in letters
    }
    assert by_key[1].detail.startswith("payload: no JSON")
    assert json.loads(by_key[1].first_event.payload or "")["payload"] == "{nonsense"
    assert (by_key[5].task_id, by_key[5].first_event.task_id) == (None, "T0")
    assert json.loads(by_key[10].first_event.payload or "")["repo_id"] == "\\xffA"
    assert "cut: 1,100,011 characters" in (by_key[8].first_event.payload or "")
    again = take()
    assert (again.exit_code, sums(again)) == (0, "0 entered, 11 already there, 0 refused")


def test_a_dry_run_needs_no_writer_and_changes_no_byte(take: Import, tmp_path: Path) -> None:
    others_logs.audits(tmp_path / "old.db", range(1, 30))
    before = (tmp_path / "old.db").read_bytes()
    nowhere = tmp_path / "nowhere"
    result = take("--dry-run", dir=nowhere)
    assert result.exit_code == 0, result.stderr
    assert "29 rows of" in result.stdout
    assert "29 would be entered, 0 are there already, 0 would be dead letters" in result.stdout
    assert f"{tmp_path / 'old.db'}:1: 2024-01-01T12:00:01.000000Z info task.write_file task=T1" in (
        result.stdout
    )
    assert not nowhere.exists()
    assert (tmp_path / "old.db").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old.db"]


def test_options_that_fit_no_row_are_refused_before_anything_is_entered(
    served: Path, take: Import, tmp_path: Path
) -> None:
    others_logs.audits(tmp_path / "old.db", range(1, 150))
    result = take("--map", "created_at=repo_id")
    assert result.exit_code == 1
    assert "of the first 149 rows" in result.stderr
    assert "nothing was entered" in result.stderr
    assert sums(take()) == "149 entered, 0 already there, 0 refused"


def test_what_an_import_left_undone_is_taken_over_and_what_it_still_sends_is_not_entered(
    served: Path, take: Import, tmp_path: Path
) -> None:
    """Its claim is there, some of its rows are; then its spool, with the rest, comes late."""
    path, source = others_logs.audits(tmp_path / "old.db", range(1, 21)), tmp_path.name
    ledger = Ledger(served, source, "task_audits")
    ledger.read()
    rows = [Keyed(number, number, None) for number in range(1, 11)]
    (claimed,) = ledger.claim([rows], lambda _: mark_of(path), wait=lambda: None)
    with appending(served, Source(claimed.producer_id)) as log:
        for number in range(1, 5):
            log.record("task.write_file", row_of(source, number), created_at=number)
    assert sums(take()) == "16 entered, 4 already there, 0 refused"
    leave_spool(served, claimed.producer_id, source, range(1, 11))
    wait_until(lambda: not list((served / "spool").glob("*.spool")), "the spool is adopted")
    assert sorted(entered(served, source)) == list(range(1, 21))
    resumed = query(
        served,
        "SELECT payload ->> '$.rows' FROM events WHERE event_type = ? AND"
        " payload ->> '$.source' = ?",
        (RESUMED, source),
    )
    assert resumed == [(4,)]
    assert sums(take()) == "0 entered, 20 already there, 0 refused"


def mark_of(path: Path) -> str:
    """As the command would mark the first row."""
    with importing.OldDatabase(path) as database:
        source = importing.mapped(
            database, "task_audits", source="", preset_name=None, given={}, event_type=None
        )
        return source.mark_at(1) or ""


def row_of(source: str, number: int) -> dict[str, Any]:
    return {"imported_from": {"source": source, "table": "task_audits", "key": number}}


def leave_spool(served: Path, producer_id: bytes, source: str, numbers: range) -> None:
    """As a worker leaves one that is killed."""
    identity = Identity(producer_id, "host", 7, 0, numbers_are_the_sources=True)
    state = SpoolState(base_seq=0, base_crc=0, log_id=None, drops=wire.Drops())
    spool = Spool(served / "spool", MIB, 0o600, identity, state)
    crc, encoder = 0, EventEncoder(None, None)
    for number in numbers:
        data = encoder.encode("task.write_file", row_of(source, number), "info", None, None, number)
        crc = zlib.crc32(data, crc)
        assert spool.append(number, crc, data)
    spool.close(remove=False)


def test_two_imports_of_one_source_at_a_time_are_refused(
    served: Path, take: Import, tmp_path: Path
) -> None:
    others_logs.audits(tmp_path / "old.db", range(1, 3))
    with ImportLock(served, tmp_path.name):
        result = take()
    assert result.exit_code == 4
    assert f"another import of {tmp_path.name}" in result.stderr
    assert sums(take()) == "2 entered, 0 already there, 0 refused"
    assert not list((served / "spool").glob("*.import"))


def test_another_table_under_the_same_names_is_refused(
    served: Path, take: Import, tmp_path: Path
) -> None:
    path = others_logs.audits(tmp_path / "old.db", range(1, 50))
    assert take().exit_code == 0
    path.unlink()
    others_logs.make(
        path, others_logs.TASK_AUDITS, (audit(n, created_at="2020-01-01") for n in range(1, 60))
    )
    result = take()
    assert result.exit_code == 1
    assert "the log has rows of another task_audits under the name" in result.stderr
    assert "--source" in result.stderr


def test_rows_whose_claims_were_pruned_are_known_by_where_a_later_claim_began(
    served: Path, tmp_path: Path
) -> None:
    ledger = Ledger(served, tmp_path.name, "numbers")
    ledger.read()
    for first in (1, 11):
        rows = [Keyed(key, key, None) for key in range(first, first + 10)]
        ledger.claim([rows], lambda _: "", wait=lambda: None)
    looked = Ledger(served, tmp_path.name, "numbers")
    looked._source = looked._source._replace(watermark=2)
    looked._take_as_known(1, {"claim": 2, "runs": [[11, 20]], "highest_before": 10})
    assert [key in looked for key in (1, 10, 11)] == [True, True, False]


# --- records ---


def test_real_cloudtrail_records_are_entered_once_by_their_id_whatever_the_file(
    served: Path, run: Import, tmp_path: Path
) -> None:
    lines = gzip.decompress((DATA / "cloudtrail_stratus.jsonl.gz").read_bytes()).splitlines()[:40]
    single = tmp_path / "single.json"
    single.write_bytes(b'{"Records":[' + b",".join(lines[:25]) + b"]}")
    by_line = tmp_path / "lines.gz"
    by_line.write_bytes(gzip.compress(b"\n".join(lines[15:])))
    first = run("--preset", "cloudtrail", single)
    assert sums(first) == "25 entered, 0 already there, 0 refused", first.stderr
    assert sums(run("--preset", "cloudtrail", by_line)) == "15 entered, 10 already there, 0 refused"
    rows = query(
        served,
        "SELECT payload, event_type, created_at, actor, level FROM events"
        " WHERE event_type LIKE 'aws.%' ORDER BY id",
    )
    assert [payload.encode() for payload, *_ in rows] == lines, "the records' own text"
    document = json.loads(lines[0])
    _, event_type, created_at, actor, level = rows[0]
    service = document["eventSource"].removesuffix(".amazonaws.com")
    assert event_type == f"aws.{service}.{document['eventName']}"
    assert created_at == document["eventTime"].replace("Z", ".000000Z")
    assert actor == document["userIdentity"]["arn"]
    assert level == ("error" if "errorCode" in document else "info")


def test_records_without_an_id_are_known_by_their_place(
    served: Path, run: Import, tmp_path: Path
) -> None:
    path = tmp_path / "app.log"
    path.write_text(
        '{"asctime": "2024-01-01 12:00:00,250", "levelname": "WARN", "name": "app.db",'
        ' "message": "slow", "request_id": "q1"}\n'
        '{"broken\n'
        '{"timestamp": 1704110400.5, "level": 50, "logger": "my app", "event": "down"}\n'
        '{"message": "when?"}\n'
    )
    given = ("--preset", "python-logging", path)
    result = run(*given)
    assert (result.exit_code, sums(result)) == (1, "2 entered, 0 already there, 2 refused")
    assert f"{path}:2: payload: no JSON" in result.stderr
    assert f"{path}:4: time: there is none (at timestamp, asctime," in result.stderr
    assert query(
        served,
        "SELECT event_type, level, task_id, created_at FROM events WHERE event_type LIKE 'log%'"
        " ORDER BY id",
    ) == [
        ("log.app.db", "warning", "q1", "2024-01-01T12:00:00.250000Z"),
        ("log", "critical", None, "2024-01-01T12:00:00.500000Z"),
    ]
    assert sums(run(*given)) == "0 entered, 4 already there, 0 refused"
    with path.open("a") as file:
        file.write('{"asctime": "2024-01-01 12:00:00,250", "name": "app"}\n')
    assert sums(run(*given)) == "3 entered, 0 already there, 2 refused", "another file"


# --- errors that help ---


_AUDITS = ("--sqlite", "old.db", "--table", "task_audits")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--sqlite", "old.db"], 2, "Say which --table"),
        (["--sqlite", "old.db", "--table", "none"], 2, "has no table none; it has task_audits"),
        (["--sqlite", "none.db", "--table", "x"], 2, "'none.db' does not exist"),
        (["--sqlite", "text", "--table", "x"], 1, "text is no SQLite database"),
        ([*_AUDITS, "--map", "event_type"], 2, "FIELD=COLUMN"),
        ([*_AUDITS, "--map", "kind=level"], 2, "kind is no"),
        ([*_AUDITS, "--map", "level=x"], 2, "no column x"),
        ([*_AUDITS, "--map", "key=level"], 2, "is no key of"),
        ([*_AUDITS, "--preset", "cloudtrail"], 2, "with files"),
        ([*_AUDITS, "text"], 2, "goes with no FILE"),
        (["--sqlite", "other.db", "--table", "t"], 2, "Say --event-type TYPE"),
        (["--sqlite", "other.db", "--table", "v", "--event-type", "x"], 2, "--map key=COLUMN"),
        (["--preset", "task_audits", "text"], 2, "goes with --sqlite"),
        (["--table", "x", "text"], 2, "go with --sqlite"),
        (["--dry-run", "--event-type", "x", "text"], 2, "go with --preset or --sqlite"),
        ([], 2, "Name at least one FILE"),
    ],
)  # fmt: skip
def test_errors_name_the_way_out(
    run: Import,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    others_logs.audits(tmp_path / "old.db", range(1, 4))
    others_logs.with_rows(
        others_logs.make(tmp_path / "other.db", "CREATE TABLE t(a, b)"),
        [("CREATE VIEW v AS SELECT a FROM t", ())],
    )
    (tmp_path / "text").write_text("no database, and no JSON either")
    result = run(*arguments, source="--dry-run" in arguments)
    assert (result.exit_code, message in result.stderr) == (code, True), result.stderr


def test_a_database_in_wal_mode_is_read_with_what_waits_in_the_wal(
    served: Path, take: Import, tmp_path: Path
) -> None:
    path = others_logs.audits(tmp_path / "old.db", [1])
    old_program = apsw.Connection(str(path))
    old_program.execute("PRAGMA journal_mode = WAL").fetchall()
    old_program.execute(f"INSERT INTO task_audits VALUES ({', '.join('?' * 9)})", audit(2))
    old_program.execute("BEGIN IMMEDIATE")  # it is at work meanwhile
    assert sums(take()) == "2 entered, 0 already there, 0 refused"
    old_program.execute("ROLLBACK")
    old_program.close()


def test_a_database_that_somebody_holds_says_how_to_read_it(
    take: Import, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = others_logs.audits(tmp_path / "old.db", [1])
    monkeypatch.setattr("hansard_writer.importing.old_database.BUSY_TIMEOUT_S", 0.01)
    old_program = apsw.Connection(str(path))
    old_program.execute("BEGIN EXCLUSIVE")
    result = take()
    assert result.exit_code == 1
    assert "is in use" in result.stderr
    assert ".backup COPY.db" in result.stderr
    old_program.close()
