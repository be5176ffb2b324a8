"""Base64 in its one form: what is decoded is what would be encoded."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansard_writer.proof.base64_text import decode, encode


@given(st.binary())
def test_what_is_encoded_is_decoded(data: bytes) -> None:
    assert decode(encode(data)) == data
    assert encode(data) == base64.standard_b64encode(data).decode()


@pytest.mark.parametrize(
    "text", ["aa==", "aQ=", "aQ", "aQ==\n", " aQ==", "aQ==aQ==", "-_-_", "ä", "a"]
)
def test_another_form_is_none(text: str) -> None:
    """A signature or a hash would have two texts."""
    assert decode(text) is None
