"""Weights of backbones: one file each, whose SHA-256 is known before anything is built from it."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fathom.core.records import FathomError
from fathom.learn.features.backbone import BackboneRequest

UNTRAINED = {"weights": "random (untrained network, seed 0)", "sha256": "", "license": ""}
LICENSE_UNKNOWN = "not stated"


def file_facts(path: Path) -> dict[str, Any]:
    """Name and SHA-256 of a file."""
    with path.open("rb") as file:
        return {"weights": path.name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def input_facts(size: tuple[int, int], interpolation: str) -> dict[str, Any]:
    """Size and interpolation of the input."""
    return {"input": f"{size[0]}x{size[1]}", "interpolation": interpolation}


def find_weights(
    request: BackboneRequest, fetch: Callable[[], tuple[Path, str]], license: str
) -> tuple[Path | None, dict[str, Any]]:
    """The file of a backbone's weights, and its facts; no file for an untrained network.

    Args:
        request: Names a file, or asks for the weights of the name.
        fetch: Gives file and revision of the weights of the name.
        license: Stated license of these weights.

    Raises:
        FathomError: The file is absent or not named `.safetensors`.
    """
    if request.untrained:
        return None, UNTRAINED
    if not request.weights:
        path, revision = fetch()
        return path, file_facts(path) | {"revision": revision, "license": license}
    path = request.file()
    if path.suffix != ".safetensors":  # a pickle can run any program when it is read
        raise FathomError(
            f"weights of {request.name} are read from .safetensors, which holds numbers and nothing else; got "
            f"{path.name}. Convert it: safetensors.torch.save_file(state_dict, FILE)"
        )
    return path, file_facts(path) | {"revision": "", "license": f"{LICENSE_UNKNOWN} (a local file)"}


def absent(request: BackboneRequest, why: str) -> FathomError:
    """The error for weights that are not on this machine and cannot be fetched."""
    allow = "Else" if request.library.download else "Allow downloads with --download, or"
    return FathomError(
        f"the weights of backbone {request.name} are not on this machine, and {why}. {allow} fetch them on a machine "
        f"that can, and name the file: frozen(backbone={request.name}, weights=FILE.safetensors); a relative path is "
        f"relative to {request.library.path}"
    )


def build(name: str, make: Callable[[], nn.Module]) -> nn.Module:
    """Build a frozen network in evaluation mode. Untrained weights are the same in every call.

    Raises:
        FathomError: The weights do not fit.
    """
    try:
        # Seeded inside a fork, so that an untrained network is reproducible and no other random number changes.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            return make().eval().requires_grad_(False)
    except Exception as error:  # models of other packages raise anything for a size or file that does not fit
        raise FathomError(f"backbone {name} cannot be built: {error}. Do weights and size fit the model?") from error
