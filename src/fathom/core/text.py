"""Words around numbers, and sentences from parts."""

from collections.abc import Iterable


def plural(count: int, word: str) -> str:
    """`1 seed`, `3 seeds`."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def joined(*texts: str) -> str:
    """The texts that are not empty, separated by a space."""
    return " ".join(text for text in texts if text)


def number_ranges(numbers: Iterable[int]) -> str:
    """`0 to 4, 7`: whole numbers in order, three or more in a row as a range."""
    rows: list[list[int]] = []
    for number in sorted(set(numbers)):
        if rows and number == rows[-1][-1] + 1:
            rows[-1].append(number)
        else:
            rows.append([number])
    return ", ".join(f"{r[0]} to {r[-1]}" if len(r) > 2 else ", ".join(map(str, r)) for r in rows)
