"""The parts of the Parquet target that touch no disk, or next to none."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from hansard_writer.proof.merkle_hash_tree import Edge, grow
from hansard_writer.proof.verifying.entry_rows import leaf_hashes
from hansard_writer.shipping.batch import Batch, Owner
from hansard_writer.shipping.parquet import layout
from hansard_writer.shipping.parquet.columns import leaves_of, table_of, without
from hansard_writer.shipping.parquet.facts import Facts, facts_of
from hansard_writer.shipping.parquet.log_files import among
from hansard_writer.shipping.parquet.rewriting import pieces
from hansard_writer.shipping.target import TargetRefused

ORIGIN = "hansard/" + "0a" * 16
LEAVES = b"".join(bytes([n]) * 32 for n in range(20))
EDGE, _ = grow(Edge(), LEAVES)
FACTS = Facts(ORIGIN, Edge(), EDGE, [b"\x07" * 32], ["a note\n"])
OWNERS = [Owner(b"\x01" * 32, "one", 1, 2), Owner(b"\x02" * 32, "two", 2, 3)]


def batch(count: int = 20, **changed: Any) -> Batch:
    salted = b"s" * 16 + b'{"n":1}'
    rows = [
        (n, n % 2, n, n * 1_001, "a.b", "info", None, f"T{n}", b"h" * 32, salted)
        for n in range(1, count + 1)
    ]
    facts: dict[str, Any] = {"rows": rows, "owners": OWNERS, "notes": [], "proof": []} | changed
    return Batch(ORIGIN, 0, count, **facts)


@pytest.mark.parametrize("origin", [ORIGIN, f"{ORIGIN}/2", "hansard/ab"])
def test_a_folder_s_name_says_the_origin(tmp_path: Path, origin: str) -> None:
    place = layout.place_of(tmp_path, origin)
    assert place.entries.parent == tmp_path / "entries"
    assert layout.origins_in(tmp_path) == []
    place.entries.mkdir(parents=True)
    place.range(1, 9).path.touch()
    assert layout.origins_in(tmp_path) == [origin]
    assert layout.parts_in(place.entries) == [place.range(1, 9)]


@pytest.mark.parametrize(
    "origin", ["hansard/../..", "hansard/ABCD", "other/ab", "hansard/ab/0", ""]
)
def test_an_origin_of_another_form_gets_no_folder(origin: str) -> None:
    with pytest.raises(TargetRefused, match="no origin of a log"):
        layout.place_of(Path("/nowhere"), origin)


def test_parts_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    place = layout.place_of(tmp_path, ORIGIN)
    place.staging.mkdir(parents=True)
    parts = [place.staged(*ends) for ends in ((1, 9, ".parquet"), (10, 99, ".pending"))]
    for each in reversed(parts):
        each.path.touch()
    place.holder.touch()
    (place.staging / "_what.was.being.written").touch()
    assert layout.parts_in(place.staging) == parts
    assert [each.is_pending for each in parts] == [False, True]
    assert layout.leftovers_in(place) == [place.staging / "_what.was.being.written"]


def test_facts_come_back_from_metadata() -> None:
    assert facts_of(FACTS.metadata()) == FACTS
    assert facts_of(FACTS.metadata() | {b"ARROW:schema": b"x"}) == FACTS


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"hansard.origin", b"\xff"),
        (b"hansard.front", b"[]"),
        (b"hansard.edge", json.dumps({"size": 1, "rows": ["00"]}).encode()),
        (b"hansard.edge", b"{"),
        (b"hansard.proof", b'["00"]'),
        (b"hansard.proof", b"7"),
        (b"hansard.notes", b"[" * 100_000),
    ],
)
def test_metadata_of_somebody_else_is_no_facts(key: bytes, value: bytes) -> None:
    for metadata in (FACTS.metadata() | {key: value}, None):
        with pytest.raises(ValueError, match="not what was written"):
            facts_of(metadata)


def test_a_table_has_the_columns_of_entries() -> None:
    found = batch()
    leaves = leaf_hashes(found.rows, {0: b"\x01" * 32, 1: b"\x02" * 32})
    table = table_of(found, leaves, FACTS.metadata())
    assert leaves_of(table) == leaves
    assert facts_of(table.schema.metadata) == FACTS
    first = table.slice(0, 1).set_column(2, "created_at", table["created_at"].cast(pa.int64())[:1])
    assert first.to_pylist() == [
        {
            "origin": ORIGIN, "seq": 1, "created_at": 1_001, "event_type": "a.b", "level": "info",
            "actor": None, "task_id": "T1", "payload": '{"n":1}', "producer": "02" * 32,
            "producer_seq": 1, "host": "two", "pid": 2, "redacted": False, "salt": b"s" * 16,
            "payload_hash": b"h" * 32, "leaf": leaves[:32],
        }
    ]  # fmt: skip


def test_what_is_taken_out_is_said_to_be_redacted_where_something_was() -> None:
    rows = [(*row[:8], None, None) if row[0] == 2 else row for row in batch(3).rows]
    table = without(table_of(batch(3, rows=rows), LEAVES[:96], {}), [True, True, False])
    assert table["redacted"].to_pylist() == [True, False, False]
    assert table["payload"].to_pylist() == [None, None, '{"n":1}']
    assert table["salt"].to_pylist() == [None, None, b"s" * 16]
    assert table["payload_hash"].to_pylist() == [b"h" * 32, None, b"h" * 32]


def test_pieces_are_each_behind_the_one_before() -> None:
    table = table_of(batch(), LEAVES, FACTS.metadata())
    found = list(pieces(table, FACTS, 8))
    assert [len(piece) for _, piece in found] == [8, 8, 4]
    facts = [each for each, _ in found]
    assert [each.front for each in facts] == [Edge(), facts[0].edge, facts[1].edge]
    assert facts[-1].edge == EDGE
    assert [each.proof for each in facts] == [[], [], FACTS.proof]


def test_spans_among_others_are_those_that_share_something() -> None:
    spans = [(1, 3), (5, 5), (9, 12), (20, 30)]
    assert among(spans, 4, 4) == []
    assert among(spans, 3, 9) == spans[:3]
    assert among(spans, 6, 10) == [(9, 12)]
    assert among(spans, 31, 99) == []
