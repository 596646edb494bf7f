"""Epoch plans, mini-batches, learning rates."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.faults import fault

from fathom.core.records import FathomError
from fathom.core.streams import Stream
from fathom.learn.training.batching import (
    SCHEDULES,
    batch_sizes,
    batches,
    class_weights,
    epoch_plan,
    oversampling_weights,
    warmup_cosine,
    warmup_steps,
)

few = settings(derandomize=True, max_examples=60, deadline=None)


@few
@given(st.integers(1, 300), st.integers(1, 400))
def test_each_sample_comes_floor_or_ceil_times(labeled: int, epoch_size: int):
    length = max(labeled, epoch_size)
    plan = epoch_plan(labeled, length, Stream(0, ("order",)).torch())
    counts = torch.bincount(plan, minlength=labeled)
    assert len(plan) == length
    assert counts.min() >= length // labeled
    assert counts.max() <= -(-length // labeled)


def test_the_study_fills_up_to_5500_and_passes_once_from_there():
    generator = Stream(1, ("order",)).torch()
    assert torch.bincount(epoch_plan(50, 5500, generator)).tolist() == [110] * 50
    assert epoch_plan(6000, 6000, generator).sort().values.equal(torch.arange(6000))
    first, second = (epoch_plan(50, 5500, Stream(1, ("order", e)).torch()) for e in range(2))
    assert not torch.equal(first, second)


def test_oversampling_draws_present_classes_equally_often():
    labels = torch.tensor([0] * 800 + [1] * 150 + [3] * 50)
    weights = oversampling_weights(labels, 5)
    assert torch.allclose(weights[[0, 800, 950]], torch.tensor([1 / 2400, 1 / 450, 1 / 150], dtype=torch.float64))
    drawn = labels[epoch_plan(1000, 30_000, Stream(2, ("order",)).torch(), weights)]
    share = torch.bincount(drawn, minlength=5) / 30_000
    assert share[2] == share[4] == 0
    # 4.5 standard deviations of a binomial share
    assert (share[[0, 1, 3]] - 1 / 3).abs().max() < 4.5 * math.sqrt(2 / 9 / 30_000)


@fault("labels", "class missing in the labeled, training or test images", "weights and head keep all classes")
def test_class_weights_have_an_entry_for_absent_classes():
    weights = class_weights(torch.tensor([1, 1, 3]), 5)
    assert weights.tolist() == [0.0, 0.25, 0.0, 0.5, 0.0]


@pytest.mark.parametrize(
    ("length", "batch", "rule", "expected"),
    [
        (5500, 1024, "merge", [1024] * 5 + [380]),  # the study's epochs are left as they are
        (5500, 512, "merge", [512] * 10 + [380]),
        (7200, 512, "keep", [512] * 14 + [32]),
        (7200, 512, "merge", [512] * 13 + [544]),
        (7200, 512, "drop", [512] * 14),
        (7700, 512, "merge", [512] * 14 + [532]),
        (9900, 512, "merge", [512] * 19 + [172]),
        (5, 4, "merge", [5]),  # one sample is no quarter of four, as BatchNorm sees it
        (5, 2, "drop", [2, 2]),
        (5, 4, "keep", [4, 1]),
        (6, 4, "merge", [4, 2]),
        (20, 64, "merge", [20]),
        (20, 64, "drop", [20]),
        (128, 64, "keep", [64, 64]),
    ],
)
def test_last_batch(length: int, batch: int, rule: str, expected: list[int]):
    assert batch_sizes(length, batch, rule) == expected


@few
@given(st.integers(1, 2000), st.integers(2, 300), st.sampled_from(["merge", "keep"]))
def test_batches_cover_the_epoch(length: int, batch: int, rule: str):
    order = torch.arange(length)
    parts = list(batches(order, batch_sizes(length, batch, rule)))
    assert torch.cat(parts).equal(order)
    if rule == "merge" and len(parts) > 1:
        assert 4 * min(len(p) for p in parts) >= batch


def test_unknown_last_batch_is_refused():
    with pytest.raises(FathomError, match="expected one of merge, drop, keep"):
        batch_sizes(10, 4, "wrap")


def test_schedule_has_its_closed_form():
    factor = warmup_cosine(1200, 60)
    assert factor(0) == 0
    assert factor(30) == 0.5
    assert factor(60) == 1
    assert factor(630) == pytest.approx(0.5)
    assert factor(1199) == pytest.approx(math.sin(math.pi / 2 / 1140) ** 2)


def test_schedule_is_that_of_torch():
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    linear = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, step / 5))
    rates = []
    for _ in range(5):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        linear.step()
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=25)
    for _ in range(25):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        cosine.step()
    factor = warmup_cosine(30, 5)
    assert [0.1 * factor(step) for step in range(30)] == pytest.approx(rates, abs=1e-12)


def test_the_step_schedule_is_that_of_fine_tuning():
    """80 epochs of 11 steps, divided by ten after 20, 40 and 60."""
    factor = warmup_steps(880, 0)
    rates = [factor(step) for step in range(880)]
    for quarter in range(4):
        assert set(rates[220 * quarter : 220 * (quarter + 1)]) == {0.1**quarter}


def test_the_step_schedule_is_that_of_torch():
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.5)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[10, 20, 30], gamma=0.1)
    rates = []
    for _ in range(40):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    factor = warmup_steps(40, 0)
    assert [0.5 * factor(step) for step in range(40)] == pytest.approx(rates)


@few
@given(st.sampled_from(sorted(SCHEDULES)), st.integers(1, 500), st.integers(0, 100))
def test_rates_never_rise_after_the_warm_up_nor_leave_their_range(name: str, steps: int, warmup: int):
    factor = SCHEDULES[name](steps + warmup, warmup)
    rates = [factor(step) for step in range(steps + warmup)]
    assert all(0 <= rate <= 1 for rate in rates)
    assert all(a < b for a, b in pairwise(rates[:warmup]))
    assert all(a >= b for a, b in pairwise(rates[warmup:]))
