"""Where metrics are shown: this host alone, unless another address is named."""

import pytest

from hansard.errors import ConfigError
from hansard.metrics_address import metrics_address


@pytest.mark.parametrize("text", ["9464", ":9464", "127.0.0.1:9464"])
def test_without_a_host_it_is_the_loopback(text: str) -> None:
    address = metrics_address(text)
    assert address == ("127.0.0.1", 9464)
    assert address.url == "http://127.0.0.1:9464/metrics"


@pytest.mark.parametrize(
    ("text", "host", "is_loopback"),
    [
        ("0.0.0.0:1", "0.0.0.0", False), ("[::1]:1", "::1", True), ("[::]:1", "::", False),
        ("localhost:1", "localhost", True), ("m.example:1", "m.example", False),
        ("127.8.9.1:1", "127.8.9.1", True), ("10.0.0.7:1", "10.0.0.7", False),
    ],
)  # fmt: skip
def test_other_hosts_get_in_where_an_address_is_named(
    text: str, host: str, is_loopback: bool
) -> None:
    assert metrics_address(text) == (host, 1)
    assert metrics_address(text).is_loopback == is_loopback


def test_an_ipv6_address_stands_in_brackets_in_a_url_too() -> None:
    assert metrics_address("[::1]:9464").url == "http://[::1]:9464/metrics"


@pytest.mark.parametrize(
    "text",
    ["", ":", "here", "here:", ":65536", "::1:9464", "he re:1", "http://here:1", ":1/metrics"],
)
def test_what_is_no_address_is_refused_with_its_name_and_the_way_out(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--metrics .*HOST:PORT, or :PORT .*:9464"):
        metrics_address(text, "--metrics")
