"""Where a writer shows its metrics: ``HOST:PORT``. Pure.

Without a host it is the loopback: who wants others to look has to name an address that they reach.
"""

import ipaddress
import re
from typing import Final, NamedTuple

from hansard.errors import ConfigError

LOOPBACK: Final = "127.0.0.1"
PORT_MAX: Final = 65_535

_ADDRESS: Final = re.compile(
    r"(?:(?:\[(?P<ipv6>[0-9A-Fa-f:.]+(?:%\w+)?)\]|(?P<name>[A-Za-z0-9_.-]*)):)?(?P<port>[0-9]{1,5})"
)


class MetricsAddress(NamedTuple):
    """What to bind; port 0 is one that is free."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether nobody on another host can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def url(self) -> str:
        """For a browser, or a scraper's configuration."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/metrics"


def metrics_address(text: str, shown: str = "metrics") -> MetricsAddress:
    """The address of ``9464``, ``:9464``, ``0.0.0.0:9464``, ``metrics.internal:9464`` or
    ``[::1]:9464``. Raises `ConfigError`, in which ``shown`` is what it is called."""
    found = _ADDRESS.fullmatch(text)
    if not found or int(found["port"]) > PORT_MAX:
        raise ConfigError(
            f"{shown} is {text!r}: it must be HOST:PORT, or :PORT for this host alone, such as "
            ":9464; an IPv6 address stands in brackets"
        )
    return MetricsAddress(found["ipv6"] or found["name"] or LOOPBACK, int(found["port"]))
