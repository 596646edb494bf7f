"""BatchBALD: against joint entropies by enumeration, scikit-activeml's port of the authors' code, its own bounds."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skactiveml.pool import batch_bald as peer_batch_bald
from tests.faults import fault
from tests.query.pools import pool, scored

from fathom.core.records import FathomError
from fathom.core.streams import Stream
from fathom.query import batch_bald as batchbald
from fathom.query.batch_bald import batch_bald
from fathom.query.scores import bald


def joint_information(probs: np.ndarray, batch: list[int]) -> float:
    """I(y_batch; w) as it is defined: H(joint) - mean over draws of H(joint | draw), all configurations enumerated."""
    _, k, c = probs.shape
    joint = 0.0
    for labels in product(range(c), repeat=len(batch)):
        p = np.mean([np.prod([probs[i, draw, y] for i, y in zip(batch, labels, strict=True)]) for draw in range(k)])
        joint -= p * np.log(p)
    given_draw = -(probs[batch] * np.log(probs[batch])).sum(2).mean(1).sum()
    return joint - given_draw


@settings(derandomize=True, max_examples=10, deadline=None)
@given(seed=st.integers(0, 999), k=st.integers(2, 5), c=st.integers(2, 4))
def test_picks_and_gains_equal_those_of_enumeration(seed, k, c) -> None:
    view = pool(n=6, k=k, c=c, seed=seed)
    probs = view.log_probs.exp().numpy()
    picked = batch_bald(view, 4, Stream(seed))
    batch: list[int] = []
    for position, gain in zip(picked.positions.tolist(), picked.scores.tolist(), strict=True):
        before = joint_information(probs, batch) if batch else 0.0
        gains = {i: joint_information(probs, [*batch, i]) - before for i in range(6) if i not in batch}
        assert gains[position] == pytest.approx(max(gains.values()), abs=1e-10)
        assert gain == pytest.approx(gains[position], abs=1e-10)
        batch.append(position)


@pytest.mark.parametrize("merged", [(512, 128), (16, 4)])
def test_picks_equal_scikit_activeml_while_exact(merged, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether configurations are merged to a few before or not."""
    monkeypatch.setattr(batchbald, "MERGED", merged)
    monkeypatch.setattr(batchbald, "REFINED", (20, 5, 2))
    view = pool(n=120, k=20, c=3, seed=3)
    utilities = peer_batch_bald(view.log_probs.exp().numpy().swapaxes(0, 1).copy(), 6, n_MC_samples=10_000, eps=1e-12)
    picked = batch_bald(view, 6, Stream(0))
    assert picked.positions.tolist() == np.nanargmax(utilities, axis=1).tolist()
    joint = np.cumsum(picked.scores.numpy())  # theirs is the information of the whole batch
    np.testing.assert_allclose(joint, np.nanmax(utilities, axis=1), rtol=1e-6)


def test_a_batch_of_one_is_bald() -> None:
    view = pool(n=200, k=10)
    picked = batch_bald(view, 1, Stream(0))
    scores = bald(view)
    assert picked.positions.item() == scores.argmax().item()
    assert picked.scores.item() == scores.max().item()


@settings(derandomize=True, max_examples=15, deadline=None)
@given(seed=st.integers(0, 999), count=st.integers(2, 20))
def test_merging_configurations_never_lowers_a_gain(seed, count) -> None:
    """Entropy is concave: that is what makes the lazy search exact."""
    view = pool(n=40, k=8, c=3, seed=seed)
    joint = batchbald._Joint(8, 1000, Stream(seed), view)
    for i in range(4):
        joint.add(view.log_probs[i])
    full = joint.ladder(columns=0)[-1]
    merged = full.merged(count, Stream(seed).torch())
    assert len(full) == 81
    assert len(merged) <= count
    assert merged.weights.sum().item() == pytest.approx(1)
    probs = view.log_probs.exp()
    assert (merged.entropy(probs) >= full.entropy(probs) - 1e-9).all()


def test_sampled_configurations_estimate_the_same_gain() -> None:
    view = pool(n=30, k=10, c=3, seed=5)
    exact = batch_bald(view, 6, Stream(0), num_samples=1000)
    joint = batchbald._Joint(10, 50, Stream(0), view)
    many = batchbald._Joint(10, 20_000, Stream(0), view)
    many.exact, many.log_joint = False, many.log_joint.new_zeros(20_000, 10)
    for position in exact.positions[:-1].tolist():
        joint.add(view.log_probs[position])
        many.add(view.log_probs[position])
    assert not joint.exact
    assert len(joint.log_joint) == 50
    noise = torch.special.entr(view.log_probs.exp()).sum(2).mean(1)
    gain = (many.ladder(columns=0)[-1].entropy(view.log_probs.exp()) - noise)[exact.positions[-1]].item()
    assert gain == pytest.approx(exact.scores[-1].item(), rel=0.02)


def test_a_batch_beyond_exactness_is_near_the_exact_one() -> None:
    """Few samples: the information of the batch found is within a few percent of what the exact search finds."""
    view = pool(n=60, k=10, c=3, seed=1)
    probs = view.log_probs.exp().numpy()
    found = batch_bald(view, 6, Stream(0), num_samples=500).positions.tolist()
    best = batch_bald(view, 6, Stream(0)).positions.tolist()
    assert len(set(found)) == 6
    assert joint_information(probs, found) >= 0.97 * joint_information(probs, best)


def test_the_same_stream_gives_the_same_batch() -> None:
    view = pool(n=60, k=10, c=4)
    first, second, other = (batch_bald(view, 8, Stream(seed), num_samples=100) for seed in (0, 0, 1))
    assert first.positions.tolist() == second.positions.tolist()
    assert first.scores.tolist() == second.scores.tolist()
    assert first.scores.tolist() != other.scores.tolist()


@fault("methods", "pool of equal samples", "picked once, in random order")
def test_equal_samples_are_picked_once_and_in_random_order() -> None:
    view = scored(pool(n=1, k=5).log_probs.expand(20, 5, 4).contiguous())
    orders = [batch_bald(view, 6, Stream(seed)).positions.tolist() for seed in range(4)]
    assert all(len(set(order)) == 6 for order in orders)
    assert len({order[0] for order in orders}) > 1


def test_impossible_classes_are_no_trouble() -> None:
    log_probs = pool(n=30, k=6, c=4).log_probs.clone()
    log_probs[:, :, 0] = -torch.inf
    picked = batch_bald(scored(log_probs.log_softmax(2)), 5, Stream(0))
    assert torch.isfinite(picked.scores).all()
    assert (picked.scores > 0).all()


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(FathomError, match="at least the 5 draws; got 4"):
        batch_bald(pool(k=5), 2, Stream(0), num_samples=4)
