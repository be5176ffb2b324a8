"""Hostile bytes at a real writer's sockets and in its spools, in small."""

from faults import hostile


def test_hostile_bytes_neither_stop_the_writer_nor_cost_a_good_event() -> None:
    rows = hostile.run(3_000, say=lambda _: None)
    assert sum(row.count for row in rows) >= 3_000
    assert all(row.count for row in rows)
