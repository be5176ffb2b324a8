"""What the log says of who may write to it from other hosts: an entry for each change of the list.

It holds the list against what the log has last said, kept in `meta` with those entries: so changes
that were made while no writer ran are said, too. Who may do what now, it does not decide.
"""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Final, NamedTuple

import orjson

from hansard_writer.identity import WRITE_META
from hansard_writer.own_entries import OwnEntries
from hansard_writer.remote.allow_list import Client
from hansard_writer.store import Store

CLIENT: Final = "hansard.client"
ALLOWED: Final = "allowed"
REVOKED: Final = "revoked"
CHANGED: Final = "changed"
ENTRIES_PER_PIECE_MAX: Final = 500

_SAID: Final = "clients"  # of `meta`: JSON, by name the key and the rights
_READ: Final = "SELECT value FROM meta WHERE key = ?"


class Change(NamedTuple):
    """What became of a client; ``client`` is how it is now, or was before it was revoked."""

    action: str
    client: Client


def changes(before: dict[str, Client], after: dict[str, Client]) -> Iterator[Change]:
    """How one list, by name, became another; first who may come no more."""
    for name, client in before.items():
        if name not in after:
            yield Change(REVOKED, client)
    for name, client in after.items():
        if name not in before:
            yield Change(ALLOWED, client)
        elif before[name] != client:
            yield Change(CHANGED, client)


class ClientEntries:
    """Of one log, in one run of its writer. ``clients`` gives who is allowed at present, the same
    object until that changes; None where no other host is served: then nothing is said."""

    def __init__(
        self, store: Store, own: OwnEntries, clients: Callable[[], tuple[Client, ...]] | None
    ) -> None:
        self._store = store
        self._own = own
        self._said = self._read()
        self._said_of: tuple[Client, ...] | None = None  # the list that the log agrees with
        self._clients = clients

    @property
    def has_news(self) -> bool:
        """Whether the list has changed since it was last looked through."""
        return self._clients is not None and self._clients() is not self._said_of

    def say(self) -> bool:
        """Enter what has changed, or a piece of it; whether there was anything. MUST NOT be called
        while a batch holds what is not committed. Raises `StoreUnready`, with nothing changed."""
        clients = self._clients() if self._clients else tuple(self._said.values())
        after = {each.name: each for each in clients}
        piece = list(islice(changes(self._said, after), ENTRIES_PER_PIECE_MAX))
        if piece:
            self._enter(piece)
        if len(piece) < ENTRIES_PER_PIECE_MAX:
            self._said_of = clients
        return bool(piece)

    def _enter(self, piece: list[Change]) -> None:
        said = dict(self._said)
        for action, client in piece:
            said[client.name] = client
            if action == REVOKED:
                del said[client.name]
        text = orjson.dumps({name: [each.key, each.rights] for name, each in said.items()})
        with self._own.entering() as entering:
            for change in piece:
                self._own.enter(CLIENT, "info", _facts(change), entering)
            self._store.connection.execute(WRITE_META, (_SAID, text.decode()))
        self._said = said

    def _read(self) -> dict[str, Client]:
        text = self._store.connection.execute(_READ, (_SAID,)).get
        listed = orjson.loads(text) if text else {}
        return {name: Client(key, name, tuple(rights)) for name, (key, rights) in listed.items()}


def _facts(change: Change) -> dict[str, Any]:
    client = change.client
    return {
        "action": change.action,
        "name": client.name,
        "public_key": client.key,
        "rights": list(client.rights),
    }
