"""Batches as messages of a stream, and back."""

from collections.abc import Mapping

import pytest

from hansard_writer.proof.merkle_hash_tree import Edge
from hansard_writer.shipping.batch import Batch, MalformedBatch, pack_batch
from hansard_writer.shipping.jetstream import messages as module
from hansard_writer.shipping.jetstream.messages import (
    EDGE,
    ENCODING,
    HEADER_BYTES_MAX,
    MESSAGE_ID,
    PART,
    Joined,
    Joiner,
    Message,
    Outgoing,
    covers,
    edge_of,
    edge_text,
    outgoing,
    read_batch,
    subject_of,
)
from hansard_writer.shipping.log_source import LogSource
from verifiable import SignedLog

BEFORE, BEHIND = Edge(16, (b"", bytes(32))), Edge(17, (bytes(32), bytes(32)))
ROOM = 2_000


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> Batch:
    log = SignedLog(tmp_path_factory.mktemp("original") / "log")
    log.enter(count=100)
    log.seal()
    source = LogSource(log.directory)
    found = source.next(0)
    source.close()
    log.close()
    assert found
    return found


def made(batch: Batch, room: int = 1 << 20) -> list[Outgoing]:
    return outgoing(
        batch, BEFORE, BEHIND, expected_last=7, message_bytes_max=HEADER_BYTES_MAX + room
    )


def arrived(message: Outgoing, number: int = 1, **headers: str) -> Message:
    return Message(number, message.subject, message.headers | headers, message.data)


def joined(data: bytes, headers: Mapping[str, str], subject: str) -> Joined:
    return Joined(data, [Message(1, subject, headers, data)])


def test_every_origin_has_a_subject_of_its_own() -> None:
    assert subject_of("hansard/00ff") == "hansard.entries.00ff"
    assert subject_of("hansard/00ff/2") == "hansard.entries.00ff_2"
    others = ["hansard/00ff_2", "00ff", "hansard/0.0", "hansard/>", "x y", "", "é" * 300]
    found = [subject_of(each) for each in others]
    assert len(set(found)) == len(others)
    assert all(each.isascii() and each.isprintable() for each in found)
    assert all(covers("hansard.entries.*", each) for each in found)


@pytest.mark.parametrize(
    ("pattern", "does"),
    [
        (">", True), ("hansard.>", True), ("hansard.entries.>", True), ("*.entries.>", True),
        ("*.*.>", True), ("hansard.entries.*", False), ("hansard.entries", False),
        ("hansard.other.>", False), ("hansard.entries.a", False), ("hansard.*", False),
        ("hansard.entries.*.>", False),
    ],
)  # fmt: skip
def test_it_is_known_whether_subjects_are_all_there(pattern: str, does: bool) -> None:
    assert covers(pattern, "hansard.entries.>") is does


def test_a_batch_is_one_message_that_says_what_it_is(batch: Batch) -> None:
    (message,) = made(batch)
    assert message.headers[MESSAGE_ID] == f"{batch.origin}/100"
    assert edge_of(message.headers) == BEHIND
    assert message.headers[ENCODING] == "zlib"
    assert len(message.data) < len(pack_batch(batch))
    found = Joiner().take(arrived(message))
    assert found
    assert read_batch(found) == batch


def test_what_cannot_be_compressed_is_not(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAYS_BELOW", 0.1)
    (message,) = made(batch)
    assert ENCODING not in message.headers
    assert message.data == pack_batch(batch)


def test_what_is_too_large_comes_in_parts(batch: Batch) -> None:
    parts = made(batch, ROOM)
    assert len(parts) > 2
    assert all(len(each.data) <= ROOM for each in parts)
    assert [each.headers[PART] for each in parts] == [
        f"{number}/{len(parts)}" for number in range(1, len(parts) + 1)
    ]
    assert len({each.headers[MESSAGE_ID] for each in parts}) == len(parts)
    joiner = Joiner()
    found = [joiner.take(arrived(each, number)) for number, each in enumerate(parts, 1)]
    assert found[:-1] == [None] * (len(parts) - 1)
    assert found[-1]
    assert [each.number for each in found[-1].messages] == list(range(1, len(parts) + 1))
    assert read_batch(found[-1]) == batch


def test_only_the_last_part_says_that_the_log_has_got_on(batch: Batch) -> None:
    parts = made(batch, ROOM)
    assert {edge_of(each.headers) for each in parts[:-1]} == {BEFORE}
    assert edge_of(parts[-1].headers) == BEHIND


def test_a_batch_that_is_begun_anew_has_other_ids(batch: Batch) -> None:
    again = outgoing(
        batch, BEFORE, BEHIND, expected_last=9, message_bytes_max=HEADER_BYTES_MAX + ROOM
    )
    ids = {each.headers[MESSAGE_ID] for each in [*again, *made(batch, ROOM)]}
    assert len(ids) == 2 * len(again)


def test_parts_that_were_left_are_done_with_those_that_were_begun_anew(batch: Batch) -> None:
    parts, joiner = made(batch, ROOM), Joiner()
    for number, each in enumerate([*parts[:2], *parts[:-1]], 1):
        assert joiner.take(arrived(each, number)) is None
    found = joiner.take(arrived(parts[-1], 99))
    assert found
    assert [each.number for each in found.messages] == [*range(1, len(parts) + 2), 99]
    assert read_batch(found) == batch


def test_parts_of_several_logs_may_come_by_turns(batch: Batch) -> None:
    parts, joiner = made(batch, ROOM), Joiner()
    other = [each._replace(subject="hansard.entries.other") for each in parts]
    found = [joiner.take(arrived(each)) for pair in zip(parts, other, strict=True) for each in pair]
    assert [each is not None for each in found] == [False] * (2 * len(parts) - 2) + [True] * 2
    assert found[-2]
    assert read_batch(found[-2]) == batch


def test_a_part_that_comes_behind_none_is_no_batch(batch: Batch) -> None:
    parts, joiner = made(batch, ROOM), Joiner()
    joiner.take(arrived(parts[0]))
    with pytest.raises(MalformedBatch, match=r"part 3 of \d+ does not come behind"):
        joiner.take(arrived(parts[2]))
    with pytest.raises(MalformedBatch, match="does not come behind"):
        joiner.take(arrived(parts[1]))  # the first one is gone with that


@pytest.mark.parametrize("part", ["2/1", "0/3", "1", "1/9999", "one of two", "1/2/3", "1/٣"])
def test_what_is_no_part_is_refused(batch: Batch, part: str) -> None:
    with pytest.raises(MalformedBatch, match="is no part"):
        Joiner().take(arrived(made(batch)[0], **{PART: part}))


def test_what_is_no_batch_is_refused(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    (message,) = made(batch)
    for data, headers in (
        (b"", {}),
        (b"hello", {}),
        (b"hello", {ENCODING: "zlib"}),
        (message.data, {ENCODING: "zstd"}),
        (message.data, {}),
        (message.data[:-9], {ENCODING: "zlib"}),
    ):
        with pytest.raises(MalformedBatch):
            read_batch(joined(data, headers, message.subject))
    monkeypatch.setattr(module, "PACKED_BYTES_MAX", 1_000)
    with pytest.raises(MalformedBatch, match="longer than any"):
        read_batch(joined(message.data, message.headers, message.subject))


def test_a_batch_on_the_subject_of_another_log_is_refused(batch: Batch) -> None:
    (message,) = made(batch)
    with pytest.raises(MalformedBatch, match="the subject of another log"):
        read_batch(joined(message.data, message.headers, "hansard.entries.00ff"))


@pytest.mark.parametrize("edge", [Edge(), BEFORE, BEHIND])
def test_an_edge_is_the_same_behind_a_header(edge: Edge) -> None:
    assert edge_of({EDGE: edge_text(edge)}) == edge


@pytest.mark.parametrize(
    "text", ["", "!", "AAAA", edge_text(Edge(-1)), edge_text(Edge(1, (b"x",)))]
)
def test_what_is_no_edge_is_none(text: str) -> None:
    assert edge_of({EDGE: text} if text else None) is None
