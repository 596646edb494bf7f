"""LARS: momentum SGD whose step in each layer is proportional to the norm of the layer's weights."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class Lars(torch.optim.Optimizer):
    """Layer-wise adaptive rate scaling: large mini-batches without a layer running away.

    For a matrix or a convolution's weight w with gradient g, and decay b:

        v <- momentum * v + trust * |w| / (|g| + b |w|) * (g + b w),    w <- w - lr * v

    Biases and the parameters of normalization (all vectors) are not adapted: v <- momentum * v + g + b w. Where the
    norm of weights or gradient is 0, the factor is 1. Nothing here makes the host wait for the device.

    Args:
        groups: Parameters, or groups of them with `weight_decay` of their own (`step.parameter_groups`).
        lr: Learning rate, above 0.
        momentum: In [0, 1).
        weight_decay: Of groups that have none of their own.
        trust: Trust coefficient, above 0.

    Source: You, Gitman and Ginsburg, 2017, Algorithm 1; without adaptation and decay for biases and BatchNorm as in
        Chen et al., 2020 (SimCLR), App. B.6. The learning rate multiplies the momentum, as in the study's library
        and in torch's SGD; in the original it is inside, which differs only while the schedule moves.
    """

    def __init__(
        self, groups: Any, lr: float, momentum: float = 0.9, weight_decay: float = 0.0, trust: float = 0.001
    ) -> None:
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of all parameters that have a gradient; `closure` is not supported and must be None."""
        assert closure is None, "LARS takes one gradient a step"
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            for matrices in (True, False):
                if chosen := [p for p in parameters if (p.ndim > 1) == matrices]:
                    self._step(chosen, group, adapt=matrices)

    def _step(self, parameters: list[Tensor], group: dict[str, Any], *, adapt: bool) -> None:
        decay, gradients = group["weight_decay"], [p.grad for p in parameters if p.grad is not None]
        moves = torch._foreach_add(gradients, parameters, alpha=decay)
        if adapt:
            factors = _trust_ratios(parameters, gradients, decay, group["trust"])
            torch._foreach_mul_(moves, factors)
        momenta = [self._momentum(p) for p in parameters]
        torch._foreach_mul_(momenta, group["momentum"])
        torch._foreach_add_(momenta, moves)
        if isinstance(group["lr"], Tensor):  # a recorded step reads the rate from the device
            torch._foreach_sub_(parameters, torch._foreach_mul(momenta, group["lr"]))
        else:
            torch._foreach_add_(parameters, momenta, alpha=-group["lr"])

    def _momentum(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        buffer: Tensor = state["momentum_buffer"]
        return buffer


def _trust_ratios(parameters: list[Tensor], gradients: list[Tensor], decay: float, trust: float) -> list[Tensor]:
    """trust * |w| / (|g| + decay |w|) of each parameter, 1 where either norm is 0."""
    weights, slopes = (torch.stack(torch._foreach_norm(tensors)) for tensors in (parameters, gradients))
    ratios = trust * weights / (slopes + decay * weights)
    return list(torch.where((weights > 0) & (slopes > 0), ratios, 1.0).unbind())
