"""Test metrics against scikit-learn; calibration error, AURC and AUGRC against their definitions."""

from itertools import pairwise
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax
from sklearn import metrics as sk

from fathom.core.metrics import METRICS
from fathom.stats.classification import augrc, aurc, brier_score, expected_calibration_error, failure_auroc, measure


def predictions(n: int, c: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return log_softmax(3 * rng.normal(size=(n, c)), axis=1), rng.integers(c, size=n)


@given(st.integers(2, 80), st.integers(2, 12), st.integers(0, 10_000))
@settings(derandomize=True, max_examples=60, deadline=None)
def test_metrics_equal_scikit_learn(n: int, c: int, seed: int) -> None:
    log_probs, truth = predictions(n, c, seed)
    found, recalls = measure(log_probs, truth)
    p = np.exp(log_probs)
    guess = p.argmax(axis=1)
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
    y = np.array([0, 1, 1])
    sure = np.full((3, 2), -40.0)
    sure[np.arange(3), y] = 0.0
    good, _ = measure(sure, y)
    bad, _ = measure(sure[:, ::-1], y)
    for name in ("ece", "log_loss", "brier", "aurc", "augrc"):
        assert good[name] == pytest.approx(0, abs=1e-9), name
    assert (bad["ece"], bad["log_loss"], bad["brier"]) == pytest.approx((1, 40, 2))
    assert (bad["aurc"], bad["augrc"]) == pytest.approx((1, 0.5))
    assert "failure_auroc" not in {**good, **bad}  # nothing to tell apart


def test_every_metric_of_the_table_is_measured() -> None:
    found, _ = measure(*predictions(60, 4, 0))
    assert list(found) == [metric.name for metric in METRICS]
    for metric in METRICS:
        assert 0 <= found[metric.name] <= {"fraction": 1, "squared distance": 2, "nats": np.inf}[metric.unit]


@given(st.integers(2, 60), st.integers(2, 6), st.integers(0, 10_000))
@settings(derandomize=True, max_examples=60, deadline=None)
def test_brier_score_equals_scikit_learn(n: int, c: int, seed: int) -> None:
    log_probs, y = predictions(n, c, seed)
    classes = list(range(c))
    expected = sk.brier_score_loss(y, np.exp(log_probs), labels=classes, scale_by_half=False)
    assert brier_score(log_probs, y) == pytest.approx(expected)


# ----------------------------------------------------------------------------------------------- failure detection

CASES = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=40)  # few levels: many ties


def split_cases(cases: list[tuple[int, bool]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([level / 5 for level, _ in cases]), np.array([correct for _, correct in cases])


def curve(cases: list[tuple[int, bool]], generalized: bool) -> list[tuple[float, float]]:
    """(coverage, risk) at each threshold, from its definition, with the point at no coverage."""
    points = []
    for threshold in sorted({level for level, _ in cases}, reverse=True):
        accepted = [correct for level, correct in cases if level >= threshold]
        failures = sum(not correct for correct in accepted)
        points.append((len(accepted) / len(cases), failures / (len(cases) if generalized else len(accepted))))
    return [(0.0, 0.0 if generalized else points[0][1]), *points]


def area(points: list[tuple[float, float]]) -> float:
    return sum((x1 - x0) * (y0 + y1) / 2 for (x0, y0), (x1, y1) in pairwise(points))


@given(CASES)
@settings(derandomize=True, max_examples=200, deadline=None)
def test_areas_under_risk_coverage_curves_equal_their_definition(cases: list[tuple[int, bool]]) -> None:
    confidence, correct = split_cases(cases)
    assert aurc(confidence, correct) == pytest.approx(area(curve(cases, generalized=False)), abs=1e-12)
    assert augrc(confidence, correct) == pytest.approx(area(curve(cases, generalized=True)), abs=1e-12)


@given(CASES)
@settings(derandomize=True, max_examples=200, deadline=None)
def test_failure_auroc_equals_scikit_learn_and_gives_augrc(cases: list[tuple[int, bool]]) -> None:
    """Traub et al. 2024 derive AUGRC = (1 - AUROC) acc (1 - acc) + (1 - acc)^2 / 2."""
    confidence, correct = split_cases(cases)
    found, acc = failure_auroc(confidence, correct), correct.mean()
    if acc in (0, 1):
        assert found is None
        return
    assert found == pytest.approx(sk.roc_auc_score(correct, confidence))
    assert augrc(confidence, correct) == pytest.approx((1 - found) * acc * (1 - acc) + (1 - acc) ** 2 / 2)


@given(CASES, st.randoms(use_true_random=False))
@settings(derandomize=True, max_examples=50, deadline=None)
def test_the_order_of_samples_does_not_matter(cases: list[tuple[int, bool]], random: Random) -> None:
    shuffled = random.sample(cases, len(cases))
    for area_of in (aurc, augrc, failure_auroc):
        assert area_of(*split_cases(cases)) == pytest.approx(area_of(*split_cases(shuffled)))


def test_areas_without_ties_by_hand() -> None:
    confidence, correct = np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, False, True, False])
    assert augrc(confidence, correct) == pytest.approx((0 + 0.5 + 1 + 1.5) / 16)
    assert aurc(confidence, correct) == pytest.approx((0 + 1 / 4 + (1 / 2 + 1 / 3) / 2 + (1 / 3 + 1 / 2) / 2) / 4)
    assert failure_auroc(confidence, correct) == 0.75
