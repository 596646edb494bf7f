"""Spec strings: the canonical spelling of a variation, `low`, `low(query_size=50)`, `standard(lr=0.1|0.01)`.

Values are integers, floats, true, false, none, strings (quoted where they hold `,()=|"`), or several joined by `|`.
A spec string never names an import path and is never evaluated, so the study file of a stranger is safe to open.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from fathom.core.records import FathomError

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


NAME = r"[a-z0-9][a-z0-9-]*"
_CALL = re.compile(rf"\s*((?:[A-Za-z0-9_]+/)?{NAME})\s*(?:\((.*)\))?\s*", re.DOTALL)
_ITEM = re.compile(r'\s*([A-Za-z_]\w*)\s*=\s*((?:"(?:[^"\\]|\\.)*"|[^,()="]*))\s*(,|$)')
_BARE = re.compile(r'[^,()=|"\s](?:[^,()=|"\n]*[^,()=|"\s])?')


def parse(text: str) -> SpecString:
    """Parse a spec string.

    Raises:
        FathomError: It is not of the form `name` or `name(key=value, ...)`.
    """
    match = _CALL.fullmatch(text) if isinstance(text, str) else None
    if not match:
        raise FathomError(
            f"not a spec string: {text!r}. Expected name or name(key=value, ...), e.g. low(query_size=50)"
        )
    name, inside = match.group(1), match.group(2) or ""
    arguments: dict[str, Value] = {}
    at = 0
    while inside.strip() and at < len(inside):
        item = _ITEM.match(inside, at)
        if not item:
            raise FathomError(
                f"cannot read the arguments of {text!r} at {inside[at:].strip()!r}. Expected key=value, separated by "
                'commas; put a value that holds any of ,()=|" into double quotes'
            )
        key, raw = item.group(1), item.group(2).strip()
        if key in arguments:
            raise FathomError(f"{text!r} sets {key} twice")
        if not raw:
            raise FathomError(f"{text!r} gives no value for {key}")
        arguments[key] = _value(raw)
        at = item.end()
    return SpecString.make(name, arguments)


def parse_stored(text: str) -> SpecString:
    """Parse a stored spec string. Text of another version that is none becomes a name: a report must still open."""
    try:
        return parse(text)
    except FathomError:
        return SpecString(text)


def _value(raw: str) -> Value:
    if raw.startswith('"'):
        return str(json.loads(raw))
    if "|" in raw:
        return tuple(_scalar(part.strip()) for part in raw.split("|"))
    return _scalar(raw)


def _scalar(raw: str) -> Scalar:
    words: dict[str, Scalar] = {"true": True, "false": False, "none": None}
    if raw in words:
        return words[raw]
    if re.fullmatch(r"[+-]?\d+", raw):
        return int(raw)
    if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", raw):
        return float(raw)
    return raw


def spell(value: Value) -> str:
    """Canonical spelling of a value; `parse` reads it back equal."""
    if isinstance(value, tuple):
        return "|".join(spell(v) for v in value)
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return value if _BARE.fullmatch(value) and _scalar(value) == value else json.dumps(value, ensure_ascii=False)
    # 50.0 and 50 are equal and get one spelling, hence one key.
    return str(int(value)) if float(value).is_integer() and abs(value) < 2**53 else repr(value)
