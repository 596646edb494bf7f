"""The one training loop. A paradigm gives it the losses of an epoch; it does the rest.

It updates, schedules, validates every epoch, keeps the best, and refuses what is not finite. Within an epoch the host
never waits for the device: losses are collected there and looked at together when the epoch is over.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from fathom.learn.augment import Augmentation
from fathom.learn.metrics import validation_score
from fathom.learn.network import Network
from fathom.learn.plan import warmup_cosine
from fathom.learn.predict import chunk_size, is_out_of_memory, predict, taker
from fathom.learn.task import Images
from fathom.records import FathomError, NonFiniteError

NORMALIZATION = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.LocalResponseNorm, nn.RMSNorm)

Validate = Callable[[], tuple[Tensor, Tensor]]  # (score, loss), scalars on the device


@dataclass(frozen=True)
class Optimization:
    """How the weights are moved: SGD with Nesterov momentum, linear warm-up, half a cosine to 0, in every step.

    Args:
        lr: Highest learning rate.
        weight_decay: On weights of convolutions and linear layers, never on biases or normalization.
        epochs: Epochs.
        warmup: Epochs of warm-up.
        momentum: In [0, 1).
    """

    lr: float
    weight_decay: float
    epochs: int
    warmup: int
    momentum: float = 0.9


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Weights with decay; biases and normalization parameters without, told by the type of their module.

    Source: as intended by Lüth et al., 2023; their match by name misses the normalization in down-sample branches.
    """
    decayed: list[nn.Parameter] = []
    spared: list[nn.Parameter] = []
    for module in network.modules():
        for parameter in module.parameters(recurse=False):
            plain = isinstance(module, NORMALIZATION) or parameter is getattr(module, "bias", None)
            (spared if plain else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": spared, "weight_decay": 0.0}]


def fit(
    network: nn.Module,
    losses: Callable[[int], Iterator[Tensor]],
    steps: int,
    optimization: Optimization,
    validate: Validate | None,
) -> tuple[float, list[dict[str, float]]]:
    """Train `network` in place and leave it in the state of its best validation epoch (the first of equals).

    Args:
        network: To be trained.
        losses: Epoch (from 0) -> the loss of each step, a scalar, computed when it is asked for.
        steps: Steps of an epoch.
        optimization: How the weights are moved.
        validate: Score and loss on the validation set; None keeps the last epoch.

    Returns:
        The best validation score (NaN without validation) and one row an epoch: `epoch`, `lr` (of its last step),
        `loss` (mean over steps), `val_score`, `val_loss`.

    Raises:
        NonFiniteError: A loss, weight or buffer is not finite at the end of an epoch, or no epoch could be validated.
        FathomError: The device's memory does not suffice.
    """
    optimizer = torch.optim.SGD(
        parameter_groups(network, optimization.weight_decay),
        lr=optimization.lr,
        momentum=optimization.momentum,
        nesterov=optimization.momentum > 0,
        fused=True,
    )
    factor = warmup_cosine(steps * optimization.epochs, steps * optimization.warmup)
    tensors = [t for t in (*network.parameters(), *network.buffers()) if t.is_floating_point()]
    history: list[dict[str, float]] = []
    best: tuple[float, dict[str, Tensor]] = (-math.inf, {})
    for epoch in range(optimization.epochs):
        network.train()
        seen: list[Tensor] = []
        with _memory_advice():
            for step, loss in enumerate(losses(epoch), epoch * steps):
                lr = optimization.lr * factor(step)
                _step(optimizer, loss, lr)
                seen.append(loss.detach())
        if len(seen) != steps:
            raise RuntimeError(f"an epoch of {steps} steps gave {len(seen)} losses")
        row = _close_epoch(epoch, seen, tensors, network, validate)
        history.append({"epoch": float(epoch), "lr": lr, **row})
        if validate is not None and math.isfinite(row["val_loss"]) and row["val_score"] > best[0]:
            best = (row["val_score"], {name: t.clone() for name, t in network.state_dict().items()})
    if validate is None:
        return math.nan, history
    if not best[1]:
        raise NonFiniteError(
            "the validation loss was not finite after any epoch, though all weights were: training has diverged. "
            "A lower learning rate usually helps"
        )
    network.load_state_dict(best[1])
    return best[0], history


@contextmanager
def _memory_advice() -> Iterator[None]:
    """Memory that runs out becomes advice: the batch is never made smaller behind the user's back."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise FathomError(
            "the device's memory does not suffice for one training step. Set a smaller batch_size, for example "
            "standard(batch_size=256) (it changes the recipe, so it is part of the run's name), use fewer workers on "
            "one device, or a device with more memory"
        ) from error


def _step(optimizer: torch.optim.Optimizer, loss: Tensor, lr: float) -> None:
    """One update. The learning rate is a plain number: setting it makes nobody wait."""
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def _close_epoch(
    epoch: int, losses: list[Tensor], tensors: list[Tensor], network: nn.Module, validate: Validate | None
) -> dict[str, float]:
    """Check and validate. Everything is computed on the device and fetched at once.

    Raises:
        NonFiniteError: Naming the first step whose loss, or the first weight or buffer that is not finite.
    """
    largest = torch.nn.utils.get_total_norm([t.detach() for t in tensors], float("inf"))
    stack = torch.stack(losses).double()
    score, val_loss = validate() if validate is not None else (stack.new_zeros(()), stack.new_zeros(()))
    values = torch.cat((stack, torch.stack((largest.double(), score.double(), val_loss.double())))).tolist()
    steps, (largest_value, val_score, val_loss_value) = values[:-3], values[-3:]
    for step, value in enumerate(steps):
        if not math.isfinite(value):
            raise NonFiniteError(
                f"the loss was {value} in step {step} of epoch {epoch}. A lower learning rate usually helps"
            )
    if not math.isfinite(largest_value):
        bad = [
            name for name, t in network.state_dict().items() if t.is_floating_point() and not bool(t.isfinite().all())
        ]
        raise NonFiniteError(
            f"not finite after epoch {epoch}, though every loss was: {', '.join(bad[:3])}"
            f"{f' and {len(bad) - 3} more' if len(bad) > 3 else ''}. A lower learning rate usually helps"
        )
    row = {"loss": math.fsum(steps) / len(steps)}
    return row if validate is None else row | {"val_score": val_score, "val_loss": val_loss_value}


def validation(
    network: Network,
    images: Images,
    labels: Int[Tensor, "v"],
    augmentation: Augmentation,
    metric: str,
    masks: Float[Tensor, "k d"] | None,
) -> Validate:
    """Score and cross-entropy (nats) on the validation set, in one pass that stays on the device.

    With dropout masks the prediction is the mean of the draws' probabilities, as at test time.
    """
    take, chunk = taker(images), chunk_size(images.device, images.size)

    def validate() -> tuple[Tensor, Tensor]:
        chunks = predict(network, take, len(labels), augmentation, masks, chunk)
        log_probs = torch.cat([p.log_probs.logsumexp(1) - math.log(p.log_probs.shape[1]) for p in chunks])
        score = validation_score(log_probs.argmax(1), labels, network.num_classes, metric)
        return score, torch.nn.functional.nll_loss(log_probs, labels)

    return validate
