"""From the options of a ``hansard serve`` to the systemd unit that runs the same."""

import os
import pwd
import sys
import sysconfig
from pathlib import Path

import click
from click.core import ParameterSource

from hansard.metrics_address import metrics_address
from hansard.settings import load_settings, log_directory
from hansard_writer.systemd_unit import Service, unit_text


def unit_for(context: click.Context) -> str:
    """The unit for the command of this context."""
    options = context.params
    given = log_directory(options["directory"])
    directory = Path(os.path.abspath(given))  # noqa: PTH100 - a link stays one
    given_settings = {name: options[name] for name in ("group", "tcp", "metrics")}
    settings = load_settings(directory, given_settings)
    group, tcp = settings.group, settings.tcp
    command = [*_program(), "serve", "--dir", str(directory)]
    if group is not None:
        command += ["--group", group]
    if tcp is not None:
        command += ["--tcp", tcp]
    if settings.metrics is not None:
        command += ["--metrics", settings.metrics]
    for module in options["operations"]:
        command += ["--operations", module]
    for name in ("log_level", "log_format"):
        if context.get_parameter_source(name) == ParameterSource.COMMANDLINE:
            command += [f"--{name.replace('_', '-')}", options[name]]
    if options["supervise"]:
        command += ["--supervise"]
    return unit_text(
        Service(
            command,
            directory,
            options["user"] or _owner(directory),
            group,
            serves_hosts=tcp is not None,
            metrics=metrics_address(settings.metrics) if settings.metrics else None,
            working_directory=Path.cwd() if options["operations"] else None,
            reads=[directory.resolve(), *map(Path, (sys.prefix, sys.base_prefix, __file__))],
        )
    )


def _program() -> list[str]:
    """This command, as systemd finds it."""
    script = Path(sysconfig.get_path("scripts")) / "hansard"
    return [str(script)] if script.exists() else [sys.executable, "-P", "-m", "hansard_writer"]


def _owner(directory: Path) -> str:
    """The user that the directory belongs to, or would if it were made now."""
    uid = directory.stat().st_uid if directory.exists() else os.geteuid()
    if uid == 0:
        raise click.UsageError("--user is missing: the writer needs no root; name another user.")
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        raise click.UsageError(f"--user is missing: uid {uid} has no name.") from None
