"""The published numbers of the study that Fathom follows, as data, each with its source and its caveats.

The files in `literature/` hold the numbers as they were printed, in percent; the functions here return fractions, under
the names of this project. No result of ours is computed from them: they are only compared with our results. The HPs
that the study chose are in `design/hparams.toml`, since studies are run with them (`design.hparams.published_choice`).

Source: Lüth et al., 2023, and the study's public code and its stored outputs (`literature/literature.toml`).
"""

import csv
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from fathom.core.records import FathomError

T = TypeVar("T")

LITERATURE = Path(__file__).parent / "literature"


@dataclass(frozen=True)
class PublishedDataset:
    """A dataset as the study used it.

    Args:
        name: In the registry.
        title: In the paper.
        balanced: Whether its classes are balanced.
        metric: Metric that the study reports on it.
        train, test: Images of the train part (validation included) and of the test split.
        calls: Our spec strings for it.
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
    """Label regime of one setting, in samples, as in the published launch scripts."""

    dataset: str
    paradigm: str
    regime: str
    start: int
    query_size: int
    rounds: int
    val_size: int
    source: str


@dataclass(frozen=True)
class _PublishedRow:
    """A published number of one paradigm: a tag of `sources`, and tags of `caveats`."""

    paradigm: str
    source: str
    caveats: tuple[str, ...]


@dataclass(frozen=True)
class _PublishedScore(_PublishedRow):
    """A mean over `n` seeds on a dataset, with its standard deviation (NaN for one seed); fractions."""

    dataset: str
    mean: float
    sd: float
    n: int


@dataclass(frozen=True)
class PublishedArea(_PublishedScore):
    """Area under the budget curve of one cell.

    The study spaces rounds equally; with a constant query size this gives the same area as true budgets.

    Args:
        table: `final` (final study, oversampling of imbalanced data) or `weighted` (first version of the study, with a
            class-weighted loss on imbalanced data).
        query, regime: The cell, with dataset and paradigm.
        metric: Name of the metric.
    """

    table: str
    query: str
    regime: str
    metric: str


@dataclass(frozen=True)
class PublishedPoint(_PublishedRow):
    """A known score at one budget: read off a plot, given in the text, or stored for one seed (`n` = 0: not known)."""

    dataset: str
    regime: str
    query: str
    budget: int
    value: float
    n: int
    metric: str
    imbalance: str


@dataclass(frozen=True)
class PublishedQuerySize(_PublishedScore):
    """A score of the query-size ablation at `budget` labels with `query_size`, and its p against another query size.

    Args:
        start: Starting budget (of the low regime).
        against: Query size that `p` compares with; two-sample t-test, NaN where it was not printed.
    """

    query: str
    start: int
    query_size: int
    budget: int
    against: int
    p: float
    metric: str


@dataclass(frozen=True)
class PublishedSearchEntry(_PublishedScore):
    """One entry of a published HP search, averaged over starting sets.

    Args:
        chosen: Whether the study used it.
        split: Split of the score: `validation` or `test`.
        imbalance: `oversample` or `weighted`.
    """

    regime: str
    budget: int
    lr: float
    weight_decay: float
    augmentation: str
    chosen: bool
    split: str
    imbalance: str


@dataclass(frozen=True)
class PublishedPenalty(_PublishedRow):
    """A number of a published penalty matrix: how often one method beats another, or a method's overall penalty.

    Args:
        what: `beats` (`query` beats `other`) or `penalty` (overall penalty of `query`).
        settings: Number of settings in the sum, and so the largest possible value.
    """

    table: str
    settings: int
    what: str
    query: str
    other: str
    value: float


# -------------------------------------------------------------------------------------------------------- loading


@cache
def _facts() -> dict[str, Any]:
    return tomllib.loads((LITERATURE / "literature.toml").read_text(encoding="utf-8"))


def reference() -> str:
    """Citation of the publication."""
    return str(_facts()["reference"])


def sources() -> dict[str, str]:
    """Tag -> where numbers with that tag were read."""
    return dict(_facts()["sources"])


def caveats() -> dict[str, str]:
    """Tag -> limitation of numbers with that tag."""
    return dict(_facts()["caveats"])


@cache
def datasets() -> dict[str, PublishedDataset]:
    """Datasets of the study by their name in the registry."""
    listed = _facts()["datasets"].items()
    return {name: PublishedDataset(name, **{**facts, "calls": tuple(facts["calls"])}) for name, facts in listed}


def regimes() -> tuple[PublishedRegime, ...]:
    """Label regimes of the main study."""
    return _rows("regimes", PublishedRegime)


def areas() -> tuple[PublishedArea, ...]:
    """All published areas under the budget curve."""
    return _rows("aubc", PublishedArea)


def points() -> tuple[PublishedPoint, ...]:
    """All known scores at single budgets."""
    return _rows("points", PublishedPoint)


def query_sizes() -> tuple[PublishedQuerySize, ...]:
    """The query-size ablation."""
    return _rows("query_size", PublishedQuerySize)


def hp_searches() -> tuple[PublishedSearchEntry, ...]:
    """Entries of the HP searches whose scores are known."""
    return _rows("hparams", PublishedSearchEntry)


def penalties() -> tuple[PublishedPenalty, ...]:
    """Known numbers of the penalty matrices."""
    return _rows("penalty", PublishedPenalty)


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


@cache
def _rows(name: str, record: Callable[..., T]) -> tuple[T, ...]:
    """One record per line of `literature/NAME.csv`."""
    found = []
    # `value` is a score in percent in points.csv, but a number of settings in penalty.csv.
    columns = {**_COLUMNS, "value": _percent if name == "points" else float}
    path = LITERATURE / f"{name}.csv"
    with path.open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.DictReader(file), 2):
            try:
                found.append(record(**{key: columns.get(key, str)(text) for key, text in row.items()}))
            except (TypeError, ValueError) as error:
                raise FathomError(
                    f"{path}, line {number}: {error}. The package is damaged: install fathom-al again"
                ) from None
    return tuple(found)
