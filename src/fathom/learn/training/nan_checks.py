"""Checks at the end of an epoch: numbers are fetched from the device at once, and NaN stops the training."""

import math
from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from fathom.core.records import NonFiniteError
from fathom.learn.training.step import TrainingStep, finite_probes

ADVICE = "A lower learning rate usually helps"
Validated = Callable[[], tuple[Tensor, Tensor] | None]


def close_epoch(
    epoch: int, rows: list[Float[Tensor, "w"]], step: TrainingStep, numbers: Mapping[str, Tensor], validate: Validated
) -> dict[str, float]:
    """Check and validate an epoch.

    Args:
        epoch: From 0.
        rows: Result of `step` in each step.
        step: The training step.
        numbers: Further scalars on the device, for the history.
        validate: Score and loss on the validation set.

    Returns:
        `loss` (mean over steps), the numbers, `val_score` and `val_loss`; with fp16 `skipped`, the share of steps
        whose gradients overflowed and which were not taken.

    Raises:
        NonFiniteError: Naming the first step in which a loss, gradient or buffer was not finite, and the one of them
            that was so first; or a weight that is not finite after the last step.
    """
    table = torch.stack(rows)
    gradients = slice(1, 1 + len(step.parameters))
    finite = table.isfinite()
    named = dict(numbers)
    if step.scaler is not None:
        named["skipped"] = 1 - finite[:, gradients].all(1).double().mean()
        finite[:, gradients] = True
    weights = torch.stack(list(finite_probes([p.detach() for p in step.network.parameters()])))
    validation_images = validate()
    if validation_images is not None:
        named |= dict(zip(("val_score", "val_loss"), validation_images, strict=True))
    scalars = [finite.all(), weights.isfinite().all(), *named.values()]
    values = torch.cat((table[:, 0].double(), torch.stack([t.double() for t in scalars]))).tolist()
    losses, (steps_finite, weights_finite, *rest) = values[: len(rows)], values[len(rows) :]
    row = {"loss": math.fsum(losses) / len(losses), **dict(zip(named, rest, strict=True))}
    if not steps_finite:
        _name_step(epoch, table, finite, step)
    if not weights_finite:
        _name_weight(epoch, step)
    if step.scaler is not None and row["skipped"] == 1 and step.scaler.get_scale() < 1:
        raise _failure("the gradients overflow fp16 at every scale", epoch, tensor="gradients")
    return row


def _name_step(epoch: int, table: Float[Tensor, "s w"], finite: Tensor, step: TrainingStep) -> None:
    """Name the first tensor that was not finite: buffers in forward order, the loss, gradients in backward order."""
    where = int((~finite.all(1)).nonzero()[0])
    count = len(step.parameters)
    order = [*range(1 + count, len(step.names)), 0, *range(count, 0, -1)]
    bad = [i for i in order if not finite[where, i]]
    name, value = step.names[bad[0]], float(table[where, bad[0]])
    others = f" (and then {len(bad) - 1} more)" if len(bad) > 1 else ""
    raise _failure(f"{name} was {value} in step {where} of epoch {epoch}{others}", epoch, where, name)


def _name_weight(epoch: int, step: TrainingStep) -> None:
    bad = [name for name, p in step.network.named_parameters() if not bool(p.isfinite().all())]
    more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
    words = f"not finite after epoch {epoch}, though losses and gradients were: {', '.join(bad[:3])}{more}"
    raise _failure(words, epoch, tensor=bad[0])


def _failure(words: str, epoch: int, step: int | None = None, tensor: str = "") -> NonFiniteError:
    error = NonFiniteError(f"{words}. {ADVICE}")
    error.epoch, error.step, error.tensor = epoch, step, tensor
    return error
