"""The view's process, from its start to its end: Datasette behind the guard, on a socket.

It is given the socket, and never opens the log by apsw.
"""

import asyncio
import logging
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import uvicorn
from datasette.app import Datasette

from hansard_writer.viewing import guard, plugin
from hansard_writer.viewing.asking import Readers
from hansard_writer.viewing.guard import Guard
from hansard_writer.viewing.listening import address
from hansard_writer.viewing.log_database import LogDatabase
from hansard_writer.viewing.pages import Pages
from hansard_writer.viewing.pausing import Pauses
from hansard_writer.viewing.verification import Verification

STOP_S: Final = 3
NAME: Final = "log"  # of the database, in addresses

_HERE: Final = Path(__file__).parent
_SETTINGS: Final = {
    "default_page_size": 50,
    "max_returned_rows": 1_000,
    "num_sql_threads": 2,
    "sql_time_limit_ms": 1_000,  # a longer read transaction would hold up the writer's checkpoints
    "allow_facet": False,
    "suggest_facets": False,
    "allow_download": False,
    "allow_csv_stream": False,
    "default_cache_ttl": 0,
    "truncate_cells_html": 300,
}


def serve(
    directory: Path,
    listening: socket.socket,
    host: str,
    *,
    is_backup: bool,
    verify_every_s: float,
    tell: Callable[[str], None],
) -> None:
    """Serve until SIGINT or SIGTERM; ``tell`` gets the address, with the token in it. ``directory``
    is a log's, or has a backup as one. Raises `hansard.AuditLogError` for one that is neither."""
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    asyncio.run(_serve(directory, listening, host, is_backup, verify_every_s, tell))


async def _serve(
    directory: Path,
    listening: socket.socket,
    host: str,
    is_backup: bool,
    verify_every_s: float,
    tell: Callable[[str], None],
) -> None:
    pauses = Pauses()
    readers = Readers(directory, pauses)
    if is_backup:
        await readers.ask("as_backup")
    await readers.ask("header")  # a log that cannot be read is said before anything is served
    verification = Verification(directory, verify_every_s)
    plugin.register(Pages(readers, verification))
    datasette = _datasette(directory, pauses)
    token, port = guard.new_token(), listening.getsockname()[1]
    server = uvicorn.Server(
        uvicorn.Config(
            Guard(datasette.app(), token, host, port),
            access_log=False,  # it would have the token
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=STOP_S,
            lifespan="on",
            ws="none",
        )
    )
    for each in (signal.SIGINT, signal.SIGTERM):
        # Its own are over these while it serves, and raise them at its end. Who has been told the
        # address may ask for the end before that.
        signal.signal(each, server.handle_exit)
    verifying = asyncio.create_task(verification.run())
    tell(address(host, port, token))
    try:
        await server.serve(sockets=[listening])
    finally:
        verifying.cancel()
        await asyncio.gather(verifying, return_exceptions=True)
        await readers.close()


class _Datasette(Datasette):  # type: ignore[misc]  # it has no types
    """Without the catalogue of all tables, which no page shows and which is read from each."""

    async def refresh_schemas(self) -> None:
        pass


def _datasette(directory: Path, pauses: Pauses) -> Any:
    metadata = {"title": "Hansard", "databases": {NAME: {"title": "Tables and SQL"}}}
    datasette = _Datasette(
        [],
        memory=False,
        metadata=metadata,
        settings=_SETTINGS,
        template_dir=str(_HERE / "templates"),
        static_mounts=[(guard.ASSETS.strip("/"), str(_HERE / "static"))],
        cors=False,
        cache_headers=False,
    )
    datasette.remove_database("_memory")
    datasette.add_database(LogDatabase(datasette, directory, pauses), name=NAME)
    return datasette
