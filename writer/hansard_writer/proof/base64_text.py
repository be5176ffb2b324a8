"""Bytes as text, as C2SP's formats have them: base64 of RFC 4648, section 4, in one form. Pure."""

import base64
import binascii


def encode(data: bytes) -> str:
    """The text of bytes."""
    return base64.b64encode(data).decode()


def decode(text: str) -> bytes | None:
    """The bytes of a text; None where `encode` makes no such text of any bytes. Otherwise two texts
    could be one signature, or one hash."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if encode(data) == text else None
