"""Words around numbers, sentences from parts, and outside text made safe to show."""

import re
from collections.abc import Iterable
from functools import partial

# Control characters but tab and line feed, the marks that change the direction of text, and lone surrogates, which
# stand for bytes that are not UTF-8. A terminal obeys them, XML and UTF-8 forbid some, and they hide what is read.
UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
FORMULA = re.compile(r"\s*[=+\-@]")  # a spreadsheet runs a cell that begins so


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


def printable(text: str) -> str:
    r"""Show control characters, marks of direction and lone surrogates as text, such as `\x1b` and `\u202e`.

    Every text from outside passes through here on its way to a terminal, page, figure, table or notebook.
    """
    return UNSAFE.sub(partial(_escaped, short=True), text)


def printable_json(text: str) -> str:
    """Write the characters that `printable` replaces as JSON escapes; `text` is JSON with letters of any language."""
    return UNSAFE.sub(_escaped, text)


def csv_cell(value: object) -> object:
    """Make text safe for a spreadsheet: a text that would be a formula gets an apostrophe before it."""
    if not isinstance(value, str):
        return value
    return f"'{printable(value)}" if FORMULA.match(value) else printable(value)


def quoted(value: object, limit: int = 200) -> str:
    """A value in quotes, as Python spells it, cut in the middle where it is long: for messages."""
    if isinstance(value, str) and len(value) > 2 * limit:
        value = f"{value[:limit]} ... {value[-limit:]}"
    text = "a number of thousands of digits" if isinstance(value, int) and value.bit_length() > 9999 else repr(value)
    return text if len(text) <= 8 * limit else f"{text[:limit]} ... {text[-limit:]}"


def _escaped(match: re.Match[str], short: bool = False) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if short and code < 256 else f"\\u{code:04x}"
