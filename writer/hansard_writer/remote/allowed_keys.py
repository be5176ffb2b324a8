"""The allow-list in a running writer: read again when it changes, asked for each message.

What it says holds at once, for connections that stand, too. It changes nothing.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from hansard import directory as layout
from hansard.errors import ConfigError
from hansard_writer.remote.allow_list import Client, read_clients
from hansard_writer.remote.rights import Peer

LOOK_S: Final = 1.0  # between two looks at the file; and for a key that is not known yet

_LOG: Final = logging.getLogger("hansard.writer")


class AllowedKeys:
    """Whose keys may do what at present, in one directory. Raises `ConfigError` where that cannot
    be told at first; a list that is spoilt later changes nothing, and is complained of once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._path = directory / layout.CURVE_ALLOWED
        self._next_look = 0.0
        self._is_unread = False
        self._state = self._stat()
        self._use(read_clients(directory))

    def look(self, now: float) -> None:
        """Read the list again if it has changed, and it is time."""
        if now >= self._next_look:
            self._next_look = now + LOOK_S
            self._read_if_changed()

    def admits(self, key: str) -> bool:
        """Whether somebody with this key may connect: also a key that was allowed just now."""
        if key not in self._by_key:
            self._read_if_changed()
        return key in self._by_key

    def peer(self, key: str, address: str) -> Peer:
        """Who has sent something with this key."""
        client = self._by_key.get(key)
        if client is None:
            return Peer(key, "", (), address)
        return Peer(key, client.name, client.rights, address)

    def _read_if_changed(self) -> None:
        state = self._stat()
        is_new = state != self._state
        if not is_new and not self._is_unread:
            return
        self._state = state
        try:
            clients = read_clients(self._directory)
        except ConfigError as error:
            self._is_unread = isinstance(error.__cause__, OSError)  # that may pass: tried again
            if is_new:
                _LOG.error("%s; who was allowed before still is, and nobody else", error)
        else:
            self._is_unread = False
            self._use(clients)
            _LOG.info("%s has changed: keys that may connect: %d", self._path, len(self.clients))

    def _use(self, clients: tuple[Client, ...]) -> None:
        self.clients = clients
        self._by_key: Mapping[str, Client] = {each.key: each for each in clients}

    def _stat(self) -> tuple[int, int, int] | None:
        """What changes with the file; None without one, or where it cannot be told."""
        try:
            facts = self._path.stat()
        except OSError:
            return None
        return facts.st_ino, facts.st_mtime_ns, facts.st_size
