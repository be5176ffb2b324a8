"""Verification at the far end: real logs, shipped, and what whoever keeps them did to them."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from frames import event
from hansard_writer.proof import Report, Verdict
from hansard_writer.proof.checkpoint import Checkpoint, sign_checkpoint
from hansard_writer.proof.leaves import payload_hash
from hansard_writer.proof.merkle_hash_tree import Edge, grow, root
from hansard_writer.proof.signed_note import SigningKey
from hansard_writer.proof.verifying.entry_rows import HASH, HASHED, PRODUCER, leaf_hashes
from hansard_writer.shipping.batch import Owner
from hansard_writer.shipping.far_end import Head, Page
from hansard_writer.shipping.target import TargetRefused
from hansard_writer.shipping.verifying import FarReport, LogReport, entries, verify_far
from hansard_writer.shipping.verifying.one_log import NOT_SIGNED, UNCOVERED
from provable import signing_key
from shipped_in_memory import InMemoryFarEnd, Kept, Store
from verifiable import SignedLog

PRODUCER_SEQ, CREATED_AT, EVENT_TYPE, LEVEL, ACTOR, TASK = 2, 3, 4, 5, 6, 7
WITHOUT_PAYLOAD = 149
REDACTED = 62
SAYS_SO = 301  # entry hansard.redacted
NOTHING = "nothing of it is there, and "
FIRST, SECOND = 300, 600  # sizes of checkpoints

Change = Callable[[Kept], None]


class Shipped(NamedTuple):
    """A log that was shipped, and who signs it."""

    store: Store
    origin: str
    key: SigningKey

    @property
    def kept(self) -> Kept:
        return self.store.logs[self.origin]

    def verify(self, *notes: str, keys: tuple[SigningKey, ...] = ()) -> FarReport:
        """All of the store."""
        known = [key.verifier_key for key in keys or (self.key,)]
        return verify_far(InMemoryFarEnd(self.store), known, notes)

    def report(self, *notes: str, keys: tuple[SigningKey, ...] = ()) -> Report:
        """Of this log."""
        found = {log.origin: log.report for log in self.verify(*notes, keys=keys).logs}
        report = found[self.origin]
        assert report is not None
        return report

    def ship(self, log: SignedLog) -> None:
        assert self.store.ship(log.directory) == self.origin


def shipped_from(log: SignedLog) -> Shipped:
    log.seal()
    store = Store()
    return Shipped(store, store.ship(log.directory), log.key)


@pytest.fixture
def log(directory: Path) -> Iterator[SignedLog]:
    log = SignedLog(directory)
    yield log
    log.close()


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Shipped:
    """600 entries with checkpoints of sizes 300 and 600; one redacted, one without payload."""
    log = SignedLog(tmp_path_factory.mktemp("original") / "log")
    log.enter(count=WITHOUT_PAYLOAD - 1)
    log.enter(event(None, actor=None, task_id=None))
    log.enter(count=FIRST - log.store.size)
    shipped = shipped_from(log)
    assert log.redacted(REDACTED) == SAYS_SO
    log.enter(count=SECOND - log.store.size)
    log.seal()
    shipped.ship(log)
    log.close()
    return shipped


@pytest.fixture
def shipped(original: Shipped) -> Shipped:
    """To be changed."""
    return original._replace(store=original.store.copied())


def assert_found(report: Report, verdict: Verdict, *found: str) -> None:
    """The verdict, and the findings by a part of their words."""
    assert report.verdict is verdict, report
    words = [str(finding) for finding in report.findings]
    assert len(words) == len(found), words
    for finding, part in zip(words, found, strict=True):
        assert part in finding


def leaf_of(kept: Kept, seq: int) -> bytes:
    hashes = {number: owner.producer_hash for number, owner in kept.owners.items()}
    return leaf_hashes([kept.rows[seq]], hashes)


def rebuild(kept: Kept, *signers: SigningKey) -> None:
    """All that follows from the rows: payload hashes, leaves, roots, and who can sign signs."""
    edge = Edge()
    for seq, row in sorted(kept.rows.items()):
        if row[HASHED]:
            kept.change(seq, HASH, payload_hash(row[HASHED][:16], row[HASHED][16:]))
        kept.leaves[seq] = leaf_of(kept, seq)
        edge, _ = grow(edge, kept.leaves[seq] or b"")
        if seq in kept.notes and signers:
            origin = signers[-1].verifier_key.name
            kept.notes[seq] = sign_checkpoint(Checkpoint(origin, seq, root(edge)), signers)


def salted(payload: str) -> bytes:
    return b"s" * 16 + payload.encode()


# --- honest logs ---


def test_what_was_shipped_is_intact(shipped: Shipped) -> None:
    found = shipped.verify()
    assert found.is_good
    report = shipped.report()
    assert_found(report, Verdict.INTACT)
    assert (report.size, report.entries, report.checkpoints) == (600, 600, 2)
    assert (report.covered, report.redacted, report.remarks) == (600, 1, ())
    assert "host, pid and start of producers" in report.not_proven
    assert found.as_dict()["logs"][0]["origin"] == shipped.origin


@pytest.mark.parametrize("size", [1, 2, 15, 16, 17, 199, 200, 201, 513])
def test_a_log_of_any_size_is_intact(log: SignedLog, size: int) -> None:
    log.enter(count=size)
    shipped = shipped_from(log)
    for _ in range(2):
        log.enter(count=size)
        log.seal()
        shipped.ship(log)
    report = shipped.report()
    assert_found(report, Verdict.INTACT)
    assert (report.size, report.covered, report.checkpoints) == (3 * size, 3 * size, 3)


def test_what_a_larger_checkpoint_covers_is_intact_while_the_rest_is_on_its_way(
    log: SignedLog,
) -> None:
    log.enter(count=150)
    log.seal()
    store = Store()
    shipped = Shipped(store, store.ship(log.directory, to=100, entries_max=100), log.key)
    report = shipped.report()
    assert_found(report, Verdict.INTACT)
    assert (report.size, report.covered) == (100, 100)
    assert "the checkpoint of size 150, whose other entries are not there yet" in report.remarks[0]
    shipped.ship(log)
    assert shipped.report().remarks == ()


def test_a_pruned_log_is_pruned(log: SignedLog) -> None:
    log.enter(count=300)
    shipped = shipped_from(log)
    log.pruned(100)
    shipped.ship(log)
    log.pruned(250)
    shipped.ship(log)
    report = shipped.report()
    assert_found(report, Verdict.PRUNED)
    assert (report.pruned, report.entries, report.size) == (250, 52, 302)
    assert "of pruned entries" not in str(report.remarks)


def test_a_log_that_was_pruned_before_it_was_shipped_is_pruned(log: SignedLog) -> None:
    log.enter(count=300)
    log.seal()
    log.pruned(100)
    log.enter(count=5)
    shipped = shipped_from(log)
    assert_found(shipped.report(), Verdict.PRUNED)
    assert shipped.report().entries == 206


def test_what_is_gone_before_the_entry_comes_that_says_so_may_not_be_shipped_yet(
    log: SignedLog,
) -> None:
    log.enter(count=300)
    log.seal()
    log.redacted(150)
    log.pruned(50)
    store = Store()
    shipped = Shipped(store, store.ship(log.directory, to=150, entries_max=100), log.key)
    assert_found(
        shipped.report(),
        Verdict.ALTERED,
        "entry 150: redacted, and no entry hansard.redacted says so, up to entry 150: it may not",
        "entries 1 to 50: missing, and no entry hansard.pruned says so, up to entry 150: it may",
    )
    shipped.ship(log)
    assert_found(shipped.report(), Verdict.PRUNED)


def test_entries_that_were_pruned_between_two_shippings_are_missing_until_the_log_says_so(
    log: SignedLog,
) -> None:
    log.enter(count=20)
    shipped = shipped_from(log)
    log.enter(count=280)
    log.seal()
    log.pruned(50)
    shipped.store.ship(log.directory, to=150, entries_max=100)
    report = shipped.report()
    assert_found(report, Verdict.ALTERED, "entries 21 to 50: missing")
    assert "behind missing entries no root can be recomputed" in str(report.remarks)
    shipped.ship(log)
    assert_found(shipped.report(), Verdict.PRUNED)


# --- keys ---


def test_a_rotated_key_is_followed_from_either_end(log: SignedLog) -> None:
    log.enter(count=20)
    shipped = shipped_from(log)
    first, second = log.key, log.rotate(2)
    assert_found(shipped.report(keys=(second, first)), Verdict.INTACT)  # nobody has told it yet
    log.enter(count=5)
    log.seal(first, second)
    log.publish(second)
    shipped.ship(log)
    log.enter(count=5)
    log.seal()
    shipped.ship(log)
    for keys in ((first,), (second,), (second, first)):
        report = shipped.report(keys=keys)
        assert_found(report, Verdict.INTACT)
        assert report.covered == log.store.size


def test_a_rotation_that_the_retired_key_has_not_signed_is_found(log: SignedLog) -> None:
    log.enter(count=20)
    shipped = shipped_from(log)
    first, second = log.key, log.rotate(2)
    log.seal(first, second)
    log.publish(second)
    shipped.ship(log)
    size = shipped.kept.size
    note = shipped.kept.notes[size]
    shipped.kept.notes[size] = "".join(
        line
        for line in note.splitlines(keepends=True)
        if not (line.startswith("—") and line == first.signature_line(note.split("\n\n")[0] + "\n"))
    )
    assert shipped.kept.notes[size] != note
    report = shipped.report(keys=(first,))
    assert report.verdict is Verdict.ALTERED
    assert "which retired or began there, has not signed it" in str(report.findings)


def test_a_key_that_nobody_vouched_for_signs_nothing(log: SignedLog) -> None:
    """Who has no key says that it was lost, and goes on under the same origin."""
    log.enter(count=20)
    shipped = shipped_from(log)
    forger = signing_key(log.origin, 7)
    log.say(
        "hansard.key", reason="lost", retired=str(log.key.verifier_key),
        verifier_key=str(forger.verifier_key),
    )  # fmt: skip
    log.publish(forger)
    log.seal()
    shipped.ship(log)
    assert_found(
        shipped.report(),
        Verdict.ALTERED,
        f"entry 21: {UNCOVERED}",
        "keys that do not follow from the given key signed 1 checkpoint",
    )


def test_a_key_before_the_given_one_counts_only_under_that_ones_signature(log: SignedLog) -> None:
    """Anybody can name the given key as their successor."""
    log.enter(count=20)
    shipped = shipped_from(log)
    forger, honest = log.key, log.rotate(2)
    log.seal(forger, honest)
    shipped.ship(log)
    assert_found(shipped.report(keys=(honest,)), Verdict.INTACT)
    del shipped.kept.notes[21]
    report = shipped.report(keys=(honest,))
    assert_found(report, Verdict.ALTERED, f"entry 21: {UNCOVERED}", NOT_SIGNED)


def test_a_log_under_a_new_origin_verifies_before_the_entry_that_began_it_has_come(
    log: SignedLog,
) -> None:
    """And before that, one that began an earlier one, by a key that is not the given one."""
    for number in (2, 3):
        log.enter(count=20)
        new = signing_key(f"{log.origin}/{number}", number)
        log.say(
            "hansard.key", reason="lost", retired=str(log.key.verifier_key),
            verifier_key=str(new.verifier_key),
        )  # fmt: skip
        log.publish(new)
    log.seal()
    store = Store()
    for to in (10, 30, None):
        shipped = Shipped(store, store.ship(log.directory, to=to, entries_max=10), log.key)
        assert_found(shipped.report(), Verdict.INTACT)
    assert shipped.report().entries == 42
    shipped = Shipped(Store(), shipped.origin, log.key)
    shipped.store.ship(log.directory, to=30, entries_max=10)
    shipped.kept.proof = []
    report = shipped.report()
    assert "none of the keys that the log's entries name" in str(report.findings)


def test_a_log_that_lost_its_key_is_another_one_from_then_on(log: SignedLog) -> None:
    log.enter(count=20)
    shipped = shipped_from(log)
    lost, new = log.key, signing_key(f"{log.origin}/2", 2)
    log.say(
        "hansard.key", reason="lost", retired=str(lost.verifier_key),
        verifier_key=str(new.verifier_key),
    )  # fmt: skip
    log.publish(new)
    log.enter(count=5)
    log.seal()
    again = shipped._replace(origin=shipped.store.ship(log.directory), key=new)
    assert again.origin == f"{shipped.origin}/2"
    found = shipped.verify(keys=(lost, new))
    assert [each.verdict for each in found.logs] == ["intact", "intact"]
    later = found.logs[1].report
    assert later is not None
    assert "the key before it was lost" in later.remarks[0]
    honest = dict(again.kept.notes)
    for size, root_then in ((20, log.tree.root(20)), (99, b"r" * 32)):
        note = sign_checkpoint(Checkpoint(shipped.origin, size, root_then), [lost])
        again.kept.notes = honest | {size: note}
        misplaced = f"checkpoint of size {size}: it is one of {shipped.origin}"
        assert_found(again.report(keys=(lost, new)), Verdict.ALTERED, misplaced)
    again.kept.notes = honest
    one, other = shipped.verify(keys=(lost,)).logs
    assert (one.verdict, other.verdict, other.is_good) == ("intact", "unverified", False)
    assert f"of this log there is one of {shipped.origin}: since it lost its key" in other.why


def test_a_log_that_went_back_in_time_is_another_one_from_then_on(
    log: SignedLog, tmp_path: Path
) -> None:
    log.enter(count=20)
    shipped = shipped_from(log)
    log.close()
    older = log.copied(tmp_path / "older")
    log = log.copied(tmp_path / "newer")
    log.enter(count=30)
    gone = log.seal()
    shipped.ship(log)
    log.close()
    new = signing_key(f"{log.origin}/2", 2)
    older.say(
        "hansard.rollback", retired=str(log.key.verifier_key),
        verifier_key=str(new.verifier_key),
    )  # fmt: skip
    older.publish(new)
    older.enter(count=10)
    older.seal()
    shipped.store.ship(older.directory)
    older.close()
    found = shipped.verify(gone, keys=(log.key, new))
    assert [each.verdict for each in found.logs] == ["intact", "intact"]
    del shipped.store.logs[shipped.origin]
    found = shipped.verify(keys=(log.key, new))
    assert found.is_good
    assert found.remarks == (f"nothing of {log.origin} is there; {log.origin}/2 has its beginning",)
    found = shipped.verify(gone, keys=(log.key, new))
    assert [each.verdict for each in found.logs] == ["missing", "intact"]


def test_without_a_key_of_it_a_log_is_not_looked_at(shipped: Shipped) -> None:
    (found,) = shipped.verify(keys=(signing_key(shipped.origin + "0"),)).logs[:1]
    assert (found.verdict, found.report, found.is_good) == ("unverified", None, False)
    assert "give its writer.pub" in found.why


def test_a_log_that_is_not_there_is_missing(shipped: Shipped) -> None:
    other = signing_key("hansard/" + "0" * 32)
    found = shipped.verify(keys=(shipped.key, other))
    assert not found.is_good
    assert found.logs[0] == LogReport(
        other.verifier_key.name,
        None,
        "missing",
        "nothing of it is there, and a key of it was given",
    )
    note = sign_checkpoint(Checkpoint("hansard/" + "1" * 32, 5, b"r" * 32), [other])
    assert [each.verdict for each in shipped.verify(note).logs] == ["missing", "intact"]


def test_only_the_logs_that_are_asked_for_are_looked_at(shipped: Shipped) -> None:
    far, keys = InMemoryFarEnd(shipped.store), [signing_key("hansard/1").verifier_key]
    found = verify_far(far, keys, (), ["hansard/1"])
    assert [(each.origin, each.verdict) for each in found.logs] == [("hansard/1", "missing")]
    assert not verify_far(InMemoryFarEnd(Store()), [], (), []).is_good


def test_another_key_in_the_same_name_is_told(shipped: Shipped) -> None:
    report = shipped.report(keys=(signing_key(shipped.origin, 9),))
    assert report.verdict is Verdict.ALTERED
    assert NOT_SIGNED in str(report.findings)


# --- entries that were changed ---


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (PRODUCER, 2),
        (PRODUCER_SEQ, 1_000),
        (CREATED_AT, 1),
        (EVENT_TYPE, "b.c"),
        (LEVEL, "error"),
        (ACTOR, None),
        (ACTOR, ""),
        (TASK, "other"),
        (HASH, None),
        (HASH, b"h" * 32),
        (CREATED_AT, 1.0),
        (ACTOR, b"\xff"),
        (TASK, object()),
        (ACTOR, "\ud800"),
    ],
)
def test_a_changed_column_is_found(shipped: Shipped, at: int, value: Any) -> None:
    shipped.kept.change(147, at, value)
    report = shipped.report()
    assert report.verdict is Verdict.ALTERED
    assert [(each.first, each.last) for each in report.findings] == [(147, 147)]
    assert (report.covered, report.fork) == (600, None)


@pytest.mark.parametrize(
    ("seq", "value", "complaint"),
    [
        (147, salted("{}"), "its payload or its salt is not what was hashed"),
        (147, b"", "of its payload and its salt one is missing"),
        (147, "text", "of other types"),
        (WITHOUT_PAYLOAD, salted("{}"), "it has a payload, and was entered without one"),
        (147, None, "redacted, and no entry hansard.redacted says so"),
        (REDACTED, salted("{}"), "its payload or its salt is not what was hashed"),
        (REDACTED + 1, None, "redacted, and no entry hansard.redacted says so"),
    ],
)
def test_a_changed_payload_is_found(shipped: Shipped, seq: int, value: Any, complaint: str) -> None:
    shipped.kept.change(seq, HASHED, value)
    report = shipped.report()
    assert report.verdict is Verdict.ALTERED
    assert [each.first for each in report.findings if complaint in each.what] == [seq]
    assert {each.first for each in report.findings} == {seq}


def test_a_payload_that_was_put_back_is_found(log: SignedLog) -> None:
    log.enter(count=20)
    shipped = shipped_from(log)
    payload = shipped.kept.rows[7][HASHED]
    log.redacted(7)
    log.seal()
    shipped.ship(log)
    assert_found(shipped.report(), Verdict.INTACT)
    shipped.kept.change(7, HASHED, payload)
    assert_found(shipped.report(), Verdict.ALTERED, "entry 7: an entry hansard.redacted names it")


def test_a_redaction_that_a_client_speaks_of_is_unsaid(log: SignedLog) -> None:
    log.enter(count=20)
    log.enter(event('{"entries":[[7,7]]}', event_type="a.redacted"))
    log.redacted(3)
    shipped = shipped_from(log)
    shipped.kept.change(7, HASHED, None)
    shipped.kept.change(21, EVENT_TYPE, "hansard.redacted")
    assert_found(
        shipped.report(),
        Verdict.ALTERED,
        f"entry 21: {entries.OTHER_LEAF}",
        "entry 7: redacted, and no entry",
    )


def test_what_has_no_part_in_the_proof_and_does_not_fit_is_found(shipped: Shipped) -> None:
    shipped.kept.misfits[7] = "its JSONB is not its payload"
    shipped.kept.change(7, HASHED, salted("{}"))
    assert_found(
        shipped.report(),
        Verdict.ALTERED,
        "entry 7: its payload or its salt is not what was hashed; its JSONB is not its payload",
    )


def test_a_payload_with_a_hash_that_fits_is_one_finding(shipped: Shipped) -> None:
    shipped.kept.change(147, HASHED, salted("{}"))
    shipped.kept.change(147, HASH, payload_hash(b"s" * 16, b"{}"))
    report = shipped.report()
    assert_found(report, Verdict.ALTERED, f"entry 147: {entries.OTHER_LEAF}")
    assert (report.covered, report.fork) == (600, None)


# --- leaves that are kept beside them ---


def test_a_changed_leaf_is_told_from_a_changed_entry(shipped: Shipped) -> None:
    shipped.kept.leaves[147] = b"l" * 32
    shipped.kept.change(447, ACTOR, "x")
    report = shipped.report()
    assert_found(
        report,
        Verdict.ALTERED,
        f"entry 147: {entries.LEAF_CHANGED}",
        f"entry 447: {entries.OTHER_LEAF}",
    )
    assert (report.covered, report.fork) == (600, None)


@pytest.mark.parametrize("leaf", [None, b"", b"l" * 31])
def test_a_leaf_that_is_none_is_found(shipped: Shipped, leaf: bytes | None) -> None:
    shipped.kept.leaves[147] = leaf
    assert_found(shipped.report(), Verdict.ALTERED, f"entry 147: {entries.NO_LEAF}")


def test_leaves_whose_bytes_moved_are_found(shipped: Shipped) -> None:
    one, other = shipped.kept.leaves[7] or b"", shipped.kept.leaves[8] or b""
    shipped.kept.leaves |= {7: one + other[:1], 8: other[1:]}
    assert_found(shipped.report(), Verdict.ALTERED, entries.NO_LEAF, entries.NO_LEAF)


def test_a_changed_entry_whose_leaf_was_changed_too_lies_between_two_checkpoints(
    shipped: Shipped,
) -> None:
    shipped.kept.change(447, ACTOR, "x")
    shipped.kept.leaves[447] = leaf_of(shipped.kept, 447)
    report = shipped.report()
    assert_found(report, Verdict.FORKED)
    assert report.fork == (FIRST, SECOND)
    assert report.covered == FIRST


def test_a_garbled_checkpoint_keeps_no_root_from_telling_what_was_changed(
    shipped: Shipped,
) -> None:
    shipped.kept.change(147, ACTOR, "x")
    shipped.kept.notes[FIRST] = sign_checkpoint(
        Checkpoint(shipped.origin, FIRST, b"r" * 32), [signing_key(shipped.origin, 7)]
    )
    report = shipped.report()
    assert_found(report, Verdict.ALTERED, f"entry 147: {entries.OTHER_LEAF}", "of size 300: it is")
    assert report.covered == SECOND


def test_all_that_was_changed_is_counted_and_the_first_are_named(shipped: Shipped) -> None:
    for seq in range(101, 151):
        shipped.kept.change(seq, ACTOR, "x")
    report = shipped.report()
    assert (report.findings_count, len(report.findings)) == (50, 20)
    assert report.findings[-1].first == 120


# --- entries that are gone, or more ---


def test_a_missing_entry_is_named_and_what_comes_behind_is_held_against_its_leaf(
    shipped: Shipped,
) -> None:
    del shipped.kept.rows[147]
    del shipped.kept.rows[447], shipped.kept.rows[448]
    shipped.kept.change(500, ACTOR, "x")
    report = shipped.report()
    assert_found(
        report,
        Verdict.ALTERED,
        "entry 147: missing",
        "entries 447 to 448: missing",
        f"entry 500: {entries.OTHER_LEAF}",
    )  # the checkpoints are signed, and there is nothing to hold them against
    assert "behind missing entries no root can be recomputed" in report.remarks[0]


def test_the_first_entries_cannot_go_unsaid(shipped: Shipped) -> None:
    leaves = b"".join(shipped.kept.leaves[seq] or b"" for seq in range(1, 41))
    for seq in range(1, 41):
        del shipped.kept.rows[seq]
    assert_found(shipped.report(), Verdict.ALTERED, "entries 1 to 40: missing")
    shipped.kept.begun, _ = grow(Edge(), leaves)
    report = shipped.report()
    assert_found(report, Verdict.ALTERED, "entries 1 to 40: missing, and no entry hansard.pruned")
    assert report.covered == SECOND


@pytest.mark.parametrize(
    ("rows", "said"), [((), b""), ((b"r" * 32,), b""), ((b"", b"r" * 64), b""), ((b"r" * 7,), b"")]
)
def test_an_edge_that_is_none_is_found(
    shipped: Shipped, rows: tuple[bytes, ...], said: bytes
) -> None:
    shipped.kept.begun = Edge(16, rows)
    report = shipped.report()
    assert report.verdict is Verdict.ALTERED
    assert entries.EDGE_BROKEN in str(report.findings)


def test_a_pruned_log_cannot_be_pruned_further_or_less(log: SignedLog) -> None:
    log.enter(count=300)
    shipped = shipped_from(log)
    all_rows, all_leaves = dict(shipped.kept.rows), dict(shipped.kept.leaves)
    log.pruned(100)
    shipped.ship(log)
    one_more = shipped._replace(store=shipped.store.copied())
    one_more.kept.begun, _ = grow(one_more.kept.begun, all_leaves[101] or b"")
    del one_more.kept.rows[101]
    assert_found(one_more.report(), Verdict.ALTERED, "entry 101: missing, and no entry")
    shipped.kept.rows[100], shipped.kept.leaves[100] = all_rows[100], all_leaves[100]
    assert_found(shipped.report(), Verdict.ALTERED, f"entry 100: {entries.PRUNED_THERE}")


def test_another_edge_fits_no_checkpoint(log: SignedLog) -> None:
    log.enter(count=300)
    shipped = shipped_from(log)
    log.pruned(100)
    shipped.ship(log)
    rows = [bytes(len(row)) for row in shipped.kept.begun.rows]
    shipped.kept.begun = Edge(100, tuple(rows))
    assert shipped.report().verdict is not Verdict.PRUNED


@pytest.mark.parametrize("says", [SECOND, 450])
def test_a_log_cut_short_is_truncated(shipped: Shipped, says: int) -> None:
    for seq in range(451, 601):
        del shipped.kept.rows[seq]
    shipped.kept.size = says
    report = shipped.report()
    if says == SECOND:
        assert_found(report, Verdict.TRUNCATED, "says that 600 entries were shipped, and there are")
    else:
        assert_found(report, Verdict.ALTERED, "entries 301 to 450: what is kept as proof does not")
    assert report.signed_size == SECOND


def test_a_log_cut_short_at_a_checkpoint_is_truncated(shipped: Shipped) -> None:
    for seq in range(301, 601):
        del shipped.kept.rows[seq]
    shipped.kept.size = FIRST
    report = shipped.report()
    # the entry that says that one is redacted is gone too
    assert_found(report, Verdict.ALTERED, "entry 62: redacted, and no entry")
    assert report.signed_size == SECOND
    assert "is of 600 entries, and 300 are there" in report.remarks[0]


def test_an_emptied_log_is_truncated(shipped: Shipped) -> None:
    shipped.kept.rows.clear()
    shipped.kept.size = 0
    assert_found(shipped.report(), Verdict.TRUNCATED)


def test_an_older_state_is_found_by_a_checkpoint_that_was_kept_elsewhere(log: SignedLog) -> None:
    log.enter(count=20)
    shipped = shipped_from(log)
    older = shipped._replace(store=shipped.store.copied())
    log.enter(count=20)
    elsewhere = log.seal()
    shipped.ship(log)
    assert_found(shipped.report(elsewhere), Verdict.INTACT)
    assert_found(older.report(), Verdict.INTACT)
    report = older.report(elsewhere)
    assert_found(report, Verdict.TRUNCATED)
    assert report.signed_size == 40
    assert "the given checkpoint is of 40 entries, and 20 are there" in report.remarks[0]


def test_a_proof_that_does_not_hold_is_found(
    log: SignedLog,
) -> None:
    log.enter(count=150)
    note = log.seal()
    store = Store()
    shipped = Shipped(store, store.ship(log.directory, to=100, entries_max=100), log.key)
    honest = store.copied()
    report = shipped.report(note)  # who holds that checkpoint is not told that all is there
    assert (report.verdict, report.signed_size) == (Verdict.TRUNCATED, 150)
    shipped.kept.change(90, ACTOR, "x")
    assert_found(shipped.report(), Verdict.ALTERED, f"entry 90: {entries.OTHER_LEAF}")
    shipped.kept.leaves[90] = leaf_of(shipped.kept, 90)
    fails = "entries 1 to 100: what is kept as proof does not lead from them to the checkpoint"
    assert_found(shipped.report(), Verdict.ALTERED, fails, NOT_SIGNED)
    shipped = shipped._replace(store=honest)
    shipped.kept.proof = [bytes(32) for _ in shipped.kept.proof]
    assert_found(shipped.report(), Verdict.ALTERED, fails, NOT_SIGNED)


@pytest.mark.parametrize("says", [SECOND, SECOND + 1])
def test_an_entry_put_behind_the_end_is_found(shipped: Shipped, says: int) -> None:
    kept = shipped.kept
    kept.rows[601] = (601, *kept.rows[600][1:])
    kept.leaves[601] = leaf_of(kept, 601)
    kept.size = says
    expected = [f"entry 601: {entries.BEHIND_END}", f"entry 601: {UNCOVERED}"]
    assert_found(shipped.report(), Verdict.ALTERED, *expected[says - SECOND :])


@pytest.mark.parametrize("seq", [0, -5])
def test_an_entry_before_all_others_is_found(shipped: Shipped, seq: int) -> None:
    shipped.kept.rows[seq] = (seq, *shipped.kept.rows[1][1:])
    assert_found(shipped.report(), Verdict.ALTERED, f"entry {seq}: {entries.NOT_A_SEQ}")


def test_swapped_entries_are_found(shipped: Shipped) -> None:
    rows = shipped.kept.rows
    rows[147], rows[151] = (147, *rows[151][1:]), (151, *rows[147][1:])
    report = shipped.report()
    assert_found(report, Verdict.ALTERED, "entry 147: ", "entry 151: ")


class Disordered(InMemoryFarEnd):
    """Gives out some rows twice, and not in their order, as copied files would."""

    def pages(self, origin: str) -> Iterator[Page]:
        for page in super().pages(origin):
            yield page
            if page.rows[0][0] < 300:
                yield page._replace(rows=page.rows[5:7], leaves=page.leaves[5:7])


def test_an_entry_that_is_there_twice_is_found(shipped: Shipped) -> None:
    far = Disordered(shipped.store)
    (found,) = verify_far(far, [shipped.key.verifier_key]).logs
    assert found.report is not None
    assert_found(
        found.report, Verdict.ALTERED, *(f"entry {n}: {entries.TWICE}" for n in (6, 7, 206, 207))
    )


def test_a_seq_that_is_no_number_is_found(shipped: Shipped) -> None:
    class Odd(InMemoryFarEnd):
        def pages(self, origin: str) -> Iterator[Page]:
            first, *others = super().pages(origin)
            odd = ("x", *first.rows[0][1:])
            yield first._replace(rows=[odd, *first.rows], leaves=[None, *first.leaves])
            yield from others

    (found,) = verify_far(Odd(shipped.store), [shipped.key.verifier_key]).logs
    assert found.report is not None
    assert_found(found.report, Verdict.ALTERED, entries.OTHER_TYPES)


# --- producers ---


def test_another_hash_of_a_producer_is_found(shipped: Shipped) -> None:
    number = shipped.kept.rows[147][PRODUCER]
    shipped.kept.owners[number] = Owner(b"h" * 32, "h", 1, 1)
    report = shipped.report()
    assert report.verdict is Verdict.ALTERED
    assert report.findings_count == 599
    assert report.covered == SECOND


def test_a_producer_that_is_gone_is_found(shipped: Shipped) -> None:
    del shipped.kept.owners[shipped.kept.rows[147][PRODUCER]]
    report = shipped.report()
    assert report.verdict is Verdict.ALTERED
    assert "it belongs to a producer that is not there" in str(report.findings[0])
    assert report.findings_count == 599


# --- checkpoints ---


def test_changed_checkpoints_are_found(shipped: Shipped) -> None:
    notes = dict(shipped.kept.notes)
    forger = signing_key(shipped.origin, 7)
    true_root = root(shipped.kept.edge)
    for changed, found in [
        ({SECOND: notes[SECOND].replace("\n600\n", "\n599\n")}, "checkpoint of size 599"),
        ({SECOND: "nonsense"}, "something is kept as a checkpoint that is none"),
        ({SECOND: notes[FIRST], FIRST: notes[SECOND]}, "it is kept behind one of size 600"),
        ({SECOND: "hansard/other" + notes[SECOND][13:]}, "checkpoint of size 600"),
        (
            {SECOND: sign_checkpoint(Checkpoint(shipped.origin, SECOND, true_root), [forger])},
            "by no key that is known",
        ),
        ({700: notes[SECOND].replace("\n600\n", "\n700\n")}, "checkpoint of size 700"),
    ]:
        shipped.kept.notes = notes | changed
        report = shipped.report()
        assert report.verdict is Verdict.ALTERED
        assert found in str(report.findings), report.findings


def test_a_checkpoint_of_another_origin_counts_for_nothing(shipped: Shipped) -> None:
    """Signed with the log's own key, in another name."""
    other = signing_key(f"{shipped.origin}/2")
    text = Checkpoint(f"{shipped.origin}/2", SECOND, root(shipped.kept.edge))
    shipped.kept.notes[SECOND] = sign_checkpoint(text, [other])
    report = shipped.report(keys=(shipped.key, other))
    assert report.verdict is Verdict.ALTERED
    assert "checkpoint of size 600: its origin is" in str(report.findings)


def test_without_the_checkpoint_that_covers_them_entries_are_found(shipped: Shipped) -> None:
    del shipped.kept.notes[SECOND]
    assert_found(shipped.report(), Verdict.ALTERED, f"entries 301 to 600: {UNCOVERED}")
    del shipped.kept.notes[FIRST]
    report = shipped.report()
    assert report.verdict is Verdict.ALTERED
    assert NOT_SIGNED in str(report.findings)


def test_a_checkpoint_that_covers_nothing_alone_is_not_missed(shipped: Shipped) -> None:
    del shipped.kept.notes[FIRST]
    assert_found(shipped.report(), Verdict.INTACT)


def test_a_signed_checkpoint_beyond_the_end_is_a_truncation(shipped: Shipped) -> None:
    note = sign_checkpoint(Checkpoint(shipped.origin, 700, b"r" * 32), [shipped.key])
    shipped.kept.notes[700] = note
    report = shipped.report()
    assert_found(report, Verdict.TRUNCATED)
    assert report.signed_size == 700


# --- all of it made again ---


def test_all_made_again_without_the_key_is_found(shipped: Shipped) -> None:
    shipped.kept.change(147, HASHED, salted('{"n":0}'))
    rebuild(shipped.kept)
    report = shipped.report()
    assert report.verdict is Verdict.FORKED
    assert report.fork == (0, FIRST)
    rebuild(shipped.kept, signing_key(shipped.origin, 7))
    report = shipped.report()
    assert report.verdict is Verdict.ALTERED
    assert NOT_SIGNED in str(report.findings)


def test_all_made_again_with_the_key_is_found_by_a_checkpoint_that_was_kept_elsewhere(
    shipped: Shipped,
) -> None:
    elsewhere = shipped.kept.notes[SECOND]
    shipped.kept.change(447, HASHED, salted('{"n":0}'))
    rebuild(shipped.kept, shipped.key)
    assert_found(shipped.report(), Verdict.INTACT)
    report = shipped.report(elsewhere)
    assert_found(report, Verdict.FORKED)
    assert report.fork == (0, SECOND)


def test_another_history_under_the_same_key_is_a_fork(log: SignedLog, tmp_path: Path) -> None:
    log.enter(count=20)
    shipped = shipped_from(log)
    first = shipped.kept.notes[20]
    log.close()
    other, log = log.copied(tmp_path / "other"), log.copied(tmp_path / "true")
    log.enter(count=10)
    elsewhere = log.seal()
    log.close()
    other.enter(*[event('{"other":1}')] * 15)
    other.seal()
    shipped.ship(other)
    other.close()
    assert_found(shipped.report(), Verdict.INTACT)
    report = shipped.report(first, elsewhere)
    assert_found(report, Verdict.FORKED)
    assert report.fork == (20, 30)


def test_a_checkpoint_by_nobody_is_told(shipped: Shipped) -> None:
    note = sign_checkpoint(
        Checkpoint(shipped.origin, FIRST, b"r" * 32), [signing_key(shipped.origin, 7)]
    )
    report = shipped.report(note)
    assert_found(report, Verdict.ALTERED, "the given checkpoint of size 300: it is signed by")


# --- what says how much there is ---


def test_a_head_that_is_gone_is_found(shipped: Shipped) -> None:
    class Headless(InMemoryFarEnd):
        def head(self, origin: str) -> Head | None:
            return None

    (found,) = verify_far(Headless(shipped.store), [shipped.key.verifier_key]).logs
    assert found.report is not None
    assert_found(found.report, Verdict.ALTERED, entries.NO_HEAD)


@pytest.mark.parametrize("says", [0, 599, 601])
def test_a_head_that_says_another_size_is_found(shipped: Shipped, says: int) -> None:
    shipped.kept.size = says
    assert shipped.report().verdict is Verdict.ALTERED


def test_progress_reaches_its_end(shipped: Shipped) -> None:
    heard: list[tuple[str, int, int]] = []
    far, keys = InMemoryFarEnd(shipped.store), [shipped.key.verifier_key]
    verify_far(far, keys, progress=lambda *each: heard.append(each))
    assert heard[-1] == (shipped.origin, 600, 600)
    assert len(heard) == 3


def test_it_is_quick(shipped: Shipped) -> None:
    """Far from what it does, so that a busy machine does not fail it."""
    began = time.process_time()
    for _ in range(10):
        shipped.report()
    assert 6_000 / (time.process_time() - began) > 30_000


class Refusing(InMemoryFarEnd):
    """One whose files of a log cannot be read."""

    def __init__(self, store: Store, origin: str) -> None:
        super().__init__(store)
        self._origin = origin

    def pages(self, origin: str) -> Iterator[Page]:
        if origin == self._origin:
            raise TargetRefused("0001.parquet is no readable Parquet file")
        return super().pages(origin)


def test_a_log_that_cannot_be_read_is_told_and_the_others_are_verified(
    original: Shipped, log: SignedLog
) -> None:
    log.enter(count=5)
    log.seal()
    store = original.store.copied()
    other = store.ship(log.directory)
    keys = [original.key.verifier_key, log.key.verifier_key]
    report = verify_far(Refusing(store, other), keys)
    found = {each.origin: (each.verdict, each.why) for each in report.logs}
    assert found[other] == ("unverified", "0001.parquet is no readable Parquet file")
    assert found[original.origin][0] == "intact"
    assert not report.is_good
