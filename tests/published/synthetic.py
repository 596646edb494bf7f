"""Synthetic study of the published datasets, run as the published study ran them, with the areas a test asks for."""

import math
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.results import synthetic

from fathom.core.records import LabelRegime, Round, RunSpec, Setting, Study, unique
from fathom.published import tables
from fathom.published.tables import PublishedArea, PublishedRegime
from fathom.store.store import Store

SLOPE = 0.2  # from the first to the last round, around the area


def cells(*, table: str = "final", **parts: str) -> list[PublishedArea]:
    """Published cells of some dataset, regime, paradigm or query method."""
    return [
        a for a in tables.areas()
        if a.table == table and all(getattr(a, key) == value for key, value in parts.items())
    ]  # fmt: skip


def as_published(area: PublishedArea, seed: int) -> float:
    """Areas of seeds 0 to 2 with the published mean and spread."""
    return area.mean + (seed - 1) * (0.0 if math.isnan(area.sd) else area.sd)


def regime_of(area: PublishedArea) -> PublishedRegime:
    (found,) = (
        r for r in tables.regimes() if (r.dataset, r.paradigm, r.regime) == (area.dataset, area.paradigm, area.regime)
    )
    return found


def build(
    root: Path,
    wanted: Iterable[PublishedArea],
    level: Callable[[PublishedArea, int], float] = lambda area, seed: as_published(area, seed),
    seeds: int = 3,
    recipe: str = "study",
    call: Callable[[PublishedArea], RunSpec | None] = lambda area: None,
    regime: Callable[[LabelRegime], LabelRegime] = lambda regime: regime,
    facts: Callable[[dict[str, object]], dict[str, object]] = lambda facts: facts,
    stop: Callable[[RunSpec], int | None] = lambda spec: None,
    dip: float = 0.0,
) -> Store:
    """Write a study of these cells; by default its means and spreads are the published ones."""
    areas = {}
    for area in wanted:
        dataset = tables.datasets()[area.dataset].calls[0]
        given = call(area) or RunSpec(dataset, area.regime, area.paradigm, area.query, 0)
        for seed in range(seeds):
            areas[RunSpec(*given.setting, given.query, seed)] = area
    store = Store(root)
    store.begin(Study("beside", tuple(areas), title="Made-up runs of published cells", full_data=0))
    plan = synthetic.Plan(recipe=recipe)
    for number, name in enumerate(unique(spec.dataset for spec in areas)):
        known = tables.datasets()[name.partition("(")[0]]
        own = synthetic.facts(name, plan) | {"train": known.train, "test": known.test, "metric": known.metric}
        own |= {"balanced": known.balanced, "long_tail": 50.0 if name.startswith("cifar10-lt") else None}
        store.put(f"datasets/{number}", facts(own))
    synthetic.put_environment(store)
    for number, setting in enumerate(unique(spec.setting for spec in areas)):
        put_choice(store, setting, recipe, str(number))
    for spec, area in areas.items():
        sizes = regime(sized(area, spec.regime))
        if (end := stop(spec)) != 0:
            store.begin_run(spec, sizes)
        for record in rounds_of(area, sizes, level(area, spec.seed), dip)[:end]:
            store.commit(spec, record)
    return store


def sized(area: PublishedArea, name: str) -> LabelRegime:
    r = regime_of(area)
    return LabelRegime(name, r.start, r.query_size, r.rounds, r.val_size)


def put_choice(store: Store, setting: Setting, recipe: str, key: str) -> None:
    grid = [{"lr": lr, "weight_decay": 0.005, "augmentation": "randaugment-mc"} for lr in (0.1, 0.01)]
    table = [{"hparams": hp, "scores": [m], "mean": m} for hp, m in zip(grid, (0.30, 0.28), strict=True)]
    content = {**dict(zip(("dataset", "regime", "paradigm"), setting, strict=True)), "seeds": [0], "table": table}
    store.put(f"shared/hp-choice/{key}", {**content, "metric": "accuracy", "chosen": grid[0], "recipe": recipe})


def rounds_of(area: PublishedArea, regime: LabelRegime, level: float, dip: float) -> list[Round]:
    """Rounds on a straight line, so that the area is its middle; `dip` is taken off at 7,200 and 7,700 labels."""
    found = []
    for number in range(regime.rounds):
        budget, last = regime.start + number * regime.query_size, number == regime.rounds - 1
        score = level + SLOPE * (number / max(1, regime.rounds - 1) - 0.5) - dip * (budget in (7_200, 7_700))
        found.append(
            Round(
                round=number,
                budget=budget,
                paid=budget + regime.val_size,
                hparams={"lr": 0.1},
                metrics={"accuracy": score, "balanced_accuracy": score},
                recalls=[score],
                queried=[] if last else [number],
                queried_classes=[] if last else [0],
                scores=None,
                labeled_classes=[budget],
                seconds={"train": 1.0, "total": 1.0},
                finished="2026-11-22T23:00:00+00:00",
                environment="abc",
            )
        )
    return found
