"""What a system may do this way or that has a decided outcome: each fault of the campaign, once."""

import pytest

from faults import outcomes


@pytest.mark.parametrize("scenario", outcomes.SCENARIOS, ids=lambda each: each.make.__name__)
def test_a_fault_has_the_outcome_that_was_decided(scenario: outcomes.Scenario) -> None:
    row = outcomes.make(scenario, 1, seed=7)
    if not row.count:
        pytest.skip(row.outcome)
    assert row.count == 1
