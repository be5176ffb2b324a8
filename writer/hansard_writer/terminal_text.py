"""Text for a terminal: as wide as it looks, and nothing in it that moves a cursor. Pure."""

import unicodedata


def escaped(text: str) -> str:
    """Text that only prints: what could move a cursor or turn the line around is escaped."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def fitted(text: str, width: int) -> str:
    """The text, cut or filled up to a width."""
    text = cut(text, width)
    return text + " " * (width - width_of(text))


def cut(text: str, width: int) -> str:
    """The text within a width; what is cut off leaves an ellipsis."""
    if len(text) * 2 <= width or width_of(text) <= width:
        return text
    used = 1  # for the ellipsis
    for index, each in enumerate(text):
        used += width_of(each)
        if used > width:
            return text[:index] + "…"
    return text


def width_of(text: str) -> int:
    """How many columns of a terminal it takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in "WF" else 1
        for each in text
    )
