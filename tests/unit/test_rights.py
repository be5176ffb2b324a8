"""Which right is needed for what, and what is said to who does not have it."""

import pytest

from hansard import wire
from hansard_writer import administration, producers
from hansard_writer.remote import rights
from hansard_writer.remote.rights import ADMIN, CALL, RECORD, RIGHTS, Peer

KEY = "k" * 40


def peer(*held: str) -> Peer:
    return Peer(KEY, "web-1" if held else "", held, "10.0.0.1")


def allowed(*held: str) -> set[str]:
    """What a peer may do with these rights."""
    may = set()
    for verb in (*rights.NEEDED, "stats"):
        try:
            rights.require(peer(*held), verb)
        except rights.RightMissing:
            continue
        may.add(verb)
    return may


def test_each_right_opens_what_is_its_own_and_no_more() -> None:
    assert allowed(RECORD) == {rights.FRAMES, "stats", *producers.VERBS}
    assert allowed(CALL) == {"call", "lookup_call", "stats"}
    assert allowed(ADMIN) == {"stats", *administration.REQUESTS}
    assert allowed(*RIGHTS) == {*rights.NEEDED, "stats"}
    assert allowed() == set(), "a key that is not on the list may not even ask for figures"


def test_no_verb_of_the_wire_is_left_out_of_the_table() -> None:
    known = set(wire.requests._VERBS.values())
    assert known == set(rights.NEEDED) - {rights.FRAMES}


def test_who_lacks_a_right_hears_which_and_how_it_is_given() -> None:
    with pytest.raises(rights.RightMissing) as missing:
        rights.require(peer(RECORD), "redact")
    assert missing.value.reason == rights.NO_RIGHT
    assert "redact needs the right admin, which web-1 does not have" in str(missing.value)
    assert f"`hansard keys allow '{KEY}' --name web-1 --may record,admin`" in str(missing.value)


def test_who_is_not_allowed_hears_how_he_would_be() -> None:
    with pytest.raises(rights.RightMissing) as missing:
        rights.require(peer(), "hello")
    assert missing.value.reason == rights.NOT_ALLOWED
    assert f"`hansard keys allow '{KEY}' --name NAME`" in str(missing.value)


def test_the_right_is_the_permission_and_a_token_says_nothing() -> None:
    asked = [b"any token", "redact", "arguments"]
    assert rights.permitted(wire.AS_OWNER, asked, peer(ADMIN)) == ("redact", ["arguments"])
    with pytest.raises(rights.RightMissing):
        rights.permitted(wire.AS_OWNER, asked, peer(RECORD, CALL))


def test_what_is_no_verb_needs_no_right_to_be_told_so() -> None:
    assert rights.permitted("explode", [], peer(CALL)) == ("explode", [])
