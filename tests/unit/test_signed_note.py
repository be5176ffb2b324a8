"""Signed notes as C2SP has them: the published ones, what is none, and what we sign."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from hansard_writer.proof import signed_note
from hansard_writer.proof.signed_note import (
    BadSignature,
    MalformedKey,
    MalformedNote,
    SigningKey,
    UntrustedNote,
    VerifierKey,
    open_note,
    parse_note,
    sign_note,
)

# The example of Go's golang.org/x/mod/sumdb/note: two signers, their keys, and one private key.
PETER = VerifierKey.parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
ENOCH = VerifierKey.parse("EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop")
PETERS_SEED = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
TEXT = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
PETERS_LINE = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6"
    "KE6RyyBwJnAM=\n"
)
ENOCHS_LINE = (
    "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WW"
    "d1RvMc+QQ=\n"
)
NOTE = f"{TEXT}\n{PETERS_LINE}"

# The example of https://c2sp.org/signed-note; its key was never published.
QUASIMODO = """\
Ognuno sta solo sul cuor della terra
trafitto da un raggio di sole:

ed è subito sera.

— quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=
"""  # noqa: E501


def signing_key(name: str = "log.example/one", seed: bytes = b"s" * 32) -> SigningKey:
    return SigningKey(name, Ed25519PrivateKey.from_private_bytes(seed))


def test_the_published_example_of_the_format_is_read() -> None:
    note = parse_note(QUASIMODO)
    assert note.text.endswith("\n\ned è subito sera.\n")
    [signature] = note.signatures
    assert signature.name == "quasimodo.example/salvatore"
    assert signature.key_id.hex() == "367ba04b"
    assert len(signature.signature) == 64


def test_a_note_of_nobody_known_is_not_trusted() -> None:
    with pytest.raises(UntrustedNote, match=r"quasimodo.example/salvatore \(367ba04b\)"):
        open_note(QUASIMODO, [PETER])


def test_the_published_example_of_another_implementation_verifies() -> None:
    assert open_note(NOTE, [PETER]) == (TEXT, (PETER,))
    assert open_note(NOTE.encode(), [ENOCH, PETER]) == (TEXT, (PETER,))
    assert open_note(NOTE + ENOCHS_LINE, [PETER]) == (TEXT, (PETER,))
    assert open_note(NOTE + ENOCHS_LINE, [PETER, ENOCH]) == (TEXT, (PETER, ENOCH))


def test_the_published_example_is_signed_byte_for_byte() -> None:
    assert sign_note(TEXT, [signing_key("PeterNeumann", PETERS_SEED)]) == NOTE


@pytest.mark.parametrize("at", range(0, len(NOTE), 7))
def test_a_changed_note_is_refused(at: int) -> None:
    changed = NOTE[:at] + ("x" if NOTE[at] != "x" else "y") + NOTE[at + 1 :]
    with pytest.raises(signed_note.NoteError):
        open_note(changed, [PETER])


def test_one_wrong_signature_of_a_known_key_spoils_the_note() -> None:
    forged = signing_key("EnochRoot").signature_line(TEXT)
    in_his_name = base64.b64encode(ENOCH.id + base64.b64decode(forged.split(" ")[2])[4:]).decode()
    with pytest.raises(BadSignature, match="EnochRoot"):
        open_note(f"{NOTE}— EnochRoot {in_his_name}\n", [PETER, ENOCH])


def test_a_signature_of_an_unknown_key_is_passed_over_though_it_shares_a_name_or_an_id() -> None:
    namesake = signing_key("PeterNeumann").signature_line(TEXT)
    same_id = f"— other.example {PETERS_LINE.split(' ')[2]}"
    assert open_note(f"{TEXT}\n{namesake}{same_id}{PETERS_LINE}", [PETER]).signers == (PETER,)


@pytest.mark.parametrize(
    ("note", "rule"),
    [
        (TEXT, "an empty line and signatures"),
        (TEXT + "\n", "one signature at least"),
        (NOTE[:-1], "ends with a newline"),
        ("\x01" + NOTE, "no control characters"),
        (NOTE.replace("\n", "\r\n"), "an empty line and signatures"),
        (NOTE.replace("you", "y\tu"), "no control characters"),
        (b"\xff" + NOTE.encode(), "UTF-8"),
        ("\ud800" + NOTE, "UTF-8"),
        (NOTE + "Unexpected line.\n", "em dash"),
        (NOTE.replace("— ", "- "), "em dash"),
        (NOTE.replace("— ", "—"), "em dash"),
        (NOTE.replace("— PeterNeumann", "— Peter Neumann"), "no base64"),
        (NOTE.replace("— PeterNeumann", "— Peter+Neumann"), "no key name"),
        (NOTE.replace("— PeterNeumann", "— Peter\u2003Neumann"), "no key name"),
        (NOTE.replace("— PeterNeumann", "— "), "no key name"),
        (NOTE.replace("nAM=\n", "nAM\n"), "no base64"),
        (NOTE.replace("nAM=\n", "nAM= \n"), "no base64"),
        (NOTE.replace("nAM=\n", "nAN=\n"), "no base64"),  # bits that no byte has
        (f"{TEXT}\n— PeterNeumann x08gow==\n", "a key id and something"),
        (f"{TEXT}\n{PETERS_LINE * 101}", "at most 100 signatures"),
        ("x" * 1_000_000 + NOTE, "at most 1,000,000 bytes"),
    ],
)
def test_what_breaks_the_grammar_is_no_note(note: str | bytes, rule: str) -> None:
    with pytest.raises(MalformedNote, match=rule):
        parse_note(note)


def test_a_note_may_have_a_hundred_signatures() -> None:
    assert len(parse_note(f"{TEXT}\n{PETERS_LINE * 100}").signatures) == 100


def test_the_last_empty_line_ends_the_text() -> None:
    note = sign_note("one\n\n\n", [signing_key()])
    assert open_note(note, [signing_key().verifier_key]).text == "one\n\n\n"


@pytest.mark.parametrize("text", ["", "no newline", "a\rb\n", "a\x00b\n", "\ud800\n"])
def test_a_text_that_no_note_can_have_is_not_signed(text: str) -> None:
    with pytest.raises(MalformedNote):
        sign_note(text, [signing_key()])


@given(
    st.text(
        st.characters(codec="utf-8", exclude_characters=list(map(chr, range(32)))), max_size=40
    ).map(lambda text: text.replace("x", "\n") + "\n"),
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).filter(
        lambda name: name.isprintable() and " " not in name and "+" not in name
    ),
    st.binary(min_size=32, max_size=32),
)
@settings(max_examples=100, deadline=None)
def test_what_is_signed_is_opened(text: str, name: str, seed: bytes) -> None:
    key = signing_key(name, seed)
    again = VerifierKey.parse(f"{key.verifier_key}\n")
    assert open_note(sign_note(text, [key]).encode(), [again]) == (text, (key.verifier_key,))


# --- keys ---


def test_every_part_of_a_verifier_key_is_no_verifier_key() -> None:
    """As Go's TestNewVerifier has it."""
    key = str(PETER)
    assert key == "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    manglings = {
        key[start:end]
        for start in range(len(key) + 1)
        for end in range(start + 1, len(key) + 1)
        if (start, end) != (0, len(key))
    }
    manglings |= {key[:at] + chr(ord(key[at]) + 1) + key[at + 1 :] for at in range(len(key))}
    for mangled in manglings:
        with pytest.raises(MalformedKey):
            VerifierKey.parse(mangled)


@pytest.mark.parametrize(
    ("key", "rule"),
    [
        (
            "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",
            "no base64|32 bytes",
        ),
        ("PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "not of Ed25519"),
        ("PeterNeumann+C74F20A3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "key id"),
        (" PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "no key name"),
    ],
)
def test_what_is_no_verifier_key_is_refused(key: str, rule: str) -> None:
    with pytest.raises(MalformedKey, match=rule):
        VerifierKey.parse(key)


def test_two_keys_of_one_name_and_id_are_not_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = (signing_key(seed=seed * 32).verifier_key for seed in (b"a", b"b"))
    monkeypatch.setattr(VerifierKey, "id", b"same")
    with pytest.raises(MalformedKey, match="two keys"):
        open_note(NOTE, [one, other])
    with pytest.raises(UntrustedNote):
        open_note(NOTE, [one, one])
