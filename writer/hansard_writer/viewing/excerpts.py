"""The beginning of a text, or the part of it where a search has its words. Pure."""

import re
from typing import Final

EXCERPT_CHARS: Final = 220
BEFORE_CHARS: Final = 60  # shown in front of the first word that is found
_WORD: Final = re.compile(r"\w+")
_OPERATORS: Final = frozenset({"AND", "OR", "NOT", "NEAR"})
_STEM_CHARS: Final = 4  # of a word at least: the index has its stem

Piece = tuple[str, bool]
"""Some text, and whether a search has found it."""


def words_of(query: str | None) -> list[str]:
    """The words that a query looks for, as they may begin in a text."""
    found = (each for each in _WORD.findall(query or "") if each not in _OPERATORS)
    return [_stem(each.casefold()) for each in found]


def excerpt(text: str, words: list[str]) -> list[Piece]:
    """The text's beginning, or what is around the first of the words, in pieces."""
    pattern = _pattern(words)
    found = pattern.search(text) if pattern else None
    start = max(0, found.start() - BEFORE_CHARS) if found else 0
    cut = text[start : start + EXCERPT_CHARS]
    pieces = _marked(cut, pattern) if pattern else [(cut, False)]
    if start:
        pieces.insert(0, ("…", False))
    if start + EXCERPT_CHARS < len(text):
        pieces.append(("…", False))
    return pieces


def _marked(text: str, pattern: re.Pattern[str]) -> list[Piece]:
    pieces: list[Piece] = []
    end = 0
    for found in pattern.finditer(text):
        if found.start() > end:
            pieces.append((text[end : found.start()], False))
        pieces.append((found[0], True))
        end = found.end()
    if end < len(text):
        pieces.append((text[end:], False))
    return pieces


def _pattern(words: list[str]) -> re.Pattern[str] | None:
    if not words:
        return None
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, words))})\w*", re.IGNORECASE)


def _stem(word: str) -> str:
    """Porter's is not repeated here: without its usual endings a word finds what that finds, or
    a little more."""
    for ending in ("ings", "ing", "edly", "ed", "es", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= _STEM_CHARS:
            return word.removesuffix(ending)
    return word
