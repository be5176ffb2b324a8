"""The systemd unit: what is filled in, and that systemd likes it."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from hansard.errors import ConfigError
from hansard.metrics_address import metrics_address
from hansard_writer import systemd_unit
from hansard_writer.systemd_unit import Service, unit_text

EXPOSURE_MAX = 10  # tenths

PLAIN = Service(
    ["/usr/bin/env", "serve", "--dir", "/var/lib/app/audit"],
    Path("/var/lib/app/audit"),
    "daemon",
    reads=[Path("/usr/lib/python3")],
)
SHARED = replace(PLAIN, group="daemon")
FOR_HOSTS = replace(PLAIN, serves_hosts=True)
AT_HOME = replace(SHARED, directory=Path("/home/app/audit"), working_directory=Path("/tmp"))
ODD = replace(
    PLAIN,
    command=["/usr/bin/env", "serve", "--dir", "/srv/a b", "50%", "$HOME", 'quo"te\\', "it's"],
    directory=Path('/srv/a b/50% "of" it\\'),
    working_directory=Path("/srv/a b"),
)

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here"
)


def settings_of(text: str) -> dict[str, list[str]]:
    """The values of each setting, in the order of the unit."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def only(service: Service, name: str) -> str:
    """The one value of a setting."""
    (value,) = settings_of(unit_text(service))[name]
    return value


def test_a_unit_runs_the_command_as_its_user_and_may_write_in_its_directory_alone() -> None:
    assert only(PLAIN, "ExecStart") == "/usr/bin/env serve --dir /var/lib/app/audit"
    assert only(PLAIN, "User") == "daemon"
    assert only(PLAIN, "ReadWritePaths") == "/var/lib/app/audit"
    assert only(PLAIN, "ProtectSystem") == "strict"
    assert only(PLAIN, "RequiresMountsFor") == "/var/lib/app/audit"
    assert {"Group", "WorkingDirectory"}.isdisjoint(settings_of(unit_text(PLAIN)))


def test_nothing_is_left_to_be_filled_in() -> None:
    for service in (PLAIN, SHARED, FOR_HOSTS, AT_HOME, ODD):
        text = unit_text(service)
        assert not systemd_unit._PLACEHOLDER.search(text)
        assert "\n\n\n" not in text


def test_workers_of_a_group_get_in_by_setgid_which_the_unit_then_allows() -> None:
    assert only(PLAIN, "RestrictSUIDSGID") == "yes"
    assert only(SHARED, "RestrictSUIDSGID") == "no"
    assert only(SHARED, "Group") == "daemon"
    assert "install -d -o daemon -g daemon -m 2750 /var/lib/app/audit\n" in unit_text(SHARED)
    assert "install -d -o daemon -m 0700 /var/lib/app/audit\n" in unit_text(PLAIN)


def test_the_network_is_there_for_who_serves_other_hosts_and_for_nobody_else() -> None:
    assert only(PLAIN, "PrivateNetwork") == "yes"
    assert only(PLAIN, "RestrictAddressFamilies") == "AF_UNIX"
    opened = settings_of(unit_text(FOR_HOSTS))
    assert {"PrivateNetwork", "IPAddressDeny"}.isdisjoint(opened)
    assert opened["RestrictAddressFamilies"] == ["AF_UNIX AF_INET AF_INET6 AF_NETLINK"]
    assert opened["After"] == opened["Wants"] == ["network-online.target"]


@pytest.mark.parametrize("place", ["/home/app/x", "/root/x", "/run/user/7/x"])
def test_what_lies_in_a_home_can_be_reached(place: str) -> None:
    assert only(PLAIN, "ProtectHome") == "yes"
    for service in (
        replace(PLAIN, directory=Path(place)),
        replace(PLAIN, working_directory=Path(place)),
        replace(PLAIN, reads=[Path(place)]),
    ):
        assert only(service, "ProtectHome") == "read-only"


@pytest.mark.parametrize("place", ["/tmp/x", "/var/tmp/x", "/tmp"])
def test_workers_find_the_sockets_of_a_directory_below_tmp(place: str) -> None:
    assert only(PLAIN, "PrivateTmp") == "yes"
    assert only(replace(PLAIN, directory=Path(place)), "PrivateTmp") == "no"
    assert only(replace(PLAIN, reads=[Path(place)]), "PrivateTmp") == "no"


def test_words_are_quoted_as_systemd_reads_them() -> None:
    words = only(ODD, "ExecStart").removeprefix("/usr/bin/env serve --dir ")
    assert words == r'''"/srv/a b" 50%% "$$HOME" "quo\"te\\" "it's"'''
    assert only(ODD, "ReadWritePaths") == r'"/srv/a b/50%% \"of\" it\\"'
    assert only(ODD, "WorkingDirectory") == "/srv/a b"


@pytest.mark.parametrize("bad", ["a\nUser=root", "a\0b", "tab\t", "\udcff"])
def test_what_a_unit_cannot_hold_is_refused(bad: str) -> None:
    for changes in (
        {"directory": Path("/srv", bad)},
        {"command": ["/bin/true", bad]},
        {"working_directory": Path("/srv", bad)},
    ):
        with pytest.raises(ConfigError, match="cannot stand in a unit"):
            replace(PLAIN, **changes)


@pytest.mark.parametrize("bad", ["", "a b", "a\nb", "-u", "%u", "root;"])
def test_names_that_are_none_are_refused(bad: str) -> None:
    with pytest.raises(ConfigError, match="--user"):
        replace(PLAIN, user=bad)
    with pytest.raises(ConfigError, match="--group"):
        replace(PLAIN, group=bad)


@needs_systemd
@pytest.mark.parametrize("service", [PLAIN, SHARED, AT_HOME, ODD])
def test_systemd_finds_it_correct_and_safe(tmp_path: Path, service: Service) -> None:
    path = tmp_path / "hansard.service"
    path.write_text(unit_text(service))
    verified = analyze("verify", path)
    assert (verified.returncode, verified.stderr) == (0, "")
    rated = analyze("security", "--offline=true", f"--threshold={EXPOSURE_MAX}", path)
    assert rated.returncode == 0, rated.stdout.splitlines()[-1]


@needs_systemd
def test_what_systemd_finds_wrong_or_unsafe_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "hansard.service"
    path.write_text(unit_text(PLAIN).replace("RemoveIPC=", "RemoveIcp="))
    assert "RemoveIcp" in analyze("verify", path).stderr
    path.write_text(unit_text(PLAIN).replace("SystemCallFilter=", "#"))
    assert analyze("security", "--offline=true", f"--threshold={EXPOSURE_MAX}", path).returncode


def analyze(*arguments: object) -> "subprocess.CompletedProcess[str]":
    """Run systemd-analyze."""
    return subprocess.run(
        ["systemd-analyze", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("where", [":9464", "[::1]:9464"])
def test_metrics_for_this_host_open_the_loopback_and_nothing_else(where: str) -> None:
    opened = settings_of(unit_text(replace(PLAIN, metrics=metrics_address(where))))
    assert opened["RestrictAddressFamilies"] == ["AF_UNIX AF_INET AF_INET6"]
    assert opened["IPAddressDeny"] == ["any"]
    assert opened["IPAddressAllow"] == ["localhost"]
    assert {"PrivateNetwork", "After"}.isdisjoint(opened)


def test_metrics_for_others_wait_for_the_network_that_they_are_shown_in() -> None:
    opened = settings_of(unit_text(replace(PLAIN, metrics=metrics_address("10.0.0.7:9464"))))
    assert opened["After"] == ["network-online.target"]
    assert {"PrivateNetwork", "IPAddressDeny"}.isdisjoint(opened)
    assert unit_text(replace(FOR_HOSTS, metrics=metrics_address(":1"))) == unit_text(FOR_HOSTS)
