"""Which target a text names, and how it is opened. The libraries beneath are loaded by who is used.

postgresql://user@host/database     PostgreSQL
nats://host:4222                    NATS JetStream
/mnt/archive, file:///mnt/archive   a directory of Parquet files
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from hansard.errors import ConfigError
from hansard_writer.shipping.far_end import FarEnd
from hansard_writer.shipping.target import Target

POSTGRESQL: Final = frozenset({"postgresql", "postgres"})
NATS: Final = frozenset({"nats", "tls"})
FILE: Final = "file"

_PORT: Final = re.compile(r"[^:]*(:\d*)?")


class TargetOptions(NamedTuple):
    """What a target may be told; each heeds its own."""

    replicas: int = 3
    partitions: int = 16
    rows_per_file: int = 100_000
    file_age_s: float = 60.0


class Named(NamedTuple):
    """A target that a text names: of which kind, its name without a password, and its opener."""

    kind: str
    name: str
    open: Callable[[], Target]


def target_named(text: str, options: TargetOptions) -> Named:
    """The target that a text names. Raises `ConfigError` for one of no kind that is known, and
    where the library of its kind is missing."""
    kind = kind_of(text)
    if kind == "postgresql":
        from hansard_writer.shipping.postgresql import opener
    elif kind == "nats":
        from hansard_writer.shipping.jetstream import opener
    else:
        from hansard_writer.shipping.parquet import opener
    return Named(kind, without_password(text), opener(text, options))


def far_end_named(text: str) -> FarEnd:
    """The target that a text names, opened to be verified. Raises `ConfigError` as `target_named`
    does, and where it is of a kind that keeps no log; and as `FarEnd` does."""
    kind = kind_of(text)
    if kind == "nats":
        raise ConfigError(
            f"{without_password(text)} passes logs on: verify them where they are kept"
        )
    if kind == "postgresql":
        from hansard_writer.shipping.postgresql import far_end
    else:
        from hansard_writer.shipping.parquet import far_end
    return far_end(text)


def kind_of(text: str) -> str:
    """postgresql, nats or parquet. Raises `ConfigError`."""
    scheme, found, _ = text.partition("://")
    if not found or scheme == FILE:
        first = text.split("/", maxsplit=1)[0]
        if not text or (not found and ("=" in first or first.endswith(":"))):
            raise _unknown(text)
        return "parquet"
    if scheme not in POSTGRESQL | NATS:
        raise _unknown(text)
    _require_escaped(text)
    return "postgresql" if scheme in POSTGRESQL else "nats"


def path_of(text: str) -> Path:
    """The directory that a target of Parquet files names."""
    if text.startswith(f"{FILE}://"):
        return Path(unquote(urlsplit(text).path))
    return Path(text).absolute()


def without_password(text: str) -> str:
    """A target's text as others may see it: passwords, also among its parameters, are left out, and
    of NATS what stands alone in front of a host, which is a token."""
    parts = urlsplit(text)
    if not parts.scheme:
        return str(Path(text).absolute())
    has_tokens = parts.scheme in NATS
    shown = ",".join(_without_password(host, has_tokens) for host in _logins(parts))
    query = "&".join(
        each
        for each in parts.query.split("&")
        if not each.lower().startswith(("password", "sslpass"))
    )
    return urlunsplit(parts._replace(netloc=shown, query=query))


def _logins(parts: SplitResult) -> list[str]:
    """Of PostgreSQL there is one login, in front of all hosts; of NATS each may have its own."""
    return parts.netloc.split(",") if parts.scheme in NATS else [parts.netloc]


def _require_escaped(text: str) -> None:
    """No part of a password may be taken for something else, which would be shown. Raises
    `ConfigError`, in which nothing of it is shown either."""
    parts = urlsplit(text)
    hosts = [each.rpartition("]")[2] for each in _logins(parts) if "@" not in each]
    if (
        any(each.count("@") > 1 for each in _logins(parts))
        or "@" in parts.path + parts.fragment + parts.query.partition("=")[0]
        or (parts.scheme in NATS and not all(_PORT.fullmatch(each) for each in hosts))
    ):
        raise ConfigError(
            f"this {parts.scheme}:// is no URL: in a user's name or password, write @ as %40, / as "
            "%2F, : as %3A, ? as %3F, # as %23 and a comma as %2C"
        )


def _without_password(host: str, has_tokens: bool) -> str:
    login, at, host = host.rpartition("@")
    user, colon, _ = login.partition(":")
    return host if has_tokens and not colon else user + at + host


def _unknown(text: str) -> ConfigError:
    scheme = text.partition("://")[0]
    return ConfigError(
        f"{scheme!r:.40} is no kind of target: name postgresql://USER@HOST/DATABASE, "
        "nats://HOST:4222, or a directory for Parquet files"
    )
