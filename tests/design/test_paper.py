"""The designs of the published study: their counts and label regimes are those of the paper."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.published.paper import roll_out

import fathom
from fathom.api import PlanOptions
from fathom.core.machine import Machine
from fathom.core.records import FathomError
from fathom.data.dataset import DataRoot
from fathom.design.study_file import designs, load_study
from fathom.estimate.plan import Plan
from fathom.registry.spec_string import parse

__all__ = ["roll_out"]
pytestmark = pytest.mark.usefixtures("roll_out")


@pytest.fixture
def planned(tmp_path: Path) -> Any:
    """Plans without files, whatever lies about."""

    def make(study: str, **options: Any) -> Plan:
        return fathom.plan(study, probe=False, machine=Machine(data=tmp_path / "no-data", device="cpu"), **options)

    return make


def row(plan: Plan, axis: str, name: str) -> tuple[int, int]:
    counts = plan.by[axis][name]
    return counts["experiments"], counts["trainings"]


def test_the_main_study_has_the_published_number_of_experiments_and_trainings(planned: Any) -> None:
    plan = planned("paper/main")
    assert (plan.experiments, plan.trainings) == (522, 4782)
    assert row(plan, "paradigm", "standard") == (225, 2175)
    assert row(plan, "paradigm", "self-sl") == (225, 2175)
    assert row(plan, "paradigm", "semi-sl") == (72, 432)
    # Of each seed of a setting, round 0 is trained once, and once more with BALD's dropout.
    shared = 4782 - 450 + 2 * 90 - 72 + 18
    assert plan.trainings_shared == shared
    for axis in ("dataset", "regime", "paradigm"):
        assert sum(r["experiments"] for r in plan.by[axis].values()) == 522
        assert sum(r["trainings_shared"] for r in plan.by[axis].values()) == shared
    assert plan.pretrainings == 15
    assert plan.trainings_full_data == 0
    # 3 seeds x grid of section 3.7, once a setting: ST and Self-SL have three regimes, FixMatch on CIFAR-10 no choice.
    grids = 3 * (2 + 4 + 4 + 8 + 8 + 5 * 8) + 2 * (6 + 2)
    assert plan.trainings_search == 3 * grids


REGIMES = [  # data set, regime, paradigm -> start, query size, rounds, validation labels of the published runs
    ("cifar10", "low", "standard", 50, 50, 10, 250),
    ("cifar10", "mid", "standard", 250, 250, 10, 2_500),
    ("cifar10", "high", "standard", 1_000, 1_000, 10, 5_000),
    ("cifar100", "low", "standard", 500, 500, 10, 2_500),
    ("cifar100", "mid", "standard", 1_000, 1_000, 10, 5_000),
    ("cifar100", "high", "standard", 5_000, 5_000, 5, 5_000),
    ("cifar10-lt", "low", "standard", 50, 50, 10, 250),
    ("cifar10-lt", "mid", "standard", 250, 250, 10, 1_250),
    ("cifar10-lt", "high", "standard", 1_000, 1_000, 10, 5_000),
    ("isic2019", "low", "standard", 40, 40, 10, 200),
    ("isic2019", "mid", "standard", 200, 200, 10, 1_000),
    ("isic2019", "high", "standard", 800, 800, 10, 3_799),
    ("mio-tcd", "low", "standard", 55, 55, 10, 275),
    ("mio-tcd", "mid", "standard", 275, 275, 10, 1_375),
    ("mio-tcd", "high", "standard", 1_100, 1_100, 10, 5_500),
    ("cifar10", "low", "semi-sl", 50, 50, 10, 250),
    ("cifar10", "mid", "semi-sl", 250, 250, 10, 2_500),
    ("cifar100", "low", "semi-sl", 500, 1_500, 4, 2_500),
    ("cifar100", "mid", "semi-sl", 1_000, 3_000, 4, 5_000),
    ("cifar10-lt", "low", "semi-sl", 50, 150, 4, 250),
    ("cifar10-lt", "mid", "semi-sl", 250, 750, 4, 1_250),
]


def test_the_regimes_of_the_main_study_are_the_published_ones() -> None:
    from fathom.data import sketch_of
    from fathom.data.regimes import build_regime

    found = {}
    datasets: dict[str, Any] = {}
    for dataset, regime, paradigm in load_study("paper/main").settings:
        sketch = datasets.setdefault(dataset, sketch_of(dataset))
        made = build_regime(regime, sketch, parse(paradigm).name)
        key = (parse(dataset).name, parse(regime).name, parse(paradigm).name)
        assert key not in found
        found[key] = (made.start, made.query_size, made.rounds, made.val_size)
    expected = {(d, r, p): tuple(sizes) for d, r, p, *sizes in REGIMES}
    expected |= {(d, r, "self-sl"): sizes for (d, r, p), sizes in expected.items() if p == "standard"}
    assert found == expected


def test_the_ablations_have_the_published_counts(planned: Any) -> None:
    sizes = planned("paper/query-size")
    assert row(sizes, "dataset", "cifar100") == (30, 360)
    assert row(sizes, "dataset", "isic2019") == (45, 510)

    batchbald = planned("paper/batchbald")
    digits = [row(batchbald, "dataset", name) for name in ("mnist", "fashion-mnist")]
    assert tuple(map(sum, zip(*digits, strict=True))) == (108, 1_908)
    assert [row(batchbald, "dataset", n)[0] for n in ("cifar10", "cifar100", "cifar10-lt", "isic2019", "mio-tcd")] == [
        12, 15, 18, 3, 18,
    ]  # fmt: skip
    assert row(batchbald, "paradigm", "self-sl") == (66, 675)  # "about 650" in the source

    dip = planned("paper/dip")
    assert (dip.trainings, dip.trainings_search, dip.trainings_full_data) == (36, 0, 0)
    kept = [run for run in load_study("paper/dip").runs if "last_batch=keep" in run.paradigm]
    assert len(kept) == 24  # one training each: the published check
    assert len({run.paradigm for run in kept}) == 4

    neither = planned("paper/imbalance", only=["dataset=mio-tcd", "paradigm=standard(imbalance=none)"])
    assert (neither.experiments, neither.trainings) == (3, 30)
    assert planned("paper/full-data").trainings_full_data == 2 * 5 * 3
    assert planned("paper/head").experiments == 90


def test_the_two_sides_of_the_dip_differ_in_the_last_mini_batch_alone() -> None:
    from fathom.learn.training.batching import batch_sizes

    for labels, left in ((7_200, 32), (7_700, 20)):
        assert batch_sizes(labels, 512, "keep")[-1] == left
        assert batch_sizes(labels, 512, "merge")[-1] == 512 + left
        assert sum(batch_sizes(labels, 512, "drop")) == labels - left
    arms = {tuple(sorted(dict(parse(r.paradigm).arguments).items())) for r in load_study("paper/dip").runs}
    assert len(arms) == 6


def test_published_hyper_parameters_are_in_the_call_strings_and_leave_nothing_to_search(planned: Any) -> None:
    runs = load_study("paper/main", "published").runs
    said = {(parse(r.dataset).name, parse(r.regime).name, parse(r.paradigm).name): r.paradigm for r in runs}
    assert said["cifar10", "low", "self-sl"] == "self-sl(augmentation=randaugment, lr=0.001, weight_decay=0.005)"
    assert said["mio-tcd", "mid", "standard"] == "standard(augmentation=randaugment-mc, lr=0.01, weight_decay=0.0005)"
    assert said["mio-tcd", "mid", "self-sl"] == "self-sl(augmentation=standard, lr=0.01, weight_decay=0.005)"
    assert said["isic2019", "low", "self-sl"] == "self-sl(augmentation=standard, lr=0.001, weight_decay=0.005)"
    assert said["cifar10-lt", "low", "semi-sl"] == "semi-sl(lr=0.03, weight_decay=0.001)".replace("lr=0.03, ", "")
    plan = planned("paper/main", only=["dataset=cifar10+mio-tcd"], options=PlanOptions(hparams="published"))
    assert (plan.trainings_search, plan.experiments) == (0, 90 + 90 + 24)


def test_every_design_of_the_paper_can_be_planned_and_is_a_screen_or_less() -> None:
    folder = Path(load_study.__code__.co_filename).parent / "designs" / "paper"
    names = {name for name in designs() if name.startswith("paper/")}
    assert names == {f"paper/{path.stem}" for path in folder.glob("*.toml")}
    assert len(names) == 7
    for path in folder.glob("*.toml"):
        assert len(path.read_text().splitlines()) <= 60, path
    assert not [n for n, c in Counter(load_study(n).name for n in names).items() if c > 1]


def test_a_plan_without_files_says_so_and_gives_hours_on_stored_hardware(planned: Any) -> None:
    plan = planned("paper/main", only=["dataset=cifar10", "regime=low"], options=PlanOptions(profile="h200"))
    assert any("without the files: cifar10" in note for note in plan.notes)
    # 200 epochs of 5,500 images at 83,000 a second are 13 s; FixMatch's 192 million views 39 min.
    assert plan.seconds is not None
    fixmatch = planned(
        "paper/main", only=["dataset=cifar10,regime=low,paradigm=semi-sl"], options=PlanOptions(profile="h200")
    )
    assert fixmatch.seconds == pytest.approx(fixmatch.total * 192e6 / 83_000, rel=0.05)
    with pytest.raises(FathomError, match="no profile 'h100'"):
        planned("paper/main", only=["dataset=cifar10,regime=low"], options=PlanOptions(profile="h100"))


def test_no_image_of_a_sketch_can_be_taken(tmp_path: Path) -> None:
    import torch

    from fathom.data import load, sketch_of

    sketch = sketch_of("cifar10")
    assert sketch is not None
    with pytest.raises(FathomError, match="--data"):
        sketch.images.take(torch.tensor([0]))
    with pytest.raises(FathomError, match="--download"):
        load("cifar10", DataRoot(tmp_path, tmp_path))
