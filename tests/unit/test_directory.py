"""The log's directory: made, judged, and reached by sockets whatever its length."""

import fcntl
import grp
import json
import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import zmq

from hansard import directory as layout
from hansard.errors import ConfigError
from support import held_lock


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


# --- making it ---


def test_a_client_makes_directory_and_spool_for_itself_alone(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "log"
    for _ in range(2):
        layout.prepare_for_client(directory)
        assert mode_of(directory) == 0o700
        assert mode_of(directory / "spool") == 0o700


def test_what_is_there_is_left_as_it_is(directory: Path) -> None:
    directory.mkdir()
    (directory / "spool").mkdir()
    directory.chmod(0o2750)
    (directory / "spool").chmod(0o3730)
    layout.prepare_for_client(directory)
    assert (mode_of(directory), mode_of(directory / "spool")) == (0o2750, 0o3730)


def test_a_file_in_its_place_is_refused(directory: Path) -> None:
    directory.write_text("")
    with pytest.raises(
        ConfigError, match="is not a directory: name another with --dir or HANSARD_DIR"
    ):
        layout.prepare_for_client(directory)


def test_a_directory_that_cannot_be_made_is_refused_with_the_cause(directory: Path) -> None:
    directory.write_text("")
    with pytest.raises(
        ConfigError, match=r"cannot make .*/below: Not a directory; .*--dir or HANS"
    ):
        layout.prepare_for_client(directory / "below")


def test_a_directory_of_somebody_else_is_refused_with_the_way_in(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory.mkdir(mode=0o700)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ConfigError, match="hansard serve --group") as refused:
        layout.prepare_for_client(directory)
    owner = pwd.getpwuid(os.getuid()).pw_name
    assert f"belongs to {owner} (mode 0700)" in str(refused.value)
    assert f"uid {os.geteuid()}" in str(refused.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_an_owner_without_a_name_is_named_by_number(directory: Path) -> None:
    directory.mkdir()
    os.chown(directory, 4_242_424, -1)
    assert "belongs to 4242424 " in layout.foreign_directory(directory)


def test_a_directory_that_takes_no_spool_is_no_error(directory: Path) -> None:
    directory.mkdir()
    (directory / "spool").write_text("in the way")
    layout.prepare_for_client(directory)


def test_a_shared_directory_says_with_whom(directory: Path) -> None:
    assert layout.group_of(directory) is None, "it is not there"
    directory.mkdir()
    assert layout.group_of(directory) is None
    directory.chmod(0o2750)
    assert layout.group_of(directory) == grp.getgrgid(directory.stat().st_gid).gr_name


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_group_without_a_name_is_refused_by_its_number(directory: Path) -> None:
    directory.mkdir()
    os.chown(directory, -1, 4_242_424)
    directory.chmod(0o2750)
    with pytest.raises(ConfigError, match=r"no name \(4242424\): give it one"):
        layout.group_of(directory)


def test_spool_files_are_shared_where_their_directory_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    assert layout.spool_file_mode(tmp_path) == 0o600
    tmp_path.chmod(0o3730)
    assert layout.spool_file_mode(tmp_path) == 0o660


# --- sockets ---


def long_directory(tmp_path: Path, length: int) -> Path:
    """A directory whose push socket's path has ``length`` bytes."""
    spare = length - len(os.fsencode(tmp_path)) - len("/push.sock") - 1
    parts = ["d" * 100] * (spare // 101) + ["e" * (spare % 101)]
    path = tmp_path.joinpath(*parts)
    path.mkdir(parents=True)
    assert len(os.fsencode(path / "push.sock")) == length
    return path


def test_a_path_that_fits_is_used_as_it_is() -> None:
    paths = layout.SocketPaths(Path("/x"))
    assert (paths.push, paths.ack) == ("ipc:///x/push.sock", "ipc:///x/ack.sock")


def test_a_path_one_byte_too_long_goes_through_an_open_directory() -> None:
    fits = "/" + "d" * (layout.SOCKET_PATH_BYTES_MAX - len("//push.sock"))
    assert layout.SocketPaths(Path(fits)).push == f"ipc://{fits}/push.sock"
    with pytest.raises(FileNotFoundError):  # it looks for the directory, to hold it open
        layout.SocketPaths(Path(fits + "d"))


@pytest.mark.parametrize("length", [107, 108, 300, 2_000])
def test_a_path_of_any_length_carries_messages(length: int) -> None:
    with TemporaryDirectory(dir="/tmp") as short:
        directory = long_directory(Path(short), length)
        ours, theirs = layout.SocketPaths(directory), layout.SocketPaths(directory)
        with zmq.Context() as context, context.socket(zmq.PULL) as pull:
            pull.bind(ours.push)
            with context.socket(zmq.PUSH) as push:
                push.connect(theirs.push)
                push.send(b"hello")
                assert pull.poll(10_000)
                assert pull.recv() == b"hello"
            assert (directory / "push.sock").exists()
        ours.close()
        theirs.close()


def test_socket_paths_let_their_directory_go_once(tmp_path: Path) -> None:
    paths = layout.SocketPaths(long_directory(tmp_path, 300))
    held = paths.push.removeprefix("ipc://").removesuffix("/push.sock")
    assert Path(held).exists()
    paths.close()
    assert not Path(held).exists()
    paths.close()


# --- the writer's lock, seen from outside ---


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"7", b"\xff"])
def test_a_lock_file_that_says_nothing_says_nothing(content: bytes | None, directory: Path) -> None:
    directory.mkdir()
    if content is not None:
        (directory / "writer.lock").write_bytes(content)
    assert layout.read_lock_file(directory) == {}


def test_a_lock_file_says_who_holds_it(directory: Path) -> None:
    directory.mkdir()
    facts = {"pid": 1, "epoch": 2, "run_id": "ab", "started_at": 3}
    (directory / "writer.lock").write_text(json.dumps(facts))
    assert layout.read_lock_file(directory) == facts


def test_a_writer_lives_while_its_lock_is_held(directory: Path) -> None:
    assert not layout.a_writer_lives(directory)
    directory.mkdir()
    assert not layout.a_writer_lives(directory)
    descriptor = os.open(directory / "writer.lock", os.O_RDWR | os.O_CREAT)
    assert not layout.a_writer_lives(directory)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert layout.a_writer_lives(directory)
    os.close(descriptor)
    assert not layout.a_writer_lives(directory)


def test_a_silent_writer_has_its_pid_said(directory: Path) -> None:
    assert layout.silent_writer(directory, "in time") == ""
    with held_lock(directory):
        assert layout.silent_writer(directory, "in time") == (
            f"the writer of {directory} (pid 7) runs, but did not answer in time: "
            "it is busy, perhaps in a named operation"
        )
    assert layout.silent_writer(directory, "in time") == ""


def test_two_who_ask_whether_a_writer_lives_are_no_writer(directory: Path) -> None:
    directory.mkdir()
    descriptor = os.open(directory / "writer.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    assert not layout.a_writer_lives(directory)
    os.close(descriptor)


def test_asking_whether_a_writer_lives_leaves_no_lock(directory: Path) -> None:
    directory.mkdir()
    descriptor = os.open(directory / "writer.lock", os.O_RDWR | os.O_CREAT)
    layout.a_writer_lives(directory)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(descriptor)


# --- network file systems ---

MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:40 / /mnt/share rw,relatime shared:2 master:1 - nfs4 host:/export rw
31 30 8:2 / /mnt/share/local rw - ext4 /dev/sdb1 rw
32 22 0:41 / /mnt/with\\040space rw - cifs //host/share rw
33 22 0:42 / /mnt/börse rw - nfs host:/börse rw
34 22 8:3 / /mnt/over rw - ext4 /dev/sdc1 rw
35 34 0:43 / /mnt/over rw - fuse.sshfs host: rw
"""


@pytest.fixture
def mounts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: MOUNTS)
    monkeypatch.setattr(Path, "read_bytes", lambda *_: MOUNTS.encode())


@pytest.mark.usefixtures("mounts")
@pytest.mark.parametrize(
    ("directory", "kind"),
    [
        ("/var/log", None),
        ("/mnt/share", "nfs4"),
        ("/mnt/share/a/b", "nfs4"),
        ("/mnt/shared", None),
        ("/mnt/share/local/a", None),
        ("/mnt/with space/a", "cifs"),
        ("/mnt/börse/a", "nfs"),
        ("/mnt/over/a", "fuse.sshfs"),
    ],
)
def test_a_network_file_system_is_known_by_the_mount_that_holds_it(
    directory: str, kind: str | None
) -> None:
    assert layout.network_file_system(Path(directory)) == kind


def test_without_a_list_of_mounts_nothing_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_proc(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", no_proc)
    monkeypatch.setattr(Path, "read_bytes", no_proc)
    assert layout.network_file_system(tmp_path) is None


def test_the_tests_directory_is_local(tmp_path: Path) -> None:
    assert layout.network_file_system(tmp_path) is None
