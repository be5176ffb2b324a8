"""Derived fields held against payloads: by ``hansard backfill --verify``, and by the SQL script in
a plain sqlite3. Both must say the same of the same log."""

import json
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import apsw
import pytest

import hansard_writer
from hansard import AuditLog

SCRIPT: Final = Path(__file__).resolve().parents[2] / "scripts" / "verify_backfill.sql"
SQLITE: Final = "/usr/bin/sqlite3"
NOON: Final = 1_704_110_400  # 2024-01-01T12:00:00Z, in seconds
SECTIONS: Final = {
    "Coverage": "coverage", "Consistency": "consistency", "The first": "wrong", "Empty": "empty",
    "Event types": "event_types", "Range": "range", "Lag": "lag",
}  # fmt: skip
FIELDS: Final = r"""
[derived.cost]
paths = ["cost", "items.1.cost"]
type = "real"
event_types = ["*SUPERVISOR*", "bill.?"]
[derived.name]
paths = ['dotted\.name', "name"]
[derived.tries]
type = "integer"
[derived.ok]
type = "boolean"
"""

# With what each of the timestamp's forms says, and each cause why there is none.
PAYLOADS: Final[list[Any]] = [
    {"source_event_ts": "2024-01-01T12:00:00Z", "processed_at": NOON + 1},
    {"source_ts": "2024-01-01 14:00:00.123456789+02:00", "processed_at": (NOON + 2) * 1_000},
    {"source_event": {"ts": "2024-01-01T07:00:00.5-0500"}, "processed_at": (NOON + 3) * 10**6},
    {"source_event": {"created_at": "2024-01-01"}, "supervisor": {"processed_at": NOON * 10**9}},
    {"event_ts": str(NOON), "decision": {"processed_at": f"{NOON}.25"}},
    {"event_ts": NOON + 0.125, "processed_at": "2024-01-01T12:00"},
    {"source_event_ts": None, "source_ts": "2024-02-31T12:00:00Z", "event_ts": "2024-02-28"},
    {"source_event_ts": "soon", "processed_at": []},
    {"source_event_ts": "1969-12-31T23:59:59Z", "processed_at": -5},
    {"cost": 1, "name": "a", "tries": 3, "ok": True},
    {"items": [{"cost": 9}, {"cost": 0.1}], "dotted.name": "é🦉", "name": "b", "ok": False},
    {"cost": "1", "name": "x" * 1_025, "tries": 1.0, "ok": 1},
    {"cost": 1e300, "name": 5, "tries": 2**63, "ok": "true"},
    {"items": {"1": {"cost": 2.5}}, "dotted": {"name": "no"}, "tries": -(2**63)},
    {"na\\u006d\u0065": 1, "name": 'quoted "\\ text', "tries": 0},
    None,
]


def hansard(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hansard_writer", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log whose first entries were backfilled, and whose last ones had the fields at once."""
    directory = tmp_path_factory.mktemp("filled") / "log"

    def record(log: AuditLog) -> None:
        for payload in PAYLOADS:
            log.record("V2_SUPERVISOR_DECISION", payload, created_at=(NOON + 60) * 10**9)
            log.record("bill.x", payload)
        log.record("other", {"source_ts": "2024-01-01", "name": "z"}, sync=True)

    with hansard_writer.running(directory), AuditLog(directory) as log:
        record(log)
        (directory / "hansard.toml").write_text(FIELDS)
        done = hansard("backfill", "--dir", directory)
        assert done.returncode == 0, done.stderr
        record(log)
    return directory


@pytest.fixture
def copy(filled: Path, directory: Path) -> Path:
    """A copy of it, to be spoiled."""
    return Path(shutil.copytree(filled, directory, ignore=shutil.ignore_patterns("*.sock")))


def by_command(directory: Path) -> tuple[int, dict[str, Any], str]:
    done = hansard("backfill", "--verify", "--format", "json", "--dir", directory)
    return done.returncode, json.loads(done.stdout), done.stderr


def by_script(directory: Path, tmp_path: Path) -> dict[str, list[dict[str, str]]]:
    """The sections that the script prints, by the names that the command has for them."""
    if not Path(SQLITE).exists():
        pytest.skip("there is no plain sqlite3 here")
    database = tmp_path / "copy.db"
    shutil.copy(directory / "log.db", database)
    with SCRIPT.open() as script:
        done = subprocess.run([SQLITE, "-readonly", database], stdin=script, capture_output=True,
                              text=True, timeout=60, check=True)  # fmt: skip
    assert done.stderr == ""
    sections: dict[str, list[dict[str, str]]] = {name: [] for name in SECTIONS.values()}
    name, columns = "", None
    for line in done.stdout.splitlines():
        if line.startswith("│"):
            cells = [cell.strip() for cell in line.strip("│").split("│")]
            if columns is None:
                columns = cells
            else:
                sections[name].append(dict(zip(columns, cells, strict=True)))
        elif line[0] not in "┌├└":
            name = next((SECTIONS[each] for each in SECTIONS if line.startswith(each)), name)
            columns = None
    assert "derived_values_by_value (field=? AND value>?)" in done.stdout
    return sections


def assert_same(said: dict[str, Any], script: dict[str, list[dict[str, str]]]) -> None:
    """Each figure of the command is the script's."""
    for name in SECTIONS.values():
        assert len(said[name]) == len(script[name]), name
        for ours, theirs in zip(said[name], script[name], strict=True):
            for column, value in ours.items():
                if isinstance(value, bool):
                    assert theirs[column] == str(value).lower(), (name, column)
                elif isinstance(value, float):
                    assert float(theirs[column]) == pytest.approx(value, abs=2e-6), (name, column)
                else:
                    assert theirs[column] == str(value), (name, column, ours, theirs)


def of(report: dict[str, Any], section: str, field: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in report[section] if each["field"] == field)
    return found


def test_both_say_the_same_of_a_log_that_is_right(filled: Path, tmp_path: Path) -> None:
    status, report, said = by_command(filled)
    assert status == 0, said
    assert (report["complete"], report["consistent"]) == (True, True)
    assert report["index_use"]["by_index"]
    assert of(report, "coverage", "source_event_ts") == {
        "field": "source_event_ts", "type": "timestamp", "entries": 32, "values": 14,
        "percent": 43.75, "left": 0,
    }  # fmt: skip
    assert of(report, "range", "source_event_ts")["greatest"] == "2024-02-28T00:00:00.000000Z"
    script = by_script(filled, tmp_path)
    assert_same(report, script)
    assert {row["not_compared"] for row in script["consistency"]} == {"0"}


def test_both_find_what_is_wrong_what_is_missing_and_what_does_not_belong(
    copy: Path, tmp_path: Path
) -> None:
    with closing(apsw.Connection(str(copy / "log.db"))) as connection:
        field = "field = (SELECT id FROM derived_fields WHERE name = '{}')"
        for name in ("source_event_ts", "name", "cost", "ok"):
            connection.execute(
                f"UPDATE derived_values SET value = value || '' WHERE {field.format(name)}"
                " AND seq = (SELECT min(seq) FROM derived_values AS v WHERE v.field ="
                " derived_values.field)"
            )
        connection.execute(f"UPDATE derived_values SET value = 'y' WHERE {field.format('name')}"
                           " AND value = 'a'")  # fmt: skip
        connection.execute(f"DELETE FROM derived_values WHERE {field.format('tries')} AND seq > 33")
        connection.execute(
            "INSERT INTO derived_values SELECT id, 33, 5 FROM derived_fields WHERE name = 'ok'"
        )
        connection.execute(
            "INSERT INTO derived_values SELECT id, 999, 5 FROM derived_fields WHERE name = 'cost'"
        )
    status, report, said = by_command(copy)
    assert status == 1
    assert (report["complete"], report["consistent"]) == (True, False)
    assert of(report, "consistency", "name")["differs"] == 4
    assert of(report, "consistency", "tries")["missing"] == 6
    assert of(report, "consistency", "ok")["unexpected"] == 1
    assert of(report, "consistency", "cost") == {
        "field": "cost", "equal": 15, "differs": 1, "missing": 0, "unexpected": 1
    }  # fmt: skip
    assert {"field": "cost", "entry": 999, "outcome": "unexpected"} in report["wrong"]
    script = by_script(copy, tmp_path)
    for name in ("coverage", "consistency", "empty", "event_types"):
        for ours, theirs in zip(report[name], script[name], strict=True):
            assert {key: str(ours[key]) for key in ours} == {key: theirs[key] for key in ours}
    assert len(script["wrong"]) == min(len(report["wrong"]), 20)
    assert "--rebuild --field source_event_ts --field cost --field name --field tries" in said
    done = hansard("backfill", "--rebuild", "--dir", copy)
    assert done.returncode == 0, done.stderr
    assert by_command(copy)[0] == 0


def test_both_count_what_is_left_to_be_filled(copy: Path, tmp_path: Path) -> None:
    (copy / "hansard.toml").write_text(FIELDS + '[derived.later]\npaths = ["name"]\n')
    with hansard_writer.running(copy):
        pass
    status, report, said = by_command(copy)
    assert status == 1
    assert "values are still to be filled" in said
    assert "Run `hansard backfill`" in said
    assert of(report, "coverage", "later")["left"] > 0
    assert_same(report, by_script(copy, tmp_path))
    assert hansard("backfill", "--dir", copy).returncode == 0
    assert by_command(copy)[0] == 0


def test_a_form_of_timestamp_that_sql_cannot_read_is_not_called_wrong(
    directory: Path, tmp_path: Path
) -> None:
    with hansard_writer.running(directory), AuditLog(directory) as log:
        for given in ("20240101T120000Z", "2024-W01-1", "2024-01-01T12:00:00.123456789Z"):
            log.record("SUPERVISOR", {"event_ts": given}, sync=True)
    assert by_command(directory)[0] == 0
    (row, _) = by_script(directory, tmp_path)["consistency"]
    assert (row["equal"], row["not_compared"], row["differs"]) == ("1", "2", "0")


def test_a_field_that_the_log_does_not_have_yet_is_named(copy: Path) -> None:
    (copy / "hansard.toml").write_text(FIELDS + "[derived.later]\n")
    status, report, said = by_command(copy)
    assert (status, report["undeclared"]) == (1, ["later"])
    assert "Declared in hansard.toml, and not so in the log: later." in said
    done = hansard("backfill", "--verify", "--field", "name", "--dir", copy)
    assert done.returncode == 0
    assert "Values held against payloads" in done.stdout
    assert hansard("backfill", "--verify", "--rebuild", "--dir", copy).returncode == 2
