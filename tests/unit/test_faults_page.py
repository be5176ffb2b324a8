"""The page of faults says what the runs found, and nothing else."""

import json

from faults import results


def test_the_page_is_what_the_results_make_of_it() -> None:
    assert results.PAGE.read_text() == results.page(), "run scripts/faults, or edit neither"


def test_every_result_is_a_campaigns_that_the_page_shows() -> None:
    for path in results.RESULTS.glob("*.json"):
        assert json.loads(path.read_text())["campaign"] == path.stem
        assert path.stem in results.CAMPAIGNS
