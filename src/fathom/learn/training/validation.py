"""Validation on the device: the two metrics that choose the best epoch, without making the host wait."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from fathom.core.metrics import MAIN_METRICS
from fathom.core.records import FathomError
from fathom.learn.network import Network
from fathom.learn.predict import chunk_size, predict
from fathom.learn.reader import make_reader
from fathom.learn.task import ImageSource, Transform

Validate = Callable[[nn.Module], tuple[Tensor, Tensor]]  # network -> (score, loss), scalars on the device


def validation_score(
    predicted: Int[Tensor, "v"], labels: Int[Tensor, "v"], num_classes: int, metric: str
) -> Float[Tensor, ""]:
    """Accuracy, or mean recall over the classes that `labels` holds; in [0, 1].

    Raises:
        FathomError: Unknown metric.
    """
    if metric not in MAIN_METRICS:
        raise FathomError(f"unknown metric {metric!r}; expected {' or '.join(MAIN_METRICS)}")
    right = (predicted == labels).to(torch.float64)
    if metric == "accuracy":
        return right.mean()
    zeros = torch.zeros(num_classes, dtype=torch.float64, device=labels.device)
    count = zeros.scatter_add(0, labels, torch.ones_like(right))
    hits = zeros.scatter_add(0, labels, right)
    return (hits / count.clamp(min=1)).sum() / (count > 0).sum()


def validation(
    images: ImageSource,
    labels: Int[Tensor, "v"],
    transform: Transform,
    metric: str,
    num_classes: int,
    masks: Float[Tensor, "k e"] | None,
) -> Validate:
    """Score and cross-entropy (nats) on the validation set, in one pass that stays on the device.

    With dropout masks the prediction is the mean of the draws' probabilities, as at test time.
    """
    read, chunk = make_reader(images), chunk_size(images.device, images.size)

    def validate(network: nn.Module) -> tuple[Tensor, Tensor]:
        assert isinstance(network, Network)
        chunks = predict(network, read, len(labels), transform, masks, chunk)
        log_probs = torch.cat([p.log_probs.logsumexp(1) - math.log(p.log_probs.shape[1]) for p in chunks])
        score = validation_score(log_probs.argmax(1), labels, num_classes, metric)
        return score, torch.nn.functional.nll_loss(log_probs, labels)

    return validate
