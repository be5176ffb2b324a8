"""``hansard view``: pages to look at a log, in a browser."""

import contextlib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import click

from hansard.errors import ConfigError
from hansard.served_by import require_log_here
from hansard_writer.cli.exits import Taken
from hansard_writer.cli.options import SECONDS, Number, directory_option
from hansard_writer.viewing import HOST, PORT, VERIFY_EVERY_S
from hansard_writer.viewing.listening import PortTaken, bound, is_loopback, pointer_to
from hansard_writer.viewing.shown_backup import shown_as_log

BACKUP: Final = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(
    name="view",
    epilog="""\b
Examples:
  hansard view
  hansard view --open --dir /var/lib/myapp/audit
  hansard view --port 0 /backup/audit-2026-11-22.db
""",
)
@click.argument("backup", required=False, type=BACKUP)
@directory_option
@click.option(
    "--host", default=HOST, show_default=True, help="Where to listen. Not encrypted: see below."
)
@click.option(
    "--port",
    type=Number(0, 65_535),
    default=PORT,
    show_default=True,
    help="At which port; 0 takes a free one.",
)
@click.option("--open", "opens", is_flag=True, help="Open it in a browser.")
@click.option(
    "--verify-every",
    type=SECONDS,
    default=VERIFY_EVERY_S,
    show_default=True,
    help="How often the log is verified, in seconds; 0 for once, at the start.",
)
def command(
    backup: Path | None,
    directory: Path,
    host: str,
    port: int,
    opens: bool,
    verify_every: float,
) -> None:
    """Show the log, or a BACKUP of it, in a browser, read-only.

    Entries by time, type, actor and task; operations, refusals and dead letters; full-text search;
    each entry with its payload, its neighbours and its proof; rates by type; tables and SQL. At the
    top stands what was verified, up to where and when: `hansard verify` runs in the background.

    Prints one line on stdout, the address, with a token that lets in whoever has it. Only this
    machine can connect. From elsewhere, forward the port (`ssh -L 8470:localhost:8470 HOST`); or
    name a --host to listen on, behind something that encrypts.

    It writes nothing to the log, and keeps no writer from working; it leaves DIR/verified as
    `hansard verify` does. Works without a network. Needs `pip install 'hansard[view]'`. Exits with
    4 where the port is taken.
    """
    with contextlib.ExitStack() as stack:
        if backup is not None:
            directory = stack.enter_context(shown_as_log(backup))
        else:
            require_log_here(directory)
        try:
            listening = stack.enter_context(bound(host, port))
        except PortTaken as error:
            raise Taken(str(error)) from error
        serving = _loaded()
        if not is_loopback(host):
            click.echo(
                f"Warning: {host} is open to other machines, and nothing is encrypted: whoever "
                "reads along has the token, and the record.",
                err=True,
            )

        def tell(address: str) -> None:
            click.echo(f"hansard view {address}")
            if opens:
                place = stack.enter_context(TemporaryDirectory(prefix="hansard-view-"))
                click.launch(pointer_to(address, Path(place)))

        serving.serve(
            directory,
            listening,
            host,
            is_backup=backup is not None,
            verify_every_s=verify_every,
            tell=tell,
        )


def _loaded() -> Any:
    try:
        from hansard_writer.viewing import serving
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("hansard", "hansard_writer"):
            raise
        raise ConfigError(
            f"hansard view needs {error.name}: pip install 'hansard[view]'"
        ) from error
    return serving
