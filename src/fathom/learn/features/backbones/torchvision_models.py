"""Classifiers of torchvision without their last linear layer."""

import difflib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from fathom.core.records import FathomError
from fathom.learn.features.backbone import Backbone, BackboneInfo, BackboneRequest
from fathom.learn.features.weights import LICENSE_UNKNOWN, absent, build, find_weights, input_facts
from fathom.registry.registry import backbone


@backbone("torchvision", models=True)
def torchvision(request: BackboneRequest) -> BackboneInfo:
    """Use a classifier of torchvision without its last linear layer: `torchvision:NAME` or `torchvision:NAME.WEIGHTS`.

    Raises:
        FathomError: No such model or weights, or the weights are absent.
    """
    from torchvision import models

    name, size = request.name, request.size
    architecture, _, tag = request.model.partition(".")
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
    side, interpolation = size or int(preset.crop_size[0]), preset.interpolation.value
    license = f"{LICENSE_UNKNOWN}; see {weights.meta.get('recipe', 'torchvision')}"
    path, weight_facts = find_weights(request, lambda: (_official_file(request, weights.url), str(weights)), license)
    facts = {"backbone": f"torchvision:{architecture}", **weight_facts, **input_facts((side, side), interpolation)}

    def load() -> Backbone:
        network = build(name, lambda: models.get_model(architecture, weights=None))
        head = _last_linear(name, network)
        if path is not None:
            _fill(network, _read(path), head, path)
        network.set_submodule(head, nn.Identity())
        return Backbone(network, (side, side), interpolation, tuple(preset.mean), tuple(preset.std))

    return BackboneInfo(facts, load)


def _official_file(request: BackboneRequest, url: str) -> Path:
    """The file of torchvision's weights, from torch's cache or fetched (with the hash that is part of its name)."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if path.is_file():
        return path
    if not request.library.download:
        raise absent(request, "downloads are not allowed")
    try:
        torch.hub.load_state_dict_from_url(url, map_location="cpu", check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        raise absent(request, f"could not be fetched ({error})") from error
    return path


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


def _fill(network: nn.Module, state: Mapping[str, Tensor], head: str, path: Path) -> None:
    """Load weights; those of the last layer, which is removed, may be absent or of other classes."""
    body = {key: tensor for key, tensor in state.items() if not key.startswith(f"{head}.")}
    try:
        missing, unexpected = network.load_state_dict(body, strict=False)
    except RuntimeError as error:
        raise FathomError(f"the weights in {path} do not fit the model: {error}") from error
    wrong = [key for key in missing if not key.startswith(f"{head}.")] + list(unexpected)
    if wrong:
        raise FathomError(f"the weights in {path} do not fit the model: {', '.join(wrong[:5])} missing or unknown")


def _last_linear(name: str, network: nn.Module) -> str:
    """Name of the last linear layer, whose input becomes the features."""
    linear = [key for key, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise FathomError(f"backbone {name} does not end in a linear layer; choose another model")
    return str(linear[-1])
