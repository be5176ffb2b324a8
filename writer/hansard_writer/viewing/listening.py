"""Where the view listens, and the address by which it is opened.

It loads nothing that takes long: a port that is taken is said at once.
"""

import errno
import ipaddress
import socket
from html import escape
from pathlib import Path
from urllib.parse import quote

from hansard.errors import AuditLogError, ConfigError
from hansard_writer.viewing import HOST
from hansard_writer.viewing.guard import OPEN


def pointer_to(address: str, place: Path) -> str:
    """The address of a new file in a directory of our own that leads a browser to ``address``: on a
    command line, which everybody can read, the token would be no secret."""
    pointer = place / "hansard-view.html"
    pointer.touch(0o600)
    leads = f'<meta http-equiv="refresh" content="0; url={escape(address)}">'
    pointer.write_text(f"<!DOCTYPE html><title>Hansard</title>{leads}", encoding="utf-8")
    return pointer.as_uri()


class PortTaken(AuditLogError):
    """Somebody listens there. Name another with --port; 0 takes a free one."""


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises `PortTaken`, and `ConfigError` for what is no address here."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(
                f"port {port} of {host} is taken: name another with --port; 0 takes a free one"
            ) from error
        raise ConfigError(f"cannot listen on {host}, port {port}: {error.strerror}") from error
    return listening


def is_loopback(host: str) -> bool:
    """Whether nobody elsewhere can connect."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def address(host: str, port: int, token: str) -> str:
    """What to open in a browser."""
    name = {"0.0.0.0": HOST, "::": "::1"}.get(host, host)  # noqa: S104 - to be reached from here
    name = f"[{name}]" if ":" in name else name
    return f"http://{name}:{port}{OPEN}?token={quote(token)}"
