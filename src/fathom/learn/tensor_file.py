"""Named tensors as the bytes of a safetensors file: how weights and states go to the disk and come back.

The format stores elements in row-major order and knows no strides, so every tensor is copied to that order first. What
was packed is read back at once and compared to the bit; reading is a copy in memory, so this costs milliseconds.
"""

from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from fathom.core.records import FathomError


def to_bytes(tensors: Mapping[Any, Any], what: str = "a state") -> bytes:
    """Pack tensors of any layout and device; equal tensors give equal bytes.

    Args:
        tensors: Name -> dense tensor, of a member perhaps, so nothing is taken for granted; two may share storage.
        what: What they are, for messages.

    Raises:
        FathomError: A tensor cannot be stored, or does not come back as it is.
    """
    held = {name: _dense(name, tensor, what) for name, tensor in tensors.items()}
    try:
        data: bytes = save(held)
        again = load(data)
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        kinds = ", ".join(sorted({str(t.dtype).removeprefix("torch.") for t in held.values()}))
        raise FathomError(
            f"{what} cannot be stored as safetensors ({error}); its tensors are {kinds}. Expected bool, integers, "
            "floating-point numbers up to 64 bits or complex64"
        ) from error
    if changed := [name for name, tensor in held.items() if not _same(tensor, again.get(name))]:
        raise FathomError(f"{what} does not come back from its file as it was: {', '.join(changed[:3])}")
    return data


def from_bytes(data: bytes) -> dict[str, Tensor]:
    """Unpack the bytes of `to_bytes`, on the CPU.

    Raises:
        SafetensorError: They are not whole.
    """
    found: dict[str, Tensor] = load(data)
    return found


def _dense(name: Any, tensor: Any, what: str) -> Tensor:
    """A copy in row-major order on the CPU, with a storage of its own."""
    if not isinstance(name, str) or name == "__metadata__" or not name.isprintable():
        raise FathomError(f"{what} has a tensor named {name!r}; expected a printable string other than __metadata__")
    if not isinstance(tensor, Tensor) or tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized:
        kind = (
            f"{tensor.dtype} {tensor.layout} on {tensor.device}"
            if isinstance(tensor, Tensor)
            else type(tensor).__name__
        )
        raise FathomError(
            f"{what}: {name!r} is {kind} and cannot be stored; expected a dense torch tensor, as .to_dense() or "
            "torch.as_tensor() gives it"
        )
    return tensor.detach().resolve_conj().resolve_neg().cpu().clone(memory_format=torch.contiguous_format)


def _same(a: Tensor, b: Tensor | None) -> bool:
    """True for equal types, shapes and bits: NaN equals itself, and 0 differs from -0."""
    if b is None or a.dtype != b.dtype or a.shape != b.shape:
        return False
    return not a.numel() or torch.equal(a.reshape(-1).view(torch.uint8), b.reshape(-1).view(torch.uint8))
