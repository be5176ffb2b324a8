"""`hansard verify` in this process: what it says, what it keeps, what it refuses."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest
from click.testing import CliRunner, Result

from hansard_writer.cli import main
from verifiable import SignedLog

Run = Callable[..., Result]


@pytest.fixture
def log(directory: Path) -> SignedLog:
    """At rest, with a checkpoint of all of its 40 entries, and five behind it."""
    log = SignedLog(directory)
    log.enter(count=40)
    (directory / "kept").write_text(log.seal())
    log.enter(count=5)
    log.close()
    return log


@pytest.fixture
def run(directory: Path) -> Run:
    def verify(*arguments: object) -> Result:
        return CliRunner().invoke(main, ["verify", "--dir", str(directory), *map(str, arguments)])

    return verify


def alter(directory: Path, statement: str) -> None:
    connection = apsw.Connection(str(directory / "log.db"))
    connection.execute("DROP TRIGGER entries_are_not_updated")
    connection.execute(statement)
    connection.close()


def test_the_report_is_for_people_and_is_kept(log: SignedLog, directory: Path, run: Run) -> None:
    result = run()
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0] == "intact: every entry is as it was entered; nobody has signed the last 5"
    assert "45, recomputed from 1 on" in lines[1]
    assert "1 checked, the last that fits is of size 40; not covered yet: 5" in result.stdout
    assert "(writer.pub)" in result.stdout
    assert "dead letters" in result.stdout
    kept = directory / "verified"
    assert kept.stat().st_mode & 0o777 == 0o600
    verified = json.loads(kept.read_bytes())
    assert (verified["verdict"], verified["size"], verified["covered"]) == ("intact", 45, 40)


def test_damage_is_named_and_is_the_answer_no(log: SignedLog, directory: Path, run: Run) -> None:
    alter(directory, "UPDATE entries SET actor = 'x' || char(27) WHERE seq = 7")
    result = run()
    assert result.exit_code == 1
    assert result.stdout.startswith(
        "altered: it is not all as it was entered and signed; 2 findings\n"
    )
    assert "entry 7: it is not what was entered" in result.stdout
    report = json.loads(run("--format", "json").stdout)
    assert report["findings"][0]["first"] == 7
    assert json.loads((directory / "verified").read_bytes())["verdict"] == "altered"


def test_an_outsiders_checkpoint_and_key_are_files(
    log: SignedLog, directory: Path, run: Run
) -> None:
    outside = ("--checkpoint", directory / "kept", "--key", directory / "writer.pub")
    result = run(*outside, "--since", 40)
    assert result.exit_code == 0, result.stdout + result.stderr
    assert "45, recomputed from 41 on" in result.stdout
    assert "(given)" in result.stdout
    alter(directory, "DELETE FROM checkpoints")
    connection = apsw.Connection(str(directory / "log.db"))
    connection.execute("DROP TRIGGER entries_are_not_deleted")
    connection.execute("DELETE FROM entries WHERE seq > 30")
    connection.execute("DELETE FROM tree WHERE level = 0 AND idx > 1")
    connection.execute("UPDATE tree SET hashes = substr(hashes, 1, 14 * 32) WHERE idx = 1")
    connection.execute("UPDATE tree SET hashes = substr(hashes, 1, 32) WHERE level = 1")
    connection.close()
    (directory / "checkpoint").unlink()
    result = run(*outside)
    assert result.exit_code == 1
    assert result.stdout.startswith("truncated: a signed checkpoint says that there were 40\n")


def test_what_was_not_recomputed_is_not_said_to_be_as_it_was(
    log: SignedLog, directory: Path, run: Run
) -> None:
    behind = run("--since", 40).stdout
    assert behind.startswith("intact: every entry behind 40 is as it was entered; nobody has")
    (directory / "log.db").unlink()
    for path in directory.iterdir():
        if path.name != "kept":
            path.unlink()
    full = SignedLog(directory)
    full.enter(count=40)
    full.seal()
    full.close()
    nothing = run("--since", 40)
    assert nothing.exit_code == 0
    assert nothing.stdout.startswith("intact: no entry is behind 40, and none was recomputed\n")


def test_findings_that_are_all_named_are_not_said_to_be_the_first(
    log: SignedLog, directory: Path, run: Run
) -> None:
    connection = apsw.Connection(str(directory / "log.db"))
    connection.execute("DROP TRIGGER entries_are_not_deleted")
    connection.execute("DELETE FROM entries WHERE seq BETWEEN 10 AND 12")
    connection.close()
    result = run()
    assert result.exit_code == 1
    assert "entries 10 to 12: missing" in result.stdout
    assert "these are the first" not in result.stdout


def test_a_checkpoint_of_another_log_is_called_one(
    log: SignedLog, directory: Path, run: Run, tmp_path: Path
) -> None:
    other = SignedLog(tmp_path / "other")
    other.enter(count=3)
    (tmp_path / "kept").write_text(other.seal())
    other.close()
    keys = ("--key", directory / "writer.pub", "--key", other.directory / "writer.pub")
    result = run("--checkpoint", tmp_path / "kept", *keys)
    assert result.exit_code == 1
    assert f"one of another log ({other.origin}): this one is {log.origin}" in result.stdout
    assert other.origin != log.origin
    first = "forked: another history than was signed, from one of the entries 1 to 3 on\n"
    assert result.stdout.startswith(first)


def test_what_says_that_a_log_was_larger_is_named(
    log: SignedLog, directory: Path, run: Run
) -> None:
    (directory / "checkpoint").write_text(log.note(50, root=b"r" * 32))
    result = run()
    assert result.stdout.startswith("truncated: a signed checkpoint says that there were 50\n")
    assert "note         DIR/checkpoint is of 50 entries, and the log has 45\n" in result.stdout


def test_what_cannot_be_used_is_bad_usage(
    log: SignedLog, directory: Path, run: Run, tmp_path: Path
) -> None:
    nothing = tmp_path / "nothing"
    nothing.write_text("# nothing\n")
    for arguments, complaint in [
        (("--checkpoint", nothing), "is no checkpoint"),
        (("--checkpoint", tmp_path / "none"), "does not exist"),
        (("--key", nothing), "hold no key"),
        (("--key", directory / "kept"), "kept:1:"),
        (("--since", "0"), "too small"),
        (("--since", "x"), "no whole number"),
        (("--format", "table"), "'table' is not one of"),
    ]:
        result = run(*arguments)
        assert (result.exit_code, result.stdout) == (2, ""), arguments
        assert complaint in result.stderr
    assert not (directory / "verified").exists()


def test_where_there_is_no_log_it_says_so(directory: Path, run: Run) -> None:
    directory.mkdir()
    result = run()
    assert result.exit_code == 2
    assert "there is no log in" in result.stderr
    assert not (directory / "verified").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_copy_that_is_somebody_elses_is_verified_and_keeps_no_verdict(
    log: SignedLog, directory: Path, run: Run
) -> None:
    os.chown(directory, 12_345, -1)
    assert run().exit_code == 0
    assert not (directory / "verified").exists()
