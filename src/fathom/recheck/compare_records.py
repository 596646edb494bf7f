"""Comparison of two records: equal to the bit, or within the tolerance for another environment."""

import json
from typing import Any

from fathom.core.metrics import UNSTEADY
from fathom.core.records import unique

TOLERANCE = 0.02  # of a metric in [0, 1], in another environment
EXACT = ("round", "budget", "paid", "hparams", "labeled_classes", "seed", "dropout")  # equal in every environment


def compare_records(committed: dict[str, Any], found: dict[str, Any], bitwise: bool) -> tuple[list[str], list[str]]:
    """Compare a committed record with a recomputed one.

    Args:
        committed, found: Contents of the records.
        bitwise: Every field must be equal; else only `EXACT` ones, and metrics within `TOLERANCE`. Of the metrics only
            those that the committed record has are compared.

    Returns:
        (differences, notes): fields that differ and must not; fields that differ as another environment may make them.
    """
    differences: list[str] = []
    notes: list[str] = []
    for key in unique([*committed, *found]):
        one, other = committed.get(key), found.get(key)
        if one == other:
            continue
        if key == "metrics" and isinstance(one, dict) and isinstance(other, dict):
            if new := [name for name in other if name not in one]:  # an earlier version measured fewer
                notes.append(f"not compared, as the committed record has no such metric: {', '.join(new)}")
            for name in one:
                text = _difference(f"{key}.{name}", one[name], other.get(name))
                if one[name] != other.get(name):
                    near = not bitwise and _near(name, one[name], other.get(name))
                    (notes if near else differences).append(text)
        elif bitwise or key in EXACT:
            differences.append(_difference(key, one, other))
        else:
            notes.append(_difference(key, one, other))
    return differences, notes


def _near(name: str, one: Any, other: Any) -> bool:
    """Tell whether two environments may differ so much in a metric."""
    if name in UNSTEADY:
        return True
    return isinstance(one, float) and isinstance(other, float) and abs(one - other) <= TOLERANCE


def _difference(name: str, one: Any, other: Any) -> str:
    if isinstance(one, list) and isinstance(other, list):
        places = [i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b]
        if len(one) == len(other):
            first = places[0]
            values = f"{one[first]} committed, {other[first]} now"
            return f"{name}: {len(places)} of {len(one)} differ, first at {first}: {values}"
        return f"{name}: {len(one)} committed, {len(other)} now"
    return f"{name}: {_brief(one)} committed, {_brief(other)} now"


def _brief(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 80 else f"{text[:77]}..."


def plain_values(content: dict[str, Any]) -> dict[str, Any]:
    """The content as it is read back from a file."""
    found: dict[str, Any] = json.loads(json.dumps(content))
    return found
