"""Simulated studies: tidy tables whose true gains are known."""

from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np
import pandas as pd

Array = np.ndarray[Any, np.dtype[np.float64]]

BUDGETS = np.array([20.0, 40.0, 60.0, 80.0, 100.0, 120.0])  # training labels
VALIDATION = 40.0  # labels paid besides
CURVE = 0.85 - 0.35 * np.exp(-BUDGETS / 60)  # true scores of Random: a fraction, rising and levelling off
WEIGHTS = np.array([0.5, 1, 1, 1, 1, 0.5]) / 5  # of the rounds in the area under the curve
AFTER_START = np.array([0.0, 1, 1, 1, 1, 1])  # round 0 is shared by all methods of a seed
SEED_SD = 0.01  # what all methods of a seed share
DEPTHS = 0.05, 0.30  # a collapsed run loses so much from a random round on
LOST_ROUNDS = 3  # rounds that a run has committed which never finishes


@dataclass(frozen=True)
class Design:
    """One design of studies.

    Args:
        datasets, regimes: A setting is a dataset with a regime; one paradigm.
        methods: Query methods, Random among them as the first.
        seeds: Runs of each method and setting.
        gains: True gains in AUBC of the methods after Random, fractions; of those not named 0.
        sd: Spread over seeds of the paired gain in AUBC, a fraction.
        uneven: Largest over smallest spread; settings and methods differ, log-uniformly.
        between: Spread of the true gains between datasets.
        collapse: Share of runs that collapse.
        collapsing: `all` methods, or `one` (the second).
        same_depth: All collapsed runs lose the same: they fall to one constant score.
        lost: Share of the second method's runs, its worst, that never finish.
    """

    datasets: int = 1
    regimes: int = 1
    methods: int = 5
    seeds: int = 5
    gains: tuple[float, ...] = ()
    sd: float = 0.009
    uneven: float = 1.0
    between: float = 0.0
    collapse: float = 0.0
    collapsing: str = "all"
    same_depth: bool = False
    lost: float = 0.0

    @property
    def settings(self) -> int:
        """Datasets times regimes."""
        return self.datasets * self.regimes

    @property
    def queries(self) -> list[str]:
        """Names of the methods."""
        return ["random", *(f"method-{i}" for i in range(1, self.methods))]


@dataclass(frozen=True, eq=False)
class Batch:
    """Simulated studies of one design and their truth.

    Args:
        design: What they were drawn from.
        table: The tidy tables of all studies; a dataset is named `study/dataset-number`.
        gains: [studies, datasets, methods] true gains over Random on these datasets, fractions.
        expected: [methods] true gains over all datasets that might be drawn.
        new: [studies, methods] gains measured on one more dataset with as many regimes and seeds.
    """

    design: Design
    table: pd.DataFrame
    gains: Array
    expected: Array
    new: Array

    def true_gain(self, dataset: str, query: str) -> float:
        """True gain in AUBC over Random on one dataset, a fraction."""
        number = int(dataset.rpartition("-")[2])
        return float(self.gains[study_of(dataset), number, self.design.queries.index(query)])


def study_of(dataset: str) -> int:
    """Number of the study that a dataset belongs to."""
    return int(dataset.partition("/")[0])


def simulate(design: Design, studies: int, rng: np.random.Generator) -> Batch:
    """Draw so many studies of a design.

    Noise is normal: per seed (shared by all methods), per run and per round.
    """
    d, k = design.datasets + 1, design.methods  # the last dataset is the new one
    planted = np.zeros(k)
    planted[1 : 1 + len(design.gains)] = design.gains
    expected = planted.copy()
    if design.collapse and design.collapsing == "one":
        expected[1] -= design.collapse * mean_collapse(design.same_depth)
    differs = rng.normal(0, design.between, (studies, d, k)) * (np.arange(k) > 0)
    scores, deviation = _runs(design, (planted + differs).repeat(design.regimes, axis=1), rng)
    table = rows_of(design, studies).assign(score=scores[:, : design.settings].ravel())
    if design.lost:
        gone = deviation < np.quantile(rng.normal(size=100_000), design.lost)
        gone[:, :, np.arange(k) != 1] = False
        late = table["round"].to_numpy() >= LOST_ROUNDS
        table = table[~(gone[:, : design.settings].ravel().repeat(len(BUDGETS)) & late)]
    areas = scores[:, design.settings :] @ WEIGHTS
    new = (areas - areas[:, :, :1]).mean((1, 3))
    return Batch(design, table, (expected + differs)[:, :-1], expected, new)


def _runs(design: Design, shift: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Scores [studies, settings, methods, seeds, rounds], and how good each run is by chance, in its own spreads."""
    studies, s, k = shift.shape
    n, rounds = design.seeds, len(BUDGETS)
    spread = design.uneven ** rng.uniform(-0.5, 0.5, (studies, s, k, 1, 1))
    own = AFTER_START @ WEIGHTS
    unit = design.sd / (2 * (own**2 + (AFTER_START * WEIGHTS**2).sum())) ** 0.5  # of a run, and of a round
    noise = rng.normal(size=(studies, s, k, n, 1)) + rng.normal(size=(studies, s, k, n, rounds))
    deviation = unit * spread * noise * AFTER_START
    common = rng.normal(0, SEED_SD, (studies, s, 1, n, 1)) + rng.normal(0, unit, (studies, s, 1, n, rounds))
    scores = CURVE + shift[..., None, None] * AFTER_START / own + deviation + common
    if design.collapse:
        hit = rng.random((studies, s, k, n)) < design.collapse
        if design.collapsing == "one":
            hit[:, :, np.arange(k) != 1] = False
        scores -= hit[..., None] * _losses(rng, (studies, s, k, n), design.same_depth)
    good = deviation @ WEIGHTS / (unit * spread[..., 0] * (own**2 + (AFTER_START * WEIGHTS**2).sum()) ** 0.5)
    return scores, good


def _losses(rng: np.random.Generator, shape: tuple[int, ...], same_depth: bool) -> Array:
    """Loss of a collapsed run at each round: [..., rounds]."""
    if same_depth:
        return np.broadcast_to(np.mean(DEPTHS) * AFTER_START, (*shape, len(BUDGETS)))
    from_round = rng.integers(1, len(BUDGETS), shape)[..., None]
    return rng.uniform(*DEPTHS, (*shape, 1)) * (np.arange(len(BUDGETS)) >= from_round)


def mean_curve(gain: float) -> Array:
    """True scores of a method with a gain in AUBC over Random."""
    return CURVE + gain * AFTER_START / (AFTER_START @ WEIGHTS)


@cache
def mean_collapse(same_depth: bool) -> float:
    """Mean loss in AUBC of a collapsed run."""
    if same_depth:
        return float(np.mean(DEPTHS) * AFTER_START @ WEIGHTS)
    of_round = [WEIGHTS[first:].sum() for first in range(1, len(BUDGETS))]
    return float(np.mean(DEPTHS) * np.mean(of_round))


@lru_cache(maxsize=1)
def rows_of(design: Design, studies: int) -> pd.DataFrame:
    """The tidy tables of studies of a design, without their scores."""
    d, g, k, n = design.datasets, design.regimes, design.methods, design.seeds
    study, dataset, regime, query, seed, number = np.indices((studies, d, g, k, n, len(BUDGETS))).reshape(6, -1)
    datasets = np.array([f"{r}/dataset-{i}" for r in range(studies) for i in range(d)], dtype=object)
    columns: dict[str, Any] = {
        "dataset": datasets[study * d + dataset],
        "regime": np.array([f"regime-{i}" for i in range(g)], dtype=object)[regime],
        "paradigm": "standard",
        "query": np.array(design.queries, dtype=object)[query],
        "seed": seed,
        "run": np.arange(studies * d * g * k * n).astype(str).astype(object).repeat(len(BUDGETS)),
        "round": number,
        "budget": BUDGETS[number],
        "paid": BUDGETS[number] + VALIDATION,
    }
    return pd.DataFrame(columns)
