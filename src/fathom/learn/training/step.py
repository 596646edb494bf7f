"""One update of the weights. Its numbers stay on the device until the end of the epoch."""

import math
from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

NORMALIZATION = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.LocalResponseNorm, nn.RMSNorm)


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Group parameters: weights with decay; biases and normalization without, found by the type of their module.

    Source: as intended by Lüth et al., 2023; their match by name misses the normalization in down-sample branches.
    """
    decayed: list[nn.Parameter] = []
    spared: list[nn.Parameter] = []
    for module in network.modules():
        for parameter in module.parameters(recurse=False):
            plain = isinstance(module, NORMALIZATION) or parameter is getattr(module, "bias", None)
            (spared if plain else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": spared, "weight_decay": 0.0}]


class TrainingStep:
    """Forward, backward, update, and a row of numbers that shows afterwards which tensor was not finite.

    A row holds the loss, and for each gradient and each buffer of the network a number that is finite if all of it is:
    one reduction over what the step has just written. `names` says whose numbers these are.

    Args:
        network: What is trained.
        loss: The loss of one mini-batch (`fit.Objective.loss`).
        optimizer: Its momentum buffers exist from here on, as zeros: the first step is then like every other, also
            where gradient scaling skips it or it is recorded.
        average: Moving average of the network; None for none.
        decay: Of the average, in [0, 1).
        fp16: True to scale gradients, and to skip steps whose gradients overflow.
        tensor_lr: True to hold the learning rate in a tensor on the device, which a recorded step reads each time.

    Source: momentum from zero: Polyak, 1964; the same numbers as torch's SGD, which starts from the first gradient.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: Callable[..., Float[Tensor, ""]],
        optimizer: torch.optim.Optimizer,
        *,
        average: nn.Module | None = None,
        decay: float = 0.0,
        fp16: bool = False,
        tensor_lr: bool = False,
    ) -> None:
        self.network, self.loss, self.optimizer, self.average, self.decay = network, loss, optimizer, average, decay
        named = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
        watched = [(name, b) for name, b in network.named_buffers() if b.is_floating_point()]
        self.parameters, self.buffers = [p for _, p in named], [b for _, b in watched]
        self.names = ["the loss", *(f"the gradient of {n}" for n, _ in named), *(n for n, _ in watched)]
        device = self.parameters[0].device
        self.none = torch.zeros((), device=device)
        self.scaler = torch.amp.GradScaler(device.type) if fp16 else None
        self.lr = torch.zeros((), device=device) if tensor_lr else None
        for group in optimizer.param_groups:
            if self.lr is not None:
                group["lr"] = self.lr
            if group.get("momentum"):
                # Allocated now, not in the first step: a recorded step must find its buffers in place, and a state
                # that is loaded needs somewhere to go. A zero buffer gives the same first step as an absent one.
                for p in group["params"]:
                    optimizer.state[p]["momentum_buffer"] = torch.zeros_like(p)

    def __call__(self, batch: tuple[Tensor, ...], lr: float) -> Float[Tensor, "w"]:
        """Do one update at a learning rate; returns its row."""
        self.set_lr(lr)
        return self.body(*batch)

    def set_lr(self, lr: float) -> None:
        """Set the learning rate of all groups without waiting for the device."""
        if self.lr is not None:
            self.lr.fill_(lr)
            return
        for group in self.optimizer.param_groups:
            group["lr"] = lr

    def body(self, *batch: Tensor) -> Float[Tensor, "w"]:
        """Do the update. Nothing in it depends on a number that the host would have to fetch."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(*batch)
        if self.scaler is None:
            loss.backward()  # type: ignore[no-untyped-call]
            row = self._row(loss)  # before the update: a fused optimizer may write into the gradients
            self.optimizer.step()
        else:
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            self.scaler.unscale_(self.optimizer)
            row = self._row(loss)
            self.scaler.step(self.optimizer)
            self.scaler.update()
        if self.average is not None:
            self._follow(self.average)
        return row

    @torch.no_grad()
    def _row(self, loss: Float[Tensor, ""]) -> Float[Tensor, "w"]:
        gradients = [self.none if p.grad is None else p.grad for p in self.parameters]
        return torch.stack([loss.detach().float(), *finite_probes([*gradients, *self.buffers])])

    @torch.no_grad()
    def _follow(self, average: nn.Module) -> None:
        """Move the averaged weights towards the trained ones; buffers are copied.

        Source: Sohn et al., 2020 (FixMatch), Sec. 2.4, which evaluates the average with decay 0.999.
        """
        torch._foreach_lerp_(list(average.parameters()), list(self.network.parameters()), 1 - self.decay)
        for mine, theirs in zip(average.buffers(), self.network.buffers(), strict=True):
            mine.copy_(theirs)

    def tensors(self) -> dict[str, list[Tensor]]:
        """All tensors that an update changes, by kind, without gradients."""
        averages: Iterable[Tensor] = () if self.average is None else self.average.state_dict().values()
        return {
            "weights": [p.detach() for p in self.network.parameters()],
            "buffers": list(self.network.buffers()),
            "momenta": [
                value for p in self.parameters for value in self.optimizer.state[p].values() if torch.is_tensor(value)
            ],
            "averages": list(averages),
        }


def finite_probes(tensors: list[Tensor]) -> Iterable[Tensor]:
    """Scalar per tensor that is not finite if any of its values is not.

    The largest absolute value on accelerators, where one kernel finds all; on a CPU, where that is slow, the sum.
    """
    if tensors[0].device.type == "cpu":
        # The inf norms of a ResNet-18's gradients take 98 ms on a CPU, their sums 3 ms. A sum is not finite if a term
        # is not.
        return [t.sum() for t in tensors]
    return torch._foreach_norm(tensors, math.inf)
