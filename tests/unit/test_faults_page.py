"""The page of faults says what the runs found, and nothing less than what they are to show."""

import json
from typing import Any

import pytest

from faults import results

AT_LEAST = {  # of each campaign: so many in all of its rows that are named so, or in all
    "chaos": ("rounds", 300),
    "power_cut": ("", 2_000),
    "io_errors": ("", 2_000),
    "model": ("steps", 100_000),
    "hostile": ("", 200_000),
    "overload": ("", 10_000),
    "soak": ("", 100),
    "outcomes": ("", 100),
    "cut": ("events", 10_000),
}


def result_of(campaign: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((results.RESULTS / f"{campaign}.json").read_text())
    return found


def test_the_page_is_what_the_results_make_of_it() -> None:
    assert results.PAGE.read_text() == results.page(), "run scripts/faults, or edit neither"


@pytest.mark.parametrize("campaign", results.CAMPAIGNS)
def test_the_page_shows_each_campaign_in_full(campaign: str) -> None:
    result, (word, least) = result_of(campaign), AT_LEAST[campaign]
    assert result["campaign"] == campaign
    count = sum(row["count"] for row in result["rows"] if word in row["fault"] + row["how"])
    assert count >= least, f"{count} faults with {word!r}: run scripts/faults {campaign}"
