"""What a text names: the servers of NATS, how to log in, and the stream. Pure, but that files are
looked for; it connects to nobody.

nats://USER:PASSWORD@HOST:4222,HOST:4222?stream=HANSARD
tls://TOKEN@HOST:4222?ca=ca.pem
nats://HOST:4222?creds=user.creds
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, unquote

from hansard.errors import ConfigError
from hansard_writer.shipping.targets import NATS, without_password

STREAM: Final = "HANSARD"
PORT: Final = 4222

_TLS: Final = "tls"
_FILES: Final = ("creds", "ca", "cert", "key")
_NAMES: Final = ("stream", "consumer")
_NOT_IN_NAMES: Final = frozenset(">*. /\\\t\r\n")


class Address(NamedTuple):
    """Servers as `nats` takes them, without logins; ``name`` is without secrets. ``login`` is a
    user and a password, or a token alone. Of TLS: a file of authorities, and an own certificate."""

    name: str
    servers: list[str]
    stream: str = STREAM
    consumer: str | None = None
    login: tuple[str, ...] = ()
    creds: str | None = None
    tls: bool = False
    ca: str | None = None
    cert: str | None = None
    key: str | None = None

    def __repr__(self) -> str:
        return f"<{self.name}>"


def parse_address(text: str) -> Address:
    """The address that a text is. Raises `ConfigError`, also where the library is missing."""
    if find_spec("nats") is None:
        raise ConfigError("NATS needs nats-py: pip install 'hansard[nats]'")
    name = without_password(text)
    scheme, _, rest = text.partition("://")
    if scheme not in NATS:
        raise ConfigError(f"{name} is no address of NATS: nats://HOST:{PORT}")
    hosts, _, query = rest.partition("?")
    logins, servers = _hosts(scheme, hosts.rstrip("/"), name)
    options = _options(query, name)
    creds = options.get("creds")
    if creds and find_spec("nkeys") is None:
        raise ConfigError("a file of credentials needs nkeys: pip install 'nats-py[nkeys]'")
    return Address(
        name, servers, options.get("stream", STREAM), options.get("consumer"),
        logins[0] if logins else (), creds, scheme == _TLS,
        options.get("ca"), options.get("cert"), options.get("key"),
    )  # fmt: skip


def _hosts(scheme: str, hosts: str, name: str) -> tuple[list[tuple[str, ...]], list[str]]:
    """The logins that stand in front of hosts, one at most, and the servers."""
    logins: list[tuple[str, ...]] = []
    servers = []
    for each in hosts.split(","):
        login, _, host = each.removeprefix(f"{scheme}://").rpartition("@")
        if not host:
            raise ConfigError(f"{name} names no host: {scheme}://HOST:{PORT}")
        if login:
            logins.append(tuple(map(unquote, login.split(":", maxsplit=1))))
        servers.append(f"{scheme}://{host}")
    if len(set(logins)) > 1:
        raise ConfigError(f"{name} has several logins: one is for all its servers")
    return logins, servers


def _options(query: str, name: str) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    for key, value in options.items():
        if key not in (*_FILES, *_NAMES):
            known = ", ".join((*_NAMES, *_FILES))
            raise ConfigError(f"{key!r:.40} of {name} is not known; there are {known}")
        if key in _FILES and not Path(value).is_file():
            raise ConfigError(f"{key} of {name}: {value!r:.200} is no file")
        if key in _NAMES and (not value or not _NOT_IN_NAMES.isdisjoint(value)):
            raise ConfigError(f"{key} of {name}: {value!r:.100} cannot be a name in JetStream")
    return options
