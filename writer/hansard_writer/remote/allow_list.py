"""DIR/curve.allowed: which keys of other hosts may do what. Its text, and the file.

One key a line: the public key in Z85, a name, the rights, as ``KEY web-1 record,call``. A line that
begins with ``# `` is a comment, and not kept when the list is written. What a right is good for is
not known here.
"""

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from hansard import directory as layout
from hansard.curve import check_public_key
from hansard.errors import ConfigError
from hansard_writer.durable_files import replace_file
from hansard_writer.remote.rights import RIGHTS

FILE_BYTES_MAX: Final = 4 << 20  # about 50,000 keys
NAME_CHARACTERS_MAX: Final = 64

_NAME: Final = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{NAME_CHARACTERS_MAX - 1}}}")
_HEADER: Final = "# Keys of other hosts that may come over tcp: `hansard keys allow`, `revoke`.\n"


class Client(NamedTuple):
    """One line: a key, the name that it goes by, and what it may do, in the order of `RIGHTS`."""

    key: str
    name: str
    rights: tuple[str, ...]


def check_name(name: str) -> None:
    """Raises `ConfigError` for what is no client's name."""
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"the name is {name!r:.100}: it must be at most {NAME_CHARACTERS_MAX} letters, digits, "
            "dots, dashes and underscores, a letter or digit first"
        )


def rights_of(text: str) -> tuple[str, ...]:
    """The rights that a list like ``record,call`` names. Raises `ConfigError`."""
    named = {each.strip() for each in text.split(",")}
    if not named <= set(RIGHTS):
        raise ConfigError(f"the rights are {text!r:.100}: they must be some of {','.join(RIGHTS)}")
    return tuple(right for right in RIGHTS if right in named)


def parsed(text: str, shown: str) -> tuple[Client, ...]:
    """The clients of a list. Raises `ConfigError`, which says in which line of ``shown``."""
    clients: dict[str, Client] = {}
    names: set[str] = set()
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("# "):
            continue
        try:
            client = _client_of(line)
        except ConfigError as error:
            raise ConfigError(f"line {number} of {shown}: {error}") from None
        if client.key in clients or client.name in names:
            raise ConfigError(f"line {number} of {shown}: {client.name}, or its key, stands twice")
        clients[client.key] = client
        names.add(client.name)
    return tuple(clients.values())


def text_of(clients: Sequence[Client]) -> str:
    """The list, ready for its file."""
    lines = (f"{each.key} {each.name} {','.join(each.rights)}\n" for each in clients)
    return _HEADER + "".join(lines)


def read_clients(directory: Path) -> tuple[Client, ...]:
    """Who is allowed in a directory: nobody, without a list. Raises `ConfigError`."""
    path = directory / layout.CURVE_ALLOWED
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    if len(content) > FILE_BYTES_MAX:
        raise ConfigError(f"{path} is larger than {FILE_BYTES_MAX:,} bytes: no list of keys is")
    try:
        return parsed(content.decode("ascii"), str(path))
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is no list of keys: put the right one back") from None


@contextlib.contextmanager
def changing(directory: Path) -> Iterator[list[Client]]:
    """Within, the list as it is, to be changed in place; at the end it is written, if it was.

    Whoever else changes it waits. Raises `ConfigError`.
    """
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if os.fstat(descriptor).st_uid != os.geteuid():
                says = layout.foreign_owner(directory, "says who may connect")
                raise ConfigError(says)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            before = read_clients(directory)
            clients = list(before)
            yield clients
            if tuple(clients) != before:
                path = directory / layout.CURVE_ALLOWED
                replace_file(path, text_of(clients).encode(), layout.PRIVATE_FILE_MODE)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ConfigError(f"cannot change the list in {directory}: {error.strerror}") from error


def _client_of(line: str) -> Client:
    words = line.split()
    if len(words) != 3:
        raise ConfigError("it must be a key, a name and rights, such as `record,call`")
    key, name, rights = words
    check_public_key(key)
    check_name(name)
    return Client(key, name, rights_of(rights))
