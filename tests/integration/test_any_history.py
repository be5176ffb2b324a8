"""Whatever happens, in whatever order: each event is entered once, and in its worker's order."""

from faults import model

STEPS = 2_500


def test_any_history_leaves_each_event_in_its_log_once_and_in_order() -> None:
    rows = model.run(STEPS, say=lambda _: None)
    steps, *faults = rows
    assert steps.count >= STEPS
    assert [row.fault for row in faults if not row.count] == [], "a fault was never made"
