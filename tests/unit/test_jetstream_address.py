"""What a text names: servers, a login, a stream; and what is wrong with a stream."""

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from hansard import ConfigError
from hansard_writer.cli import main
from hansard_writer.shipping.jetstream import address as module
from hansard_writer.shipping.jetstream.address import parse_address
from hansard_writer.shipping.jetstream.messages import Message
from hansard_writer.shipping.jetstream.source import asked_next, consumer_of
from hansard_writer.shipping.jetstream.stream import checked
from hansard_writer.shipping.target import TargetRefused


def test_several_servers_are_one_address() -> None:
    found = parse_address("nats://a:4222,b:4223,nats://c")
    assert found.servers == ["nats://a:4222", "nats://b:4223", "nats://c"]
    assert (found.stream, found.consumer, found.login, found.tls) == ("HANSARD", None, (), False)


@pytest.mark.parametrize(
    ("text", "login"),
    [
        ("nats://ann:se%40cret@a:4222", ("ann", "se@cret")),
        ("nats://ann:secret@a,ann:secret@b", ("ann", "secret")),
        ("nats://ann:secret@a,b", ("ann", "secret")),
        ("tls://secret@a", ("secret",)),
    ],
)
def test_a_login_is_for_all_servers_and_never_shown(text: str, login: tuple[str, ...]) -> None:
    found = parse_address(text)
    assert found.login == login
    assert all("@" not in each for each in found.servers)
    assert "cret" not in f"{found!r} {found.name} {found.servers}"


def test_files_and_names_stand_behind_it(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.touch()
    found = parse_address(f"tls://a?stream=AUDIT&consumer=central&ca={file}")
    assert (found.stream, found.consumer, found.tls) == ("AUDIT", "central", True)
    assert found.ca == str(file)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("nats://", "no host"),
        ("nats://a,,b", "no host"),
        ("nats://ann:x@a,bob:x@b", "several logins"),
        ("nats://a?strem=X", "'strem'.* there are stream, consumer, creds"),
        ("nats://a?stream=a.b", "cannot be a name"),
        ("nats://a?stream=", "cannot be a name"),
        ("nats://a?ca=/nowhere/ca.pem", "is no file"),
        ("postgresql://a/b", "no address of NATS"),
    ],
)
def test_what_is_no_address_is_refused_with_what_is_wrong(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        parse_address(text)


@pytest.mark.parametrize(
    ("missing", "text", "command"),
    [
        ("nats", "nats://a", r"hansard\[nats\]"),
        ("nkeys", "nats://a?creds={}", r"nats-py\[nkeys\]"),
    ],
)
def test_a_library_that_is_missing_is_named(
    missing: str, text: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None if name == missing else name)
    (tmp_path / "x").touch()
    with pytest.raises(ConfigError, match=f"pip install '{command}'"):
        parse_address(text.format(tmp_path / "x"))


def test_every_target_has_a_consumer_of_its_own() -> None:
    first, second = consumer_of("postgresql://a/b"), consumer_of("/mnt/archive")
    assert first != second
    assert first == consumer_of("postgresql://a/b")
    assert first.startswith("hansard-")


def test_over_a_slow_way_no_more_is_asked_for_than_comes() -> None:
    came = [Message(number, "s", {}, b"", pending=9 - number) for number in (1, 2, 3)]
    assert asked_next(16, came) == 3
    assert asked_next(3, came) == 6
    assert asked_next(16, [came[0]._replace(pending=0)]) == 16
    assert asked_next(4, []) == 8


def config(**changes: Any) -> SimpleNamespace:
    facts = {
        "name": "HANSARD", "subjects": ["hansard.entries.>"], "retention": "limits",
        "no_ack": False, "sealed": False, "discard": "new", "max_age": 0.0,
        "max_msgs_per_subject": -1, "max_msg_size": -1,
    }  # fmt: skip
    return SimpleNamespace(**facts | changes)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"subjects": ["hansard.entries.a"]}, r"does not have the subjects hansard\.entries"),
        ({"subjects": None}, r"does not have the subjects"),
        ({"retention": "workqueue"}, "has to keep what is acked"),
        ({"no_ack": True}, "to ack what it takes"),
        ({"sealed": True}, "not to be sealed"),
        ({"max_msg_size": 10_000}, "10,000 bytes, which is too little"),
    ],
)
def test_a_stream_that_cannot_keep_batches_is_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(TargetRefused, match=why):
        checked(config(**changes), "nats://a", 1 << 20)


@pytest.mark.parametrize(
    "changes", [{"discard": "old"}, {"max_age": 60.0}, {"max_msgs_per_subject": 5}]
)
def test_a_stream_that_forgets_is_used_and_told(
    changes: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert checked(config(**changes), "nats://a", 1 << 20) == 1 << 20
    assert "has to be shipped to its target directly" in caplog.text


def test_messages_are_as_large_as_servers_and_stream_allow(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert checked(config(max_msg_size=200_000), "nats://a", 1 << 20) == 200_000
    assert not caplog.records


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--from", "/mnt/archive", "postgresql://h/d"], "--from is a stream of NATS"),
        (["--from", "nats://a", "nats://b"], "TARGET something else"),
        (["--from", "nats://a", "postgresql://h/d", "--dir", "x"], "--dir names one log"),
        (["--from", "nats://a?strem=x", "postgresql://h/d"], "is not known"),
        (["--key", __file__, "nats://a"], "--key is for --from"),
    ],
)
def test_a_command_that_makes_no_sense_is_a_matter_of_usage(arguments: list[str], why: str) -> None:
    result = CliRunner().invoke(main, ["ship", *arguments])
    assert (result.exit_code, why in result.output) == (2, True), result.output
