"""Scores: against scikit-activeml and the formulas in float64, and where float32 would fail."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mode
from skactiveml.pool import uncertainty_scores
from tests.query.pools import pool, scored

from fathom.core.records import FathomError
from fathom.query.scores import bald, entropy, least_confidence, margin, variation_ratios


@pytest.mark.parametrize("c", [2, 3, 10, 1000])
@pytest.mark.parametrize(
    ("score", "peer", "shift"),
    [(entropy, "entropy", 0.0), (least_confidence, "least_confident", 0.0), (margin, "margin_sampling", 0.0)],
)
def test_uncertainty_equals_scikit_activeml(score, peer, shift, c) -> None:
    view = pool(n=200, c=c)
    probs = view.log_probs[:, 0].exp().numpy()
    np.testing.assert_allclose(score(view).numpy(), uncertainty_scores(probs, method=peer) + shift, rtol=1e-9)


@pytest.mark.parametrize("score", [entropy, least_confidence, margin])
def test_several_draws_are_averaged_first(score) -> None:
    view = pool(k=7)
    mean = view.log_probs.exp().mean(1, keepdim=True).log()
    torch.testing.assert_close(score(view), score(scored(mean)))


@settings(derandomize=True, max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.integers(2, 9), c=st.integers(2, 12), sharp=st.sampled_from([0.01, 1.0, 30.0]))
def test_bald_is_the_difference_of_entropies_whatever_the_order_of_draws(seed, k, c, sharp) -> None:
    view = pool(n=20, k=k, c=c, seed=seed, sharp=sharp)
    probs = view.log_probs.exp()
    expected = torch.special.entr(probs.mean(1)).sum(1) - torch.special.entr(probs).sum(2).mean(1)
    torch.testing.assert_close(bald(view), expected, rtol=1e-7, atol=1e-12)
    torch.testing.assert_close(bald(scored(view.log_probs.flip(1))), bald(view), rtol=1e-9, atol=1e-13)
    assert bald(view).max() <= np.log(min(c, k)) + 1e-12


def test_bald_keeps_small_information_in_single_precision() -> None:
    """Where draws differ little, the difference of two float32 entropies is mostly rounding."""
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(500, 1, 10, generator=rng) + 1e-3 * torch.randn(500, 50, 10, generator=rng)
    exact = bald(scored(logits.double().log_softmax(2)))
    ours = bald(scored(logits.log_softmax(2)))
    log_probs = logits.log_softmax(2)
    mean = log_probs.exp().mean(1)
    naive = -(mean * mean.log()).sum(1) + (log_probs.exp() * log_probs).sum(2).mean(1)
    assert (ours - exact).abs().mean() < 0.3 * (naive.double() - exact).abs().mean()


@pytest.mark.parametrize("score", [entropy, least_confidence, margin])
def test_confident_samples_stay_in_order_in_single_precision(score) -> None:
    """Their largest probability rounds to 1 in float32, all the same."""
    logits = torch.zeros(40, 5)
    logits[:, 2] = torch.linspace(20, 60, 40)
    log_probs = logits.log_softmax(1)
    assert (log_probs[:, 2] == 0).all()
    scores = score(scored(log_probs[:, None]))
    assert (scores.diff() < 0).all()
    assert (scores > 0).all()


@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("score", [entropy, least_confidence, margin, variation_ratios, bald])
def test_extreme_predictions_give_finite_scores(score, k) -> None:
    log_probs = (1e6 * torch.randn(20, k, 6, generator=torch.Generator().manual_seed(0))).log_softmax(2)
    log_probs[0] = torch.tensor([0.0] + [-torch.inf] * 5)
    log_probs[1] = torch.tensor([np.log(0.5)] * 2 + [-torch.inf] * 4)
    scores = score(scored(log_probs))
    assert torch.isfinite(scores).all()
    assert (scores >= 0).all()
    assert scores[0] == 0


def test_the_most_uncertain_prediction_has_the_largest_score() -> None:
    log_probs = torch.full((1, 1, 8), 1 / 8).log()
    assert entropy(scored(log_probs)).item() == pytest.approx(np.log(8))
    assert least_confidence(scored(log_probs)).item() == pytest.approx(7 / 8)
    assert margin(scored(log_probs)).item() == pytest.approx(1)
    disagreeing = torch.full((1, 2, 2), -torch.inf)
    disagreeing[0, 0, 0] = disagreeing[0, 1, 1] = 0
    assert bald(scored(disagreeing)).item() == pytest.approx(np.log(2))


def test_variation_ratios_of_votes_count_the_draws_outside_the_mode() -> None:
    view = pool(n=100, k=11, c=3)
    winners = view.log_probs.argmax(2).numpy()
    np.testing.assert_allclose(variation_ratios(view, of="votes").numpy(), 1 - mode(winners, axis=1).count / 11)
    torch.testing.assert_close(variation_ratios(view), 1 - view.log_probs.exp().mean(1).amax(1))


def test_variation_ratios_refuse_another_kind() -> None:
    with pytest.raises(FathomError, match="mean or votes; got 'mode'"):
        variation_ratios(pool(k=2), of="mode")


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    view = pool(n=50, k=5)
    whole = bald(view), entropy(view)
    monkeypatch.setattr("fathom.query.blocks.CPU_ELEMENTS", 64)
    torch.testing.assert_close((bald(view), entropy(view)), whole, rtol=1e-12, atol=1e-15)
