"""Reading of images: from a copy on the device where that is small, else ahead of their use, in a thread."""

import itertools
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from fathom.learn.task import ImageSource

KEEP_BYTES = 2**30  # bytes of images up to which a training on a CPU keeps a copy of them
DEVICE_SHARE = 0.25  # of a GPU's free memory that one set of images may take; a training has up to three sets
PIECE_BYTES = 2**26  # that are copied to a GPU at once
AHEAD = 2  # pieces that are read ahead: one while the next is waiting to be used

_one_reader = threading.Lock()  # two sets may share a file, and a plug-in's may not be made for threads


class Reader:
    """Reads images of a source (see `make_reader`).

    On an accelerator, images that are not kept there are read in a thread, so that a disk or a decoder works while the
    device does. The order is that of the ids in any case.

    Args:
        images: The source. Its `take` is called by one thread at a time.
        kept: A copy of all images on the device; None to take them from the source.
    """

    def __init__(self, images: ImageSource, kept: Tensor | None = None) -> None:
        self.images, self.kept, self.device = images, kept, images.device
        self.threaded = self.device.type != "cpu" and kept is None
        # Where ids are best: a disk and a decoder want them on the host, without waiting for the device to send them.
        self.ids_on = torch.device("cpu") if self.threaded else self.device

    def __call__(self, ids: Int[Tensor, "b"]) -> Shaped[Tensor, "b ..."]:
        """The images at `ids`."""
        if self.kept is not None:
            return self.kept[ids.to(self.device)]
        with _one_reader:
            return self.images.take(ids)

    def pieces(self, ids: Iterable[Int[Tensor, "_"]]) -> Iterator[Shaped[Tensor, "_ ..."]]:
        """The images of each piece of ids, in order; pieces after it are read meanwhile where that helps."""
        if not self.threaded:
            yield from map(self, ids)
            return
        wanted = iter(ids)
        with ThreadPoolExecutor(1, thread_name_prefix="read-images") as pool:
            waiting: deque[Future[Tensor]] = deque(pool.submit(self, each) for each in itertools.islice(wanted, AHEAD))
            try:
                while waiting:
                    piece = waiting.popleft().result()
                    waiting.extend(pool.submit(self, each) for each in itertools.islice(wanted, 1))
                    yield piece
            finally:
                for each in waiting:
                    each.cancel()


def make_reader(images: ImageSource) -> Reader:
    """A reader of images that are read in every epoch: from a copy on the device if that is small enough."""
    h, w = images.size
    nbytes = len(images) * (4 * w if h == 1 else 3 * h * w)  # of height 1: features in float32
    if nbytes > keep_bytes(images.device):
        return Reader(images)
    ids = torch.arange(len(images))
    if images.device.type == "cpu" or not len(images):
        return Reader(images, images.take(ids.to(images.device)))
    # In pieces: a copy goes through pinned memory, which is as large as the largest piece and never given back.
    step = max(1, PIECE_BYTES * len(images) // nbytes)
    kept: Tensor | None = None
    for some, piece in zip(torch.split(ids, step), Reader(images).pieces(torch.split(ids, step)), strict=True):
        kept = piece.new_empty((len(images), *piece.shape[1:])) if kept is None else kept
        kept[int(some[0]) : int(some[-1]) + 1] = piece
    return Reader(images, kept)


def keep_bytes(device: torch.device) -> int:
    """Bytes of images that are kept on a device."""
    if device.type != "cuda":
        return KEEP_BYTES
    free, _ = torch.cuda.mem_get_info(device)
    return int(DEVICE_SHARE * free)
