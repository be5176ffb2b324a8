"""Key files: made, read, given by others, refused."""

import os
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from hansard_writer.proof import keys
from hansard_writer.proof.keys import (
    KeyUnusable,
    new_key,
    public_bytes,
    read_key,
    read_verifier_key,
    write_key,
    write_verifier_key,
)
from hansard_writer.proof.signed_note import SigningKey


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "writer.key"


def put(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_a_key_is_read_as_it_was_written_and_only_its_owner_may_read_it(path: Path) -> None:
    key = new_key()
    before = os.umask(0)
    try:
        write_key(path, key)
    finally:
        os.umask(before)
    assert public_bytes(read_key(path)) == public_bytes(key)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]  # nothing is left beside it


def test_a_key_replaces_no_other(path: Path) -> None:
    first = new_key()
    write_key(path, first)
    with pytest.raises(FileExistsError):
        write_key(path, new_key())
    assert public_bytes(read_key(path)) == public_bytes(first)
    assert list(path.parent.iterdir()) == [path]


def test_a_key_of_openssl_is_taken(path: Path) -> None:
    command = ["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(path)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("there is no openssl here")
    path.chmod(0o600)
    assert len(public_bytes(read_key(path))) == 32


def test_a_key_that_others_may_read_is_refused(path: Path) -> None:
    write_key(path, new_key())
    path.chmod(0o640)
    with pytest.raises(KeyUnusable, match=r"mode 0640.*chmod 600"):
        read_key(path)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"-----BEGIN PRIVATE KEY-----\nAAAA\n"])
def test_what_is_no_key_is_refused(path: Path, content: bytes) -> None:
    with pytest.raises(KeyUnusable, match=r"no private key in PEM.*openssl genpkey"):
        read_key(put(path, content))


def test_a_key_of_another_algorithm_is_refused(path: Path) -> None:
    other = generate_private_key(SECP256R1())
    pem = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(KeyUnusable, match="not one of Ed25519"):
        read_key(put(path, pem))


def test_an_encrypted_key_is_refused(path: Path) -> None:
    encrypted = new_key().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    with pytest.raises(KeyUnusable, match="encrypted"):
        read_key(put(path, encrypted))


def test_a_directory_or_a_pipe_is_no_key(path: Path) -> None:
    path.mkdir(mode=0o700)
    with pytest.raises(KeyUnusable, match="no file"):
        read_key(path)
    path.rmdir()
    os.mkfifo(path, 0o600)
    with pytest.raises(KeyUnusable, match="no file"):
        read_key(path)


def test_a_key_that_is_not_there_is_for_the_caller_to_judge(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_key(path)
    with pytest.raises(FileNotFoundError):
        read_verifier_key(path)


def test_the_public_half_is_one_line_and_is_replaced(path: Path) -> None:
    for mode in (0o600, 0o640):
        key = SigningKey("hansard/00", new_key()).verifier_key
        write_verifier_key(path, key, mode)
        assert path.read_text() == f"{key}\n"
        assert read_verifier_key(path) == key
        assert stat.S_IMODE(path.stat().st_mode) == mode
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"", b"nonsense\n", b"\xff\n"])
def test_what_is_no_verifier_key_is_refused(path: Path, content: bytes) -> None:
    with pytest.raises(KeyUnusable, match="no verifier key"):
        read_verifier_key(put(path, content))


def test_a_failed_write_leaves_what_was_there(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = SigningKey("hansard/00", new_key()).verifier_key
    write_verifier_key(path, key, 0o600)

    def fail(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keys.os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write_verifier_key(path, SigningKey("hansard/01", new_key()).verifier_key, 0o600)
    assert read_verifier_key(path) == key
    assert list(path.parent.iterdir()) == [path]
