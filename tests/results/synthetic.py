"""Synthetic study with plausible curves, written through the interface of the store, without training."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fathom.core.records import LabelRegime, Round, RunSpec, Study, digest
from fathom.core.streams import Stream
from fathom.store.store import Store

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
EFFECT = {"random": 0.0, "entropy": -0.02, "bald": 0.01, "core-set": 0.005, "badge": 0.025}

AXES = ("dataset", "regime", "paradigm", "query")


@dataclass(frozen=True)
class Plan:
    """Parameters of a synthetic study.

    Args:
        datasets, paradigms, queries, seeds: The axes.
        rounds: Rounds of a complete run.
        noise: Standard deviation of a run's scores.
        effect: Final gain of a method, by name; 0 for others.
        stop: How many rounds a run got to; None for all.
        planned: Whether a run of the cross product is part of the study.
        environment: Which environment computed a run.
        shared: Which environment computed the shared work.
        recipe: Of the HP record.
        classes: Class names.
        regimes: Paradigm -> its label regime, where that is not the usual one.
        level: What is added to all scores of a run.
        training: What a round of a run shows of its training.
        held_out: Datasets of the role roll-out.
        freeze: The freeze that the study follows.
        code: Member -> identity of its code; empty where the results do not name it.
        claims, margin: Of the study.
    """

    datasets: Sequence[str] = ("digits", "digits-lt")
    paradigms: Sequence[str] = ("standard(recipe=short)",)
    queries: Sequence[str] = ("random", "entropy", "bald", "core-set", "badge")
    seeds: int = 3
    rounds: int = 8
    noise: float = 0.008
    effect: Callable[[str], float] = lambda query: EFFECT.get(query, 0.0)
    stop: Callable[[RunSpec], int | None] = lambda spec: None
    planned: Callable[[RunSpec], bool] = lambda spec: True
    environment: Callable[[RunSpec], str] = lambda spec: "abc"
    shared: str = "abc"
    recipe: str = "short: 60 steps a training, 2 settings"
    classes: Sequence[str] = tuple(CLASSES)
    baseline: str = "random"
    regimes: Mapping[str, LabelRegime] = field(default_factory=dict)
    level: Callable[[RunSpec], float] = lambda spec: 0.0
    training: Callable[[RunSpec, int], dict[str, Any]] = lambda spec, number: {}
    held_out: Sequence[str] = ()
    freeze: dict[str, Any] | None = None
    code: Callable[[str], str] = lambda member: "c0de"
    claims: Sequence[str] = ()
    margin: float = 0.01
    name: str = "synthetic"
    title: str = "Five query methods on made-up curves"


def build(root: Path, plan: Plan | None = None) -> Store:
    """Write the study of a plan to `root`."""
    plan = plan or Plan()
    specs = tuple(
        spec
        for d in plan.datasets
        for p in plan.paradigms
        for s in range(plan.seeds)
        for q in plan.queries
        if plan.planned(spec := RunSpec(d, regime_of(plan, p).name, p, q, s))
    )
    store = Store(root)
    description = "Curves drawn from a formula, to look at a report."
    told = {"title": plan.title, "description": description, "baseline": plan.baseline, "freeze": plan.freeze}
    told |= {"claims": tuple(plan.claims), "margin": plan.margin}
    store.begin(Study(plan.name, specs, full_data=1, **told))
    for number, name in enumerate(plan.datasets):
        store.put(f"datasets/{number}", facts(name, plan))
        for paradigm in plan.paradigms:
            put_shared(store, name, paradigm, plan, f"{number}-{digest(paradigm, 6)}")
    put_environment(store)
    for spec in specs:
        stop = plan.stop(spec)
        if stop != 0:
            store.begin_run(spec, regime_of(plan, spec.paradigm))
        for record in rounds_of(spec, regime_of(plan, spec.paradigm), plan)[:stop]:
            store.commit(spec, record)
    return store


def codes(plan: Plan, *texts: str) -> dict[str, str]:
    """Code of the members dataset, regime, paradigm and query method of these spec strings."""
    members = [f"{kind} {text.partition('(')[0]}" for kind, text in zip(AXES, texts, strict=False)]
    return {member: code for member in members if (code := plan.code(member))}


def regime_of(plan: Plan, paradigm: str) -> LabelRegime:
    """The label regime of a paradigm's settings."""
    usual = LabelRegime("low(query_size=25)", start=50, query_size=25, rounds=plan.rounds, val_size=250)
    return plan.regimes.get(paradigm, usual)


def facts(name: str, plan: Plan) -> dict[str, Any]:
    count = len(plan.classes)
    counts = [130] * count
    return {
        "name": name,
        "class_names": list(plan.classes),
        "metric": "accuracy",
        "balanced": "lt" not in name,
        "role": "roll-out" if name in plan.held_out else "development",
        "train": sum(counts),
        "test": 360,
        "val_split": 250,
        "class_counts": counts,
        "test_class_counts": [360 // count] * count,
        "size": [8, 8],
        "source": "Made up for tests <script>alert(1)</script>",
        "revision": "0123456789ab",
        "notes": [],
        "long_tail": 10.0 if "lt" in name else None,
        "groups": False,
    }


def put_shared(store: Store, dataset: str, paradigm: str, plan: Plan, key: str) -> None:
    grid = [{"lr": lr, "weight_decay": wd} for lr in (0.1, 0.01) for wd in (5e-3, 5e-4)]
    means = [0.61, 0.62, 0.55, 0.548]
    table = [{"hparams": hp, "scores": [m - 0.01, m, m + 0.01], "mean": m} for hp, m in zip(grid, means, strict=True)]
    setting = {"dataset": dataset, "regime": regime_of(plan, paradigm).name, "paradigm": paradigm}
    content = {**setting, "seeds": [0, 1, 2], "metric": "accuracy", "table": table, "chosen": grid[1]}
    clock = {"seconds": 8.2, "finished": "2026-11-22T23:00:00+00:00", "environment": plan.shared}
    clock["code"] = codes(plan, *setting.values())
    store.put(f"shared/hp-choice/{key}", {**content, "recipe": plan.recipe}, clock)
    full = {**setting, "seed": 0, "budget": 1180, "hparams": grid[1]}
    metrics = {"accuracy": 0.975, "balanced_accuracy": 0.974, "log_loss": 0.1}
    store.put(f"shared/full-data/{key}", {**full, "metrics": metrics, "recalls": [0.97] * len(plan.classes)}, clock)


def put_environment(store: Store, name: str = "abc", **other: object) -> None:
    """An environment's record; `other` are the facts of the machine that differ."""
    content = {"protocol": 1, "torch": "2.15.0", "torchvision": "0.29.2", "numpy": "2.4.6", "plugins": {}}
    content |= {"device": "cpu", "threads": 1}
    clock = {"fathom": "0.1.0", "python": "3.11.7", "cpu": "A processor", "device_name": "A processor", "cores": 2}
    clock |= {"commit": "88b3bff", "since": "2026-11-22T23:00:00+00:00"}
    store.put(f"environments/{name}", content | {k: v for k, v in other.items() if k in content}, clock | other)


def rounds_of(spec: RunSpec, regime: LabelRegime, plan: Plan) -> list[Round]:
    """Rounds of one run: a saturating curve, a seed effect shared by all methods, a shared round 0."""
    shared = Stream(spec.seed, ("shared", spec.dataset)).numpy()
    level, start_noise = shared.normal(0, 0.015), shared.normal(0, plan.noise)
    own = Stream(spec.seed, ("own", spec.dataset, spec.paradigm, spec.query)).numpy()
    classes = len(plan.classes)
    weights = own.dirichlet(np.full(classes, 30.0))
    labeled = np.full(classes, regime.start // classes)
    found = []
    for number in range(regime.rounds):
        budget = regime.start + number * regime.query_size
        last = number == regime.rounds - 1
        share = number / max(1, regime.rounds - 1)
        noise = start_noise if number == 0 else own.normal(0, plan.noise)
        score = (
            0.97
            - 0.37 * np.exp(-(budget - 50) / 75)
            + level
            + noise
            + plan.level(spec)
            + plan.effect(spec.query) * min(1.0, 2 * share)
        )
        score = float(np.clip(np.round(score * 360) / 360, 0, 1)) if plan.noise else float(np.clip(score, 0, 1))
        bought = [] if last else own.choice(classes, regime.query_size, p=weights).tolist()
        queried = [] if last else [number * regime.query_size + i for i in range(regime.query_size)]
        found.append(
            Round(
                round=number,
                budget=budget,
                paid=budget + regime.val_size,
                hparams={"lr": 0.1},
                metrics={"accuracy": score, "balanced_accuracy": score, "log_loss": 1 - score},
                recalls=[score] * classes,
                queried=queried,
                queried_classes=bought,
                scores=None,
                labeled_classes=labeled.tolist(),
                training=plan.training(spec, number),
                seconds={"train": 0.6, "predict": 0.05, "query": 0.02 if spec.query != "badge" else 0.3, "total": 1.0},
                finished=f"2026-11-22T23:{number:02d}:00+00:00",
                environment=plan.environment(spec),
                code=codes(plan, *spec.setting, spec.query),
            )
        )
        labeled = labeled + np.bincount(bought, minlength=classes)
    return found
