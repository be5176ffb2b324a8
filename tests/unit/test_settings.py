"""The settings: each by argument, variable and file, which beats which, and what is refused."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from hansard import calls
from hansard.errors import ConfigError
from hansard.settings import (
    SETTINGS_FILE,
    Settings,
    load_settings,
    log_directory,
    settings_table,
)

FIELDS = dataclasses.fields(Settings)
NAMES = [each.name for each in FIELDS]
BY_NAME = {each.name: each for each in FIELDS}
BOUNDED = [each.name for each in FIELDS if each.metadata["minimum"] is not None]
LIMITED = [each.name for each in FIELDS if each.metadata["maximum"] is not None]
LISTS = [each.name for each in FIELDS if each.type == tuple[str, ...] | None]
TEXTS = [each.name for each in FIELDS if each.type in (str, str | None)]
FLAGS = [each.name for each in FIELDS if each.type is bool]
NUMBERS = [name for name in NAMES if name not in LISTS + TEXTS + FLAGS]
ADDRESSES = ("tcp", "connect")
KEYS = ["0" * 40, "1" * 40, "2" * 40]  # in Z85
PARTNERS = {"connect": {"server_key": KEYS[0]}, "server_key": {"connect": "tcp://here:7171"}}
TIMES = [each.name for each in FIELDS if each.type in (float, float | None)]


def values_of(name: str) -> list[Any]:
    """Three allowed values of a setting that differ from its default, or two of a flag."""
    each = BY_NAME[name]
    if name in FLAGS:
        return [not each.default, each.default, not each.default]
    if name == "on_full":
        return ["drop", "raise", "block"]
    if name in ADDRESSES:
        return ["tcp://*:1", "tcp://[::1]:7171", "tcp://log.example:65534"]
    if name == "metrics":
        return ["9464", ":9464", "[::1]:9464"]
    if name == "server_key":
        return KEYS
    if name in TEXTS:
        return ["one", "two", "three"]
    if name in LISTS:
        return [("a.one", "a.two"), ("b",), ("c", "d")]
    if each.default is None:
        least = max(each.metadata["minimum"], 7)
        return [least, least + 1, least + 2]
    step = 0.25 if name in TIMES else 1
    return [each.default + step, each.default + 2 * step, each.default + 3 * step]


def as_variable(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def as_toml(value: Any) -> str:
    return json.dumps(value)


def write_file(directory: Path, name: str, value: Any) -> None:
    directory.mkdir(exist_ok=True)
    given = {name: value, **partner_of(name)}
    lines = [f"{each} = {as_toml(what)}\n" for each, what in given.items()]
    (directory / SETTINGS_FILE).write_text("".join(lines))


def partner_of(name: str) -> dict[str, Any]:
    """What a setting cannot be without."""
    return PARTNERS.get(name, {})


# --- every setting, every way ---


def test_the_settings_are_those_of_the_design() -> None:
    text = (
        "sync queue_maxsize spool_bytes on_full ack_timeout close_timeout best_effort actor "
        "event_types output_bytes_max batch_events_max batch_bytes_max commit_interval "
        "checkpoint_interval enforce_tasks dead_letters_max dead_letters_bytes_max disk_warn "
        "disk_suspend reserve_bytes wal_bytes_target reader_age_max fts_event_types group "
        "retention_max_age retention_max_bytes tcp metrics connect server_key mask_fields"
    )
    assert sorted(NAMES) == sorted(text.split())


def test_without_anything_the_defaults_hold(directory: Path) -> None:
    assert load_settings(directory, environment={}) == Settings()


def test_the_defaults_are_those_that_were_promised() -> None:
    """Who comes from another audit system finds its limits here."""
    promised = Settings(
        sync=False,
        queue_maxsize=None,
        on_full="block",
        ack_timeout=5,
        enforce_tasks=False,
        best_effort=True,
        output_bytes_max=64 << 10,
        event_types=None,
        fts_event_types=None,
    )
    assert Settings() == promised
    assert calls.TIMEOUT_S == 5


@pytest.mark.parametrize("name", NAMES)
def test_a_setting_comes_by_argument(name: str, directory: Path) -> None:
    for value in values_of(name):
        given = {name: value, **partner_of(name)}
        assert getattr(load_settings(directory, given, {}), name) == value


@pytest.mark.parametrize("name", NAMES)
def test_a_setting_comes_by_variable(name: str, directory: Path) -> None:
    for value in values_of(name):
        environment = {f"HANSARD_{name.upper()}": as_variable(value)}
        found = getattr(load_settings(directory, partner_of(name), environment), name)
        assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("name", NAMES)
def test_a_setting_comes_by_file(name: str, directory: Path) -> None:
    for value in values_of(name):
        write_file(directory, name, value)
        found = getattr(load_settings(directory, environment={}), name)
        assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("name", NAMES)
def test_an_argument_beats_a_variable_beats_the_file(name: str, directory: Path) -> None:
    argument, variable, in_file = values_of(name)
    environment = {f"HANSARD_{name.upper()}": as_variable(variable)}
    write_file(directory, name, in_file)
    assert getattr(load_settings(directory, {name: argument}, environment), name) == argument
    assert getattr(load_settings(directory, {name: None}, environment), name) == variable
    assert getattr(load_settings(directory, {name: None}, {}), name) == in_file


@pytest.mark.parametrize("name", NAMES)
def test_the_environment_of_the_process_is_the_default(
    name: str, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = values_of(name)[0]
    monkeypatch.setenv(f"HANSARD_{name.upper()}", as_variable(value))
    assert getattr(load_settings(directory, partner_of(name)), name) == value


@pytest.mark.parametrize("name", PARTNERS)
def test_where_the_writer_is_and_its_key_belong_together(name: str, directory: Path) -> None:
    with pytest.raises(ConfigError, match=r"connect.* and .*server_key.* belong together"):
        load_settings(directory, {name: values_of(name)[0]}, {})


@pytest.mark.parametrize(
    "value", ["here:7171", "tcp://here", "tcp://here:0", "tcp://here:65535", "tcp://:7171", "ipc://x",
              "tcp://here:7171/", "tcp://he re:7171", "tcp://::1:7171", ""],
)  # fmt: skip
@pytest.mark.parametrize("name", ADDRESSES)
def test_an_address_is_a_host_and_a_port(name: str, value: str, directory: Path) -> None:
    with pytest.raises(ConfigError, match=f"{name} .*tcp://HOST:PORT"):
        load_settings(directory, {name: value, **partner_of(name)}, {})


@pytest.mark.parametrize("value", ["", "0" * 39, "0" * 41, "0" * 39 + '"', "\n" + "0" * 39])
def test_a_key_has_40_characters(value: str, directory: Path) -> None:
    with pytest.raises(ConfigError, match=r"server_key .*40 characters"):
        load_settings(directory, {"server_key": value, "connect": "tcp://here:7171"}, {})


def test_who_serves_other_hosts_is_not_served_by_one(directory: Path) -> None:
    given = {"tcp": "tcp://*:7171", "connect": "tcp://here:7171", "server_key": KEYS[0]}
    with pytest.raises(ConfigError, match="leave one of them out"):
        load_settings(directory, given, {})


@pytest.mark.parametrize("name", TIMES)
def test_a_whole_number_is_a_time_too(name: str, directory: Path) -> None:
    value = round(max(BY_NAME[name].metadata["minimum"], 3))
    write_file(directory, name, value)
    for settings in (load_settings(directory), load_settings(directory, {name: value})):
        found = getattr(settings, name)
        assert (found, type(found)) == (float(value), float)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", True),
        ("true", True),
        ("YES", True),
        (" on ", True),
        ("0", False),
        ("False", False),
        ("no", False),
        ("off", False),
    ],
)
def test_a_flag_has_several_spellings(text: str, value: bool, directory: Path) -> None:
    assert load_settings(directory, environment={"HANSARD_SYNC": text}).sync is value


def test_a_list_in_a_variable_is_parted_by_commas(directory: Path) -> None:
    settings = load_settings(directory, environment={"HANSARD_EVENT_TYPES": " a , b.c,,"})
    assert settings.event_types == ("a", "b.c")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("7200s", 7_200), ("90m", 5_400), ("36h", 129_600), ("90d", 7_776_000), ("2w", 1_209_600)],
)
def test_an_age_has_a_unit_where_it_is_a_long_one(text: str, seconds: int, directory: Path) -> None:
    given = {"retention_max_age": text}
    write_file(directory, "retention_max_age", text)
    for settings in (
        load_settings(directory, environment={}),
        load_settings(directory, given, {}),
        load_settings(directory, environment={"HANSARD_RETENTION_MAX_AGE": text}),
    ):
        found = settings.retention_max_age
        assert (found, type(found)) == (float(seconds), float)


@pytest.mark.parametrize("text", ["90", "90 d", "1.5d", "-90d", "90y", "", "d"])
def test_what_is_no_age_is_refused_with_an_example(text: str, directory: Path) -> None:
    given = {"retention_max_age": text}
    with pytest.raises(ConfigError, match="a number of seconds, or an age such as 90d"):
        load_settings(directory, given)


def test_an_age_is_held_to_its_limits(directory: Path) -> None:
    with pytest.raises(ConfigError, match="must be at least"):
        load_settings(directory, {"retention_max_age": "59m"})
    with pytest.raises(ConfigError, match=r"ack_timeout as an argument is .5s.: .* a number"):
        load_settings(directory, {"ack_timeout": "5s"})


def test_a_setting_cannot_be_changed_afterwards() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().sync = True  # type: ignore[misc]


# --- what is refused ---


def test_an_unknown_argument_is_refused_with_a_suggestion(directory: Path) -> None:
    with pytest.raises(ConfigError, match="'spol_bytes' as an argument; did you mean 'spool_b"):
        load_settings(directory, {"spol_bytes": 1})


def test_an_unknown_key_in_the_file_is_refused_with_a_suggestion(directory: Path) -> None:
    write_file(directory, "ack_timout", 1)
    with pytest.raises(ConfigError, match=r"'ack_timout' in .*toml; did you mean 'ack_timeout'\?"):
        load_settings(directory)


def test_a_key_that_resembles_none_is_refused_without_a_suggestion(directory: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        load_settings(directory, {"zzz": 1})
    assert "did you mean" not in str(refused.value)


def test_a_section_in_the_file_is_refused_with_the_way_out(directory: Path) -> None:
    directory.mkdir()
    (directory / SETTINGS_FILE).write_text("[spool]\nbytes = 1\n")
    with pytest.raises(
        ConfigError, match=r"'spool' in .*; settings stand without a section, derived"
    ):
        load_settings(directory)


@pytest.mark.parametrize("name", NAMES)
def test_an_argument_of_a_wrong_type_is_refused_by_name(name: str, directory: Path) -> None:
    wrong: list[Any] = [object(), b"1"]
    wrong += [1, 0.5] if name not in NUMBERS else ["1", True]
    wrong += [["a"]] if name not in LISTS else ["a", [1], ["a", None]]
    wrong += [1.5] if name in NUMBERS and name not in TIMES else []
    for value in wrong:
        with pytest.raises(ConfigError, match=rf"{name} as an argument is .*: it must be "):
            load_settings(directory, {name: value})


@pytest.mark.parametrize("name", NAMES)
def test_a_value_of_a_wrong_type_in_the_file_is_refused_by_name(name: str, directory: Path) -> None:
    wrong: list[Any] = [[1]]
    wrong += [1] if name not in NUMBERS else ["1", True]
    wrong += ["a"] if name not in TEXTS else []
    for value in wrong:
        write_file(directory, name, value)
        with pytest.raises(ConfigError, match=rf"{name} in .*{SETTINGS_FILE} is .*: it must be "):
            load_settings(directory)


@pytest.mark.parametrize("name", NUMBERS + FLAGS)
def test_a_variable_that_does_not_parse_is_refused_by_its_name(name: str, directory: Path) -> None:
    variable = f"HANSARD_{name.upper()}"
    for text in ("", "many", "1,5", "2x"):
        with pytest.raises(ConfigError, match=f"{variable} is {text!r}: it must be "):
            load_settings(directory, environment={variable: text})


@pytest.mark.parametrize("name", BOUNDED)
def test_a_value_below_the_least_is_refused_with_the_least(name: str, directory: Path) -> None:
    least = BY_NAME[name].metadata["minimum"]
    others = {"disk_suspend": 0} if name == "disk_warn" else {}
    assert getattr(load_settings(directory, {name: least} | others), name) == least
    with pytest.raises(ConfigError, match=f"{name} as an argument is .* at least {least:,}"):
        load_settings(directory, {name: least - 1} | others)


@pytest.mark.parametrize("name", LIMITED)
def test_a_value_above_the_greatest_is_refused_with_the_greatest(
    name: str, directory: Path
) -> None:
    greatest = BY_NAME[name].metadata["maximum"]
    assert getattr(load_settings(directory, {name: greatest}), name) == greatest
    with pytest.raises(ConfigError, match=f"{name} .* is .* at most {greatest:,}"):
        load_settings(directory, {name: greatest + 1})


@pytest.mark.parametrize("name", TIMES)
def test_a_time_that_is_no_number_is_refused(name: str, directory: Path) -> None:
    for arguments, environment in (
        ({name: float("nan")}, {}),
        ({}, {f"HANSARD_{name.upper()}": "nan"}),
    ):
        with pytest.raises(ConfigError, match=rf"(?i){name} .*at least"):
            load_settings(directory, arguments, environment)


def test_a_spool_larger_than_any_file_is_refused(directory: Path) -> None:
    with pytest.raises(ConfigError, match="spool_bytes"):
        load_settings(directory, {"spool_bytes": 1 << 63})


def test_an_unknown_way_of_being_full_is_refused_with_the_known_ones(directory: Path) -> None:
    with pytest.raises(ConfigError, match="'wait': it must be one of block, drop, rai"):
        load_settings(directory, {"on_full": "wait"})


def test_suspending_before_warning_is_refused_with_both_values(directory: Path) -> None:
    load_settings(directory, {"disk_suspend": 5, "disk_warn": 5})
    with pytest.raises(
        ConfigError,
        match="disk_suspend as an argument is 6 and HANSARD_DISK_WARN is 5: "
        "the first must not exceed the second",
    ):
        load_settings(directory, {"disk_suspend": 6}, {"HANSARD_DISK_WARN": "5"})
    with pytest.raises(ConfigError, match="disk_suspend is 134217728 and disk_warn as an arg"):
        load_settings(directory, {"disk_warn": 5}, {})


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("spool_bytes", 5, " is 5: it must be at least 2,097,152"),
        ("spool_bytes", 1 << 41, " is 2199023255552: it must be at most 1,099,511,627,776"),
        ("on_full", "wait", " is 'wait': it must be one of block, drop, raise"),
        ("event_types", ("a b",), ": event_type is 'a b': it must start with a letter"),
        ("event_types", (), " is empty: name the allowed types, or leave it out to allow all"),
        ("actor", "x" * 1_025, " has 1,025 bytes: at most 1,024 are allowed"),
    ],
)
def test_a_value_that_breaks_a_rule_is_refused_with_where_it_comes_from(
    directory: Path, name: str, value: Any, rule: str
) -> None:
    with pytest.raises(ConfigError, match=rf"^{name} as an argument{rule}"):
        load_settings(directory, {name: value}, {})
    with pytest.raises(ConfigError, match=rf"^HANSARD_{name.upper()}{rule}"):
        load_settings(directory, {}, {f"HANSARD_{name.upper()}": as_variable(value)})
    write_file(directory, name, value)
    with pytest.raises(ConfigError, match=rf"^{name} in \S+{SETTINGS_FILE}{rule}"):
        load_settings(directory, {}, {})
    with pytest.raises(ConfigError, match=rf"^{name}{rule}"):
        Settings(**{name: value})


@pytest.mark.parametrize("content", [b"sync = ", b"\xff\xfe", b"sync true", b"sync=1\nsync=2"])
def test_a_file_that_is_no_toml_is_refused_by_name(content: bytes, directory: Path) -> None:
    directory.mkdir()
    (directory / SETTINGS_FILE).write_bytes(content)
    with pytest.raises(ConfigError, match=f"{SETTINGS_FILE} is no TOML"):
        load_settings(directory)


def test_a_file_that_cannot_be_read_is_refused_by_name(directory: Path) -> None:
    (directory / SETTINGS_FILE).mkdir(parents=True)
    with pytest.raises(ConfigError, match=f"cannot read .*{SETTINGS_FILE}"):
        load_settings(directory)


def test_a_directory_that_is_a_file_has_no_settings(directory: Path) -> None:
    directory.write_text("")
    assert load_settings(directory) == Settings()


# --- where the log is ---


def test_the_directory_is_the_argument_before_the_variable(tmp_path: Path) -> None:
    environment = {"HANSARD_DIR": str(tmp_path / "b"), "XDG_STATE_HOME": str(tmp_path / "c")}
    assert log_directory(tmp_path / "a", environment) == tmp_path / "a"
    assert log_directory(str(tmp_path / "a"), environment) == tmp_path / "a"
    assert log_directory(None, environment) == tmp_path / "b"
    del environment["HANSARD_DIR"]
    assert log_directory(None, environment) == tmp_path / "c" / "hansard"


@pytest.mark.parametrize("directory", ["", b"audit", 5, "audit\0x"])
def test_what_is_no_path_is_refused_and_leads_to_no_other_log(directory: object) -> None:
    with pytest.raises(ConfigError, match="directory is"):
        log_directory(directory, {})  # type: ignore[arg-type]


def test_a_variable_that_resembles_a_setting_is_a_mistake_and_others_are_somebody_elses(
    directory: Path,
) -> None:
    """An orchestrator names variables after a service: HANSARD_SERVICE_HOST, HANSARD_PORT."""
    load_settings(directory, {}, {"HANSARD_SERVICE_HOST": "10.0.0.1", "HANSARD_PORT": "tcp://x"})
    with pytest.raises(ConfigError, match=r"HANSARD_SPOL_BYTES; did you mean 'spool_bytes'\?"):
        load_settings(directory, {}, {"HANSARD_SPOL_BYTES": "5"})


def test_without_anything_the_log_is_in_the_users_state_directory() -> None:
    assert log_directory(None, {}) == Path.home() / ".local" / "state" / "hansard"


def test_a_relative_directory_becomes_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert log_directory("a/../b", {}) == tmp_path / "b"
    assert log_directory("~/log", {}) == Path.home() / "log"


def test_a_directory_by_symbolic_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert log_directory(tmp_path / "link", {}) == tmp_path / "link"


# --- the README's table ---


def test_the_table_has_a_row_for_every_setting() -> None:
    rows = settings_table().splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == NAMES
    assert [row.split("`")[3] for row in rows] == [f"HANSARD_{name.upper()}" for name in NAMES]
    assert all(len(row.split("|")) == 6 for row in rows)


def test_the_table_shows_defaults_as_people_write_them() -> None:
    table = settings_table()
    for shown in ("| false |", "| 64 MiB |", "| 5 s |", "| 0.005 s |", "| 2,000 |", "| none |"):
        assert shown in table
