"""Thumbnails: those of the images queried most often, once, in the store; picks in the order of their frequency."""

import base64
from collections import Counter
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.studies import contents, study

from fathom.core.machine import RunOptions
from fathom.core.records import Study
from fathom.data import load
from fathom.data.dataset import DataRoot
from fathom.engine.engine import run_study
from fathom.report.explore.data import explore_data
from fathom.results.results import StudyResults
from fathom.store import picks
from fathom.store.store import Store

METHODS = ("random", "margin")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("study")
    run_study(study(METHODS, (0, 1)), out, workers=0)
    return out


def test_the_most_queried_images_have_a_thumbnail(out: Path) -> None:
    store = Store.open(out)
    kept = picks.kept_thumbnails(store)
    assert list(kept) == ["digits"]
    queried = {q: Counter(i for s in store.study.runs if s.query == q for r in store.rounds(s) for i in r.queried)
               for q in METHODS}  # fmt: skip
    for count in queried.values():
        least = sorted(count.values(), reverse=True)[picks.PER_METHOD - 1]
        assert {i for i, n in count.items() if n > least} <= kept["digits"].keys()
    assert len(kept["digits"]) <= len(METHODS) * picks.PER_METHOD
    images = load("digits", DataRoot(out, out)).images
    for id_, text in kept["digits"].items():
        shown = np.asarray(Image.open(BytesIO(base64.b64decode(text))))
        assert (shown == images.take(torch.tensor([id_]))[0].permute(1, 2, 0).numpy()).all()  # small images are exact


def test_a_second_call_and_a_larger_study_change_no_record(out: Path, tmp_path: Path) -> None:
    store = tmp_path / "study"
    run_study(study(METHODS, (0,)), store, workers=0)
    first = {name: data for name, data in contents(store).items() if name.startswith("thumbnails/")}
    run_study(study(METHODS, (0,)), store, workers=0)
    assert {name for name in contents(store) if name.startswith("thumbnails/")} == first.keys()
    run_study(study(METHODS, (0, 1)), store, workers=0, options=RunOptions(extend=True))
    assert first.items() <= contents(store).items()
    both = picks.kept_thumbnails(Store.open(store))["digits"]
    assert both.keys() >= picks.kept_thumbnails(Store.open(out))["digits"].keys()


def test_the_page_has_them_with_seeds_and_class(out: Path) -> None:
    results = StudyResults.of(out)
    (setting,) = results.store.study.settings
    data = explore_data(results, {setting: {"id": "s0"}})
    for method, found in data["settings"][0]["picks"].items():
        query = (*METHODS,)[method]
        count = Counter(i for s in results.store.study.runs if s.query == query for r in results.store.rounds(s)
                        for i in r.queried)  # fmt: skip
        classes = {i: c for s in results.store.study.runs for r in results.store.rounds(s)
                   for i, c in zip(r.queried, r.queried_classes, strict=True)}  # fmt: skip
        assert found["seeds"] == 2
        assert [(n, c) for _, n, c in found["images"]] == [(count[i], classes[i]) for i, _, _ in found["images"]]
        assert [n for _, n, _ in found["images"]] == sorted((n for _, n, _ in found["images"]), reverse=True)
        assert all(i in data["images"][0] for i, _, _ in found["images"])


def test_an_incomplete_study_has_none(tmp_path: Path) -> None:
    whole = study(METHODS, (0,))
    run_study(whole, tmp_path, only=Study("toy", whole.runs[:1]), workers=0)
    assert picks.kept_thumbnails(Store.open(tmp_path)) == {}


@pytest.mark.parametrize(("methods", "seeds", "limit"), [(2, 3, 24), (5, 3, 24), (100, 1, 10), (1000, 1, 4)])
def test_a_study_of_many_methods_keeps_fewer_images_of_each(methods: int, seeds: int, limit: int) -> None:
    queries = tuple(f"method-{i}" for i in range(methods))
    assert picks.picks_limit(study(queries, tuple(range(seeds)))) == limit
