"""State of a training as named tensors, for a `Checkpointer`."""

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

WORDS = "words"  # entry of everything that is not a tensor, as JSON


def pack_tensors(parts: Mapping[str, Mapping[str, Tensor]], words: Mapping[str, Any]) -> dict[str, Tensor]:
    """Copy tensors to the CPU under `part.name`, and add plain values."""
    tensors = {f"{part}.{name}": t.detach().cpu().clone() for part, ts in parts.items() for name, t in ts.items()}
    return tensors | {WORDS: torch.frombuffer(bytearray(json.dumps(words).encode()), dtype=torch.uint8)}


def unpack(state: Mapping[str, Tensor]) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Undo `pack_tensors`; a part without tensors is absent."""
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        if name != WORDS:
            part, _, rest = name.partition(".")
            parts.setdefault(part, {})[rest] = tensor
    words: dict[str, Any] = json.loads(state[WORDS].numpy().tobytes())
    return parts, words
