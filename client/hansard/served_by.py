"""Whose writer a directory's events are for: the one beside it, or the one that it names."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from hansard import directory as layout
from hansard.errors import ConfigError, WriterUnavailable
from hansard.local_writer import LocalWriter
from hansard.settings import ENVIRONMENT_PREFIX, SETTINGS_FILE, Settings, load_settings

if TYPE_CHECKING:
    from hansard.remote_writer import RemoteWriter

Writer: TypeAlias = "LocalWriter | RemoteWriter"

_CONNECT: Final = f"{ENVIRONMENT_PREFIX}CONNECT"


def writer_of(directory: Path, settings: Settings | None = None) -> Writer:
    """By the settings that are given, else by those of the directory and the environment. Raises
    `ConfigError` for settings that cannot be used."""
    if settings is None:
        has_settings = os.access(directory / SETTINGS_FILE, os.F_OK)  # of another user: none
        if _CONNECT not in os.environ and not has_settings:
            return LocalWriter(directory)
        settings = load_settings(directory)
    if settings.connect is None or settings.server_key is None:
        return LocalWriter(directory)
    from hansard.remote_writer import RemoteWriter

    return RemoteWriter(directory, settings.connect, settings.server_key)


def met_in(directory: Path, arguments: Mapping[str, Any]) -> tuple[Settings, Writer]:
    """A client comes to a directory: what it is set to there, and whose its events are. Makes what
    is missing; raises `ConfigError`."""
    layout.prepare_for_client(directory)
    settings = load_settings(directory, arguments)
    return settings, writer_of(directory, settings)


def require_writer(to: "Path | Writer") -> Writer:
    """The same, or that very writer; raises `WriterUnavailable` where certainly nobody answers."""
    writer = writer_of(to) if isinstance(to, Path) else to
    if not writer.may_live():
        raise WriterUnavailable(f"no writer runs {writer.where}: {writer.way_out()}")
    return writer


def is_log_here(directory: Path) -> bool:
    """Whether the log of a directory is in it. Raises as `writer_of`."""
    return isinstance(writer_of(directory), LocalWriter)


def require_log_here(directory: Path) -> None:
    """Raises `ConfigError` where the log is on another host, and is to be read there."""
    writer = writer_of(directory)
    if not isinstance(writer, LocalWriter):
        raise ConfigError(
            f"the log of {directory} is on the host of {writer.name}: run this there, with the "
            "directory that it serves"
        )
