"""Core-Set: against the plain algorithm, scikit-activeml, and the best centers that there are."""

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skactiveml.pool._core_set import k_greedy_center
from tests.faults import fault
from tests.query.pools import pool

from fathom.core.streams import Stream
from fathom.query import core_set as module
from fathom.query.core_set import core_set
from fathom.query.view import PoolView


def featured(features: torch.Tensor, labeled: torch.Tensor) -> PoolView:
    n, m = len(features), len(labeled)
    return PoolView(torch.zeros(n, 1, 2), features, labeled, torch.zeros(m, dtype=torch.long))


def naive(features: np.ndarray, labeled: np.ndarray, size: int) -> list[int]:
    """k-center greedy as it is written, all distances anew for every pick."""
    centers, picks = list(labeled), []
    for _ in range(size):
        distances = np.linalg.norm(features[:, None] - np.array(centers)[None], axis=2).min(1)
        distances[picks] = -1
        picks.append(int(distances.argmax()))
        centers.append(features[picks[-1]])
    return picks


@settings(derandomize=True, max_examples=25, deadline=None)
@given(n=st.integers(2, 90), m=st.integers(1, 20), d=st.integers(1, 8), seed=st.integers(0, 999), data=st.data())
def test_picks_equal_the_plain_algorithm_in_order(n, m, d, seed, data) -> None:
    view = pool(n=n, d=d, m=m, seed=seed)
    size = data.draw(st.integers(1, n))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LEAST_ACTIVE", 2)
        patch.setattr(module, "CPU_ACTIVE", d * data.draw(st.integers(2, 20)))  # many folds into the pool
        picked = core_set(view, size, Stream(seed))
    expected = naive(view.features.numpy(), view.labeled_features.numpy(), size)
    assert picked.positions.tolist() == expected


def test_picks_equal_scikit_activeml_at_a_real_width() -> None:
    rng = np.random.default_rng(0)
    middles = rng.normal(size=(10, 256))
    features = np.maximum(0, middles[rng.integers(10, size=2100)] + rng.normal(size=(2100, 256))).astype(np.float32)
    labels = np.full(2100, np.nan)
    labels[2000:] = 0
    theirs, utilities = k_greedy_center(features, labels, batch_size=100)
    ours = core_set(featured(torch.from_numpy(features[:2000]), torch.from_numpy(features[2000:])), 100, Stream(0))
    assert ours.positions.tolist() == theirs.tolist()
    np.testing.assert_allclose(ours.scores.numpy(), np.nanmax(utilities, axis=1), rtol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_the_radius_is_at_most_twice_the_best(seed) -> None:
    """The guarantee of the greedy algorithm (Sener and Savarese 2018, Sec. 4.2), against all sets of centers."""
    view = pool(n=12, d=2, m=1, seed=seed)
    x, start = view.features.numpy(), view.labeled_features.numpy()
    picks = core_set(view, 3, Stream(0)).positions.tolist()

    def radius(chosen) -> float:
        return np.linalg.norm(x[:, None] - np.concatenate([start, x[list(chosen)]])[None], axis=2).min(1).max()

    assert radius(picks) <= 2 * min(radius(chosen) for chosen in combinations(range(12), 3))


def test_without_labeled_samples_the_most_central_comes_first() -> None:
    view = pool(n=80, m=0)
    picked = core_set(view, 10, Stream(0))
    x = view.features.numpy()
    central = int(np.linalg.norm(x - x.mean(0), axis=1).argmin())
    rest = [i if i < central else i + 1 for i in naive(np.delete(x, central, 0), x[[central]], 9)]
    assert picked.positions.tolist() == [central, *rest]
    assert core_set(view, 1, Stream(0)).positions.tolist() == [central]


def test_a_far_offset_of_all_features_costs_no_accuracy() -> None:
    """Centered first: in float32, |x|^2 - 2<x, c> + |c|^2 of raw features would lose every digit here."""
    view = pool(n=400, d=16, dtype=torch.float32)
    exact = core_set(view, 60, Stream(0)).positions.tolist()
    moved = featured(view.features.double() + 3000, view.labeled_features.double() + 3000)
    rounded = featured(moved.features.float(), moved.labeled_features.float())
    reference = naive(rounded.features.double().numpy(), rounded.labeled_features.double().numpy(), 60)
    assert core_set(rounded, 60, Stream(0)).positions.tolist() == reference
    assert core_set(moved, 60, Stream(0)).positions.tolist() == exact


@fault("methods", "pool of equal samples", "picked once, in random order")
def test_equal_samples_are_picked_in_random_order_and_once() -> None:
    view = featured(torch.ones(50, 4), torch.zeros(2, 4))
    orders = {tuple(core_set(view, 50, Stream(seed)).positions.tolist()) for seed in range(5)}
    assert len(orders) == 5
    assert all(sorted(order) == list(range(50)) for order in orders)


def test_scores_are_distances_that_never_grow() -> None:
    view = pool(n=300)
    scores = core_set(view, 100, Stream(0)).scores
    assert (scores.diff() <= 1e-12).all()
    first = torch.cdist(view.features, view.labeled_features).amin(1).amax()
    assert scores[0].item() == pytest.approx(first.item())


def test_half_precision_features_are_measured_in_single() -> None:
    view = pool(n=100, dtype=torch.float32)
    half = featured(view.features.half(), view.labeled_features.half())
    same = featured(half.features.float(), half.labeled_features.float())
    assert core_set(half, 30, Stream(0)).positions.tolist() == core_set(same, 30, Stream(0)).positions.tolist()


def test_near_ties_are_decided_in_double_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """All are as far from the labeled sample as float32 can tell."""
    monkeypatch.setattr(module, "CPU_ACTIVE", 256 * 80)
    rng = torch.Generator().manual_seed(0)
    x, labeled = torch.randn(1500, 256, generator=rng), torch.zeros(1, 256)
    x = 20 * x / x.norm(dim=1, keepdim=True)
    picked = core_set(featured(x, labeled), 60, Stream(0)).positions.tolist()
    wide = torch.cdist(x.double(), labeled.double(), compute_mode="donot_use_mm_for_euclid_dist").amin(1).square()
    single = wide.float()
    exact, rounded = [], []
    for _ in range(60):
        exact.append(int(wide.argmax()))
        wide = torch.minimum(wide, (x.double() - x[exact[-1]].double()).square().sum(1))
        rounded.append(int(single.argmax()))
        inner = x @ x[rounded[-1]]
        single = torch.minimum(single, x.square().sum(1) - 2 * inner + x[rounded[-1]].square().sum())
    assert picked == exact
    assert rounded != exact
