"""The settings: one table of names, types, defaults and meanings, and where values come from.

An argument beats a ``HANSARD_*`` variable, which beats ``DIR/hansard.toml``, which beats the
default. An unknown key is an error. Nothing here reads the environment at import.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from hansard.directory import foreign_directory
from hansard.errors import ConfigError, InvalidEvent
from hansard.events import check_event_type
from hansard.masking import fields_to_mask
from hansard.texts import check_text
from hansard.wire import ACTOR_BYTES_MAX

SETTINGS_FILE: Final = "hansard.toml"
DERIVED_SECTION: Final = "derived"  # of that file, for the writer: `hansard_writer.derived`
ENVIRONMENT_PREFIX: Final = "HANSARD_"
DIRECTORY_VARIABLE: Final = "HANSARD_DIR"

KIB: Final = 1 << 10
MIB: Final = 1 << 20
GIB: Final = 1 << 30

SPOOL_BYTES_MIN: Final = 2 * MIB  # room for one event of the largest size
SPOOL_BYTES_MAX: Final = 1 << 40
OUTPUT_BYTES_MAX: Final = MIB // 2  # stdout and stderr share an event, which has 1 MiB
RETENTION_AGE_MIN_S: Final = 3_600.0  # less would be a slip
RETENTION_AGE_MAX_S: Final = 3_155_760_000.0  # a hundred years
RETENTION_BYTES_MIN: Final = MIB
ON_FULL: Final = ("block", "drop", "raise")

_AGE: Final = re.compile(r"([0-9]{1,9})([smhdw])")
_AGE_UNITS_S: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def _setting(
    default: Any, meaning: str, *, minimum: float | None = None, maximum: float | None = None
) -> Any:
    limits = {"minimum": minimum, "maximum": maximum}
    return field(default=default, metadata={"meaning": meaning, **limits})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every setting, validated. Times are seconds, sizes bytes."""

    sync: bool = _setting(default=False, meaning="`record()` waits for the ack")
    queue_maxsize: int | None = _setting(
        None, "events that may wait uncommitted; without a usable spool 10,000", minimum=1
    )
    spool_bytes: int = _setting(
        64 * MIB,
        "size of a producer's spool file",
        minimum=SPOOL_BYTES_MIN,
        maximum=SPOOL_BYTES_MAX,
    )
    on_full: str = _setting(
        "block",
        "what a full queue does: block (up to ack_timeout, once, until there is room again), "
        "drop or raise",
    )
    ack_timeout: float = _setting(5.0, "how long a call waits for the writer (s)", minimum=0)
    close_timeout: float = _setting(2.0, "how long `close()` waits for the writer (s)", minimum=0)
    best_effort: bool = _setting(
        default=True, meaning="failures of the log are warnings, not exceptions"
    )
    actor: str | None = _setting(None, "actor of events that name none")
    event_types: tuple[str, ...] | None = _setting(None, "the only event types allowed")
    mask_fields: tuple[str, ...] | None = _setting(
        None,
        'fields whose value becomes `"[masked]"` before an event leaves the process, besides '
        "`password`, `token`, `secret`, `authorization`, `cookie` and their like; `-NAME` takes a "
        "default away, `-*` all",
    )
    output_bytes_max: int = _setting(
        64 * KIB,
        "bytes kept of an operation's stdout, and of its stderr",
        minimum=0,
        maximum=OUTPUT_BYTES_MAX,
    )

    batch_events_max: int = _setting(2_000, "events that fill a batch", minimum=1)
    batch_bytes_max: int = _setting(4 * MIB, "bytes that fill a batch", minimum=1)
    commit_interval: float = _setting(
        0.005, "how long an event waits for others to share its commit (s)", minimum=0
    )
    checkpoint_interval: float = _setting(
        1.0, "time between signed checkpoints, at least (s)", minimum=0
    )
    enforce_tasks: bool = _setting(
        default=False, meaning="unregistered tasks' events become dead letters"
    )
    dead_letters_max: int = _setting(100_000, "dead letters kept", minimum=0)
    dead_letters_bytes_max: int = _setting(256 * MIB, "bytes of dead letters kept", minimum=0)
    disk_warn: int = _setting(1 * GIB, "free space below which the writer warns", minimum=0)
    disk_suspend: int = _setting(
        128 * MIB, "free space below which intake is suspended and spools take over", minimum=0
    )
    reserve_bytes: int = _setting(
        8 * MIB, "file held ready to be released on a full disk; 0 for none", minimum=0
    )
    wal_bytes_target: int = _setting(
        64 * MIB, "WAL size that checkpoints aim to stay under", minimum=1 * MIB
    )
    reader_age_max: float = _setting(
        60.0,
        "age of a read transaction in the WAL's way that is complained of (s)",
        minimum=0,
    )
    fts_event_types: tuple[str, ...] | None = _setting(
        None, "event types whose payload is searchable, besides operations' stderr and error"
    )
    retention_max_age: float | None = _setting(
        None,
        "age at which entries are pruned by themselves, a tenth of it or a day late at most (s; or "
        "text such as 90d, in s, m, h, d or w)",
        minimum=RETENTION_AGE_MIN_S,
        maximum=RETENTION_AGE_MAX_S,
    )
    retention_max_bytes: int | None = _setting(
        None,
        "bytes in use of log.db, without dead letters, beyond which its oldest entries are pruned "
        "by themselves, a tenth of it at a time",
        minimum=RETENTION_BYTES_MIN,
    )
    group: str | None = _setting(None, "group whose members' workers may record")
    tcp: str | None = _setting(
        None,
        "`tcp://HOST:PORT` to serve other hosts at, too: requests at that port, frames at the next "
        "one; needs keys (`hansard keys`)",
    )
    metrics: str | None = _setting(
        None,
        "`HOST:PORT` where the writer shows its metrics to Prometheus, over HTTP; `:9464` is for "
        "this host alone",
    )

    connect: str | None = _setting(
        None,
        "`tcp://HOST:PORT` of the writer that this directory's spools are for, on another host",
    )
    server_key: str | None = _setting(
        None, "that writer's public key, which its `hansard keys new` prints"
    )

    def __post_init__(self) -> None:
        _check({each.name: getattr(self, each.name) for each in fields(self)}, {})


def log_directory(
    directory: str | os.PathLike[str] | None = None, environment: Mapping[str, str] | None = None
) -> Path:
    """The log's directory: the argument, else ``HANSARD_DIR``, else the user's state directory."""
    environment = os.environ if environment is None else environment
    chosen = environment.get(DIRECTORY_VARIABLE) if directory is None else directory
    if directory is not None and not (isinstance(directory, str | os.PathLike) and str(directory)):
        raise ConfigError(f"the directory is {directory!r}: it must be a path")
    if chosen:
        if "\0" in str(chosen):
            raise ConfigError(f"the directory is {chosen!r}: a path holds no NUL")
        return Path(os.path.abspath(Path(chosen).expanduser()))  # noqa: PTH100 - keep symlinks
    state = environment.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser() / "hansard"


def load_settings(
    directory: Path,
    arguments: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """The settings for the log in ``directory``; arguments that are None count as not given.

    Raises `ConfigError` for an unknown key, a value of the wrong type or an inconsistent pair.
    """
    environment = os.environ if environment is None else environment
    values: dict[str, Any] = {}
    shown: dict[str, str] = {}  # what to call each in an error
    path = directory / SETTINGS_FILE
    for key, value in read_settings_file(directory).items():
        if key == DERIVED_SECTION:
            continue
        sections = (
            f"; settings stand without a section, derived fields in [{DERIVED_SECTION}.NAME]"
            if isinstance(value, dict)
            else ""
        )
        _require_known(key, f"in {path}{sections}")
        shown[key] = f"{key} in {path}"
        values[key] = _of_type(key, value, shown[key])
    for variable, text in environment.items():
        if variable.startswith(ENVIRONMENT_PREFIX) and variable != DIRECTORY_VARIABLE:
            key = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
            if key not in _TYPES and not _nearest(key):
                continue  # somebody else's: orchestrators name variables after services
            _require_known(key, f"in the variable {variable}")
            shown[key] = variable
            values[key] = _parse(key, text, variable)
    for key, value in (arguments or {}).items():
        if value is not None:
            _require_known(key, "as an argument")
            shown[key] = f"{key} as an argument"
            values[key] = _of_type(key, value, shown[key])
    _check(_DEFAULTS | values, shown)
    return Settings(**values)


def age_seconds(text: str) -> int | None:
    """An age in s, m, h, d or w, such as ``90d``, in seconds; None for what is none."""
    found = _AGE.fullmatch(text)
    return int(found[1]) * _AGE_UNITS_S[found[2]] if found else None


def settings_table() -> str:
    """The Markdown table of the README: one row a setting."""
    rows = ["| setting | variable | default | meaning |", "|---|---|---|---|"]
    for each in fields(Settings):
        variable = ENVIRONMENT_PREFIX + each.name.upper()
        rows.append(
            f"| `{each.name}` | `{variable}` | {_shown(each.default)} "
            f"| {each.metadata['meaning']} |"
        )
    return "\n".join(rows)


_TYPES: Final = {each.name: each.type for each in fields(Settings)}
_DEFAULTS: Final = {each.name: each.default for each in fields(Settings)}
_AGES: Final = frozenset({"retention_max_age"})  # which nobody thinks of in seconds
_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off"})


def _require_known(key: str, where: str) -> None:
    if key not in _TYPES:
        near = _nearest(key)
        hint = f"; did you mean {near!r}?" if near else ""
        raise ConfigError(f"unknown setting {key!r} {where}{hint}")


def _check(values: Mapping[str, Any], shown: Mapping[str, str]) -> None:
    """Raises `ConfigError` for a value that breaks a rule, under the name that ``shown`` has."""
    names = {name: shown.get(name, name) for name in values}
    for each in fields(Settings):
        value = values[each.name]
        minimum, maximum = each.metadata["minimum"], each.metadata["maximum"]
        if minimum is not None and value is not None and not value >= minimum:
            raise ConfigError(f"{names[each.name]} is {value!r}: it must be at least {minimum:,}")
        if maximum is not None and value is not None and not value <= maximum:
            raise ConfigError(f"{names[each.name]} is {value!r}: it must be at most {maximum:,}")
    if values["on_full"] not in ON_FULL:
        raise ConfigError(
            f"{names['on_full']} is {values['on_full']!r}: it must be one of {', '.join(ON_FULL)}"
        )
    if values["disk_suspend"] > values["disk_warn"]:
        raise ConfigError(
            f"{names['disk_suspend']} is {values['disk_suspend']} and {names['disk_warn']} is "
            f"{values['disk_warn']}: the first must not exceed the second"
        )
    _check_texts(values, names)
    _check_addresses(values, names)


def _check_addresses(values: Mapping[str, Any], names: Mapping[str, str]) -> None:
    """Where other hosts are, and how they are known: most directories name none."""
    if values["metrics"] is not None:
        from hansard.metrics_address import metrics_address

        metrics_address(values["metrics"], names["metrics"])
    if all(values[name] is None for name in ("tcp", "connect", "server_key")):
        return
    from hansard.curve import check_public_key
    from hansard.tcp_address import tcp_ports

    for name in ("tcp", "connect"):
        if values[name] is not None:
            tcp_ports(values[name], names[name])
    if values["server_key"] is not None:
        check_public_key(values["server_key"], names["server_key"])
    if (values["connect"] is None) != (values["server_key"] is None):
        raise ConfigError(
            f"{names['connect']} and {names['server_key']} belong together: where the writer is, "
            "and the public key that it is known by"
        )
    if values["connect"] is not None and values["tcp"] is not None:
        raise ConfigError(
            f"{names['connect']} is for a directory whose writer is on another host, and "
            f"{names['tcp']} for the one that serves: leave one of them out"
        )


def _check_texts(values: Mapping[str, Any], names: Mapping[str, str]) -> None:
    """What no event could be recorded with."""
    if values["event_types"] == ():
        raise ConfigError(
            f"{names['event_types']} is empty: name the allowed types, or leave it out to allow all"
        )
    try:
        if values["actor"] is not None:
            check_text(names["actor"], values["actor"], ACTOR_BYTES_MAX)
    except InvalidEvent as error:
        raise ConfigError(str(error)) from None
    try:
        for event_type in values["event_types"] or ():
            check_event_type(event_type)
    except InvalidEvent as error:
        raise ConfigError(f"{names['event_types']}: {error}") from None
    try:
        fields_to_mask(values["mask_fields"])
    except ConfigError as error:
        raise ConfigError(f"{names['mask_fields']}: {error}") from None


def _nearest(key: str) -> str:
    """The setting that an unknown key resembles, empty for none."""
    import difflib

    near = difflib.get_close_matches(key, _TYPES, 1, cutoff=0.75)
    return near[0] if near else ""


def read_settings_file(directory: Path) -> dict[str, Any]:
    """What the settings file of a log says, as TOML; nothing without one. Raises `ConfigError`."""
    path = directory / SETTINGS_FILE
    try:
        text = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        if not os.access(path.parent, os.X_OK):
            raise ConfigError(foreign_directory(path.parent)) from error
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    import tomllib

    try:
        return tomllib.loads(text.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no TOML: {error}") from error


def _of_type(key: str, value: Any, shown: str) -> Any:
    """A value given as an object: by argument or by TOML."""
    expected = _TYPES[key]
    if key in _AGES and isinstance(value, str) and (age := age_seconds(value)) is not None:
        return float(age)
    if expected is bool and isinstance(value, bool):
        return value
    if expected in (int, int | None) and isinstance(value, int) and not isinstance(value, bool):
        return value
    if (
        expected in (float, float | None)
        and isinstance(value, int | float)
        and not isinstance(value, bool)
    ):
        return float(value)
    if expected in (str, str | None) and isinstance(value, str):
        return value
    if expected == tuple[str, ...] | None and isinstance(value, list | tuple | set | frozenset):
        items = tuple(value)
        if all(isinstance(item, str) for item in items):
            return items
    raise ConfigError(f"{shown} is {value!r}: it must be {_type_name(key)}")


def _parse(key: str, text: str, variable: str) -> Any:
    """A value given as text: by variable."""
    expected = _TYPES[key]
    try:
        if expected is bool:
            lowered = text.strip().lower()
            if lowered not in _TRUE | _FALSE:
                raise ValueError(text)
            return lowered in _TRUE
        if expected in (int, int | None):
            return int(text)
        if expected in (float, float | None):
            age = age_seconds(text.strip()) if key in _AGES else None
            return float(text if age is None else age)
    except ValueError:
        raise ConfigError(f"{variable} is {text!r}: it must be {_type_name(key)}") from None
    if expected == tuple[str, ...] | None:
        return tuple(item.strip() for item in text.split(",") if item.strip())
    return text


def _type_name(key: str) -> str:
    if key in _AGES:
        return "a number of seconds, or an age such as 90d"
    expected = _TYPES[key]
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}
    if expected in names:
        return names[expected]
    if expected in (int | None, float | None):
        return names[int if expected == int | None else float]
    return names[str] if expected == str | None else "a list of strings"


def _shown(default: Any) -> str:
    if default is None:
        return "none"
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, float):
        return f"{default:g} s"
    if isinstance(default, int):
        for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
            if default >= unit and default % unit == 0:
                return f"{default // unit} {name}"
        return f"{default:,}"
    return str(default)
