"""Counts and kinds in messages, as people write them. Knows no message."""


def counted(count: int, one: str, many: str | None = None) -> str:
    """``1 event``, ``2,000 events``; ``many`` where an s does not do."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def kind_of(value: object) -> str:
    """The type of a value, with its article: ``a str``, ``an int``; None is ``None``."""
    if value is None:
        return "None"
    name = type(value).__name__
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"
