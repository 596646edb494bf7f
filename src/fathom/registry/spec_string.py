"""Spec strings: the canonical spelling of a variation, `low`, `low(query_size=50)`, `standard(lr=0.1|0.01)`.

Values are integers, floats, true, false, none, strings (quoted where they hold `,()=|"`), or several joined by `|`.
No value holds a control character or bytes that are not UTF-8, and numbers are finite: a spec string is hashed as JSON.
A spec string never names an import path and is never evaluated, so the study file of a stranger is safe to open.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from fathom.core.records import FathomError
from fathom.core.text import quoted

Scalar = bool | int | float | str | None
Value = Scalar | tuple[Scalar, ...]


@dataclass(frozen=True)
class SpecString:
    """A parsed spec string; `str` gives its canonical spelling (arguments sorted by name)."""

    name: str
    arguments: tuple[tuple[str, Value], ...] = ()

    @classmethod
    def make(cls, name: str, arguments: Mapping[str, Value]) -> "SpecString":
        return cls(name, tuple(sorted(arguments.items())))

    def __str__(self) -> str:
        inside = ", ".join(f"{k}={spell(v)}" for k, v in self.arguments)
        return f"{self.name}({inside})" if inside else self.name


LONGEST = 10_000  # characters of a spec string
LARGEST = 2**63  # above every whole number: tables hold 64 bits
NAME = r"[a-z0-9][a-z0-9-]*"
_CALL = re.compile(rf"\s*((?:[A-Za-z0-9_]+/)?{NAME})\s*(?:\((.*)\))?\s*", re.DOTALL)
_ITEM = re.compile(r'\s*([A-Za-z_]\w*)\s*=\s*((?:"(?:[^"\\]|\\.)*"|[^,()="])*)\s*(,|$)', re.DOTALL | re.ASCII)
_PART = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^|"])+', re.DOTALL)  # of a value with `|`
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_BARE = re.compile(r'[^,()=|"\s](?:[^,()=|"\n]*[^,()=|"\s])?')


def parse(text: str) -> SpecString:
    """Parse a spec string.

    Raises:
        FathomError: It is not of the form `name` or `name(key=value, ...)`.
    """
    match = _CALL.fullmatch(text) if isinstance(text, str) and len(text) <= LONGEST else None
    if not match:
        reason = f" of at most {LONGEST:,} characters" if isinstance(text, str) and len(text) > LONGEST else ""
        raise FathomError(
            f"not a spec string{reason}: {quoted(text)}. Expected name or name(key=value, ...), e.g. low(query_size=50)"
        )
    name, inside = match.group(1), match.group(2) or ""
    arguments: dict[str, Value] = {}
    at = 0
    while inside.strip() and at < len(inside):
        item = _ITEM.match(inside, at)
        if not item:
            raise FathomError(
                f"cannot read the arguments of {quoted(text)} at {quoted(inside[at:].strip())}. Expected key=value, "
                'separated by commas; put a value that holds any of ,()=|" into double quotes'
            )
        key, raw = item.group(1), item.group(2).strip()
        if key in arguments:
            raise FathomError(f"{quoted(text)} sets {key} twice")
        if not raw:
            raise FathomError(f"{quoted(text)} gives no value for {key}")
        try:
            arguments[key] = _value(raw)
        except ValueError as error:
            raise FathomError(f"cannot read the value of {key} in {quoted(text)}: {error}") from None
        at = item.end()
    return SpecString.make(name, arguments)


def parse_stored(text: str) -> SpecString:
    """Parse a stored spec string. Text of another version that is none becomes a name: a report must still open."""
    try:
        return parse(text)
    except FathomError:
        return SpecString(text)


def _value(raw: str) -> Value:
    parts = [match[0].strip() for match in _PART.finditer(raw)]
    if not all(parts) or len(parts) != raw.count("|") + 1 - sum(part.count("|") for part in parts):
        raise ValueError("expected a value on each side of |")
    return _scalar(parts[0]) if len(parts) == 1 else tuple(map(_scalar, parts))


def _scalar(raw: str) -> Scalar:
    """The value of one part.

    Raises:
        ValueError: It is none; with what was expected.
    """
    words: dict[str, Scalar] = {"true": True, "false": False, "none": None}
    if raw in words:
        return words[raw]
    if re.fullmatch(r"[+-]?[0-9]+", raw):
        return int(_bounded(int(raw) if len(raw) < 40 else LARGEST))
    if re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", raw):
        return _bounded(float(raw))
    text = _unquoted(raw) if '"' in raw else raw
    if found := _CONTROL.search(text):
        kind = "bytes that are not UTF-8" if found[0] >= "\ud800" else f"the control character {found[0]!r}"
        raise ValueError(f"it holds {kind}, which no name or path here may hold; rename the file or folder")
    return text


def _unquoted(raw: str) -> str:
    try:
        return str(json.loads(raw, strict=False))
    except json.JSONDecodeError:
        raise ValueError(
            "double quotes stand around a whole value, and a backslash between them is written twice "
            r'(or as / in a path): path="C:\\images"'
        ) from None


def _bounded(number: float) -> float:
    """The number, if a table can hold it.

    Raises:
        ValueError: It is not finite, or a whole number of more than 64 bits.
    """
    if not math.isfinite(number) or (isinstance(number, int) and abs(number) >= LARGEST):
        raise ValueError("the number is too large; expected a finite number, and whole numbers below 2^63")
    return number


def spell(value: Value) -> str:
    """Canonical spelling of a value; `parse` reads it back equal.

    Raises:
        ValueError: It is a number that is too large.
    """
    if isinstance(value, tuple):
        return "|".join(spell(v) for v in value)
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return value if _BARE.fullmatch(value) and _plain(value) else json.dumps(value, ensure_ascii=False)
    _bounded(value)
    # 50.0 and 50 are equal and get one spelling, hence one key.
    return str(int(value)) if float(value).is_integer() and abs(value) < 2**53 else repr(value)


def _plain(text: str) -> bool:
    """True for a text that stays itself without quotes."""
    try:
        return _scalar(text) == text
    except ValueError:
        return False
