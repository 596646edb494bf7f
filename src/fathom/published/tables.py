"""The published figures of the study that Fathom follows, as data: each with its source and what to know of it.

The tables lie in `literature/` as they were printed, in percent; here they are fractions, under the names of this
project. Nothing of them is used to compute anything of ours: they are only held beside it.

Source: Lüth et al., 2023, and the study's public code and its stored outputs (`literature/literature.toml`).
"""

import csv
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from fathom.core.records import FathomError

LITERATURE = Path(__file__).parent / "literature"
TABLES = {
    "final": "final study (oversampling of imbalanced data)",
    "weighted": "first version of the study (class-weighted loss on imbalanced data)",
}


@dataclass(frozen=True)
class PublishedDataset:
    """A data set as the study used it.

    Args:
        name: In the registry.
        title: In the paper.
        balanced: Whether its classes are.
        metric: What the study reports of it.
        train, test: Images of the train part (validation included) and of the test split.
        calls: Call-strings of ours that stand for it.
    """

    name: str
    title: str
    balanced: bool
    metric: str
    train: int
    test: int
    calls: tuple[str, ...]


@dataclass(frozen=True)
class PublishedRegime:
    """How much was labeled, in samples, as the published launchers had it."""

    dataset: str
    paradigm: str
    regime: str
    start: int
    query_size: int
    rounds: int
    val_size: int
    source: str


@dataclass(frozen=True)
class PublishedArea:
    """Area under the budget curve of one cell; rounds equally spaced, which is the same for a constant query size.

    Args:
        table: A key of `TABLES`.
        dataset, paradigm, query, regime: The cell.
        mean: Over seeds, a fraction.
        sd: Over seeds; NaN where there is one.
        n: Seeds.
        metric: What was measured.
        source: A tag of `sources`.
        caveats: Tags of `caveats`.
    """

    table: str
    dataset: str
    paradigm: str
    query: str
    regime: str
    mean: float
    sd: float
    n: int
    metric: str
    source: str
    caveats: tuple[str, ...]


@dataclass(frozen=True)
class PublishedPoint:
    """A score at one budget, where one is known: read off a plot, said in the text, or stored for one seed."""

    dataset: str
    paradigm: str
    regime: str
    query: str
    budget: int
    value: float
    n: int
    metric: str
    imbalance: str
    source: str
    caveats: tuple[str, ...]


@dataclass(frozen=True)
class PublishedQuerySize:
    """A score of the query-size ablation: at `budget` labels with `query_size`, and the p against another query size.

    Args:
        start: Starting budget; that of the low regime.
        against: The query size that `p` compares with (two-sample t-test, NaN where it was not printed).
    """

    dataset: str
    paradigm: str
    query: str
    start: int
    query_size: int
    budget: int
    against: int
    mean: float
    sd: float
    n: int
    p: float
    metric: str
    source: str
    caveats: tuple[str, ...]


@dataclass(frozen=True)
class PublishedArm:
    """One entry of a published HP search, mean over starting sets.

    Args:
        chosen: Whether the study went on with it.
        split: What it was measured on: `validation` or `test`.
        imbalance: `oversample` or `weighted`.
    """

    dataset: str
    paradigm: str
    regime: str
    budget: int
    lr: float
    weight_decay: float
    augmentation: str
    mean: float
    sd: float
    n: int
    chosen: bool
    split: str
    imbalance: str
    source: str
    caveats: tuple[str, ...]


@dataclass(frozen=True)
class PublishedChoice:
    """The HPs that the study ran a setting with."""

    dataset: str
    paradigm: str
    regime: str
    lr: float
    weight_decay: float
    augmentation: str
    source: str


@dataclass(frozen=True)
class PublishedPenalty:
    """A number of a published penalty matrix: how often one method beats another, or a method's overall penalty.

    Args:
        what: `beats` (`query` beats `other`) or `penalty` (overall, of `query`).
        settings: Settings it is summed over, the largest value it can have.
    """

    table: str
    paradigm: str
    settings: int
    what: str
    query: str
    other: str
    value: float
    source: str
    caveats: tuple[str, ...]


# -------------------------------------------------------------------------------------------------------- loading


@cache
def _facts() -> dict[str, Any]:
    return tomllib.loads((LITERATURE / "literature.toml").read_text(encoding="utf-8"))


def reference() -> str:
    """The publication."""
    return str(_facts()["reference"])


def sources() -> dict[str, str]:
    """Tag -> where figures of that tag were read."""
    return dict(_facts()["sources"])


def caveats() -> dict[str, str]:
    """Tag -> what must be known of figures of that tag."""
    return dict(_facts()["caveats"])


@cache
def datasets() -> dict[str, PublishedDataset]:
    """The data sets of the study by their name in the registry."""
    found = {}
    for name, facts in _facts()["datasets"].items():
        found[name] = PublishedDataset(name, **{**facts, "calls": tuple(facts["calls"])})
    return found


@cache
def regimes() -> tuple[PublishedRegime, ...]:
    """The label regimes of the main study."""
    return tuple(_rows("regimes", PublishedRegime))


@cache
def areas() -> tuple[PublishedArea, ...]:
    """All published areas under the budget curve."""
    return tuple(_rows("aubc", PublishedArea))


@cache
def points() -> tuple[PublishedPoint, ...]:
    """All known single scores."""
    return tuple(_rows("points", PublishedPoint))


@cache
def query_sizes() -> tuple[PublishedQuerySize, ...]:
    """The query-size ablation."""
    return tuple(_rows("query_size", PublishedQuerySize))


@cache
def arms() -> tuple[PublishedArm, ...]:
    """The HP searches of which values are known."""
    return tuple(_rows("hparams", PublishedArm))


@cache
def choices() -> tuple[PublishedChoice, ...]:
    """The HPs that were chosen."""
    return tuple(_rows("chosen", PublishedChoice))


@cache
def penalties() -> tuple[PublishedPenalty, ...]:
    """What is known of the penalty matrices."""
    return tuple(_rows("penalty", PublishedPenalty))


_NAN = float("nan")


def _percent(text: str) -> float:
    return round(float(text) / 100, 8) if text else _NAN


_COLUMNS: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(("mean", "sd"), _percent),
    **dict.fromkeys(("start", "query_size", "rounds", "val_size", "budget", "against", "settings"), int),
    **dict.fromkeys(("lr", "weight_decay"), float),
    "n": lambda text: int(text) if text else 0,
    "p": lambda text: float(text) if text else _NAN,
    "chosen": lambda text: text == "yes",
    "caveats": lambda text: tuple(text.split()),
}


def _rows(name: str, record: Callable[..., Any]) -> Iterator[Any]:
    """The records of a table of the literature."""
    value = _percent if name == "points" else float  # penalties count settings
    path = LITERATURE / f"{name}.csv"
    with path.open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.DictReader(file), 2):
            try:
                yield record(**{key: {"value": value, **_COLUMNS}.get(key, str)(text) for key, text in row.items()})
            except (TypeError, ValueError) as error:
                raise FathomError(f"{path}, line {number}: {error}. Install fathom-al again") from None
