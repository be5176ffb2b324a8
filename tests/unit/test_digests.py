"""Digests of many pieces: those that SHA-256 of beginning and piece has, one by one."""

import hashlib
import threading

from hansard_writer.proof.digests import Digests

PIECES = [b"", b"a", bytes(55), bytes(56), bytes(64), bytes(5_000), b"a"]


def expected(beginning: bytes) -> list[bytes]:
    return [hashlib.sha256(beginning + piece).digest() for piece in PIECES]


def test_each_digest_is_of_the_beginning_and_its_own_piece() -> None:
    for beginning in (b"", b"\x00", bytes(64), b"beginning"):
        assert Digests(beginning)(PIECES) == expected(beginning)


def test_no_piece_leaves_anything_behind_for_the_next_call() -> None:
    digests = Digests(b"\x01")
    assert digests(iter(PIECES)) == digests(PIECES) == expected(b"\x01")
    assert digests([]) == []


def test_several_threads_may_use_one() -> None:
    digests, found = Digests(b"\x01"), []
    threads = [
        threading.Thread(target=lambda: found.append(digests(PIECES * 50))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected(b"\x01") * 50] * 4
