"""Words around numbers, and sentences from parts."""


def plural(count: int, word: str) -> str:
    """`1 seed`, `3 seeds`."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def joined(*texts: str) -> str:
    """The texts that are not empty, separated by a space."""
    return " ".join(text for text in texts if text)
