"""`hansard prove` in this process: what it writes, what it takes, what it says of a proof."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from frames import event
from hansard_writer.cli import main
from hansard_writer.proof import check_consistency_proof, check_inclusion_proof, read_checkpoint
from provable import ProvableLog, signing_key

Prove = Callable[..., Result]


@pytest.fixture
def log(directory: Path) -> Iterator[ProvableLog]:
    log = ProvableLog(directory)
    log.enter(event('{"n":1,"s":"ü\u202e"}'), event(None, actor=None), event("{}"))
    log.sign()
    log.enter(count=40)
    log.sign()
    yield log
    log.close()


@pytest.fixture
def prove(log: ProvableLog) -> Prove:
    def run(*arguments: object, **options: object) -> Result:
        command = ["prove", "--dir", str(log.directory), *map(str, arguments)]
        return CliRunner().invoke(main, command, **options)  # type: ignore[arg-type]

    return run


@pytest.fixture
def key(log: ProvableLog, tmp_path: Path) -> Path:
    path = tmp_path / "key.pub"
    path.write_text(f"{log.key.verifier_key}\n")
    return path


def test_it_prints_the_proof_as_it_is(log: ProvableLog, prove: Prove) -> None:
    done = prove(1)
    assert (done.exit_code, done.stderr) == (0, "")
    proven = check_inclusion_proof(done.stdout_bytes, log.keys)
    assert (proven.entry.seq, proven.checkpoint.size) == (1, 43)
    done = prove("--consistency", 3, "latest")
    assert (done.exit_code, done.stderr) == (0, "")
    consistent = check_consistency_proof(done.stdout_bytes, log.keys)
    assert (consistent.older.size, consistent.newer.size) == (3, 43)


def test_it_writes_the_same_to_a_file(prove: Prove, tmp_path: Path) -> None:
    path = tmp_path / "a.tlog-proof"
    done = prove(7, "--output", path)
    assert (done.exit_code, done.stdout) == (0, "")
    assert path.read_bytes() == prove(7).stdout_bytes
    done = prove(7, "--output", tmp_path / "nowhere" / "x")
    assert done.exit_code == 1
    assert "cannot write" in done.stderr


def test_a_checkpoint_is_named_by_its_size_or_its_file(
    log: ProvableLog, prove: Prove, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    kept.write_text(log.note(20))
    for named, size in (("3", 3), ("43", 43), ("latest", 43), (kept, 20)):
        proven = check_inclusion_proof(prove(2, "--checkpoint", named).stdout, log.keys)
        assert proven.checkpoint.size == size
    proven = check_consistency_proof(prove("--consistency", kept, 43).stdout, log.keys)
    assert proven.older == read_checkpoint(kept.read_text())


@pytest.mark.parametrize(
    ("arguments", "status", "complaint"),
    [
        ((44,), 1, "there is no entry 44: the log has 43"),
        ((5, "--checkpoint", 3), 1, "entry 5 is not covered by the checkpoint of size 3"),
        ((5, "--checkpoint", 7), 1, "no checkpoint of size 7; near it are 3, 43"),
        ((5, "--checkpoint", "x"), 2, "'x' is no size, and no file: No such file"),
        ((5, "--checkpoint", "9" * 40), 2, "is no size, and no file"),
        (("--consistency", 43, 3), 1, "the older checkpoint is the larger one"),
        (("--consistency", 4, 43), 1, "no checkpoint of size 4; near it are 3, 43"),
        (("--consistency", __file__, 43), 2, "is no checkpoint"),
        ((0,), 2, "too small"),
        (("x",), 2, "no whole number"),
        ((), 2, "Name one"),
        ((5, "--consistency", 3, 43), 2, "Name one"),
        (("--consistency", 3, 43, "--checkpoint", 43), 2, "--checkpoint goes with SEQ"),
        ((5, "--key", __file__), 2, "go with --check"),
        ((5, "--origin", "x"), 2, "go with --check"),
        (("--check", __file__), 2, "--check goes with --key"),
        (("--check", __file__, "--output", "x"), 2, "go with no --check"),
        (("--check", "nowhere", "--key", __file__), 2, "does not exist"),
        (("--check", __file__, "--key", "nowhere"), 2, "does not exist"),
        (("--check", __file__, "--key", __file__), 2, ":1: a verifier key is a name"),
    ],
)
def test_what_it_cannot_do_it_says(
    prove: Prove, arguments: tuple[object, ...], status: int, complaint: str
) -> None:
    done = prove(*arguments)
    assert done.exit_code == status, done.output
    assert complaint in done.stderr
    assert done.stdout == ""


def test_an_entry_that_is_not_covered_is_said_to_be(log: ProvableLog, prove: Prove) -> None:
    log.enter(count=1)
    done = prove(44)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "entry 44 is not covered by the checkpoint of size 43 (no writer runs" in done.stderr
    assert "hansard serve --dir" in done.stderr


def test_a_check_says_what_is_proven(log: ProvableLog, prove: Prove, key: Path) -> None:
    done = prove("--check", "-", "--key", key, input=prove(1).stdout_bytes)
    assert (done.exit_code, done.stderr) == (0, "")
    first, *facts = done.stdout.splitlines()
    assert first == "Proven: entry 1 is in the log of 43 entries."
    said = dict(fact.strip().split(None, 1) for fact in facts)
    assert said["created_at"] == "2023-11-14T22:13:20.000000Z"
    assert (said["event_type"], said["actor"], said["task_id"]) == ("task.done", "agent:7", "T1")
    assert said["payload"] == '{"n":1,"s":"ü\\u202e"}'
    assert said["origin"] == log.origin
    assert "signed by" in done.stdout
    assert str(log.key.verifier_key) in done.stdout


def test_a_check_of_growth_says_what_is_proven(prove: Prove, key: Path) -> None:
    done = prove("--check", "-", "--key", key, input=prove("--consistency", 3, 43).stdout_bytes)
    assert done.exit_code == 0
    first = "Proven: the log of 3 entries is the beginning of the log of 43.\n"
    assert done.stdout.startswith(first)
    assert "older origin" not in done.stdout


def test_a_check_tells_a_redacted_entry_from_one_without_payload(
    log: ProvableLog, prove: Prove, key: Path
) -> None:
    log.redact(1)
    for seq, payload in ((1, "(redacted)"), (2, "(none)"), (3, "{}")):
        done = prove("--check", "-", "--key", key, input=prove(seq).stdout_bytes)
        assert f"payload       {payload}\n" in done.stdout


def test_a_check_needs_no_log(prove: Prove, key: Path, tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    proof.write_bytes(prove(1).stdout_bytes)
    arguments = ["prove", "--dir", str(tmp_path / "nowhere"), "--check", str(proof)]
    done = CliRunner().invoke(main, [*arguments, "--key", str(key)])
    assert done.exit_code == 0
    assert not (tmp_path / "nowhere").exists()


def test_a_proof_that_proves_nothing_is_exit_1_and_the_reason(
    prove: Prove, key: Path, tmp_path: Path
) -> None:
    good = prove(1).stdout
    for proof, complaint in (
        (good.replace("\n43\n", "\n42\n"), "Not proven: the signature of"),
        (good.replace("index 0", "index 1"), "Not proven: its index is not that of its entry"),
        ("x", "Not proven: it begins with 'x'"),
        ("", "Not proven: it begins with ''"),
    ):
        done = prove("--check", "-", "--key", key, input=proof)
        assert (done.exit_code, done.stdout) == (1, "")
        assert done.stderr.startswith(complaint), done.stderr
    done = prove("--check", "-", "--key", key, "--origin", "hansard/x", input=good)
    assert "Not proven: its log is 'hansard/" in done.stderr
    other = tmp_path / "other.pub"
    other.write_text(f"{signing_key('hansard/other', 9).verifier_key}\n")
    done = prove("--check", "-", "--key", other, input=good)
    assert "by no key that is known here" in done.stderr


def test_keys_may_come_from_several_lines_and_files(
    log: ProvableLog, prove: Prove, key: Path, tmp_path: Path
) -> None:
    ring = tmp_path / "ring"
    other = signing_key("hansard/other", 9).verifier_key
    ring.write_text(f"# keys that we trust\n\n{other}\n{log.key.verifier_key}\n")
    good = prove(1).stdout
    assert prove("--check", "-", "--key", ring, input=good).exit_code == 0
    ring.write_text(f"{other}\n")
    assert prove("--check", "-", "--key", ring, "--key", key, input=good).exit_code == 0
    ring.write_text("")
    done = prove("--check", "-", "--key", ring, input=good)
    assert done.exit_code == 1
