"""Stored encoders: imported from a file, checked, and named by the hash of their bytes."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fathom.core.records import FathomError
from fathom.core.streams import Stream
from fathom.learn.network import build_network
from fathom.learn.task import Library
from fathom.learn.tensor_file import from_bytes, to_bytes

PREFIXES = ("encoder", "backbone", "module", "model", "net", "network", "state_dict")
HEADS = re.compile(r"(fc|head|hidden|classifier|projector|projection|projection_head|momentum_encoder|queue)\b.*")
NAME = re.compile(r"[0-9a-f]{12,64}")


def encoder_folder(library: Library) -> Path:
    """The folder of stored encoders, `<sha256>.safetensors`."""
    return library.cache / "encoders"


def pack_encoder(state: Mapping[str, Tensor]) -> tuple[str, bytes]:
    """Name (SHA-256) and bytes of an encoder's safetensors file; equal weights give equal bytes."""
    data = to_bytes(state, "an encoder")
    return hashlib.sha256(data).hexdigest(), data


def load_encoder(library: Library, name: str) -> dict[str, Tensor]:
    """Load the weights and buffers of a stored encoder.

    Args:
        library: Its cache holds the encoders.
        name: The first 12 or more hexadecimal digits of the file's SHA-256.

    Raises:
        FathomError: The name is malformed, matches no file or several, or the file's SHA-256 is not its name.
    """
    path = find_encoder(library, name)
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != path.stem:
        raise FathomError(
            f"{path} is damaged or was modified: its SHA-256 is {found}. Delete it and make or import the encoder "
            "again with fathom pretrain"
        )
    return from_bytes(data)


def find_encoder(library: Library, name: str) -> Path:
    """Find the file of a stored encoder.

    Raises:
        FathomError: The name is malformed, or matches no file or several.
    """
    check_name(name)
    folder = encoder_folder(library)
    known = sorted(p.stem for p in folder.glob("*.safetensors"))
    matching = [stem for stem in known if stem.startswith(name)]
    if not matching:
        shown = f"known: {', '.join(stem[:12] for stem in known[:8])}" if known else "it is empty"
        raise FathomError(
            f"no encoder {name} in {folder} ({shown}). Make or import one with fathom pretrain, which prints its name"
        )
    if len(matching) > 1:
        raise FathomError(f"{len(matching)} encoders in {folder} begin with {name}; give more digits of its SHA-256")
    return folder / f"{matching[0]}.safetensors"


def check_name(name: str) -> None:
    """Refuse a name that is not a prefix of a SHA-256.

    Raises:
        FathomError: It is not 12 to 64 hexadecimal digits.
    """
    if not NAME.fullmatch(name):
        raise FathomError(
            f"an encoder is named by the first 12 or more hexadecimal digits (a-f in small letters) of its SHA-256, "
            f"got {name!r}; fathom pretrain prints it"
        )


def check_encoder(state: Mapping[str, Tensor], network: str, size: tuple[int, int]) -> dict[str, Tensor]:
    """Complete a state and check that it fits the encoder of a network on images of a size.

    Args:
        state: Named as in `network.Network.encoder`. BatchNorm's counters of batches may be missing.
        network: As in `network.build_network`.
        size: (height, width) of the network's input, pixels.

    Raises:
        FathomError: Weights are missing, unexpected, of another shape, or not finite.
    """
    stream = Stream(0, ("check",))
    expected = build_network(network, size, 2, 0.0, stream, torch.device("cpu")).encoder.state_dict()
    counters = {name: t.zero_() for name, t in expected.items() if name.endswith("num_batches_tracked")}
    full = counters | dict(state)
    missing, unexpected = (sorted(a.keys() - b.keys()) for a, b in ((expected, full), (full, expected)))
    shapes = [
        f"{name} is {tuple(full[name].shape)}, expected {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in full and full[name].shape != tensor.shape
    ]
    named = (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
    if problems := [f"{what}: {_shown(names)}" for what, names in named if names]:
        raise FathomError(
            f"the encoder does not fit network={network} on images of {size[0]}x{size[1]} pixels; {'; '.join(problems)}"
            ". Import weights of the same architecture (below 96 pixels ResNet-18 has a 3x3 stem without max-pooling)"
        )
    full = {name: full[name].to(tensor.dtype) for name, tensor in expected.items()}
    if bad := [name for name, tensor in full.items() if not bool(torch.isfinite(tensor).all())]:
        raise FathomError(f"the encoder has values that are not finite: {_shown(bad)}. Its training diverged")
    return full


def import_state(path: Path) -> dict[str, Tensor]:
    """Read an encoder from a file of another program, with the names of `network.Network.encoder`.

    Reads safetensors, and torch files that contain only tensors, also the `state_dict` of a Lightning checkpoint. Usual
    prefixes (`encoder.`, `backbone.`, `module.`, `model.`, `net.`) are removed, classification and projection heads
    dropped; if some weights are under `encoder.`, `backbone.` or `encoder_q.` (MoCo), only these are taken.

    Raises:
        FathomError: The file is absent, unreadable, contains code instead of tensors, or no tensors.
    """
    state = _tensors(_read(path))
    for part in ("encoder", "backbone", "encoder_q"):
        marked = {name: t for name, t in state.items() if part in name.split(".")[:-1]}
        if marked:
            state = {name.split(f"{part}.", 1)[1]: t for name, t in marked.items()}
            break
    renamed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        while name.partition(".")[0] in PREFIXES:
            name = name.partition(".")[2]
        if HEADS.fullmatch(name):
            continue
        if name in renamed:
            raise FathomError(f"{path} has two weights named {name}; save only the encoder's state dict")
        renamed[name] = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
    if not renamed:
        raise FathomError(f"{path} has no weights of an encoder; found: {_shown(sorted(state)) or 'nothing'}")
    return renamed


def _read(path: Path) -> Any:
    """Read a file. A pickle is restricted to tensors and plain containers, because it could run any program."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise FathomError(f"cannot read the encoder {path}: {error.strerror or error}") from error
    except SafetensorError as error:
        raise FathomError(f"{path} is not a complete safetensors file ({error}); copy or convert it again") from error
    except Exception as error:  # a broken pickle can raise anything
        raise FathomError(
            f"{path} contains more than tensors, and was not opened ({type(error).__name__}): a pickle can run any "
            "program. If you trust its author, load it with torch.load, save the tensors of its state dict with "
            "safetensors.torch.save_file, and import that file"
        ) from error


def _tensors(held: Any) -> dict[str, Tensor]:
    """The tensors of a state dict, which may be nested in a checkpoint."""
    while isinstance(held, Mapping):
        inner = next((held[key] for key in ("state_dict", "model_state_dict", "model") if key in held), None)
        if not isinstance(inner, Mapping):
            return {str(name): t for name, t in held.items() if isinstance(t, Tensor)}
        held = inner
    return {}


def _shown(names: list[str]) -> str:
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(names[:4]) + more
