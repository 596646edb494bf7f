"""LARS against its formula, written step by step in double precision."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fathom.learn.training.fit import OPTIMIZERS, Optimization, parameter_groups
from fathom.learn.training.lars import Lars

SHAPES = {"weight": (4, 3), "kernel": (2, 3, 3, 3), "bias": (4,), "scale": (7,)}


def by_hand(weights, gradients, rates, momentum, decay, trust, adapted):
    """You et al., 2017: one array through all steps."""
    w, v = np.array(weights, dtype=np.float64), np.zeros(np.shape(weights))
    for g, lr in zip(gradients, rates, strict=True):
        factor = 1.0
        if adapted:
            size, slope = np.sqrt((w**2).sum()), np.sqrt((g**2).sum())
            if size > 0 and slope > 0:
                factor = trust * size / (slope + decay * size)
        v = momentum * v + factor * (g + decay * w)
        w = w - lr * v
    return w


@settings(max_examples=15, deadline=None, derandomize=True)
@given(seed=st.integers(0, 99), momentum=st.sampled_from([0.0, 0.9]), decay=st.sampled_from([0.0, 1e-4, 0.1]))
def test_every_step_is_that_of_the_formula(seed: int, momentum: float, decay: float):
    rng = np.random.default_rng(seed)
    start = {name: rng.normal(size=shape) for name, shape in SHAPES.items()}
    parameters = {name: nn.Parameter(torch.tensor(value)) for name, value in start.items()}
    optimizer = Lars(parameters.values(), lr=1.0, momentum=momentum, weight_decay=decay, trust=0.02)
    rates = [0.0, 0.5, 1.0, 0.3]
    gradients = {name: [rng.normal(size=shape) for _ in rates] for name, shape in SHAPES.items()}
    for step, lr in enumerate(rates):
        optimizer.param_groups[0]["lr"] = lr
        for name, parameter in parameters.items():
            parameter.grad = torch.tensor(gradients[name][step])
        optimizer.step()
    for name, parameter in parameters.items():
        adapted = len(SHAPES[name]) > 1
        expected = by_hand(start[name], gradients[name], rates, momentum, decay, 0.02, adapted)
        np.testing.assert_allclose(parameter.detach().numpy(), expected, rtol=1e-9, atol=1e-12, err_msg=name)


def test_a_layer_without_weights_or_slope_is_not_adapted():
    zero, flat = (nn.Parameter(torch.full((2, 2), v)) for v in (0.0, 3.0))
    optimizer = Lars([zero, flat], lr=0.5, momentum=0.9)
    zero.grad, flat.grad = torch.ones(2, 2), torch.zeros(2, 2)
    optimizer.step()
    assert torch.equal(zero.detach(), torch.full((2, 2), -0.5))  # plain gradient descent
    assert torch.equal(flat.detach(), torch.full((2, 2), 3.0))


def test_a_rate_on_the_device_is_the_same_rate():
    results = []
    for lr in (0.25, torch.tensor(0.25)):
        weight = nn.Parameter(torch.arange(6.0).view(2, 3))
        optimizer = Lars([weight], lr=1.0)
        optimizer.param_groups[0]["lr"] = lr
        for _ in range(3):
            weight.grad = torch.ones(2, 3)
            optimizer.step()
        results.append(weight.detach())
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_biases_and_normalization_are_neither_adapted_nor_decayed(decay: float):
    """Through the groups that the engine makes, whatever the decay is."""
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    optimizer = OPTIMIZERS["lars"](parameter_groups(network, decay), Optimization(0.5, decay, 1, momentum=0.9))
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    for name in ("0.bias", "1.weight", "1.bias"):
        moved = dict(network.named_parameters())[name].detach() - before[name]
        torch.testing.assert_close(moved, torch.full((4,), -0.5))
    weight = before["0.weight"].double()
    factor = 0.001 * weight.norm() / (torch.ones(12).double().norm() + decay * weight.norm())
    expected = weight - 0.5 * factor * (1 + decay * weight)
    torch.testing.assert_close(network[0].weight.detach(), expected.float())
    assert all("momentum_buffer" in optimizer.state[p] for p in network.parameters())


def test_what_has_no_gradient_stays():
    weight = nn.Parameter(torch.ones(2, 2))
    Lars([weight], lr=1.0, weight_decay=0.1).step()
    assert torch.equal(weight.detach(), torch.ones(2, 2))
