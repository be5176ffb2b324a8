"""The ``hansard`` command: its subcommands, each loaded when it is used.

A thin skin: what a command does is the client's, the reader's or the writer's business.
"""

import platform
import sys
from importlib import import_module
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from hansard_writer.cli import streams
from hansard_writer.cli.exits import Failed, errors_as_exits

_MODULES: Final = {
    "serve": "serve",
    "record": "record",
    "import": "import_",
    "query": "query",
    "tail": "tail",
    "export": "export",
    "stats": "stats",
    "doctor": "doctor",
    "verify": "verify",
    "checkpoint": "checkpoint",
    "prove": "prove",
    "dlq": "dlq",
    "redact": "redact",
    "prune": "prune",
    "backfill": "backfill",
    "migrate": "migrate",
    "backup": "backup",
    "restore": "restore",
    "ship": "ship",
    "keys": "keys",
    "view": "view",
    "top": "top",
    "demo": "demo",
    "completion": "completion",
}


class CommandGroup(click.Group):
    """Finds a command in its module, ``command`` there, and turns errors into exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_MODULES)

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's signature
        cmd_name: str,
    ) -> click.Command | None:
        if cmd_name not in _MODULES:
            return None
        command: click.Command = import_module(f"{__name__}.{_MODULES[cmd_name]}").command
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """A command's name needs no command: loading all of them would take a second."""
        if incomplete[:1] in ("-", "/"):
            return super().shell_complete(ctx, incomplete)
        names = self.list_commands(ctx)
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]

    def main(self, *args: Any, **kwargs: Any) -> Any:
        with streams.prepared():
            try:
                return super().main(*args, **kwargs)
            except streams.OutputFailed as error:  # of --help: the others end in `invoke`
                Failed(str(error)).show()
                sys.exit(Failed.exit_code)

    def invoke(self, ctx: click.Context) -> Any:
        with errors_as_exits():
            return super().invoke(ctx)


def _print_versions(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    import apsw
    import zmq

    import hansard
    from hansard import wire
    from hansard_writer import schema

    click.echo(
        f"hansard {hansard.__version__} (SQLite {apsw.sqlite_lib_version()}, "
        f"libzmq {zmq.zmq_version()}, wire version {wire.WIRE_VERSION}, "
        f"schema version {schema.VERSION}, Python {platform.python_version()})"
    )
    ctx.exit()


@click.command(
    cls=CommandGroup,
    name="hansard",
    epilog="Example: hansard serve & hansard record user.login '{\"user\": 7}'; hansard query",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_versions,
    help="Show the versions of hansard, SQLite, libzmq, wire format, schema and Python.",
)
def main() -> None:
    """The audit log of multi-process Python applications.

    Data goes to stdout, all else to stderr. Exit codes: 0 done, 1 the answer is no or it
    failed, 2 usage, 3 no writer answers, 4 taken, 130 interrupted.
    """
