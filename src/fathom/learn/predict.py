"""Prediction for validation set, test set and pool, in large chunks on the device."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from fathom.core.records import FathomError
from fathom.core.streams import Stream
from fathom.learn.network import Network, cpu_state
from fathom.learn.reader import Reader
from fathom.learn.task import ImageSource, Prediction, Transform

HEAD = {"cuda": 2**26, "cpu": 2**24}  # log-probabilities per chunk: 256 MiB, 64 MiB
T = TypeVar("T")


def autocast(device: torch.device, precision: str = "auto") -> contextlib.AbstractContextManager[object]:
    """Context of arithmetic in a precision: `fp32`, `bf16`, `fp16`.

    `auto` is bfloat16 on CUDA devices that have it, elsewhere float32 (bfloat16 training is slower on a CPU).
    """
    if precision == "auto":
        has = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        precision = "bf16" if has else "fp32"
    if precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, {"bf16": torch.bfloat16, "fp16": torch.float16}[precision])


def inference(precision: str) -> str:
    """Precision of predictions of a classifier that was trained in a precision: `fp32` stays `fp32`."""
    return "fp32" if precision == "fp32" else "auto"


def is_out_of_memory(error: BaseException) -> bool:
    """True if an error says that memory ran out, on an accelerator or in the host."""
    # The host's allocator; cuBLAS and cuDNN; the driver.
    words = ("can't allocate memory", "_STATUS_ALLOC_FAILED", "CUDA error: out of memory")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(word in str(error) for word in words)


def chunk_size(device: torch.device, size: tuple[int, int]) -> int:
    """Number of images to predict at once, enough to keep the device busy; it is halved if memory runs out."""
    pixels = size[0] * size[1]
    return max(1, min(4096, 2**24 // pixels)) if device.type == "cuda" else max(1, min(512, 2**18 // pixels))


def head_rows(network: Network, draws: int, device: torch.device) -> int:
    """Number of images whose log-probabilities of all draws fit into the memory for them (`HEAD`)."""
    return max(1, HEAD.get(device.type, HEAD["cpu"]) // (draws * network.num_classes))


def predict(
    network: Network, read: Reader, count: int, transform: Transform, masks: Float[Tensor, "k e"] | None, chunk: int
) -> Iterator[Prediction]:
    """Predict images 0 to `count` - 1, in order, in chunks.

    The network encodes each image once; the draws repeat the head alone. A chunk is never so large that the draws of
    many classes fill the memory. Chunks change a result by rounding at most.

    Args:
        network: The network, in any mode; it is set to evaluation mode.
        read: Reader of uint8 images.
        count: Number of images.
        transform: Transform whose test part is applied.
        masks: Consistent dropout masks; None for the plain softmax.
        chunk: Images at once, halved for good when the device's memory runs out.

    Raises:
        FathomError: Not even one image fits into memory.
    """
    device = network.head.weight.device
    chunk = min(chunk, head_rows(network, 1 if masks is None else len(masks), device))
    return in_chunks(read, count, chunk, lambda x: _predict(network, x, transform, masks))


def in_chunks(read: Reader, count: int, chunk: int, work: Callable[[Shaped[Tensor, "b ..."]], T]) -> Iterator[T]:
    """Call `work` with images 0 to `count` - 1, in order, in chunks.

    Args:
        read: Reader of the images.
        count: Images.
        chunk: Images at once, halved for good when memory runs out.
        work: Images -> anything.

    Raises:
        FathomError: Not even one image fits into memory.
    """
    start, pieces = 0, read.pieces(())
    while start < count:
        length = min(chunk, count - start)
        try:
            if (x := next(pieces, None)) is None:
                pieces = read.pieces(_ranges(start, count, chunk, read.ids_on))
                x = next(pieces)
            done = [work(x)]
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if chunk == 1:
                raise FathomError(
                    "one image does not fit into memory; free memory, or use a smaller network or smaller images"
                ) from error
            done, chunk, pieces = [], max(1, min(chunk, length) // 2), read.pieces(())
        x = None
        if not done:  # after the handler, so that the failed attempt's tensors are gone
            if read.device.type == "cuda":
                torch.cuda.empty_cache()
            continue
        yield done.pop()
        start += length


def _ranges(start: int, count: int, chunk: int, device: torch.device) -> Iterator[Int[Tensor, "b"]]:
    return (torch.arange(first, min(first + chunk, count), device=device) for first in range(start, count, chunk))


@torch.no_grad()
def _predict(
    network: Network, x: Shaped[Tensor, "b ..."], transform: Transform, masks: Float[Tensor, "k e"] | None
) -> Prediction:
    network.eval()
    with autocast(x.device, network.precision):
        embeddings = network.encode(transform.test(x))
    embeddings = embeddings.float()
    features = network.features(embeddings)
    log_probs = network.plain_log_probs(features) if masks is None else network.log_probs(embeddings, masks)
    return Prediction(log_probs, features, embeddings)


@dataclass(eq=False)
class TrainedClassifier:
    """A trained network and its transform (`learn.task.Classifier`).

    Args:
        network: Network with the weights of the epoch that was kept.
        transform: Transform whose test part is applied.
        val_score: The task's metric on the validation set at that epoch, in [0, 1].
        history: One row per epoch.
        diagnostics: Further facts of the training for a reader, JSON-plain.
    """

    network: Network
    transform: Transform
    val_score: float = float("nan")
    history: list[dict[str, float]] = field(default_factory=list)
    diagnostics: dict[str, Any] = field(default_factory=dict)

    def stream(self, images: ImageSource, draws: int, stream: Stream) -> Iterator[Prediction]:
        """Predictions in chunks, in order of `images`, on their device.

        Args:
            images: What to predict.
            draws: k, dropout draws with masks shared by all images; 0 for the plain softmax (k = 1).
            stream: Of the masks: the same stream gives the same masks, on every device.
        """
        masks = self.network.masks(draws, stream) if draws else None
        chunk = chunk_size(images.device, images.size)
        return predict(self.network, Reader(images), len(images), self.transform, masks, chunk)

    def state(self) -> dict[str, Tensor]:
        """All weights and buffers, on the CPU."""
        return cpu_state(self.network)
