"""A training's state as named tensors, as a `Checkpointer` keeps it."""

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

WORDS = "words"  # the entry that holds what is no tensor, as JSON


def pack_tensors(parts: Mapping[str, Mapping[str, Tensor]], words: Mapping[str, Any]) -> dict[str, Tensor]:
    """Copies on the CPU, named `part.name`, and plain values."""
    tensors = {f"{part}.{name}": t.detach().cpu().clone() for part, ts in parts.items() for name, t in ts.items()}
    return tensors | {WORDS: torch.frombuffer(bytearray(json.dumps(words).encode()), dtype=torch.uint8)}


def unpack(state: Mapping[str, Tensor]) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """What `pack` was given; a part without tensors is absent."""
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        if name != WORDS:
            part, _, rest = name.partition(".")
            parts.setdefault(part, {})[rest] = tensor
    words: dict[str, Any] = json.loads(state[WORDS].numpy().tobytes())
    return parts, words
