"""Samples, mini-batches and learning rate of an epoch."""

import math
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fathom.core.records import FathomError

LAST_BATCH = ("merge", "drop", "keep")


def epoch_plan(
    labeled: int, length: int, generator: torch.Generator, weights: Float[Tensor, "m"] | None = None
) -> Int[Tensor, "e"]:
    """Indices of one epoch's samples in the order they are trained on.

    Without weights each of the m samples comes floor(length / m) or ceil(length / m) times; with weights, `length`
    draws with replacement.

    Source: Lüth et al., 2023 (code): fewer than 5,500 labels are filled up to 5,500 samples an epoch.

    Args:
        labeled: m.
        length: Samples of the epoch.
        generator: A generator on the CPU, so that the order is the same on every device.
        weights: Relative frequency of each sample (`oversampling_weights`).
    """
    if weights is not None:
        return torch.multinomial(weights, length, replacement=True, generator=generator)
    whole, rest = divmod(length, labeled)
    drawn = torch.cat([torch.arange(labeled).repeat(whole), torch.randperm(labeled, generator=generator)[:rest]])
    return drawn[torch.randperm(length, generator=generator)]


def class_weights(labels: Int[Tensor, "m"], num_classes: int) -> Float[Tensor, "c"]:
    """1 / (n_c * C_present) for each class, 0 for a class that is absent: always of length c.

    Source: Lüth et al., 2023 (code), which computes them for present classes only and fails where one is absent.
    """
    counts = torch.bincount(labels, minlength=num_classes).to(torch.float64)
    return torch.where(counts > 0, 1 / (counts * (counts > 0).sum()), 0.0)


def oversampling_weights(labels: Int[Tensor, "m"], num_classes: int) -> Float[Tensor, "m"]:
    """Weight of each sample so that every present class is drawn equally often."""
    return class_weights(labels, num_classes)[labels]


def batch_sizes(length: int, batch_size: int, last_batch: str) -> list[int]:
    """Sizes of the mini-batches of an epoch.

    A last mini-batch is too small for BatchNorm below a quarter of the others, or of one sample: its noisy statistics
    are what the network is validated with. It is then merged into the one before, dropped, or kept (as the published
    code did: the collapse it reports at 7,200 and 7,700 labels sits where 32 and 20 of 512 samples are left over). An
    epoch of one mini-batch is left alone.

    Args:
        length: Samples of the epoch.
        batch_size: Samples of a mini-batch.
        last_batch: `merge`, `drop` or `keep`.

    Raises:
        FathomError: Unknown rule.

    Source: ours; the quarter keeps 96 of 512, which is known to hurt a little, out and 172 of 512, which is not, in.
    """
    if last_batch not in LAST_BATCH:
        raise FathomError(f"unknown last_batch {last_batch!r}; expected one of {', '.join(LAST_BATCH)}")
    whole, rest = divmod(length, batch_size)
    sizes = [batch_size] * whole
    if not rest:
        return sizes
    small = rest == 1 or 4 * rest < batch_size
    if not sizes or last_batch == "keep" or not small:
        return [*sizes, rest]
    if last_batch == "merge":
        sizes[-1] += rest
    return sizes


def batches(order: Int[Tensor, "e"], sizes: list[int]) -> Iterator[Int[Tensor, "b"]]:
    """Split the epoch's indices into mini-batches; indices beyond `sizes` are dropped."""
    yield from torch.split(order[: sum(sizes)], sizes)


def warmup_cosine(steps: int, warmup: int) -> Callable[[int], float]:
    """Factor on the learning rate in each step: linear from 0 to 1 in `warmup` steps, then half a cosine to 0.

    The first step's factor is 0 (with warm-up) and the last one's just above 0, as published: factor(step) =
    step / warmup, then 0.5 (1 + cos(pi * (step - warmup) / (steps - warmup))).

    Source: Loshchilov & Hutter, 2017; Lüth et al., 2023 (code), per step.
    """

    def factor(step: int) -> float:
        if step < warmup:
            return step / warmup
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))

    return factor


def warmup_steps(steps: int, warmup: int) -> Callable[[int], float]:
    """Factor on the learning rate in each step: after the warm-up, a tenth after every quarter of all steps.

    Source: Lüth et al., 2023 (code), fine-tuning: 80 epochs, divided by ten after every 20.
    """

    def factor(step: int) -> float:
        return step / warmup if step < warmup else 0.1 ** (4 * step // steps)

    return factor


SCHEDULES: dict[str, Callable[[int, int], Callable[[int], float]]] = {"cosine": warmup_cosine, "step": warmup_steps}
