"""The relay: batches of several logs from a stream that is in memory, to a target that is too."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hansard_writer.proof.checkpoint import sign_checkpoint
from hansard_writer.proof.merkle_hash_tree import Edge
from hansard_writer.proof.signed_note import VerifierKey
from hansard_writer.shipping import delivery, relay
from hansard_writer.shipping.batch import Batch, Checked
from hansard_writer.shipping.jetstream.messages import (
    HEADER_BYTES_MAX,
    Message,
    outgoing,
)
from hansard_writer.shipping.log_source import LogSource
from hansard_writer.shipping.relay import Observer, Relay, Relayed
from hansard_writer.shipping.target import TargetRefused, TargetUnavailable
from provable import signing_key
from verifiable import SignedLog


class Stream:
    """Messages, which of them are acked, and what goes wrong when they are fetched, in order."""

    name = "memory://stream"

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.acked: list[int] = []
        self.failing: list[Exception] = []
        self.on_fetch: Any = None
        self._given = 0

    @property
    def end(self) -> int:
        return len(self.messages)

    def put(self, batch: Batch, room: int = 1 << 20, **changes: Any) -> None:
        for each in outgoing(batch, Edge(), Edge(), expected_last=0,
                             message_bytes_max=HEADER_BYTES_MAX + room):  # fmt: skip
            message = Message(len(self.messages) + 1, each.subject, each.headers, each.data)
            self.messages.append(message._replace(**changes))

    def open(self) -> "Stream":
        """What is not acked comes again."""
        acked = set(self.acked)
        self._given = next(
            (at for at, each in enumerate(self.messages) if each.number not in acked),
            len(self.messages),
        )
        return self

    def fetch(self) -> list[Message]:
        if self.on_fetch:
            self.on_fetch()
        if self.failing:
            raise self.failing.pop()
        found = self.messages[self._given :][:2]
        self._given += len(found)
        return found

    def ack(self, messages: list[Message]) -> None:
        self.acked.extend(each.number for each in messages)

    def is_at_end(self) -> bool:
        return True

    def close(self) -> None:
        pass


class Kept:
    """What is in the target; and what goes wrong behind a batch that is in, in order."""

    name = "memory://target"

    def __init__(self) -> None:
        self.seqs: dict[str, list[int]] = {}
        self.edges: dict[str, Edge] = {}
        self.failing: list[Exception] = []
        self.asked: list[str] = []

    def edge(self, origin: str) -> Edge:
        self.asked.append(origin)
        return self.edges.get(origin, Edge())

    def append(self, batch: Batch, checked: Checked) -> None:
        assert batch.before == self.edge(batch.origin).size or batch.begun
        self.seqs.setdefault(batch.origin, []).extend(row[0] for row in batch.rows)
        self.edges[batch.origin] = checked.edge
        if self.failing:
            raise self.failing.pop()

    def close(self) -> None:
        pass


class Heard(Observer):
    def __init__(self) -> None:
        self.refusals: list[tuple[int, str]] = []
        self.held_up: list[str] = []

    def refused(self, message: Message, why: str) -> None:
        self.refusals.append((message.number, why))

    def is_held_up(self, why: str, wait_s: float) -> None:
        self.held_up.append(why)


@pytest.fixture(autouse=True)
def small_and_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "BACKOFF_S_MIN", 0.001)
    monkeypatch.setattr(delivery, "BACKOFF_S_MAX", 0.002)


@pytest.fixture
def logs(directory: Path) -> Iterator[list[SignedLog]]:
    """Two, of 350 entries."""
    logs = [SignedLog(directory / name) for name in ("one", "two")]
    for log in logs:
        log.enter(count=350)
        log.seal()
    yield logs
    for log in logs:
        log.close()


@pytest.fixture
def stream() -> Stream:
    return Stream()


@pytest.fixture
def kept() -> Kept:
    return Kept()


def batches(log: SignedLog, before: int = 0, entries_max: int = 100) -> list[Batch]:
    source, found = LogSource(log.directory, entries_max=entries_max), list[Batch]()
    while batch := source.next(found[-1].last if found else before):
        found.append(batch)
    source.close()
    return found


def ship(
    stream: Stream, kept: Kept, heard: Heard | None = None, keys: tuple[VerifierKey, ...] = ()
) -> Relayed:
    return Relay(stream.open, lambda: kept, heard or Heard(), keys).run(once=True)


def test_batches_of_several_logs_arrive_once_and_in_order(
    logs: list[SignedLog], stream: Stream, kept: Kept
) -> None:
    for pair in zip(*map(batches, logs), strict=True):
        for batch in pair:
            stream.put(batch)
    assert ship(stream, kept) == (8, 700, 0)
    assert kept.seqs == {log.origin: list(range(1, 351)) for log in logs}
    assert stream.acked == list(range(1, 9))
    assert ship(stream, kept) == (0, 0, 0)


def test_what_the_target_has_is_passed_over(
    logs: list[SignedLog], stream: Stream, kept: Kept
) -> None:
    for batch in [*batches(logs[0]), *batches(logs[0]), *batches(logs[0], before=250)]:
        stream.put(batch)
    assert ship(stream, kept) == (4, 350, 0)
    stream.acked.clear()
    assert ship(stream, kept) == (0, 0, 0)
    assert kept.seqs == {logs[0].origin: list(range(1, 351))}


def test_of_a_batch_that_overlaps_only_the_rest_is_shipped(
    logs: list[SignedLog], stream: Stream, kept: Kept
) -> None:
    stream.put(batches(logs[0])[0])
    stream.put(batches(logs[0], before=30, entries_max=350)[0])
    assert ship(stream, kept) == (2, 350, 0)
    assert kept.seqs == {logs[0].origin: list(range(1, 351))}


def test_parts_are_joined_and_acked_together(
    logs: list[SignedLog], stream: Stream, kept: Kept
) -> None:
    first = batches(logs[0])[0]
    stream.put(first, room=2_000)
    stream.messages.pop()  # who shipped it was killed
    left = len(stream.messages)
    assert left > 1
    assert ship(stream, kept) == (0, 0, 0)
    assert stream.acked == []
    stream.put(first, room=2_000)
    assert ship(stream, kept) == (1, 100, 0)
    assert stream.acked == list(range(1, 2 * left + 2))


def test_after_a_cut_it_goes_on_from_what_the_target_has(
    logs: list[SignedLog], stream: Stream, kept: Kept
) -> None:
    for batch in batches(logs[0]):
        stream.put(batch)
    kept.failing = [TargetUnavailable("cut")]  # its batch is in, and not acked
    stream.failing = [TargetUnavailable("away")]
    heard = Heard()
    assert ship(stream, kept, heard).refused == 0
    assert kept.seqs == {logs[0].origin: list(range(1, 351))}
    assert heard.held_up == ["away", "cut"]


def test_once_gives_up_after_a_few_tries(stream: Stream, kept: Kept) -> None:
    stream.failing = [TargetUnavailable("away")] * 100
    with pytest.raises(TargetUnavailable, match="away"):
        ship(stream, kept)
    assert len(stream.failing) == 100 - delivery.TRIES_ONCE


def test_what_the_target_refuses_is_not_tried_again(
    logs: list[SignedLog], stream: Stream, kept: Kept
) -> None:
    stream.put(batches(logs[0])[0])
    kept.failing = [TargetRefused("never")]
    with pytest.raises(TargetRefused, match="never"):
        ship(stream, kept)
    assert stream.acked == []


def test_a_gap_is_named_and_only_its_log_waits(
    logs: list[SignedLog], stream: Stream, kept: Kept
) -> None:
    one, two = map(batches, logs)
    for batch in [one[0], two[0], one[2], two[1], one[3]]:
        stream.put(batch)
    heard = Heard()
    assert ship(stream, kept, heard) == (3, 300, 2)
    assert kept.seqs == {logs[0].origin: list(range(1, 101)), logs[1].origin: list(range(1, 201))}
    ((number, why),) = heard.refusals  # once for a log
    assert number == 3
    assert f"entries 101 to 200 of {logs[0].origin} have not come" in why
    assert "hansard ship --once memory://target" in why
    stream.put(one[1])  # somebody puts it there after all
    stream.put(one[2])
    assert ship(stream, kept) == (2, 200, 0)


def test_what_was_pruned_before_it_was_shipped_is_no_gap(
    directory: Path, stream: Stream, kept: Kept
) -> None:
    log = SignedLog(directory)
    log.enter(count=50)
    log.pruned(20)
    for batch in batches(log):
        stream.put(batch)
    assert ship(stream, kept).refused == 0
    assert kept.seqs[log.origin][0] == 21
    log.close()


def test_what_does_not_verify_is_passed_over_and_the_true_one_taken(
    logs: list[SignedLog], stream: Stream, kept: Kept
) -> None:
    first, second = batches(logs[0])[:2]
    row = (*second.rows[5][:5], "debug", *second.rows[5][6:])
    forged = second._replace(rows=[*second.rows[:5], row, *second.rows[6:]])
    for batch in [first, forged, second]:
        stream.put(batch)
    heard = Heard()
    assert ship(stream, kept, heard) == (2, 200, 1)
    assert kept.seqs == {logs[0].origin: list(range(1, 201))}
    assert heard.refusals[0][0] == 2
    assert "are not those that were signed" in heard.refusals[0][1]


@pytest.mark.parametrize(
    "changes",
    [{"data": b"hello"}, {"headers": {}}, {"subject": "hansard.entries.00"},
     {"headers": {"Hansard-Part": "2/2"}}],
)  # fmt: skip
def test_what_is_no_batch_of_the_log_is_passed_over(
    logs: list[SignedLog], stream: Stream, kept: Kept, changes: dict[str, Any]
) -> None:
    first, second = batches(logs[0])[:2]
    stream.put(first)
    stream.put(second, **changes)
    stream.put(second)
    assert ship(stream, kept) == (2, 200, 1)
    assert stream.acked == [1, 2, 3]


def test_with_keys_only_what_they_signed_is_shipped(
    logs: list[SignedLog], stream: Stream, kept: Kept
) -> None:
    one, two = map(batches, logs)
    forged = sign_checkpoint(two[3].covering, [signing_key(logs[1].origin, seed=9)])
    for batch in [*one, *two[:3], two[3]._replace(notes=[forged])]:
        stream.put(batch)
    heard = Heard()
    keys = tuple(log.key.verifier_key for log in logs)
    assert ship(stream, kept, heard, keys) == (7, 650, 1)
    assert "no key that is known" in heard.refusals[0][1]
    stream.acked.clear()
    other = Kept()
    assert ship(stream, other, keys=keys[:1]) == (4, 350, 4)
    stream.acked.clear()
    assert ship(stream, other) == (4, 350, 0)  # without keys anybody may have signed


def test_a_log_that_was_not_seen_for_long_is_asked_for_again(
    logs: list[SignedLog], stream: Stream, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "EDGES_REMEMBERED_MAX", 1)
    for pair in zip(*map(batches, logs), strict=True):
        for batch in pair:
            stream.put(batch)
    assert ship(stream, kept) == (8, 700, 0)


def test_it_ends_when_it_is_told_to(stream: Stream, kept: Kept) -> None:
    shipping = Relay(stream.open, lambda: kept, Heard())
    stream.on_fetch = shipping.stop
    assert shipping.run() == (0, 0, 0)
