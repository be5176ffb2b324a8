"""`hansard verify TARGET` in this process: what it says of what was shipped, what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hansard_writer.cli import main
from hansard_writer.proof.verifying.entry_rows import PRODUCER
from hansard_writer.shipping.far_end import FarEnd
from hansard_writer.shipping.target import TargetUnavailable
from provable import signing_key
from shipped_in_memory import InMemoryFarEnd, Store
from verifiable import SignedLog

TARGET = "postgresql://audit:secret@db.example/audit"

Run = Callable[..., Result]


@pytest.fixture
def store() -> Store:
    """What the target has."""
    return Store()


@pytest.fixture
def log(directory: Path, store: Store) -> SignedLog:
    """With 40 entries, which are shipped, and ten that are not."""
    log = SignedLog(directory)
    log.enter(count=40)
    log.seal()
    store.ship(directory)
    log.enter(count=10)
    (directory / "kept").write_text(log.seal())
    log.close()
    return log


@pytest.fixture
def run(store: Store, monkeypatch: pytest.MonkeyPatch) -> Run:
    def opened(_text: str) -> FarEnd:
        return InMemoryFarEnd(store, "db.example")

    monkeypatch.setattr("hansard_writer.cli.verify_target.far_end_named", opened)

    def verify(*arguments: object) -> Result:
        return CliRunner().invoke(main, ["verify", *map(str, arguments)])

    return verify


def test_each_log_has_a_report_of_its_own(
    log: SignedLog, store: Store, run: Run, directory: Path, tmp_path: Path
) -> None:
    key = directory / "writer.pub"
    result = run(TARGET, "--key", key)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0] == f"{log.origin}: intact: every entry is as it was entered"
    assert "40, recomputed from 1 on" in lines[1]
    assert f"{log.key.verifier_key} (given)" in result.stdout
    assert "not proven   host, pid and start of producers" in result.stdout
    assert lines[-1].startswith("  took")
    other = SignedLog(tmp_path / "other")
    other.enter(count=3)
    other.seal()
    store.ship(other.directory)
    other.close()
    both = run(TARGET, "--key", key, "--key", other.directory / "writer.pub")
    assert both.exit_code == 0
    assert both.stdout.endswith(
        "2 of 2 logs in db.example are as they should be, with 43 entries in all\n"
    )
    one = run(TARGET, "--key", key)
    assert one.exit_code == 1
    assert f"{other.origin}: unverified: no given key is of it" in one.stdout
    assert "1 of 2 logs in db.example is as it should be" in one.stdout
    assert run(TARGET, "--key", key, "--origin", log.origin).exit_code == 0


def test_damage_is_named_and_is_the_answer_no(
    log: SignedLog, store: Store, run: Run, directory: Path
) -> None:
    store.logs[log.origin].change(7, PRODUCER + 5, "x")
    result = run(TARGET, "--key", directory / "writer.pub")
    assert result.exit_code == 1
    first = f"{log.origin}: altered: it is not all as it was entered and signed; 1 finding\n"
    assert result.stdout.startswith(first)
    assert "entry 7: it is not what was entered" in result.stdout
    report = json.loads(run(TARGET, "--key", directory / "writer.pub", "--format", "json").stdout)
    assert (report["target"], report["is_good"]) == ("db.example", False)
    assert (report["logs"][0]["verdict"], report["logs"][0]["origin"]) == ("altered", log.origin)
    assert report["logs"][0]["findings"][0]["first"] == 7


def test_where_no_root_can_be_recomputed_none_is_said(
    log: SignedLog, store: Store, run: Run, directory: Path
) -> None:
    key = directory / "writer.pub"
    assert "  root  " in run(TARGET, "--key", key).stdout
    del store.logs[log.origin].rows[7]
    result = run(TARGET, "--key", key)
    assert result.exit_code == 1
    assert "entry 7: missing" in result.stdout
    assert "1 finding" in result.stdout  # no word of checkpoints: their signatures are good
    assert "  root  " not in result.stdout


def test_a_checkpoint_that_was_kept_elsewhere_shows_what_is_not_there(
    log: SignedLog, run: Run, directory: Path
) -> None:
    result = run(TARGET, "--key", directory / "writer.pub", "--checkpoint", directory / "kept")
    assert result.exit_code == 1
    assert f"{log.origin}: truncated: a signed checkpoint says that there were 50" in result.stdout
    assert "the others are not shipped yet, or not there any more" in result.stdout


def test_a_log_that_is_not_there_is_missing(
    log: SignedLog, run: Run, directory: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.pub"
    other.write_text(f"{signing_key('hansard/none').verifier_key}\n")
    result = run(TARGET, "--key", directory / "writer.pub", "--key", other)
    assert result.exit_code == 1
    assert "hansard/none: missing: nothing of it is there, and a key of it was" in result.stdout
    facts = json.loads(run(TARGET, "--key", other, "--format", "json").stdout)
    assert [each["verdict"] for each in facts["logs"]] == ["unverified", "missing"]
    assert facts["logs"][1]["findings"][0]["what"].startswith("nothing of it is there")


def test_where_nothing_was_shipped_the_answer_is_no(
    log: SignedLog, store: Store, run: Run, directory: Path
) -> None:
    store.logs.clear()
    result = run(TARGET, "--key", directory / "writer.pub", "--origin", "hansard/1")
    assert result.exit_code == 1
    assert "hansard/1: missing: nothing of it is there, and it was asked for" in result.stdout


def test_what_cannot_be_used_is_bad_usage(log: SignedLog, run: Run, directory: Path) -> None:
    key = ("--key", directory / "writer.pub")
    for arguments, complaint in [
        ((TARGET,), "give the writer.pub of each log with --key"),
        ((TARGET, *key, "--since", 5), "--since is about a log in its own directory"),
        ((TARGET, *key, "--dir", directory), "--dir is about a log in its own directory"),
        (("nats://host:4222", *key), "is verified where it is kept"),
        ((directory, *key), f"verify it with --dir {directory}"),
        (("mysql://host", *key), "'mysql' is no kind of target"),
        ((*key, "--origin", "hansard/1"), "--origin is for a TARGET"),
    ]:
        result = run(*arguments)
        assert (result.exit_code, result.stdout) == (2, ""), arguments
        assert complaint in result.stderr.replace("\n", " "), result.stderr


def test_a_target_that_cannot_be_reached_is_no_verdict(
    log: SignedLog, run: Run, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(_text: str) -> FarEnd:
        raise TargetUnavailable("db.example does not answer")

    monkeypatch.setattr("hansard_writer.cli.verify_target.far_end_named", opened)
    result = run(TARGET, "--key", directory / "writer.pub")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: db.example does not answer\n"
