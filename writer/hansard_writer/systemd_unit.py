"""A hardened systemd unit for the writer of one directory: ``hansard.service``, filled in.

Text only: it looks at no directory, asks for no user, and installs nothing.
"""

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final

from hansard import directory as layout
from hansard.errors import ConfigError
from hansard.metrics_address import MetricsAddress

TEMPLATE: Final = "hansard.service"

_PLACEHOLDER: Final = re.compile(r"^@([A-Z_]+)@\n|@([A-Z_]+)@", re.MULTILINE)  # alone: its line
_PLAIN: Final = re.compile(r"[\w/.,:=+@-]+", re.ASCII)
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")  # systemd's rule, without its exceptions
_HOMES: Final = ("/home", "/root", "/run/user")  # what ProtectHome=yes hides
_TEMPORARY: Final = ("/tmp", "/var/tmp")  # noqa: S108 - what PrivateTmp=yes replaces
_NO_NETWORK: Final = """PrivateNetwork=yes
IPAddressDeny=any
RestrictAddressFamilies=AF_UNIX
"""
_NETWORK: Final = """# Other hosts come over tcp; and libzmq asks netlink for addresses, or aborts.
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
"""
_LOOPBACK: Final = """# Metrics are shown to this host alone.
IPAddressDeny=any
IPAddressAllow=localhost
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
"""
_METRICS: Final = """# Metrics are shown to other hosts.
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
"""
_ONLINE: Final = "Wants=network-online.target\nAfter=network-online.target\n"


@dataclass(frozen=True, slots=True)
class Service:
    """What one unit runs. ``command`` is what systemd is to start, in words; ``group`` that of the
    workers, None where they are the same user; with ``serves_hosts`` it may use the network, and
    for ``metrics`` as much of it as their address takes; ``reads`` what it must be able to reach
    besides its directory, such as a virtual environment. All paths are absolute."""

    command: Sequence[str]
    directory: Path
    user: str
    group: str | None = None
    serves_hosts: bool = False
    metrics: MetricsAddress | None = None
    working_directory: Path | None = None
    reads: Sequence[Path] = ()

    def __post_init__(self) -> None:
        for option, name in (("--user", self.user), ("--group", self.group)):
            if name is not None and not _NAME.fullmatch(name):
                raise ConfigError(f"{option} {name!r} is no name that a unit can hold")
        for word in (*self.command, str(self.directory), str(self.working_directory)):
            if not word.isprintable():  # nor are line breaks, nor bytes that are no UTF-8
                raise ConfigError(f"{word!r} cannot stand in a unit: name it otherwise")


def unit_text(service: Service) -> str:
    """The unit, ready for a file below /etc/systemd/system."""
    where = service.working_directory
    paths = [service.directory, *service.reads, *([where] if where else [])]
    network, is_online = _network(service)
    in_homes, in_temporary = _any_below(paths, _HOMES), _any_below(paths, _TEMPORARY)
    values = {
        "DIRECTORY": _text(service.directory),
        "DIRECTORY_WORD": _word(service.directory),
        "PREPARATION": _preparation(service),
        "COMMAND": " ".join(_word(word).replace("$", "$$") for word in service.command),
        "WORKING_DIRECTORY": f"WorkingDirectory={_text(where)}\n" if where else "",
        "USER": service.user,
        "GROUP": f"Group={service.group}\n" if service.group else "",
        "NETWORK": network,
        "ONLINE": _ONLINE if is_online else "",
        "PROTECT_HOME": "read-only" if in_homes else "yes",
        "PRIVATE_TMP": "no" if in_temporary else "yes",  # or no worker would find the sockets
        "RESTRICT_SUID_SGID": "no" if service.group else "yes",  # the group gets in by setgid
    }
    template = resources.files(__package__).joinpath(TEMPLATE).read_text()
    return _PLACEHOLDER.sub(lambda found: values[found[1] or found[2]], template)


def _network(service: Service) -> tuple[str, bool]:
    """What it may use, and whether that has to be there before it starts."""
    if service.serves_hosts:
        return _NETWORK, True
    if service.metrics is None:
        return _NO_NETWORK, False
    return (_LOOPBACK, False) if service.metrics.is_loopback else (_METRICS, True)


def _preparation(service: Service) -> str:
    """What the administrator runs before the first start, as a comment."""
    owner = f"-o {service.user}" + (f" -g {service.group}" if service.group else "")
    mode = layout.SHARED_DIRECTORY_MODE if service.group else layout.PRIVATE_DIRECTORY_MODE
    directory = shlex.quote(str(service.directory))
    return (
        "# Before the first start:\n"
        f"#   install -d {owner} -m {mode:04o} {directory}\n"
        "#   systemctl daemon-reload\n"
    )


def _any_below(paths: Iterable[Path], roots: Sequence[str]) -> bool:
    return any(path.is_relative_to(root) for path in paths for root in roots)


def _text(value: Path | str) -> str:
    """For a value that systemd takes as a whole, but for its %-specifiers."""
    return str(value).replace("%", "%%")


def _word(value: Path | str) -> str:
    """For a value that systemd splits into words: systemd.syntax(7)."""
    text = _text(value)
    if _PLAIN.fullmatch(text.replace("%", "")):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
