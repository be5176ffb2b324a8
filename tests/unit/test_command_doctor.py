"""The page that `hansard doctor` prints, and how it ends."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hansard_writer.cli import doctor, main
from hansard_writer.doctor import Facts, diagnose
from healthy import NOW, SECOND, SPOOL, facts, file, with_files, with_spool, with_writer

Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command, on facts in place of a log."""

    def run(seen: Facts, *arguments: str, columns: int = 80) -> Result:
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setattr(doctor, "examine", lambda *_, **__: diagnose(seen))
        return CliRunner().invoke(main, ["doctor", "--dir", "d", *arguments])

    return run


def test_a_healthy_log_is_one_page_of_80_columns(run: Run) -> None:
    result = run(facts())
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert len(lines) < 50
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in result.stdout
    assert lines[0] == "/var/lib/my app/audit, 2027-01-15 08:00:00Z"
    assert lines[-1] == "Nothing needs action; nothing else to say."
    assert all("✓" in line or line.startswith("   ") for line in lines[2:-2])


def test_what_needs_action_comes_first_of_its_area_and_ends_with_1(run: Run) -> None:
    result = run(with_files(file("notes.txt"), file("spool/a.damaged")))
    assert result.exit_code == 1
    directory = result.stdout[: result.stdout.index("modes")]
    assert directory.index("✗") < directory.index("•") < directory.index("✓")
    assert result.stdout.splitlines()[-1] == "1 finding needs action; 1 note."


def test_a_note_alone_is_no_reason_to_end_with_1(run: Run) -> None:
    assert run(with_files(file("notes.txt"))).exit_code == 0


def test_quiet_prints_what_needs_action_and_nothing_of_a_healthy_log(run: Run) -> None:
    result = run(facts(), "--quiet")
    assert (result.exit_code, result.output) == (0, "")
    result = run(with_writer(state="T"), "--quiet")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "writer       ✗ pid 42 is stopped (SIGSTOP), and answers nobody",
        "               → `kill -CONT 42`",
    ]


def test_a_command_is_never_broken_into_lines(run: Run) -> None:
    lines = run(facts(database=None), columns=60).stdout.splitlines()
    assert any("`hansard serve --dir '/var/lib/my app/audit'`" in line for line in lines)


def test_json_has_all_facts_and_findings(run: Run) -> None:
    result = run(with_spool(events=3, oldest_at=NOW - SECOND), "--format", "json")
    content = json.loads(result.stdout)
    assert (result.exit_code, content["needs_action"]) == (0, False)
    assert content["facts"]["spools"] == [
        json.loads(json.dumps(SPOOL._replace(events=3, oldest_at=NOW - SECOND)._asdict()))
    ]
    assert {"area", "severity", "seen", "do"} == set(content["findings"][0])
    quiet = json.loads(run(facts(), "--format", "json", "--quiet").stdout)
    assert quiet == {"directory": "/var/lib/my app/audit", "needs_action": False, "findings": []}


def test_no_name_of_a_file_drives_the_terminal(run: Run) -> None:
    result = run(with_files(file("\x1b[31mred\n")))
    assert "\x1b" not in result.stdout
    assert r"\x1b[31mred\n (0600): not the log's" in result.stdout
    for how in ("table", "json"):
        result = run(with_files(file(os.fsdecode(b"\xff"))), "--format", how)
        assert r"\udcff" in result.stdout


@pytest.mark.parametrize("arguments", [["--timeout", "x"], ["--format", "csv"], ["--dir", ""]])
def test_bad_usage_ends_with_2(arguments: list[str], tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["doctor", *arguments])
    assert (result.exit_code, result.stdout) == (2, "")
