"""The pair of keys of a directory."""

from pathlib import Path

import pytest
import zmq

from hansard.curve import CurveKeys, check_public_key, new_keys, read_keys
from hansard.errors import ConfigError


@pytest.fixture
def keys(tmp_path: Path) -> CurveKeys:
    """Those of `tmp_path`."""
    keys = new_keys()
    (tmp_path / "curve.key").write_text(f"{keys.secret}\n")
    (tmp_path / "curve.key").chmod(0o600)
    return keys


def test_both_halves_come_from_the_secret_one(tmp_path: Path, keys: CurveKeys) -> None:
    assert read_keys(tmp_path) == keys
    assert keys.secret not in repr(keys)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_secret_that_others_may_read_is_none(tmp_path: Path, keys: CurveKeys, mode: int) -> None:
    (tmp_path / "curve.key").chmod(mode)
    with pytest.raises(ConfigError, match="others may read the key"):
        read_keys(tmp_path)


def test_a_clients_secret_may_be_its_groups_to_read_and_no_more(
    tmp_path: Path, keys: CurveKeys
) -> None:
    path = tmp_path / "curve.key"
    path.chmod(0o640)
    assert read_keys(tmp_path, may_be_shared=True) == keys
    for mode in (0o660, 0o644, 0o604):
        path.chmod(mode)
        with pytest.raises(ConfigError, match="others may read the key"):
            read_keys(tmp_path, may_be_shared=True)


@pytest.mark.parametrize("text", ["", "x" * 39, "x" * 41, "x" * 39 + "~", "x" * 39 + " "])
def test_what_is_no_key_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(ConfigError, match="server_key is"):
        check_public_key(text, "server_key")


def test_a_new_public_key_begins_no_option_of_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [(b"-" + b"0" * 39, b"1" * 40), (b"2" * 40, b"3" * 40)]
    monkeypatch.setattr(zmq, "curve_keypair", lambda: pairs.pop(0))
    assert new_keys() == CurveKeys("2" * 40, "3" * 40)
