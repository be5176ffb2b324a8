"""Verification of real logs: honest ones, which are intact, and what a thief of the files did."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import hansard
from frames import event
from hansard_writer.proof import NoteError, Report, Verdict
from hansard_writer.proof.verifying import verification
from hansard_writer.proof.verifying.findings import FINDINGS_NAMED_MAX
from provable import signing_key
from verifiable import SignedLog, Thief

ENTRIES = 600
LONGER = "UPDATE tree SET hashes = CAST(hashes || {} AS BLOB) WHERE level = {} AND idx = {}"
COPY = "INSERT INTO checkpoints(size, origin, created_at, note) SELECT {} FROM checkpoints WHERE {}"
FIRST_ZERO = (
    "UPDATE tree SET hashes = CAST(zeroblob(32) || substr(hashes, 33) AS BLOB)"
    " WHERE level = {} AND idx = {}"
)


@pytest.fixture
def empty(directory: Path) -> Iterator[SignedLog]:
    log = SignedLog(directory)
    yield log
    log.close()


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> SignedLog:
    """With checkpoints of sizes 300 and 600; closed, to be copied."""
    log = SignedLog(tmp_path_factory.mktemp("original") / "log")
    for _ in range(2):
        log.enter(count=ENTRIES // 2)
        log.seal()
    log.close()
    return log


@pytest.fixture
def log(original: SignedLog, directory: Path) -> Iterator[SignedLog]:
    log = original.copied(directory)
    yield log
    log.close()


@pytest.fixture
def thief(original: SignedLog, tmp_path: Path) -> Thief:
    return Thief(original, tmp_path / "stolen")


def words(report: Report) -> list[str]:
    return [str(finding) for finding in report.findings]


def assert_found(report: Report, verdict: Verdict, *found: str) -> None:
    """The verdict, and the findings by a part of their words."""
    assert report.verdict is verdict, report
    assert len(report.findings) == len(found), words(report)
    for finding, part in zip(words(report), found, strict=True):
        assert part in finding


# --- honest logs ---


def test_an_honest_log_is_intact(log: SignedLog) -> None:
    log.enter(count=5)
    report = log.verify()
    assert report.verdict is Verdict.INTACT
    assert (report.size, report.entries, report.checkpoints) == (605, 605, 2)
    assert (report.covered, report.not_covered_yet) == (600, 5)
    assert report.root == log.tree.root(605)
    assert report.findings == report.remarks == ()
    assert report.keys == (str(log.key.verifier_key),)


def test_an_empty_log_is_intact(empty: SignedLog) -> None:
    report = empty.verify()
    assert (report.verdict, report.size, report.checkpoints) == (Verdict.INTACT, 0, 0)


def test_a_log_without_any_checkpoint_is_intact_and_covered_by_nothing(empty: SignedLog) -> None:
    empty.enter(count=20)
    report = empty.verify()
    assert (report.verdict, report.covered, report.not_covered_yet) == (Verdict.INTACT, 0, 20)


@pytest.mark.parametrize("size", [1, 15, 16, 17, 255, 256, 257, 511, 512, 513, 1025])
def test_a_log_of_any_size_is_intact(empty: SignedLog, size: int) -> None:
    for _ in range(2):
        empty.enter(count=size)
        empty.seal()
    assert empty.verify().verdict is Verdict.INTACT


def test_events_of_all_kinds_are_intact(empty: SignedLog) -> None:
    empty.enter(
        event(None, actor=None, task_id=None),
        event('{"a":"\\u0000 ü 😀"}', actor="ü😀", task_id="x" * 1_000),
        event("{}", created_at=0),
        event('{"n":1e400,"deep":[[[]]]}', created_at=2**63 - 1, level="critical"),
    )
    assert empty.verify().verdict is Verdict.INTACT


def test_a_redacted_log_is_intact(log: SignedLog) -> None:
    log.redacted(7)
    log.redacted(500, 510)
    report = log.verify()
    assert (report.verdict, report.redacted) == (Verdict.INTACT, 12)
    assert "covered by no checkpoint yet" in report.remarks[0]
    log.seal()
    assert log.verify().remarks == ()


@pytest.mark.parametrize("last", [1, 16, 100, 256, 300, 512, 599])
def test_a_pruned_log_is_pruned(log: SignedLog, last: int) -> None:
    log.pruned(last)
    log.enter(count=3)
    report = log.verify()
    assert_found(report, Verdict.PRUNED)
    assert (report.pruned, report.entries, report.size) == (last, 604 - last, 604)
    assert log.verify(since=601).verdict is Verdict.PRUNED


def test_a_log_that_is_pruned_again_and_redacted_before_is_pruned(log: SignedLog) -> None:
    log.redacted(7)
    log.pruned(4)
    log.pruned(601)
    assert_found(log.verify(), Verdict.PRUNED)


def test_a_rotated_key_is_followed_from_either_end(log: SignedLog) -> None:
    first = log.key
    second = log.rotate(2)
    assert_found(log.verify(), Verdict.INTACT)  # nothing is signed with it yet
    log.enter(count=5)
    log.seal(first, second)
    log.publish(second)
    log.enter(count=5)
    log.seal()
    for keys in ([], [first.verifier_key], [str(second.verifier_key)]):
        report = log.verify(keys=keys)
        assert_found(report, Verdict.INTACT)
        assert report.covered == log.store.size


def test_a_key_that_was_lost_leads_to_nothing(log: SignedLog) -> None:
    first, second = log.key, signing_key(log.origin + "/2", 2)
    retired, key = str(first.verifier_key), str(second.verifier_key)
    log.say("hansard.key", reason="lost", retired=retired, verifier_key=key)
    log.seal(second)
    log.publish(second)
    report = log.verify()
    assert_found(report, Verdict.INTACT)
    (remark,) = report.remarks
    assert remark.startswith(f"entry 601 began a new origin, {log.origin}/2: the key before it was")
    assert_found(log.verify(keys=[retired]), Verdict.ALTERED, "signed 1 checkpoint")
    assert_found(log.verify(keys=[retired, key]), Verdict.INTACT)


def test_a_checkpoint_over_which_a_rollback_was_accepted_is_no_truncation(log: SignedLog) -> None:
    first, second = log.key, signing_key(log.origin + "/2", 2)
    claimed = log.note(600, root=b"r" * 32)
    (log.directory / "checkpoint").write_text(claimed)
    log.say(
        "hansard.rollback",
        checkpoint_size=600,
        checkpoint_root=claimed.splitlines()[2],
        retired=str(first.verifier_key),
        verifier_key=str(second.verifier_key),
    )
    log.publish(second)
    assert_found(log.verify(), Verdict.INTACT)
    log.seal()
    assert_found(log.verify(), Verdict.INTACT)
    report = log.verify(checkpoints=[claimed])
    assert (report.verdict, report.fork) == (Verdict.FORKED, (0, 600))


# --- a log that goes on meanwhile ---


def in_between(monkeypatch: pytest.MonkeyPatch, *steps: Callable[[], object]) -> None:
    """Do these behind the first pages of the next verifications."""
    left = list(steps)
    through = verification._Verification._went_through

    def went(self: Any, count: int) -> None:
        if left:
            left.pop(0)()
        through(self, count)

    monkeypatch.setattr(verification._Verification, "_went_through", went)


def test_what_is_entered_meanwhile_is_no_damage(
    log: SignedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def grow() -> None:
        log.enter(count=700)
        log.seal()

    in_between(monkeypatch, grow, grow, grow)
    report = log.verify()
    assert_found(report, Verdict.INTACT)
    assert report.size == 600


def test_what_is_redacted_meanwhile_is_no_damage(
    log: SignedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_between(monkeypatch, lambda: (log.redacted(5), log.redacted(590)), lambda: log.redacted(6))
    report = log.verify()
    assert_found(report, Verdict.INTACT)
    assert (report.redacted, report.size) == (1, 603)


@pytest.mark.parametrize("last", [10, 511, 520, 600])
def test_what_is_pruned_meanwhile_is_no_damage(
    log: SignedLog, monkeypatch: pytest.MonkeyPatch, last: int
) -> None:
    in_between(monkeypatch, lambda: log.pruned(last))
    report = log.verify()
    assert_found(report, Verdict.PRUNED)
    assert report.pruned == last


def test_what_is_pruned_while_checkpoints_are_checked_is_no_damage(
    log: SignedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hansard_writer.proof.verifying.checkpoint_pass.PAGE_CHECKPOINTS", 1)
    in_between(monkeypatch, int, int, lambda: (log.enter(count=100), log.pruned(650)))
    report = log.verify()
    assert_found(report, Verdict.INTACT)
    assert "1 checkpoint is of pruned entries only" in report.remarks[0]


def test_a_live_logs_wal_is_not_held(log: SignedLog, monkeypatch: pytest.MonkeyPatch) -> None:
    emptied = []

    def go_on() -> None:
        log.enter(count=1)
        emptied.append(log.store.handle.checkpoint_truncate())

    in_between(monkeypatch, go_on, go_on, go_on)
    log.verify()
    assert emptied == [True, True, True]


# --- what was done to entries ---


@pytest.mark.parametrize(
    "column",
    [
        "created_at = 7",
        "event_type = 'x'",
        "level = 'debug'",
        "actor = 'x'",
        "actor = NULL",
        "task_id = 'x'",
        "producer_seq = 9999",
        "payload_hash = zeroblob(32)",
        "event_type = CAST(x'ff41' AS TEXT)",
    ],
)
def test_a_changed_column_is_found(thief: Thief, column: str) -> None:
    report = thief(f"UPDATE entries SET {column} WHERE seq = 17")
    assert report.verdict is Verdict.ALTERED
    assert (report.findings[-1].first, report.findings_count) == (17, 1), words(report)
    assert "its leaf in the tree is another" in words(report)[0]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("payload = '{\"n\":2}'", "its payload or its salt"),
        ("salt = zeroblob(16)", "its payload or its salt"),
        ("payload = ' ' || payload", "its payload or its salt"),
        ("salt = NULL", "one is missing"),
        ("payload = NULL", "one is missing"),
        ("salt = CAST(salt || x'20' AS BLOB)", "one is missing"),
        ("salt = substr(salt, 1, 15)", "one is missing"),
        ("payload_hash = NULL", "its leaf in the tree is another"),
    ],
)
def test_a_changed_payload_is_found(thief: Thief, change: str, complaint: str) -> None:
    report = thief(f"UPDATE entries SET {change} WHERE seq = 600")
    assert_found(report, Verdict.ALTERED, complaint)
    assert report.findings[0].first == 600


def test_an_event_without_payload_cannot_get_one(empty: SignedLog, tmp_path: Path) -> None:
    empty.enter(event(None), event(None), event(None), event(None))
    empty.seal()
    thief = Thief(empty, tmp_path / "stolen")
    report = thief(
        "UPDATE entries SET payload = '{}' WHERE seq = 1",
        "UPDATE entries SET salt = zeroblob(16) WHERE seq = 2",
        "UPDATE entries SET payload = '{}', salt = zeroblob(16) WHERE seq = 3",
        "UPDATE entries SET payload = '{}', payload_hash = x'' WHERE seq = 4",
    )
    assert_found(
        report,
        Verdict.ALTERED,
        "entry 1: of its payload and its salt",
        "entry 2: of its payload and its salt",
        "entry 3: it has a payload, and was entered without one",
        "entry 4: it is not what was entered",
    )


def test_missing_entries_are_found(thief: Thief) -> None:
    report = thief("DELETE FROM entries WHERE seq IN (1, 2, 100, 512, 513)")
    assert_found(
        report,
        Verdict.ALTERED,
        "entry 100: missing",
        "entry 512: missing",
        "entry 513: missing",
        "entries 1 to 2: missing, and no entry hansard.pruned says so",
    )
    assert (report.findings_count, report.fork) == (5, None)


def test_swapped_entries_are_found(thief: Thief) -> None:
    report = thief(
        "UPDATE entries SET seq = -1 WHERE seq = 5",
        "UPDATE entries SET seq = 5 WHERE seq = 6",
        "UPDATE entries SET seq = 6 WHERE seq = -1",
    )
    assert [finding.first for finding in report.findings] == [5, 6]
    assert report.verdict is Verdict.ALTERED


@pytest.mark.parametrize("seq", [601, 5_000, 0, -5])
def test_an_entry_that_was_put_in_is_found(thief: Thief, seq: int) -> None:
    report = thief(
        "INSERT INTO entries(seq, producer, producer_seq, created_at, event_type, level)"
        f" VALUES({seq}, 1, 700, 5, 'a.b', 'info')"
    )
    assert report.verdict is Verdict.ALTERED
    assert words(report)


def test_entries_put_at_the_end_with_their_leaves_are_not_covered(thief: Thief) -> None:
    thief.change(
        "INSERT INTO entries(seq, producer, producer_seq, created_at, event_type, level)"
        " VALUES(601, 1, 700, 5, 'a.b', 'info')"
    )
    thief.rebuild_tree()
    report = thief.verify()
    assert (report.verdict, report.not_covered_yet) == (Verdict.INTACT, 1)


def test_entries_given_to_another_producer_are_found(thief: Thief) -> None:
    report = thief("UPDATE producers SET producer_hash = zeroblob(32) WHERE id = 1")
    assert (report.verdict, report.findings_count) == (Verdict.ALTERED, ENTRIES)
    assert len(report.findings) == FINDINGS_NAMED_MAX
    report = thief("DELETE FROM producers WHERE id = 1")
    assert "belongs to a producer that is not there" in words(report)[0]


def test_another_writer_is_found(thief: Thief) -> None:
    report = thief("UPDATE producers SET producer_hash = zeroblob(32) WHERE id = 0")
    assert_found(report, Verdict.ALTERED, "producer 0 is not the writer")


def test_a_redaction_without_its_entry_is_found(thief: Thief) -> None:
    report = thief("UPDATE entries SET payload = NULL, salt = NULL WHERE seq IN (5, 6, 8)")
    assert_found(
        report,
        Verdict.ALTERED,
        "entries 5 to 6: redacted, and no entry hansard.redacted says so",
        "entry 8: redacted",
    )
    assert report.findings_count == 3


def test_a_redaction_that_its_entry_does_not_name_is_found(log: SignedLog, tmp_path: Path) -> None:
    log.redacted(5, 10)
    log.seal()
    thief = Thief(log, tmp_path / "stolen")
    report = thief("UPDATE entries SET payload = NULL, salt = NULL WHERE seq = 11")
    assert_found(report, Verdict.ALTERED, "entry 11: redacted")


def test_only_the_writers_own_entry_accounts_for_a_redaction(
    log: SignedLog, tmp_path: Path
) -> None:
    log.enter(event('{"entries":[[5,5]]}', event_type="a.redacted"))
    log.seal()
    thief = Thief(log, tmp_path / "stolen")
    report = thief("UPDATE entries SET payload = NULL, salt = NULL WHERE seq = 5")
    assert_found(report, Verdict.ALTERED, "entry 5: redacted")


def test_a_payload_that_was_put_back_is_found(log: SignedLog, tmp_path: Path) -> None:
    salt, payload = log.execute("SELECT salt, payload FROM entries WHERE seq = 5").fetchall()[0]
    log.redacted(4, 6)
    log.seal()
    thief = Thief(log, tmp_path / "stolen")
    back = f"UPDATE entries SET payload = '{payload}', salt = x'%s' WHERE seq = 5"
    report = thief(back % salt.hex())
    assert_found(report, Verdict.ALTERED, "entry 5: an entry hansard.redacted names it")
    report = thief(back % ("00" * 16))
    assert "entry 5: its payload or its salt" in words(report)[0]


# --- pruning ---


@pytest.mark.parametrize("last", [1, 100, 256, 512])
def test_a_prune_without_its_entry_is_found(log: SignedLog, tmp_path: Path, last: int) -> None:
    with log.unlocked():
        log.delete_prefix(last)
    report = log.verify()
    assert report.verdict is Verdict.ALTERED
    assert (report.findings[0].first, report.findings[0].last) == (1, last)
    assert report.findings_count == last


def test_a_prune_farther_than_its_entry_says_is_found(log: SignedLog) -> None:
    log.pruned(100)
    with log.unlocked():
        log.delete_prefix(120)
    report = log.verify()
    assert_found(
        report, Verdict.ALTERED, "entries 101 to 120: missing, and no entry hansard.pruned"
    )


def test_a_prune_by_an_entry_that_nobody_signed_is_found(log: SignedLog) -> None:
    log.say("hansard.pruned", by="x", first=1, last=100, before="", archive=None)
    with log.unlocked():
        log.delete_prefix(100)
    assert_found(log.verify(), Verdict.ALTERED, "no checkpoint covers the entry hansard.pruned")


def test_pruned_entries_that_were_put_back_changed_are_found(
    log: SignedLog, tmp_path: Path
) -> None:
    rows = log.execute("SELECT * FROM entries WHERE seq <= 300 ORDER BY seq").fetchall()
    log.pruned(400)
    marks = ",".join("?" * len(rows[0]))
    changed = [(*row[:6], "somebody else", *row[7:]) for row in rows]
    with log.unlocked():
        log.store.connection.executemany(f"INSERT INTO entries VALUES({marks})", changed)
    report = log.verify()
    assert report.verdict is Verdict.ALTERED
    with log.unlocked():
        log.execute("DELETE FROM entries WHERE seq < 300")
    assert log.verify().verdict is Verdict.ALTERED


# --- the tree ---


def test_a_changed_leaf_is_told_from_a_changed_entry(thief: Thief) -> None:
    report = thief(FIRST_ZERO.format(0, 3))
    assert_found(report, Verdict.ALTERED, "entry 49: its leaf in the tree was changed")


@pytest.mark.parametrize("level", [1, 2])
def test_a_changed_node_is_found(thief: Thief, level: int) -> None:
    report = thief(FIRST_ZERO.format(level, 0))
    assert report.verdict is Verdict.ALTERED
    assert words(report)[0].startswith(f"entries 1 to {16**level}: the node of level {level}")


def test_a_changed_entry_whose_leaf_was_changed_too_is_found_above(thief: Thief) -> None:
    report = thief("UPDATE entries SET actor = 'x' WHERE seq = 17")
    thief.change("CREATE TABLE kept AS SELECT * FROM tree WHERE level > 0")
    thief.rebuild_tree()
    report = thief(
        "DELETE FROM tree WHERE level > 0",
        "INSERT INTO tree SELECT * FROM kept",
        "DROP TABLE kept",
    )
    assert_found(report, Verdict.ALTERED, "entries 17 to 32: the node of level 1")


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM tree",
        "DELETE FROM tree WHERE level = 0 AND idx = 5",
        "DELETE FROM tree WHERE level = 1",
        "DELETE FROM tree WHERE level = 2",
        "INSERT INTO tree VALUES(3, 0, zeroblob(32))",
        "INSERT INTO tree VALUES(9, 0, zeroblob(32))",
        "INSERT INTO tree VALUES(0, -1, zeroblob(512))",
        "INSERT INTO tree VALUES(-1, 0, zeroblob(512))",
        "INSERT INTO tree VALUES(0, 38, zeroblob(32))",
        LONGER.format("x'00'", 0, 37),
        LONGER.format("zeroblob(32)", 0, 3),
        LONGER.format("zeroblob(32)", 0, 31),
        LONGER.format("zeroblob(32)", 1, 2),
        "UPDATE tree SET hashes = substr(hashes, 1, 480) WHERE level = 0 AND idx = 3",
        "UPDATE tree SET hashes = substr(hashes, 1, 224) WHERE level = 0 AND idx = 37",
        "UPDATE tree SET idx = idx + 1000 WHERE level = 0",
    ],
)
def test_rows_of_the_tree_that_are_not_as_they_were_are_found(thief: Thief, change: str) -> None:
    report = thief(change)
    assert report.verdict is Verdict.ALTERED
    assert words(report)


def test_hashes_that_were_moved_from_row_to_row_are_found(thief: Thief) -> None:
    report = thief(
        "UPDATE tree SET hashes = CAST(hashes || (SELECT substr(hashes, 1, 32) FROM tree"
        " WHERE level = 0 AND idx = 4) AS BLOB) WHERE level = 0 AND idx = 3",
        "UPDATE tree SET hashes = substr(hashes, 33) WHERE level = 0 AND idx = 4",
    )
    assert report.verdict is Verdict.ALTERED


# --- the history as a whole ---


def test_another_history_is_a_fork_from_between_two_checkpoints(
    log: SignedLog, thief: Thief
) -> None:
    thief.change("UPDATE entries SET actor = 'x' WHERE seq = 450")
    thief.rebuild_tree()
    report = thief.verify()
    assert (report.verdict, report.fork) == (Verdict.FORKED, (300, 600))
    assert report.findings == ()
    assert report.covered == 300


def test_who_has_the_key_is_found_by_an_outsiders_checkpoint_only(
    log: SignedLog, thief: Thief
) -> None:
    kept = [log.note(size) for size in (200, 500)]
    thief.change("UPDATE entries SET actor = 'x' WHERE seq = 450")
    thief.rebuild_tree()
    thief.sign_again(thief.key)
    assert thief.verify().verdict is Verdict.INTACT
    report = thief.verify(checkpoints=kept, keys=[log.key.verifier_key])
    assert (report.verdict, report.fork) == (Verdict.FORKED, (200, 500))


def test_a_log_cut_short_is_truncated(thief: Thief) -> None:
    report = thief("DELETE FROM entries WHERE seq > 400")
    assert (report.verdict, report.signed_size, report.size) == (Verdict.TRUNCATED, 600, 400)
    assert "the tree has 600 leaves, and the log 400 entries" in words(report)[0]
    thief.rebuild_tree()
    assert_found(thief.verify(), Verdict.TRUNCATED)


def test_a_tail_that_nobody_signed_and_that_is_gone_is_found_by_its_leaves(
    log: SignedLog, tmp_path: Path
) -> None:
    log.enter(count=3)
    report = Thief(log, tmp_path / "stolen")("DELETE FROM entries WHERE seq > 601")
    assert_found(report, Verdict.ALTERED, "the tree has 603 leaves, and the log 601 entries")


def test_an_old_copy_is_truncated_by_what_was_signed_since(log: SignedLog, thief: Thief) -> None:
    log.enter(count=10)
    kept = log.seal()
    assert thief.verify().verdict is Verdict.INTACT
    report = thief.verify(checkpoints=[kept])
    assert (report.verdict, report.signed_size) == (Verdict.TRUNCATED, 610)
    (thief.directory / "checkpoint").write_text(kept)
    assert thief.verify().verdict is Verdict.TRUNCATED


def test_an_emptied_log_is_truncated(thief: Thief) -> None:
    report = thief("DELETE FROM entries")
    assert (report.verdict, report.size, report.signed_size) == (Verdict.TRUNCATED, 0, 600)


# --- checkpoints and keys ---


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE checkpoints SET note = replace(note, '300', '301') WHERE size = 300",
        "UPDATE checkpoints SET note = 'nothing' WHERE size = 300",
        "UPDATE checkpoints SET note = CAST(x'ff0a' AS TEXT) WHERE size = 300",
        "UPDATE checkpoints SET note = '' WHERE size = 300",
        "UPDATE checkpoints SET size = 299 WHERE size = 300",
        "UPDATE checkpoints SET size = -7 WHERE size = 300",
        "UPDATE checkpoints SET origin = 'hansard/other' WHERE size = 300",
        COPY.format("10, origin, created_at, note", "size = 300"),
        COPY.format("1000, origin, created_at, note || 'x'", "size = 300"),
    ],
)
def test_changed_checkpoints_are_found(thief: Thief, change: str) -> None:
    report = thief(change)
    assert report.verdict is Verdict.ALTERED
    assert "checkpoint of size" in words(report)[0]


def test_a_checkpoint_that_is_gone_shows_by_the_file_beside_it(thief: Thief) -> None:
    report = thief("DELETE FROM checkpoints WHERE size = 600")
    assert_found(report, Verdict.ALTERED, "DIR/checkpoint, of size 600, is not among")
    assert report.covered == 600
    (thief.directory / "checkpoint").write_text("nothing")
    assert_found(thief.verify(), Verdict.ALTERED, "DIR/checkpoint: a signed note is")


def test_who_signs_with_another_key_is_found_with_the_key(log: SignedLog, thief: Thief) -> None:
    other = signing_key(log.origin, 9)
    thief.change("UPDATE entries SET actor = 'x' WHERE seq = 450")
    thief.rebuild_tree()
    thief.sign_again(other)
    assert thief.verify().verdict is Verdict.ALTERED
    thief.publish(other)
    assert thief.verify().verdict is Verdict.INTACT
    report = thief.verify(keys=[log.key.verifier_key])
    assert report.verdict is Verdict.ALTERED
    assert (report.covered, report.findings_count) == (0, 3)
    report = thief.verify(keys=[log.key.verifier_key], checkpoints=[log.note(600)])
    assert (report.verdict, report.fork) == (Verdict.FORKED, (0, 600))


def test_a_key_that_no_signature_vouches_for_is_found(log: SignedLog) -> None:
    first = log.key
    second = log.rotate(2)
    log.seal(second)  # without the old one
    log.publish(second)
    report = log.verify()
    assert report.verdict is Verdict.ALTERED
    assert "has not signed it" in words(report)[0] or "is signed by" in words(report)[0]
    assert log.verify(keys=[first.verifier_key]).verdict is Verdict.ALTERED


def test_a_key_of_nobody_that_names_an_honest_one_as_its_successor_is_found(
    log: SignedLog,
) -> None:
    honest = signing_key(log.origin, 9)
    log.rotate(9)  # says that the thief's own key retired in favour of the outsider's
    report = log.verify(keys=[honest.verifier_key])
    assert_found(report, Verdict.ALTERED, "no checkpoint is signed by a given key")


def test_a_wrong_key_is_told(log: SignedLog) -> None:
    other = signing_key("hansard/00", 3).verifier_key
    report = log.verify(keys=[other])
    assert report.verdict is Verdict.ALTERED
    assert "the given key is one of another log" in words(report)[0]


def test_without_writer_pub_no_signature_can_be_checked(log: SignedLog) -> None:
    (log.directory / "writer.pub").unlink()
    assert_found(log.verify(), Verdict.ALTERED, "writer.pub is missing")
    assert_found(log.verify(keys=[log.key.verifier_key]), Verdict.INTACT)
    (log.directory / "writer.pub").write_text("nothing\n")
    assert_found(log.verify(), Verdict.ALTERED, "holds no verifier key", "writer.pub is missing")


def test_an_outsiders_checkpoint_of_another_log_is_told(log: SignedLog) -> None:
    note = log.note(300, origin="hansard/ff")
    report = log.verify(checkpoints=[note])
    assert_found(report, Verdict.ALTERED, "the given checkpoint of size 300")


def test_what_is_no_key_or_checkpoint_is_refused(log: SignedLog) -> None:
    with pytest.raises(NoteError):
        log.verify(keys=["nothing"])
    with pytest.raises(NoteError):
        log.verify(checkpoints=["nothing"])


# --- the schema, and damage ---


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("DROP VIEW events", "the view events of the database is gone"),
        ("DROP VIEW signed_events", "the view signed_events"),
    ],
)
def test_another_schema_is_found(thief: Thief, change: str, found: str) -> None:
    assert_found(thief(change), Verdict.ALTERED, found)


def test_a_dropped_trigger_is_found(log: SignedLog) -> None:
    log.execute("DROP TRIGGER entries_are_not_deleted")
    assert_found(log.verify(), Verdict.ALTERED, "the trigger entries_are_not_deleted")


def test_another_table_in_the_place_of_entries_is_found(thief: Thief) -> None:
    report = thief(
        "DROP VIEW signed_events",
        "PRAGMA legacy_alter_table = on",
        "ALTER TABLE entries RENAME TO e2",
        "CREATE TABLE entries AS SELECT * FROM e2",
    )
    assert report.verdict is Verdict.ALTERED
    assert "the table entries of the database is another" in words(report)
    assert report.remarks == ("nothing was recomputed: the tables are not those of a log",)


def test_users_own_tables_views_and_triggers_are_theirs(log: SignedLog) -> None:
    log.execute("CREATE TABLE mine(a)")
    log.execute("CREATE VIEW my_view AS SELECT * FROM entries")
    log.execute("CREATE TRIGGER my_trigger AFTER INSERT ON entries BEGIN SELECT 1; END")
    log.execute("CREATE INDEX my_index ON entries(level)")
    assert_found(log.verify(), Verdict.INTACT)


def test_a_damaged_database_is_altered(thief: Thief) -> None:
    database = thief.directory / "log.db"
    content = bytearray(database.read_bytes())
    with thief.connection() as connection:
        root = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'entries'").get
        page = connection.pragma("page_size")
    content = bytearray(database.read_bytes())
    content[(root - 1) * page : (root - 1) * page + 100] = b"\xff" * 100
    database.write_bytes(content)
    report = thief.verify()
    assert report.verdict is Verdict.ALTERED
    assert "the database is damaged" in words(report)[-1]


# --- since ---


def counted_rows(log: SignedLog, monkeypatch: pytest.MonkeyPatch, **options: Any) -> int:
    """How many rows a verification reads."""
    from hansard.reader_connection import ReadConnection

    read = 0
    rows = ReadConnection.rows

    def count(self: ReadConnection, sql: str, *arguments: object) -> list[Any]:
        nonlocal read
        found = rows(self, sql, *arguments)
        read += len(found)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(ReadConnection, "rows", count)
        assert_found(log.verify(**options), Verdict.INTACT)
    return read


def test_since_a_size_only_what_is_new_is_read(
    log: SignedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.enter(count=4_000)
    log.seal()
    log.enter(count=20)
    log.seal()
    everything = counted_rows(log, monkeypatch)
    new = counted_rows(log, monkeypatch, since=4_600)
    assert everything > 4_600
    assert new < 160
    log.enter(count=20_000)
    log.seal()
    log.enter(count=20)
    assert counted_rows(log, monkeypatch, since=24_620) < new + 20


def test_since_takes_the_largest_checkpoint_that_is_not_beyond_it(log: SignedLog) -> None:
    log.enter(count=5)
    for since, begun in [(600, 600), (599, 300), (700, 600), (299, 0)]:
        report = log.verify(since=since)
        assert_found(report, Verdict.INTACT)
        assert (report.since, report.entries, report.covered) == (begun, 605 - begun, 600)
        said = f"begun at {begun}" in " ".join(report.remarks)
        assert said is (since != begun)


def test_since_a_checkpoint_of_an_outsider(log: SignedLog) -> None:
    report = log.verify(since=450, checkpoints=[log.note(450)])
    assert_found(report, Verdict.INTACT)
    assert (report.since, report.entries) == (450, 150)


def test_what_was_changed_before_a_size_is_not_looked_at_since(thief: Thief) -> None:
    thief.change("UPDATE entries SET actor = 'x' WHERE seq = 17")
    assert thief.verify(since=300).verdict is Verdict.INTACT
    thief.change("UPDATE entries SET actor = 'x' WHERE seq = 317")
    assert thief.verify(since=300).verdict is Verdict.ALTERED


def test_since_begins_with_no_checkpoint_that_does_not_fit(thief: Thief) -> None:
    thief.change("UPDATE entries SET actor = 'x' WHERE seq = 17")
    thief.rebuild_tree()
    report = thief.verify(since=600)
    assert (report.verdict, report.since, report.fork) == (Verdict.FORKED, 0, (0, 300))


def test_an_entry_of_a_key_is_proven_before_it_is_believed_since(
    log: SignedLog, tmp_path: Path
) -> None:
    first = log.key
    second = log.rotate(2)
    log.seal(first, second)
    log.publish(second)
    log.enter(count=10)
    log.seal()
    assert_found(log.verify(since=601, keys=[first.verifier_key]), Verdict.INTACT)
    thief = Thief(log, tmp_path / "stolen")
    forged = signing_key(log.origin, 9)
    key = str(forged.verifier_key)
    thief.change(
        f"UPDATE entries SET payload = json_set(payload, '$.verifier_key', '{key}') WHERE seq = 601"
    )
    report = thief.verify(since=601, keys=[first.verifier_key])
    assert "entry 601: its payload or its salt" in words(report)[0]
    thief.hash_payload(601)
    thief.sign_again(forged, first)
    thief.publish(forged)
    report = thief.verify(since=601, keys=[first.verifier_key])
    assert_found(report, Verdict.ALTERED, "entry 601: it is not what was entered")


# --- whom it is for ---


def test_where_there_is_no_log_it_says_so(tmp_path: Path) -> None:
    from hansard_writer.proof import verify

    with pytest.raises(hansard.ConfigError, match="there is no log"):
        verify(tmp_path)


def test_progress_reaches_its_end(log: SignedLog) -> None:
    seen: list[tuple[int, int]] = []
    log.verify(progress=lambda done, all_: seen.append((done, all_)))
    assert seen == [(512, 602), (600, 602), (602, 602)]
