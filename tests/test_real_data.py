"""Whole studies on real photographs: CIFAR-10 with a ResNet-18 from the official files, skin lesions from a table.

Skipped, visibly, where the images are absent. The recipes are far too short to be accurate; what is tested is that
data, training, protocol and store fit together on images that somebody else made.
"""

import csv
import dataclasses
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.studies import contents, study

from fathom.core.machine import Machine
from fathom.core.records import Round, RunSpec
from fathom.design.study_file import load_study
from fathom.engine.engine import Interrupted, data_root, run_study
from fathom.estimate.plan import estimate_plan
from fathom.learn.tensor_file import from_bytes
from fathom.protocol.context import WorkerContext
from fathom.report.report import report
from fathom.store.store import Store
from fathom.store.tables import rounds_table

# ------------------------------------------------------------------------------------------------------ CIFAR-10

TINY = (
    "standard(augmentation=randaugment-mc, batch_size=8, epoch_size=16, epochs=1, lr=0.01, warmup=0, "
    "weight_decay=0.005)"
)


def test_a_resnet_on_cifar10_stopped_after_a_round_and_gone_on_with(
    cifar10: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = study(
        ("margin",),
        dataset="cifar10(test_size=10, train_size=50)",
        regime="custom(query_size=5, rounds=3, start=10, val_size=4)",
        paradigm=TINY,
    )
    (spec,) = tiny.runs
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert run_study(tiny, whole, workers=0, machine=Machine(data=cifar10)).finished
    commit = Store.commit

    def stop(self: Store, spec: RunSpec, record: Round) -> None:
        commit(self, spec, record)
        if record.round == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Store, "commit", stop)
        with pytest.raises(Interrupted) as interrupted:
            run_study(tiny, stopped, workers=0, machine=Machine(data=cifar10))
    assert (interrupted.value.exit_code, interrupted.value.outcome.committed) == (130, 2)
    assert len(Store.open(stopped).rounds(spec)) == 2
    assert run_study(tiny, stopped, workers=0, machine=Machine(data=cifar10)).finished
    assert contents(stopped) == contents(whole)
    rounds = Store.open(whole).rounds(spec)
    assert [(r.budget, r.paid, len(r.queried)) for r in rounds] == [(10, 14, 5), (15, 19, 5), (20, 24, 0)]
    (first, _) = next(iter(Store.open(whole).records("shared/round-0").values()))
    tensors = Store.open(whole).get_arrays(f"shared/round-0/{_stem(whole)}", first["tensors"])
    assert tensors is not None
    assert (
        sum(t.numel() for name, t in from_bytes(tensors).items() if "running" not in name) > 11_000_000
    )  # a ResNet-18 indeed


def _stem(out: Path) -> str:
    (path,) = (out / "shared/round-0").glob("*.json")
    return path.stem


def test_the_published_study_is_planned_on_the_real_files(cifar10: Path) -> None:
    design = load_study("cifar10-standard")
    plan = estimate_plan(design, probe=False, machine=Machine(data=cifar10, device="cpu"))
    assert plan.experiments == len(design.runs) == 15
    assert plan.trainings == 15 * 10
    assert plan.trainings_shared == 15 * 9 + 3 * 2  # BALD has dropout, so each seed has two first classifiers
    assert plan.trainings_search == 3 * 8
    assert plan.labels_a_run == 50 + 9 * 50 + 250  # start, queries, validation of five times the start


# ------------------------------------------------------------------------------------------------- skin lesions


@dataclasses.dataclass(frozen=True)
class Skin:
    """A table of skin images, and the lesion that each file shows."""

    path: Path
    lesion: dict[str, str]


@pytest.fixture(scope="module")
def skin(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Skin:
    """Whole lesions of every diagnosis until each has some 40 images, as a user's own table."""
    folder = tmp_path_factory.mktemp("skin")
    with next(real_data.glob("tier1/ham10000/*.csv")).open() as file:
        rows = {row["image_id"]: row for row in csv.DictReader(file)}
    with zipfile.ZipFile(next(real_data.glob("tier1/ham10000/images_*.zip"))) as archive:
        held = sorted(name for name in archive.namelist() if name.removesuffix(".jpg") in rows)
        facts = {name: rows[name.removesuffix(".jpg")] for name in held}
        size: Counter[str] = Counter()
        taken: set[str] = set()
        for name in held:
            lesion, diagnosis = facts[name]["lesion_id"], facts[name]["dx"]
            if lesion not in taken and size[diagnosis] < (80 if diagnosis == "nv" else 40):
                taken.add(lesion)
                size[diagnosis] += sum(facts[n]["lesion_id"] == lesion for n in held)
        chosen = [name for name in held if facts[name]["lesion_id"] in taken]
        archive.extractall(folder / "images", chosen)
    table = folder / "skin.csv"
    lines = [f"images/{name},{facts[name]['dx']},{facts[name]['lesion_id']}" for name in chosen]
    table.write_text("path,label,group\n" + "\n".join(lines) + "\n")
    return Skin(table, {f"images/{name}": facts[name]["lesion_id"] for name in chosen})


@pytest.fixture(scope="module")
def skin_study(skin: Skin, tmp_path_factory: pytest.TempPathFactory) -> Store:
    out = tmp_path_factory.mktemp("runs") / "skin"
    toy = study(
        ("random", "entropy"),
        (0, 1),
        dataset=f"table(path={skin.path}, size=32)",
        regime="custom(query_size=15, rounds=3, start=35, val_size=30)",
        paradigm="standard(augmentation=standard, batch_size=16, epoch_size=64, epochs=2, lr=0.03, network=cnn, "
        "warmup=0, weight_decay=0.0005)",
    )
    assert run_study(toy, out, workers=0, machine=Machine(data=out.parent)).finished
    return Store.open(out)


def test_lesions_are_scored_by_balanced_accuracy(skin_study: Store) -> None:
    ((_, facts),) = skin_study.facts().items()
    assert (facts["metric"], len(facts["class_names"])) == ("balanced_accuracy", 7)
    table = rounds_table(skin_study)
    assert len(table) == 2 * 2 * 3
    assert set(table["metric"]) == {"balanced_accuracy"}
    assert (table["score"] == table["balanced_accuracy"]).all()
    assert (table["score"] != table["accuracy"]).any()
    for spec in skin_study.study.runs:
        for r in skin_study.rounds(spec):
            recalls = [recall for recall in r.recalls if recall is not None]
            assert r.metrics["balanced_accuracy"] == pytest.approx(np.mean(recalls))
    assert "balanced accuracy" in report(skin_study.root).read_text(encoding="utf-8").lower()


def test_no_lesion_is_on_two_sides(skin_study: Store, skin: Skin) -> None:
    context = WorkerContext(skin_study, data_root(Machine(data=skin_study.root.parent)), torch.device("cpu"))
    assert len(set(skin.lesion.values())) < 0.9 * len(skin.lesion)  # there are lesions with several images
    for spec in skin_study.study.runs:
        start = context.split_of(spec)
        names = start.dataset.ids
        assert names is not None
        train, val = ({skin.lesion[names[i]] for i in ids} for ids in (start.train_ids, start.val_ids))
        test = {lesion for name, lesion in skin.lesion.items() if name not in names}
        assert not train & val
        assert not train & test
        assert not val & test
        assert min(map(len, (train, val, test))) >= 10
        bought = [i for r in skin_study.rounds(spec) for i in r.queried]
        assert len(bought) == 30
        assert {skin.lesion[names[i]] for i in bought} <= train


def test_each_seed_draws_its_own_validation_and_the_test_split_stays(skin_study: Store) -> None:
    context = WorkerContext(skin_study, data_root(Machine(data=skin_study.root.parent)), torch.device("cpu"))
    by_seed = {spec.seed: context.split_of(spec) for spec in skin_study.study.runs}
    assert set(by_seed[0].val_ids.tolist()) != set(by_seed[1].val_ids.tolist())
    assert set(by_seed[0].train_ids.tolist()) != set(by_seed[1].train_ids.tolist())
    assert by_seed[0].dataset is by_seed[1].dataset  # whose test split was drawn once
