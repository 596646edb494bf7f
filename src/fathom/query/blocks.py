"""Block-wise work on many rows: temporaries stay in the processor's cache, and memory stays bounded."""

from collections.abc import Iterator

import torch

CPU_ELEMENTS = 2**17  # 0.5 MiB of float32, a second-level cache
DEVICE_ELEMENTS = 2**25  # an accelerator wants few, large kernels


def row_blocks(n: int, width: int, device: torch.device) -> Iterator[slice]:
    """Slices that cover `n` rows of `width` elements in order, each of about the best size for the device."""
    elements = CPU_ELEMENTS if device.type == "cpu" else DEVICE_ELEMENTS
    step = max(1, elements // max(1, width))
    for start in range(0, n, step):
        yield slice(start, min(n, start + step))


def wide(device: torch.device) -> torch.dtype:
    """The dtype of sums: float64 where the device has it (MPS has not)."""
    return torch.float32 if device.type == "mps" else torch.float64
