"""Delivery: a log on its way to a target that is in memory, and fails when it is told to."""

import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hansard_writer.proof.merkle_hash_tree import Edge
from hansard_writer.shipping import delivery
from hansard_writer.shipping.batch import Batch, Checked, DoesNotVerify
from hansard_writer.shipping.delivery import Delivery, Observer, Shipped
from hansard_writer.shipping.log_source import HistoryDiffers, LogSource
from hansard_writer.shipping.standing import Standing, standings
from hansard_writer.shipping.target import TargetRefused, TargetTaken, TargetUnavailable
from provable import signing_key
from verifiable import SignedLog

NAME = "memory://here"


class Kept:
    """What outlives a connection: seqs and edges by origin; and what goes wrong, in order: before
    a batch is in, or behind it, as when a connection is cut before the answer."""

    def __init__(self) -> None:
        self.seqs: dict[str, list[int]] = {}
        self.edges: dict[str, Edge] = {}
        self.skips: list[tuple[int, int]] = []
        self.connections = 0
        self.before: list[Exception | None] = []
        self.behind: list[Exception | None] = []
        self.on_append: Any = None

    def open(self) -> "Connected":
        self.connections += 1
        return Connected(self)


class Connected:
    name = NAME

    def __init__(self, kept: Kept) -> None:
        self._kept = kept

    def edge(self, origin: str) -> Edge:
        return self._kept.edges.get(origin, Edge())

    def append(self, batch: Batch, checked: Checked) -> None:
        kept = self._kept
        if kept.before and (error := kept.before.pop(0)):
            raise error
        kept.seqs.setdefault(batch.origin, []).extend(row[0] for row in batch.rows)
        kept.edges[batch.origin] = checked.edge
        if kept.on_append:
            kept.on_append()
        if kept.behind and (error := kept.behind.pop(0)):
            raise error

    def close(self) -> None:
        self._kept = Kept()


class Heard(Observer):
    def __init__(self) -> None:
        self.held_up: list[str] = []
        self.skips: list[tuple[int, int]] = []

    def is_held_up(self, why: str, wait_s: float) -> None:
        self.held_up.append(why)

    def skipped(self, origin: str, first: int, last: int) -> None:
        self.skips.append((first, last))


@pytest.fixture(autouse=True)
def small_and_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "LogSource", partial(LogSource, entries_max=100))
    monkeypatch.setattr(delivery, "BACKOFF_S_MIN", 0.001)
    monkeypatch.setattr(delivery, "BACKOFF_S_MAX", 0.002)


@pytest.fixture
def log(directory: Path) -> Iterator[SignedLog]:
    log = SignedLog(directory)
    log.enter(count=350)
    log.seal()
    yield log
    log.close()


@pytest.fixture
def kept() -> Kept:
    return Kept()


def ship(log: SignedLog, kept: Kept, heard: Heard | None = None) -> Shipped:
    return Delivery(log.directory, NAME, kept.open, heard or Heard()).run(once=True)


def test_a_log_is_shipped_once_and_in_order(log: SignedLog, kept: Kept) -> None:
    assert ship(log, kept) == (log.origin, 350, 350, 350)
    log.enter(count=60)
    log.seal()
    log.enter(count=7)  # nobody has signed these
    assert ship(log, kept) == (log.origin, 60, 410, 410)
    assert ship(log, kept) == (log.origin, 0, 410, 410)
    assert kept.seqs == {log.origin: list(range(1, 411))}


@pytest.mark.parametrize("where", ["before", "behind"])
def test_after_a_cut_it_goes_on_from_what_the_target_has(
    log: SignedLog, kept: Kept, where: str
) -> None:
    cuts = [None, TargetUnavailable("cut"), TargetUnavailable("cut"), None, TargetUnavailable("x")]
    setattr(kept, where, cuts)
    heard = Heard()
    assert ship(log, kept, heard).shipped_to == 350
    assert kept.seqs == {log.origin: list(range(1, 351))}
    assert heard.held_up[:2] == ["cut", "cut"]
    assert kept.connections == 1 + len(heard.held_up)


def test_once_gives_up_after_a_few_tries_without_a_batch(log: SignedLog, kept: Kept) -> None:
    kept.before = [None] + [TargetUnavailable("away")] * 100
    with pytest.raises(TargetUnavailable, match="away"):
        ship(log, kept)
    assert kept.connections == delivery.TRIES_ONCE
    (said,) = standings(log.directory)
    assert (said["state"], said["why"], said["shipped_to"]) == ("failed", "away", 100)


def test_what_a_target_had_is_not_forgotten_while_it_is_away(log: SignedLog, kept: Kept) -> None:
    ship(log, kept)

    def away() -> Connected:
        raise TargetUnavailable("away")

    with pytest.raises(TargetUnavailable):
        Delivery(log.directory, NAME, away, Heard()).run(once=True)
    assert standings(log.directory)[0]["shipped_to"] == 350


def test_what_is_refused_is_not_tried_again(log: SignedLog, kept: Kept) -> None:
    kept.before = [TargetRefused("never")]
    with pytest.raises(TargetRefused, match="never"):
        ship(log, kept)
    assert kept.connections == 1
    (said,) = standings(log.directory)
    assert (said["state"], said["why"]) == ("failed", "never")


def test_it_ends_behind_the_batch_that_is_on_its_way(log: SignedLog, kept: Kept) -> None:
    shipping = Delivery(log.directory, NAME, kept.open, Heard())
    kept.on_append = shipping.stop
    assert shipping.run().shipped_to == 100
    assert standings(log.directory)[0]["state"] == "ended"


def test_it_ends_while_it_waits_for_a_target(log: SignedLog, kept: Kept,
                                             monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr(delivery, "BACKOFF_S_MIN", 60.0)
    monkeypatch.setattr(delivery, "BACKOFF_S_MAX", 60.0)
    kept.before = [TargetUnavailable("away")]
    heard = Heard()
    shipping = Delivery(log.directory, NAME, kept.open, heard)
    heard.is_held_up = lambda *_: shipping.stop()  # type: ignore[method-assign]
    assert shipping.run().shipped_to == 0


def test_what_is_signed_meanwhile_is_shipped_too(log: SignedLog, kept: Kept) -> None:
    shipping = Delivery(log.directory, NAME, kept.open, Heard(), interval_s=0.001)
    thread = threading.Thread(target=shipping.run)
    arrived = threading.Event()
    kept.on_append = lambda: kept.seqs[log.origin][-1] >= 351 and arrived.set()
    thread.start()
    log.enter(count=1)
    log.seal()
    assert arrived.wait(30), "the new entry was not shipped"
    shipping.stop()
    thread.join()
    assert kept.seqs == {log.origin: list(range(1, 352))}


def test_a_log_that_was_altered_is_not_shipped(log: SignedLog, kept: Kept) -> None:
    log.change("UPDATE entries SET level = 'debug' WHERE seq = 250")
    with pytest.raises(DoesNotVerify, match="201 to 300"):
        ship(log, kept)
    assert kept.seqs == {log.origin: list(range(1, 201))}


def test_a_payload_that_was_altered_is_named(log: SignedLog, kept: Kept) -> None:
    log.change("""UPDATE entries SET payload = '{"n":0}' WHERE seq = 250""")
    with pytest.raises(DoesNotVerify, match="entry 250 of"):
        ship(log, kept)


def test_an_altered_log_that_was_signed_by_another_key_is_not_shipped(
    log: SignedLog, kept: Kept
) -> None:
    log.enter(count=1)
    log.seal(signing_key(log.origin, seed=9))
    with pytest.raises(DoesNotVerify, match="no key that is known"):
        ship(log, kept)


def test_an_entry_that_is_missing_is_named(log: SignedLog, kept: Kept) -> None:
    log.change("DELETE FROM entries WHERE seq = 120")
    with pytest.raises(DoesNotVerify, match=r"101 to 200 .* are missing"):
        ship(log, kept)


def test_a_target_with_another_history_gets_nothing(log: SignedLog, kept: Kept) -> None:
    ship(log, kept)
    edge = kept.edges[log.origin]
    kept.edges[log.origin] = edge._replace(rows=(bytes(len(edge.rows[0])), *edge.rows[1:]))
    log.enter(count=5)
    log.seal()
    with pytest.raises(HistoryDiffers, match="not those that"):
        ship(log, kept)


def test_a_target_with_more_than_the_log_gets_nothing(
    log: SignedLog, kept: Kept, tmp_path: Path
) -> None:
    older = log.copied(tmp_path / "older")
    log.enter(count=5)
    log.seal()
    ship(log, kept)
    with pytest.raises(HistoryDiffers, match=r"355 entries .* 350 that are signed"):
        ship(older, kept)
    older.close()


def test_a_log_under_a_new_origin_is_shipped_again_as_another(log: SignedLog, kept: Kept) -> None:
    ship(log, kept)
    old, new = log.key.verifier_key, signing_key(f"{log.origin}/2", seed=2)
    log.say("hansard.key", reason="lost", retired=str(old), verifier_key=str(new.verifier_key))
    log.publish(new)
    log.seal()
    assert ship(log, kept) == (f"{log.origin}/2", 351, 351, 351)
    assert list(kept.seqs) == [log.origin, f"{log.origin}/2"]


def test_a_rotated_key_goes_on_under_the_same_origin(log: SignedLog, kept: Kept) -> None:
    ship(log, kept)
    old = log.key
    log.publish(log.rotate(seed=2))
    log.seal(old, log.key)
    log.enter(count=5)
    log.seal()
    assert ship(log, kept) == (log.origin, 6, 356, 356)


def test_what_was_pruned_before_it_was_shipped_is_told(log: SignedLog, kept: Kept) -> None:
    log.pruned(280)
    heard = Heard()
    assert ship(log, kept, heard).entries == 71
    assert heard.skips == [(1, 280)]
    assert kept.seqs[log.origin][0] == 281


def test_a_second_one_to_the_same_target_is_refused(log: SignedLog, kept: Kept) -> None:
    with Standing(log.directory, NAME), pytest.raises(TargetTaken, match=NAME):
        ship(log, kept)
    assert ship(log, kept).shipped_to == 350


def test_how_it_stands_is_there_to_be_read(log: SignedLog, kept: Kept) -> None:
    ship(log, kept)
    Delivery(log.directory, "memory://there", Kept().open, Heard()).run(once=True)
    found = standings(log.directory)
    assert {each["target"] for each in found} == {NAME, "memory://there"}
    assert all(
        (each["state"], each["origin"], each["shipped_to"], each["covered"])
        == ("ended", log.origin, 350, 350)
        for each in found
    )
    (log.directory / "shipping" / "other.json").write_text("no")
    assert standings(log.directory) == found


def test_one_that_was_killed_is_told_from_one_that_ended(log: SignedLog, kept: Kept) -> None:
    with Standing(log.directory, NAME) as standing:
        standing.note("shipping", shipped_to=7)
        assert standings(log.directory)[0]["state"] == "shipping"
    assert standings(log.directory)[0]["state"] == "killed"


def test_entries_gather_between_two_batches(log: SignedLog, kept: Kept) -> None:
    shipping = Delivery(log.directory, NAME, kept.open, Heard(), interval_s=3_600)
    arrived = threading.Event()
    kept.on_append = lambda: kept.seqs[log.origin][-1] == 350 and arrived.set()
    thread = threading.Thread(target=shipping.run)
    thread.start()
    assert arrived.wait(30), "the log was not shipped"  # all four batches without a pause
    shipping.stop()
    thread.join()


def test_a_target_that_takes_less_gets_smaller_batches(log: SignedLog, kept: Kept) -> None:
    class Small(Connected):
        batch_bytes_max = 1_000

    sizes: list[int] = []
    kept.on_append = lambda: sizes.append(len(kept.seqs[log.origin]))
    open_ = partial(Small, kept)
    Delivery(log.directory, NAME, open_, Heard()).run(once=True)
    assert kept.seqs == {log.origin: list(range(1, 351))}
    assert sizes[0] < 50
