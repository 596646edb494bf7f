"""The published numbers of the study that Fathom follows, as data, each with its source and its caveats.

The files in `literature/` hold the numbers as they were printed, in percent; the functions here return fractions, under
the names of this project. No result of ours is computed from them: they are only compared with our results. The HPs
that the study chose are in `design/hparams.toml`, since studies are run with them (`design.hparams.published_choice`).

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
class PublishedArea:
    """Area under the budget curve of one cell.

    The study spaces rounds equally; with a constant query size this gives the same area as true budgets.

    Args:
        table: `final` (final study, oversampling of imbalanced data) or `weighted` (first version of the study, with a
            class-weighted loss on imbalanced data).
        dataset, paradigm, query, regime: The cell.
        mean: Over seeds, a fraction.
        sd: Standard deviation over seeds; NaN for one seed.
        n: Number of seeds.
        metric: Name of the metric.
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
    """A known score at one budget: read off a plot, given in the text, or stored for one seed (`n` = 0: not known)."""

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
    """A score of the query-size ablation at `budget` labels with `query_size`, and its p against another query size.

    Args:
        start: Starting budget (of the low regime).
        against: Query size that `p` compares with; two-sample t-test, NaN where it was not printed.
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
class PublishedSearchEntry:
    """One entry of a published HP search, averaged over starting sets.

    Args:
        chosen: Whether the study used it.
        split: Split of the score: `validation` or `test`.
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
class PublishedPenalty:
    """A number of a published penalty matrix: how often one method beats another, or a method's overall penalty.

    Args:
        what: `beats` (`query` beats `other`) or `penalty` (overall penalty of `query`).
        settings: Number of settings in the sum, and so the largest possible value.
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
    found = {}
    for name, facts in _facts()["datasets"].items():
        found[name] = PublishedDataset(name, **{**facts, "calls": tuple(facts["calls"])})
    return found


@cache
def regimes() -> tuple[PublishedRegime, ...]:
    """Label regimes of the main study."""
    return tuple(_rows("regimes", PublishedRegime))


@cache
def areas() -> tuple[PublishedArea, ...]:
    """All published areas under the budget curve."""
    return tuple(_rows("aubc", PublishedArea))


@cache
def points() -> tuple[PublishedPoint, ...]:
    """All known scores at single budgets."""
    return tuple(_rows("points", PublishedPoint))


@cache
def query_sizes() -> tuple[PublishedQuerySize, ...]:
    """The query-size ablation."""
    return tuple(_rows("query_size", PublishedQuerySize))


@cache
def hp_searches() -> tuple[PublishedSearchEntry, ...]:
    """Entries of the HP searches whose scores are known."""
    return tuple(_rows("hparams", PublishedSearchEntry))


@cache
def penalties() -> tuple[PublishedPenalty, ...]:
    """Known numbers of the penalty matrices."""
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
    """One record per line of `literature/NAME.csv`."""
    # `value` is a score in percent in points.csv, but a number of settings in penalty.csv.
    columns = {**_COLUMNS, "value": _percent if name == "points" else float}
    path = LITERATURE / f"{name}.csv"
    with path.open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.DictReader(file), 2):
            try:
                yield record(**{key: columns.get(key, str)(text) for key, text in row.items()})
            except (TypeError, ValueError) as error:
                raise FathomError(
                    f"{path}, line {number}: {error}. The package is damaged: install fathom-al again"
                ) from None
