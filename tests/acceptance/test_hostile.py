"""Hostile bytes at a real writer's sockets and in its spools, in small."""

from faults import hostile


def test_hostile_bytes_neither_stop_the_writer_nor_cost_a_good_event() -> None:
    rows = hostile.run(3_000, say=lambda _: None)
    assert sum(row.count for row in rows) >= 3_000
    assert all(row.count for row in rows)


def test_nor_do_they_from_another_host_with_a_key_that_may_record() -> None:
    rows = hostile.run(2_500, say=lambda _: None, from_afar=True)
    assert sum(row.count for row in rows) >= 2_500
    assert all(row.count for row in rows)
