"""Synthetic study of four paradigms, with the records of encoders, features and pseudo-labels."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tests.results.synthetic import Plan, build

from fathom.core.records import LabelRegime, RunSpec
from fathom.core.streams import Stream
from fathom.store.store import Store

STANDARD, SELF, SEMI, FROZEN = "standard(recipe=short)", "self-sl", "semi-sl", "frozen"
SIMCLR = "simclr(batch_size=512, epochs=1000, network=resnet18, version=1)"
BACKBONE = "features(backbone=mobilenet_v2_uint8)"
LEVELS = {STANDARD: -0.2, SELF: -0.02, SEMI: -0.08, FROZEN: -0.05}
WIDE = LabelRegime("low(query_size=75, rounds=4)", start=50, query_size=75, rounds=4, val_size=250)


def four(levels: Mapping[str, float] = LEVELS, **changes: Any) -> Plan:
    """The plan of four paradigms, Semi-SL with a wider query; `levels` are what their scores differ by."""
    plan = Plan(
        datasets=("digits",),
        paradigms=tuple(LEVELS),
        regimes={SEMI: WIDE},
        level=lambda spec: levels[spec.paradigm],
        training=training,
        recipe="study",
        title="Four training paradigms on made-up curves",
    )
    return replace(plan, **changes)


def training(spec: RunSpec, number: int) -> dict[str, Any]:
    """What a round of FixMatch shows; other paradigms show nothing."""
    if spec.paradigm != SEMI:
        return {}
    random = Stream(spec.seed, ("training", spec.query, str(number))).numpy()
    progress = np.linspace(0, 1, 20)
    marginals = random.dirichlet(np.full(10, 60.0))
    return {
        "threshold": 0.95,
        "epochs": [10 * (i + 1) for i in range(20)],
        "mask_rate": [float(v) for v in (0.6 + 0.08 * number) * progress**0.3],
        "marginals": marginals.tolist(),
        "target": [0.1] * 10,
        "pseudo_rate": float(0.7 + 0.06 * number + random.normal(0, 0.01)),
        "pseudo_accuracy": float(0.85 + 0.03 * number + random.normal(0, 0.005)),
        "something_new": "ignored",
    }


def build_four(root: Path, plan: Plan | None = None) -> Store:
    """Write the study, its encoders and its features."""
    store = build(root, plan or four())
    for seed in range(3):
        curve = [
            {"epoch": 50.0 * i, "loss": 6 - 0.08 * i, "knn_accuracy": 0.9 - 0.5 * float(np.exp(-i / 6)) + 0.01 * seed}
            for i in range(1, 21)
        ]
        content = {
            "dataset": "digits",
            "preparation": SIMCLR,
            "seed": seed,
            "curve": curve,
            "tensors": f"{seed}abc" * 16,
        }
        clock = {"seconds": 5400.0 + seed, "environment": "abc"}
        store.put(f"shared/pretrain/{seed}", content, clock)
    put_features(store)
    return store


def put_features(store: Store) -> None:
    """The record of a fixed backbone's features."""
    facts = {"backbone": "MobileNetV2", "weights": "mobilenet_v2_uint8.bin", "sha256": "0123456789abcdef" * 4}
    facts |= {"license": "apache-2.0", "input": "224x224", "interpolation": "bilinear"}
    content = {"dataset": "digits", "backbone": BACKBONE, "seed": -1, "facts": facts, "dim": 1280}
    content |= {"train_sha256": "aa" * 32, "test_sha256": "bb" * 32}
    store.put("shared/features/one", content, {"seconds": 75.0, "environment": "abc"})
