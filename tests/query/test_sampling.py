"""From scores to a batch: ties, stochastic batches against their probabilities, strata."""

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from fathom.core.records import FathomError
from fathom.core.streams import Stream
from fathom.query.sampling import descending, sample_by_rule


def test_top_takes_the_highest_in_order() -> None:
    scores = torch.tensor([0.1, 0.9, 0.4, 0.7])
    picked = sample_by_rule(scores, 3, Stream(0))
    assert picked.positions.tolist() == [1, 3, 2]
    assert picked.scores.tolist() == scores[[1, 3, 2]].tolist()


def test_ties_are_broken_by_the_stream_and_not_by_position() -> None:
    scores = torch.tensor([1.0] * 5 + [2.0])
    seen = [tuple(sample_by_rule(scores, 3, Stream(seed)).positions.tolist()) for seed in range(1200)]
    assert {first for first, *_ in seen} == {5}
    counts = [sum(picks[1:] == pair for picks in seen) for pair in permutations(range(5), 2)]
    assert chisquare(counts).pvalue > 1e-3
    assert seen[0] == tuple(sample_by_rule(scores, 3, Stream(0)).positions.tolist())


SCORES = np.array([0.0, 0.1, 0.5, 0.5, 0.9, 2.0])


@pytest.mark.parametrize(
    ("sampling", "beta", "weights"),
    [
        ("power", 1.0, SCORES),
        ("power", 2.0, SCORES**2),
        ("softmax", 1.5, np.exp(1.5 * SCORES)),
        ("softrank", 1.0, 1 / np.array([6, 5, 3.5, 3.5, 2, 1])),
    ],
)
def test_stochastic_batches_have_their_probabilities(sampling, beta, weights) -> None:
    """The first two picks are a draw without replacement with probability proportional to the weights."""
    runs = 3000
    pairs = list(permutations(range(6), 2))
    p = weights / weights.sum()
    if sampling == "softrank":  # 3 and 4 share ranks 3 and 4 at random: average over both orders
        each = [1 / np.array([6, 5, a, b, 2, 1]) for a, b in ((3, 4), (4, 3))]
        expected = np.mean([[_pair(w / w.sum(), i, j) for i, j in pairs] for w in each], axis=0)
    else:
        expected = np.array([_pair(p, i, j) for i, j in pairs])
    scores = torch.from_numpy(SCORES)
    seen = [
        tuple(sample_by_rule(scores, 2, Stream(s), sampling=sampling, beta=beta).positions.tolist())
        for s in range(runs)
    ]
    counts = np.array([seen.count(pair) for pair in pairs])
    possible = expected > 0
    assert counts[~possible].sum() == 0
    assert chisquare(counts[possible], runs * expected[possible]).pvalue > 1e-3


def _pair(p: np.ndarray, i: int, j: int) -> float:
    return p[i] * p[j] / (1 - p[i])


def test_coldness_turns_every_sampling_into_top() -> None:
    scores = torch.rand(30, generator=torch.Generator().manual_seed(0)).double() + 0.1
    top = sample_by_rule(scores, 30, Stream(3)).positions.tolist()
    for sampling in ("power", "softmax", "softrank"):
        assert sample_by_rule(scores, 30, Stream(3), sampling=sampling, beta=1e6).positions.tolist() == top


def test_softrank_looks_at_ranks_only() -> None:
    scores = torch.rand(40, generator=torch.Generator().manual_seed(0)).double()
    args = {"sampling": "softrank", "beta": 1.0}
    one, other = (
        sample_by_rule(scores, 10, Stream(1), **args),
        sample_by_rule(scores.exp() * 100, 10, Stream(1), **args),
    )
    assert one.positions.tolist() == other.positions.tolist()
    assert one.scores.tolist() == scores[one.positions].tolist()  # without the noise


def test_power_takes_zeros_last_and_refuses_negative_scores() -> None:
    scores = torch.tensor([0.0, 0.0, 1e-9, 5.0, 0.0])
    for seed in range(20):
        picks = sample_by_rule(scores, 5, Stream(seed), sampling="power").positions.tolist()
        assert set(picks[:2]) == {2, 3}
        assert sorted(picks) == [0, 1, 2, 3, 4]
    with pytest.raises(FathomError, match="needs scores of 0 or more, and the lowest is -1"):
        sample_by_rule(torch.tensor([1.0, -1.0]), 1, Stream(0), sampling="power")


def test_an_unknown_sampling_is_refused() -> None:
    with pytest.raises(FathomError, match="Expected one of: top, power, softmax, softrank"):
        sample_by_rule(torch.ones(3), 1, Stream(0), sampling="best")


@settings(derandomize=True, max_examples=40, deadline=None)
@given(
    data=st.lists(st.tuples(st.integers(0, 4), st.floats(0, 1)), min_size=1, max_size=40),
    share=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_strata_get_equal_shares_as_far_as_they_have_samples(data, share, seed) -> None:
    strata = torch.tensor([c for c, _ in data])
    scores = torch.tensor([s for _, s in data], dtype=torch.float64)
    size = max(1, round(share * len(data)))
    positions = sample_by_rule(scores, size, Stream(seed), strata=strata).positions
    assert len(positions.unique()) == size
    taken, available = strata[positions].bincount(minlength=5), strata.bincount(minlength=5)
    for c in range(5):
        picked = scores[positions[strata[positions] == c]]
        assert torch.equal(picked, scores[strata == c].sort(descending=True).values[: len(picked)])  # its best
        for other in range(5):
            assert taken[other] <= taken[c] + 1 or taken[c] == available[c]


def test_the_rest_of_equal_shares_goes_to_the_higher_scores() -> None:
    strata = torch.tensor([0, 0, 0, 1, 1, 1])
    scores = torch.tensor([0.9, 0.8, 0.7, 0.3, 0.2, 0.1])
    assert sample_by_rule(scores, 3, Stream(0), strata=strata).positions.tolist() == [0, 3, 1]


def test_descending_is_a_permutation() -> None:
    values = torch.tensor([3.0, 3.0, 1.0, 2.0])
    order = descending(values, Stream(0))
    assert values[order].tolist() == [3.0, 3.0, 2.0, 1.0]
    assert sorted(order.tolist()) == [0, 1, 2, 3]
