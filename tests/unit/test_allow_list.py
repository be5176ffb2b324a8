"""The allow-list: its text, its file, and what a running writer makes of it."""

import errno
import logging
import os
import threading
from pathlib import Path

import pytest

from hansard.errors import ConfigError
from hansard_writer.remote.allow_list import (
    Client,
    changing,
    check_name,
    parsed,
    read_clients,
    rights_of,
    text_of,
)
from hansard_writer.remote.allowed_keys import LOOK_S, AllowedKeys

ONE, TWO = "1" * 40, "2" * 40
LIST = (Client(ONE, "web-1", ("record",)), Client(TWO, "ops", ("record", "call", "admin")))


def put(directory: Path, *clients: Client) -> None:
    with changing(directory) as listed:
        listed[:] = clients


def test_a_list_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert parsed(text_of(LIST), "it") == LIST
    put(tmp_path, *LIST)
    assert read_clients(tmp_path) == LIST
    assert (tmp_path / "curve.allowed").stat().st_mode & 0o777 == 0o600


def test_comments_and_empty_lines_are_nobody() -> None:
    assert parsed(f"# they said so\n\n  \n{ONE} web-1 record\n", "it") == LIST[:1]


def test_a_key_that_begins_like_a_comment_is_none() -> None:
    key = "#" + ONE[1:]
    assert parsed(f"{key} web-1 record\n", "it")[0].key == key


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nonsense\n", "line 1 of it: it must be a key, a name and rights"),
        (f"{ONE} web-1\n", "it must be a key, a name and rights"),
        (f"{ONE} web-1 record more\n", "it must be a key, a name and rights"),
        (f"{ONE[:-1]} web-1 record\n", "it must be 40 characters"),
        (f"{ONE} -web record\n", "the name is '-web'"),
        (f"{ONE} web-1 read\n", "the rights are 'read': they must be some of record,call,admin"),
        (f"{ONE} web-1 record,\n", "the rights are 'record,'"),
        (f"{ONE} web-1 record\n{ONE} web-2 record\n", "line 2 of it: web-2, or its key, stands"),
        (f"{ONE} web-1 record\n{TWO} web-1 record\n", "line 2 of it: web-1, or its key, stands"),
    ],
)
def test_what_is_no_list_is_refused_by_its_line(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parsed(text, "it")


@pytest.mark.parametrize("name", ["", "-a", ".a", "a b", "a\n", "ä", "a/b", "x" * 65])
def test_a_name_that_cannot_stand_in_a_list_is_none(name: str) -> None:
    with pytest.raises(ConfigError, match="the name is"):
        check_name(name)


def test_rights_have_one_order_whatever_was_typed() -> None:
    assert rights_of("admin, record,call,record") == ("record", "call", "admin")


def test_a_list_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "curve.allowed").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is no list of keys"):
        read_clients(tmp_path)


def test_whoever_changes_a_list_waits_for_who_does(tmp_path: Path) -> None:
    with changing(tmp_path) as clients:
        other = threading.Thread(target=put, args=(tmp_path, LIST[1]))
        other.start()
        clients.append(LIST[0])
        assert not read_clients(tmp_path), "nothing is written before the end"
    other.join(10)
    assert read_clients(tmp_path) == LIST[1:]


def test_a_list_that_stays_as_it_is_is_not_written(tmp_path: Path) -> None:
    put(tmp_path, *LIST)
    before = (tmp_path / "curve.allowed").stat()
    put(tmp_path, *LIST)
    after = (tmp_path / "curve.allowed").stat()  # not all of it: to be read is to be accessed
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


# --- in a running writer ---


def test_a_change_holds_at_the_next_look(tmp_path: Path) -> None:
    put(tmp_path, *LIST)
    allowed = AllowedKeys(tmp_path)
    assert allowed.peer(ONE, "10.0.0.1") == (ONE, "web-1", ("record",), "10.0.0.1")
    put(tmp_path, LIST[1])
    allowed.look(0.0)
    assert allowed.peer(ONE, "10.0.0.1") == (ONE, "", (), "10.0.0.1")
    put(tmp_path, *LIST)
    allowed.look(LOOK_S / 2)
    assert not allowed.peer(ONE, "").rights, "it is not looked at for each message"
    allowed.look(LOOK_S)
    assert allowed.peer(ONE, "").rights


def test_a_key_that_is_not_known_is_looked_for_at_once(tmp_path: Path) -> None:
    put(tmp_path, LIST[0])
    allowed = AllowedKeys(tmp_path)
    assert not allowed.admits(TWO)
    put(tmp_path, *LIST)
    assert allowed.admits(TWO)


def test_without_its_file_nobody_is_allowed_any_more(tmp_path: Path) -> None:
    put(tmp_path, *LIST)
    allowed = AllowedKeys(tmp_path)
    (tmp_path / "curve.allowed").unlink()
    allowed.look(0.0)
    assert allowed.clients == ()
    assert not allowed.admits(ONE)


def test_a_list_that_cannot_be_read_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Else who was revoked while descriptors were short would stay."""
    put(tmp_path, *LIST)
    allowed = AllowedKeys(tmp_path)
    put(tmp_path, LIST[1])
    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", _without_descriptors)
        for look in range(3):
            allowed.look(look * LOOK_S)
    assert allowed.clients == LIST
    assert len([each for each in caplog.records if each.levelno == logging.ERROR]) == 1
    allowed.look(3 * LOOK_S)
    assert allowed.clients == (LIST[1],)


def _without_descriptors(*_: object) -> None:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def test_a_list_that_was_spoilt_changes_nothing_and_is_complained_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path, *LIST)
    allowed = AllowedKeys(tmp_path)
    (tmp_path / "curve.allowed").write_text(f"{ONE} web-1 read\n")
    with caplog.at_level(logging.ERROR):
        for look in range(3):
            allowed.look(look * LOOK_S)
    assert allowed.clients == LIST
    assert [record.message.split(";")[1] for record in caplog.records] == [
        " who was allowed before still is, and nobody else"
    ]
