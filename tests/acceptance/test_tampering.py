"""Attacks on a log by who has its files: each is found with what the page says, or it is said that
nobody can.

The logs are made by real writers; the attacks, and what must find them, are in `tampering`.
"""

from pathlib import Path
from typing import NamedTuple

import pytest

from hansard.errors import AuditLogError
from hansard_writer.proof.verifying import Report, verify
from hansard_writer.proof.verifying.findings import FINDINGS_NAMED_MAX
from hansard_writer.running_writer import start as start_writer
from tampering import suite
from tampering.attack import Attack, By, Found
from tampering.attackers import ATTACKERS, Attacker, WithKey, WithoutKey
from tampering.files import Files
from tampering.honest import VERDICTS, Logs, Outsider, make_logs, record, writing
from tampering.on_entries import CHOSEN


class Case(NamedTuple):
    """An attack by somebody, covered up or not, and what finds it."""

    section: str
    attack: Attack
    attacker: Attacker
    is_covered: bool
    found: Found

    @property
    def is_signed_by_another(self) -> bool:
        """Whether it ends with checkpoints of a key that is not the log's."""
        is_change = self.is_covered and self.attack.left is not None
        return is_change and self.found.by is By.KEY

    def __str__(self) -> str:
        how = self.attacker.name.replace(" ", "_") if self.is_covered else "left"
        return f"{self.section.lower().replace(' ', '_')}-{self.attack.name}-{how}"


def cases() -> list[Case]:
    """All attacks, by all attackers."""
    found = []
    for section in suite.SECTIONS:
        for attack in section.attacks:
            if attack.left:
                found.append(Case(section.title, attack, WithKey(), False, attack.left))
            for attacker, expected in zip(ATTACKERS, attack.covered, strict=True):
                if expected:
                    found.append(Case(section.title, attack, attacker, True, expected))
    return found


@pytest.fixture(scope="session")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Logs:
    """The honest logs, made once."""
    return make_logs(tmp_path_factory.mktemp("logs"))


def looked_at(directory: Path, outsider: Outsider, by: By) -> Report:
    """What somebody finds who has the outsider's things, as far as that."""
    return verify(
        directory,
        keys=[outsider.key] if by >= By.KEY else [],
        checkpoints=[outsider.checkpoint] if by >= By.CHECKPOINT else [],
    )


def assert_names(report: Report, entries: tuple[int, ...]) -> None:
    """It names these entries and no others; the first of them, where they are many."""
    named: set[int] = set()
    for _, first, last in report.findings:
        if first is not None:
            named |= set(range(first, (last or first) + 1))
    if len(report.findings) < FINDINGS_NAMED_MAX:
        assert named == set(entries)
    else:
        assert named <= set(entries)
        assert report.findings_count >= len(entries)


@pytest.mark.parametrize("by", [By.VERIFY, By.KEY, By.CHECKPOINT], ids=lambda by: by.name.lower())
@pytest.mark.parametrize("name", VERDICTS)
def test_nothing_is_found_on_an_honest_log(name: str, by: By, logs: Logs, directory: Path) -> None:
    report = looked_at(logs.copied(name, directory), logs.outsiders[name], by)
    assert (report.verdict, report.findings) == (VERDICTS[name], ())


@pytest.mark.parametrize("case", cases(), ids=str)
def test_an_attack_is_found_with_what_the_page_says(
    case: Case, logs: Logs, directory: Path
) -> None:
    attack, found = case.attack, case.found
    logs.copied(attack.log, directory)
    with Files(directory, logs.place / "old") as files:
        attack.run(files, case.attacker)
        if case.is_covered and attack.left:
            case.attacker.cover(files)
    looks = found.looks or VERDICTS[attack.log]
    for by in (By.VERIFY, By.KEY, By.CHECKPOINT):
        if found.by < by < By.CHECKPOINT:
            continue  # who has all of it stands for both who have more
        report = looked_at(directory, logs.outsiders[attack.log], by)
        if by < found.by:
            assert report.verdict == looks, f"found by {by.name} already"
        elif by == found.by:
            assert report.verdict == found.verdict
            if found.entries is not None:
                assert_names(report, found.entries)
        else:
            assert report.is_good == found.cleared, f"{report.verdict} with {by.name}"


@pytest.mark.parametrize("case", [each for each in cases() if each.is_signed_by_another], ids=str)
def test_who_has_no_key_leaves_another_signature_or_none(
    case: Case, logs: Logs, directory: Path
) -> None:
    """Whoever deletes the checkpoints that do not fit any more is not found with the key; but then
    the report says how many entries nobody has signed, and a checkpoint finds it as before."""
    attack, outsider = case.attack, logs.outsiders[case.attack.log]
    logs.copied(attack.log, directory)
    with Files(directory, logs.place / "old") as files:
        attack.run(files, case.attacker)
        WithoutKey().cover_unsigned(files)
    report = looked_at(directory, outsider, By.KEY)
    assert not report.is_good or report.not_covered_yet > 0
    _, with_key = attack.covered
    assert with_key
    is_good = looked_at(directory, outsider, By.CHECKPOINT).is_good
    assert is_good == (with_key.by is By.NOTHING)


def test_the_forgers_tools_make_the_proof_that_the_writer_made(logs: Logs, directory: Path) -> None:
    """Byte for byte: who forges with them forges as well as can be."""
    with Files(logs.copied("plain", directory)) as files:
        statements = ("SELECT * FROM tree ORDER BY 1, 2", "SELECT * FROM checkpoints ORDER BY 1")
        before = [files.execute(statement) for statement in statements]
        WithKey().cover(files)
        assert [files.execute(statement) for statement in statements] == before


def test_the_page_is_made_of_the_attacks() -> None:
    assert suite.PAGE.read_text() == suite.page(), "run scripts/check --fix"


# --- a writer on what somebody has changed ---


def test_a_writer_does_not_start_on_an_old_copy_of_the_database(
    logs: Logs, directory: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    logs.copied("plain", directory)
    old = (logs.place / "old" / "log.db").read_bytes()
    (directory / "log.db").write_bytes(old)
    assert_does_not_start(directory)
    assert "went back in time" in capfd.readouterr().err
    assert (directory / "log.db").read_bytes() == old, "it was touched"


def test_a_writer_does_not_start_on_another_history_of_the_same_length(
    logs: Logs, directory: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with Files(logs.copied("plain", directory)) as files:
        files.change_payload(CHOSEN, "{}")
        files.write_tree()
    assert_does_not_start(directory)
    assert "somebody has changed it from outside" in capfd.readouterr().err


def test_a_writer_does_not_start_on_entries_that_the_tree_does_not_know(
    logs: Logs, directory: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with Files(logs.copied("plain", directory)) as files:
        files.append("payment.made", "{}")
    assert_does_not_start(directory)
    assert "somebody has changed it from outside" in capfd.readouterr().err


def test_a_writer_that_goes_on_with_an_old_directory_is_found_by_a_checkpoint(
    logs: Logs, directory: Path
) -> None:
    """Of its own it cannot know: all that it has is as it was then."""
    logs.copied("old", directory)
    with writing(directory):
        record(directory, "mallory", 200)
    outsider = logs.outsiders["plain"]
    assert looked_at(directory, outsider, By.KEY).verdict == "intact"
    report = looked_at(directory, outsider, By.CHECKPOINT)
    assert report.verdict == "forked"
    assert report.fork == (0, int(outsider.checkpoint.split("\n")[1]))


def assert_does_not_start(directory: Path) -> None:
    with pytest.raises(AuditLogError, match="did not start"):
        start_writer(directory)
