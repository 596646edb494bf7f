"""Test metrics against scikit-learn, and the calibration error against its definition."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from fathom.protocol.metrics import expected_calibration_error, measure


def predictions(n: int, k: int, c: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(n, k, c, generator=generator, dtype=torch.float64)
    return logits.log_softmax(dim=2), torch.randint(c, (n,), generator=generator)


@given(st.integers(2, 80), st.integers(1, 4), st.integers(2, 12), st.integers(0, 10_000))
@settings(derandomize=True, max_examples=60, deadline=None)
def test_metrics_equal_scikit_learn(n: int, k: int, c: int, seed: int) -> None:
    log_probs, y = predictions(n, k, c, seed)
    found, recalls = measure(log_probs, y)
    p = log_probs.exp().double().mean(dim=1).numpy()
    guess, truth = p.argmax(axis=1), y.numpy()
    present = np.unique(truth)
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(truth, guess))
    assert found["macro_f1"] == pytest.approx(
        sk.f1_score(truth, guess, labels=present, average="macro", zero_division=0)
    )
    assert found["balanced_accuracy"] == pytest.approx(
        sk.recall_score(truth, guess, labels=present, average="macro", zero_division=0)
    )
    assert found["log_loss"] == pytest.approx(sk.log_loss(truth, p, labels=np.arange(c)), rel=1e-5)
    for i in range(c):
        if i in present:
            assert recalls[i] == pytest.approx((guess[truth == i] == i).mean())
        else:
            assert recalls[i] is None


@given(st.integers(1, 200), st.integers(0, 10_000))
@settings(derandomize=True, max_examples=40, deadline=None)
def test_calibration_error_equals_its_definition(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    confidence, correct = rng.uniform(0.1, 1, n), rng.uniform(size=n) < 0.6
    expected = 0.0
    for i in range(15):
        mine = (confidence > i / 15) & (confidence <= (i + 1) / 15)
        if mine.any():
            expected += mine.mean() * abs(correct[mine].mean() - confidence[mine].mean())
    assert expected_calibration_error(confidence, correct) == pytest.approx(expected, abs=1e-12)


def test_perfect_and_overconfident_predictions() -> None:
    y = torch.tensor([0, 1, 1])
    sure = torch.full((3, 1, 2), -40.0)
    sure[torch.arange(3), 0, y] = 0.0
    good, _ = measure(sure, y)
    bad, _ = measure(sure.flip(2), y)
    assert good["ece"] == pytest.approx(0, abs=1e-9)
    assert good["log_loss"] == pytest.approx(0, abs=1e-9)
    assert bad["ece"] == pytest.approx(1)
    assert bad["log_loss"] == pytest.approx(40)
