"""Backbones of others: timm's models and torchvision's, with the facts that belong to their weights.

Weights are always one file, whose SHA-256 is known before anything is built: the file that the user names, or the one
that the model's name stands for, fetched only where the user allows downloads.
"""

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fathom.core.records import FathomError
from fathom.learn.features.backbones import INTERPOLATIONS, Backbone, BackboneInfo, file_facts, input_facts
from fathom.learn.task import Library

TORCHVISION = "torchvision:"
UNTRAINED = {"weights": "random (untrained network, seed 0)", "sha256": "", "license": ""}
_UNKNOWN = "not stated"


def timm_source(name: str, path: Path | None, untrained: bool, size: int, library: Library) -> BackboneInfo:
    """A model of timm, by its name (`architecture.tag`), with the resize, normalization and license it states.

    Args:
        name: For example `vit_small_patch14_dinov2.lvd142m`.
        path: `.safetensors` file of weights; None for those of the name.
        untrained: Random weights instead.
        size: Side of the input, pixels; 0 for the model's own.
        library: Whether weights may be fetched.

    Raises:
        FathomError: timm is not installed or has no such model, or its weights are absent.
    """
    timm = _import_timm(name)
    architecture = name.partition(".")[0]
    if not timm.is_model(architecture):
        near = difflib.get_close_matches(name, [*timm.list_models(), *timm.list_pretrained()], 3)
        raise FathomError(
            f"unknown backbone {name!r}: neither pixels, features, mobilenet_v2_uint8 nor torchvision:NAME, and timm "
            f"{timm.__version__} has no model of that name. {'Near: ' + ', '.join(near) if near else ''}".strip()
        )
    try:
        stated = timm.get_pretrained_cfg(name)
    except (RuntimeError, ValueError) as error:
        tags = ", ".join(timm.list_pretrained(f"{architecture}.*")) or "none"
        raise FathomError(f"timm has no weights {name!r}; of {architecture} it has: {tags}") from error
    revision: dict[str, Any] = {"revision": "", "license": stated.license or _UNKNOWN}
    if path is None and not untrained:
        path, revision["revision"] = _hub_file(name, stated.hf_hub_id, library)
    elif path is not None:
        _expect_safetensors(name, path)
        revision["license"] = f"{_UNKNOWN} (a local file)"
    side = size or int((stated.input_size or (3, 224, 224))[-1])
    interpolation = stated.interpolation if stated.interpolation in INTERPOLATIONS else "bicubic"
    known = file_facts(path) | revision if path is not None else UNTRAINED
    facts = {"backbone": f"timm {architecture}" + (f".{stated.tag}" if stated.tag else ""), **known}
    facts |= input_facts((side, side), interpolation)

    def load() -> Backbone:
        options: dict[str, Any] = {"img_size": side} if size and stated.fixed_input_size else {}
        if path is not None:
            overlay = {"file": str(path), "custom_load": False, "state_dict": None}
            options |= {"pretrained": True, "pretrained_cfg_overlay": overlay}
        built = _built(name, lambda: timm.create_model(name, num_classes=0, **options))
        return Backbone(built, (side, side), interpolation, tuple(stated.mean), tuple(stated.std))

    return BackboneInfo(facts, load)


def torchvision_source(name: str, path: Path | None, untrained: bool, size: int, library: Library) -> BackboneInfo:
    """A classifier of torchvision without its last linear layer. Arguments as for `timm_source`.

    Raises:
        FathomError: No such model or weights, or the weights are absent.
    """
    from torchvision import models

    architecture, _, tag = name.removeprefix(TORCHVISION).partition(".")
    known = models.list_models(module=models)
    if architecture not in known:
        near = difflib.get_close_matches(architecture, known, 3)
        raise FathomError(f"torchvision has no classifier {architecture!r}. Near: {', '.join(near) or 'none'}")
    choices = models.get_model_weights(architecture)
    if tag and tag not in choices.__members__:
        raise FathomError(
            f"torchvision has no weights {tag!r} of {architecture}; it has {', '.join(choices.__members__)}"
        )
    weights = choices[tag] if tag else choices.DEFAULT
    preset = weights.transforms()
    side = size or int(preset.crop_size[0])
    revision = {"revision": str(weights), "license": f"{_UNKNOWN}; see {weights.meta.get('recipe', 'torchvision')}"}
    if path is not None:
        _expect_safetensors(name, path)
        revision = {"revision": "", "license": f"{_UNKNOWN} (a local file)"}
    elif not untrained:
        path = _torchvision_file(name, weights.url, library)
    interpolation = preset.interpolation.value
    facts: dict[str, Any] = {"backbone": f"{TORCHVISION}{architecture}"}
    facts |= file_facts(path) | revision if path is not None else UNTRAINED
    facts |= input_facts((side, side), interpolation)

    def load() -> Backbone:
        network = _built(name, lambda: models.get_model(architecture, weights=None))
        head = _last_linear(name, network)
        if path is not None:
            _fill(network, _read(path), head, path)
        _replace(network, head, nn.Identity())
        return Backbone(network, (side, side), interpolation, tuple(preset.mean), tuple(preset.std))

    return BackboneInfo(facts, load)


# ------------------------------------------------------------------------------------------------------- weights


def _import_timm(name: str) -> Any:
    try:
        import timm
    except ImportError as error:
        raise FathomError(
            f"backbone {name} is looked for among timm's models, and timm is not installed: pip install "
            "'fathom-al[timm]'. Without it: pixels, features, mobilenet_v2_uint8, torchvision:NAME"
        ) from error
    return timm


def _absent(name: str, why: str, library: Library) -> FathomError:
    allow = "" if library.download else " Allow downloads with --download, or"
    return FathomError(
        f"the weights of backbone {name} are not on this machine, and {why}.{allow or ' Else'} fetch them on a machine "
        f"that can, and name the file: frozen(backbone={name}, weights=FILE.safetensors); a relative path is meant "
        f"from {library.path}"
    )


def _hub_file(name: str, hub_id: str | None, library: Library) -> tuple[Path, str]:
    """The file of a model of the Hugging Face hub, from its cache or fetched; and its revision."""
    from huggingface_hub import hf_hub_download

    if not hub_id:
        raise _absent(name, "timm names no place to fetch them from", library)
    repository, _, revision = hub_id.partition("@")
    try:
        path = Path(
            hf_hub_download(
                repository, "model.safetensors", revision=revision or None, local_files_only=not library.download
            )
        )
    except Exception as error:  # a dozen classes of three packages, all of which mean that it could not be had
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        why = f"could not be fetched ({first})" if library.download else "downloads are not allowed"
        raise _absent(name, why, library) from error
    return path, path.parent.name


def _torchvision_file(name: str, url: str, library: Library) -> Path:
    """The file of torchvision's weights, from torch's cache or fetched (with the hash that is part of its name)."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if path.is_file():
        return path
    if not library.download:
        raise _absent(name, "downloads are not allowed", library)
    try:
        torch.hub.load_state_dict_from_url(url, map_location="cpu", check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        raise _absent(name, f"could not be fetched ({error})", library) from error
    return path


def _expect_safetensors(name: str, path: Path) -> None:
    if path.suffix != ".safetensors":
        raise FathomError(
            f"weights of {name} are read from .safetensors, which holds numbers and nothing else; got {path.name}. "
            "Convert it: safetensors.torch.save_file(state_dict, FILE)"
        )


def _read(path: Path) -> Mapping[str, Tensor]:
    if path.suffix != ".safetensors":  # torchvision's own, checked by the hash in its name when it was fetched
        state: Mapping[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        return state
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except SafetensorError as error:
        raise FathomError(f"{path} cannot be read as safetensors: {error}. Fetch or convert it again") from error


def _built(name: str, build: Callable[[], nn.Module]) -> nn.Module:
    """The network; what it draws for untrained weights is always the same and touches no other randomness.

    Raises:
        FathomError: The weights do not fit.
    """
    try:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            return build().eval().requires_grad_(False)
    except Exception as error:  # whatever a model of others does with a size or a file that is not for it
        raise FathomError(f"backbone {name} cannot be built: {error}. Do weights and size fit the model?") from error


def _fill(network: nn.Module, state: Mapping[str, Tensor], head: str, path: Path) -> None:
    """Load weights; those of the last layer, which is taken off, may be absent or of other classes."""
    body = {key: tensor for key, tensor in state.items() if not key.startswith(f"{head}.")}
    try:
        missing, unexpected = network.load_state_dict(body, strict=False)
    except RuntimeError as error:
        raise FathomError(f"the weights in {path} do not fit the model: {error}") from error
    wrong = [key for key in missing if not key.startswith(f"{head}.")] + list(unexpected)
    if wrong:
        raise FathomError(f"the weights in {path} do not fit the model: {', '.join(wrong[:5])} missing or unknown")


def _last_linear(name: str, network: nn.Module) -> str:
    """Name of the last linear layer: its input is what the features are."""
    linear = [key for key, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise FathomError(f"backbone {name} does not end in a linear layer; choose another model")
    return str(linear[-1])


def _replace(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, module)
