"""BADGE: gradients against autograd, picks against explicit gradients, the rejection form against its probabilities."""

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from tests.faults import fault
from tests.query.pools import pool, scored
from torch.utils._python_dispatch import TorchDispatchMode

from fathom.core.streams import Stream
from fathom.query import badge as module
from fathom.query.badge import badge, gradients, spread_by_inversion, spread_by_rejection
from fathom.query.points import Points
from fathom.query.view import PoolView


def explicit_gradients(view: PoolView) -> np.ndarray:
    points, scale = gradients(view)
    return (torch.einsum("nc,nd->ncd", *points.factors).flatten(1) * scale).numpy()


def naive(embedding: np.ndarray, size: int, first: int, rng: np.random.Generator) -> list[int]:
    """k-means++ on explicit gradients, as it is written."""
    picks = [first]
    while len(picks) < size:
        d2 = ((embedding[:, None] - embedding[picks][None]) ** 2).sum(2).min(1)
        d2[picks] = 0
        picks.append(int(np.searchsorted(np.cumsum(d2), rng.random() * d2.sum(), side="right")))
    return picks


@fault("statistics", "wrong statistic", "equal to hand-computed values, SciPy and published formulas")
def test_gradients_are_those_of_a_real_last_layer() -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(7, 5).double()
    features = torch.randn(20, 7, dtype=torch.float64)
    logits = layer(features)
    expected = []
    for i in range(20):
        loss = torch.nn.functional.cross_entropy(logits[i : i + 1], logits[i : i + 1].argmax(1))
        expected.append(torch.autograd.grad(loss, layer.weight, retain_graph=True)[0].flatten())
    view = PoolView(
        logits.detach().log_softmax(1)[:, None], features, torch.zeros(0, 0), torch.zeros(0, dtype=torch.long)
    )
    np.testing.assert_allclose(explicit_gradients(view), torch.stack(expected).numpy(), rtol=1e-9, atol=1e-12)


@settings(derandomize=True, max_examples=25, deadline=None)
@given(n=st.integers(2, 60), c=st.integers(2, 6), k=st.integers(1, 3), seed=st.integers(0, 999), data=st.data())
def test_the_factored_form_picks_what_explicit_gradients_do(n, c, k, seed, data) -> None:
    view = pool(n=n, c=c, k=k, seed=seed)
    size = data.draw(st.integers(1, n))
    picked = badge(view, size, Stream(seed), sampler="inverse")
    embedding = explicit_gradients(view)
    rng = Stream(seed).numpy()
    rng.choice(1)  # the first pick, of one candidate
    norms = (embedding**2).sum(1)
    expected = naive(embedding, size, int(norms.argmax()), rng)
    assert picked.positions.tolist() == expected
    assert picked.scores[0].item() == pytest.approx(norms.max())


@pytest.mark.parametrize(("batch", "fold"), [(3, False), (4, True), (256, False)])
def test_the_rejection_form_has_the_probabilities_of_kmeans_plus_plus(
    batch, fold, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Second and third pick, jointly. Without folding, all that keeps old bounds from mattering is rejection."""
    monkeypatch.setattr(module, "BATCH", batch)
    if not fold:
        monkeypatch.setattr(module, "_worth_folding", lambda rejected, pending, n: False)
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(3, 2)), 3 + rng.normal(size=(3, 2))])
    points = Points((torch.from_numpy(x),))
    d2 = ((x[:, None] - x[None]) ** 2).sum(2)
    expected = {}
    for i, j in permutations(range(1, 6), 2):
        both = np.minimum(d2[0], d2[i])
        expected[i, j] = d2[0, i] / d2[0].sum() * both[j] / both.sum()
    runs = 1000
    counts = dict.fromkeys(expected, 0)
    for seed in range(runs):
        counts[tuple(spread_by_rejection(points, 3, 0, np.random.default_rng(seed))[0][1:].tolist())] += 1
    likely = [pair for pair in expected if expected[pair] * runs >= 5]
    observed = [*(counts[pair] for pair in likely), runs - sum(counts[pair] for pair in likely)]
    wanted = [*(runs * expected[pair] for pair in likely), runs * (1 - sum(expected[pair] for pair in likely))]
    assert len(likely) >= 12
    assert chisquare(observed, wanted).pvalue > 1e-3


def test_the_potential_of_both_forms_agrees_within_one_percent() -> None:
    view = pool(n=1500, c=5, d=16, seed=1)
    points, _ = gradients(view)
    potentials = {}
    for form in (spread_by_rejection, spread_by_inversion):
        each = [form(points, 40, 0, np.random.default_rng(seed))[0] for seed in range(40)]
        potentials[form] = np.mean([float(points.nearest(points.take(torch.from_numpy(p))).sum()) for p in each])
    assert potentials[spread_by_rejection] == pytest.approx(potentials[spread_by_inversion], rel=0.01)


@fault("methods", "pool of equal samples", "picked once, in random order")
@pytest.mark.parametrize("sampler", ["rejection", "inverse"])
def test_certain_predictions_and_copies_never_give_a_sample_twice(sampler) -> None:
    """Gradients of certain predictions are 0; the study's code bought samples twice there."""
    certain, five = pool(n=200, sharp=1e4, dtype=torch.float32), pool(n=5, dtype=torch.float32)
    copies = PoolView(
        five.log_probs.repeat(40, 1, 1), five.features.repeat(40, 1), five.labeled_features, five.labeled_labels
    )
    for case in (certain, copies):
        for seed in range(5):
            picked = badge(case, 150, Stream(seed), sampler=sampler)
            assert len(picked.positions.unique()) == 150
    for seed in range(5):
        assert set(badge(copies, 5, Stream(seed), sampler=sampler).positions.remainder(5).tolist()) == set(range(5))


def test_tiny_gradients_are_still_told_apart() -> None:
    """Squares of gradients of 1e-25 underflow in float32; relative sizes decide, so they are scaled first."""
    logits = torch.zeros(30, 3)
    logits[:, 0] = torch.linspace(57, 60, 30)
    view = PoolView(
        logits.log_softmax(1)[:, None], torch.ones(30, 4), torch.zeros(0, 0), torch.zeros(0, dtype=torch.long)
    )
    assert badge(view, 3, Stream(0)).positions[0] == 0
    assert badge(view, 1, Stream(0)).scores[0] >= 0


def test_memory_is_linear_in_classes_plus_features() -> None:
    n, c, d = 600, 200, 300
    view = pool(n=n, c=c, d=d, dtype=torch.float32)
    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                largest = max(largest, out.numel())
            return out

    with Watch():
        badge(view, 200, Stream(0))
    assert n * max(c, d) <= largest <= 2 * n * (c + d)


def test_an_unknown_sampler_is_refused() -> None:
    with pytest.raises(Exception, match="rejection or inverse; got 'exact'"):
        badge(pool(), 3, Stream(0), sampler="exact")


def test_the_last_layers_input_decides_and_not_its_offset() -> None:
    """Unlike Core-Set, features must not be centered: they are a factor of the gradient."""
    view = scored(pool(n=50).log_probs)
    ones = PoolView(view.log_probs, torch.ones(50, 3, dtype=torch.float64), view.labeled_features, view.labeled_labels)
    assert (badge(ones, 10, Stream(0)).scores > 0).all()
