"""How many descriptors the writer has, and how many of them other hosts may get."""

import resource

import pytest

from hansard_writer.descriptors import (
    REMOTE_CONNECTIONS_MAX,
    WANTED,
    raise_limit,
    remote_connections_max,
)

INFINITE = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("before", "after", "remote"),
    [
        ((1_024, 524_288), (WANTED, 524_288), REMOTE_CONNECTIONS_MAX),
        ((1_024, 4_096), (4_096, 4_096), 2_048),
        ((100_000, 100_000), (100_000, 100_000), REMOTE_CONNECTIONS_MAX),
        ((1_024, INFINITE), (WANTED, INFINITE), REMOTE_CONNECTIONS_MAX),
        ((INFINITE, INFINITE), (INFINITE, INFINITE), REMOTE_CONNECTIONS_MAX),
    ],
)
def test_the_limit_is_raised_and_half_of_it_is_this_hosts(
    monkeypatch: pytest.MonkeyPatch,
    before: tuple[int, int],
    after: tuple[int, int],
    remote: int,
) -> None:
    limits = [before]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, limit: limits.append(limit))
    raise_limit()
    assert limits[-1] == after
    assert remote_connections_max() == remote
