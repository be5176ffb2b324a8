"""Checkpoints as C2SP has them: the grammar byte for byte, and the published example."""

import base64
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from hansard_writer.proof.checkpoint import (
    Checkpoint,
    open_checkpoint,
    read_checkpoint,
    sign_checkpoint,
)
from hansard_writer.proof.signed_note import (
    BadSignature,
    MalformedNote,
    SigningKey,
    UntrustedNote,
    VerifierKey,
)

ROOT_TEXT = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="
ROOT = base64.b64decode(ROOT_TEXT)

# The example of https://c2sp.org/tlog-checkpoint. Its names are made up: size, root and signature
# are those of the Go checksum database, whose key, by its id, has signed this under its own origin.
SOFA = f"""\
example.com/behind-the-sofa
20852163
{ROOT_TEXT}

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
"""  # noqa: E501
SUMDB_KEY = VerifierKey.parse(
    "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
)
SUMDB = SOFA.replace("example.com/behind-the-sofa\n", "go.sum database tree\n").replace(
    "— example.com/behind-the-sofa", "— sum.golang.org"
)

KEY = SigningKey("hansard/00ff", Ed25519PrivateKey.from_private_bytes(b"k" * 32))


def test_the_published_example_is_read_and_written_byte_for_byte() -> None:
    checkpoint = read_checkpoint(SOFA)
    assert checkpoint == Checkpoint("example.com/behind-the-sofa", 20_852_163, ROOT)
    assert checkpoint.text() == SOFA[: SOFA.index("\n\n") + 1]


def test_the_signature_of_the_published_example_verifies_under_the_names_it_was_made_for() -> None:
    assert open_checkpoint(SUMDB, [SUMDB_KEY]) == Checkpoint(
        "go.sum database tree", 20_852_163, ROOT
    )
    with pytest.raises(UntrustedNote):
        open_checkpoint(SOFA, [SUMDB_KEY])
    in_the_sofas_name = VerifierKey("example.com/behind-the-sofa", SUMDB_KEY.public_key)
    with pytest.raises(UntrustedNote):  # the id is of the other name
        open_checkpoint(SOFA, [in_the_sofas_name])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("tree\n", "tree \n"),
        ("20852163", "20852164"),
        ("CsUY", "DsUY"),
        ("q2I=\n", "q2I=\nextension\n"),
        ("/Zhcyv", "/Ahcyv"),
    ],
)
def test_a_corrupted_example_does_not_verify(old: str, new: str) -> None:
    assert old in SUMDB
    with pytest.raises(BadSignature):
        open_checkpoint(SUMDB.replace(old, new, 1), [SUMDB_KEY])


def test_ours_follow_the_grammar_byte_for_byte() -> None:
    note = sign_checkpoint(Checkpoint("hansard/00ff", 3, ROOT), [KEY])
    text, signature = f"hansard/00ff\n3\n{ROOT_TEXT}\n", note.rsplit(" ", 1)[1]
    assert note == f"{text}\n— hansard/00ff {signature}"
    signed = base64.b64decode(signature.removesuffix("\n"))
    assert signed[:4] == KEY.verifier_key.id
    assert len(signed) == 4 + 64
    assert open_checkpoint(note, [KEY.verifier_key]) == Checkpoint("hansard/00ff", 3, ROOT)


def test_a_checkpoint_of_another_origin_is_refused_where_one_is_expected() -> None:
    note = sign_checkpoint(Checkpoint("hansard/00ff", 3, ROOT), [KEY])
    open_checkpoint(note, [KEY.verifier_key], origin="hansard/00ff")
    with pytest.raises(UntrustedNote, match="not of 'hansard/00fe'"):
        open_checkpoint(note, [KEY.verifier_key], origin="hansard/00fe")


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"log\n1\n{ROOT_TEXT}",
        "log\n1\n",
        f"\n1\n{ROOT_TEXT}\n",
        f"log\n\n{ROOT_TEXT}\n",
        "log\n1\n\n",
        f"log\n1\n{ROOT_TEXT}\n\n",
        f"log\n01\n{ROOT_TEXT}\n",
        f"log\n+1\n{ROOT_TEXT}\n",
        f"log\n-1\n{ROOT_TEXT}\n",
        f"log\n 1\n{ROOT_TEXT}\n",
        f"log\n1 \n{ROOT_TEXT}\n",
        f"log\n1_0\n{ROOT_TEXT}\n",
        f"log\n\u0661\n{ROOT_TEXT}\n",  # another script's 1
        f"log\n9223372036854775808\n{ROOT_TEXT}\n",
        f"log\n{'9' * 5_000}\n{ROOT_TEXT}\n",
        "log\n1\nAAAA\n",
        "log\n1\n!!!notbase64!!!\n",
        f"log\n1\n{ROOT_TEXT.replace('q2I=', 'q2J=')}\n",
        f"log\n1\n{ROOT_TEXT.replace('=', '')}\n",
        f"log\n1\n {ROOT_TEXT}\n",
        f"log\n1\n{ROOT_TEXT}\next\x01ension\n",
        f"l\rog\n1\n{ROOT_TEXT}\n",
    ],
)
def test_what_breaks_the_grammar_is_no_checkpoint(text: str) -> None:
    with pytest.raises(MalformedNote):
        Checkpoint.parse(text)


def test_extension_lines_of_others_are_kept() -> None:
    text = f"log\n1\n{ROOT_TEXT}\nfoo extension\nbar\n"
    assert Checkpoint.parse(text).extensions == ("foo extension", "bar")
    assert Checkpoint.parse(text).text() == text


@pytest.mark.parametrize(
    "changed",
    [
        {"origin": ""},
        {"origin": "two\nlines"},
        {"origin": "a\tb"},
        {"size": -1},
        {"size": 1 << 63},
        {"root": b"short"},
        {"extensions": ("",)},
    ],
)
def test_a_checkpoint_that_has_no_text_cannot_be_made(changed: dict[str, Any]) -> None:
    with pytest.raises(MalformedNote):
        Checkpoint(**{"origin": "log", "size": 1, "root": ROOT, **changed})


@given(
    st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), min_size=1),
    st.integers(0, (1 << 63) - 1),
    st.binary(min_size=32, max_size=32),
)
@settings(max_examples=100, deadline=None)
def test_what_is_signed_is_what_is_opened(origin: str, size: int, root: bytes) -> None:
    checkpoint = Checkpoint(origin, size, root)
    assert Checkpoint.parse(checkpoint.text()) == checkpoint
    assert open_checkpoint(sign_checkpoint(checkpoint, [KEY]), [KEY.verifier_key]) == checkpoint
