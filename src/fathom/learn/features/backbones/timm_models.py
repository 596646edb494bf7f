"""Models of timm, with the resize, normalization and license that their configuration states."""

import difflib
from pathlib import Path
from typing import Any

from fathom.core.records import FathomError
from fathom.learn.features.backbone import INTERPOLATIONS, Backbone, BackboneInfo, BackboneRequest
from fathom.learn.features.weights import LICENSE_UNKNOWN, absent, build, find_weights, input_facts
from fathom.registry.registry import backbone, index


@backbone("timm", models=True)
def timm(request: BackboneRequest) -> BackboneInfo:
    """Use a model of timm by its name, `architecture.tag`, for example `vit_small_patch14_dinov2.lvd142m`.

    Raises:
        FathomError: timm is not installed or has no such model, or its weights are absent.
    """
    package = _import_timm(request.name)
    name, size = request.model, request.size
    architecture = name.partition(".")[0]
    stated = _configuration(package, name, architecture)
    side = size or int((stated.input_size or (3, 224, 224))[-1])
    interpolation = stated.interpolation if stated.interpolation in INTERPOLATIONS else "bicubic"
    license = stated.license or LICENSE_UNKNOWN
    path, known = find_weights(request, lambda: _hub_file(request, stated.hf_hub_id), license)
    title = f"timm {architecture}" + (f".{stated.tag}" if stated.tag else "")
    facts = {"backbone": title, **known, **input_facts((side, side), interpolation)}

    def load() -> Backbone:
        options: dict[str, Any] = {"img_size": side} if size and stated.fixed_input_size else {}
        if path is not None:
            overlay = {"file": str(path), "custom_load": False, "state_dict": None}
            options |= {"pretrained": True, "pretrained_cfg_overlay": overlay}
        network = build(name, lambda: package.create_model(name, num_classes=0, **options))
        return Backbone(network, (side, side), interpolation, tuple(stated.mean), tuple(stated.std))

    return BackboneInfo(facts, load)


def _configuration(package: Any, name: str, architecture: str) -> Any:
    """The pretrained configuration that timm states for a model.

    Raises:
        FathomError: timm has no such model or weights.
    """
    if not package.is_model(architecture):
        near = difflib.get_close_matches(name, [*package.list_models(), *package.list_pretrained()], 3)
        raise FathomError(
            f"unknown backbone {name!r}: it is none of {_other_backbones()}, and timm {package.__version__} has no "
            f"model of that name. {'Near: ' + ', '.join(near) if near else ''}".strip()
        )
    try:
        stated = package.get_pretrained_cfg(name)
    except (RuntimeError, ValueError) as error:
        tags = ", ".join(package.list_pretrained(f"{architecture}.*")) or "none"
        raise FathomError(f"timm has no weights {name!r}; of {architecture} it has: {tags}") from error
    if stated is None:  # an old name of a model, or a model without a configuration
        renamed = getattr(package.models._registry, "_deprecated_models", {}).get(name)
        advice = f"use its new name, {renamed}" if renamed else "choose another model"
        raise FathomError(f"timm {package.__version__} states no configuration of {name!r}: {advice}")
    return stated


def _import_timm(name: str) -> Any:
    try:
        import timm as package
    except ImportError as error:
        raise FathomError(
            f"backbone {name} is looked up among timm's models, and timm is not installed: pip install "
            f"'fathom-al[timm]'. Without it: {_other_backbones()}"
        ) from error
    return package


def _other_backbones() -> str:
    entries = index()["backbone"].values()
    return ", ".join(e.name + (":NAME" if e.options.get("models") else "") for e in entries if e.name != "timm")


def _hub_file(request: BackboneRequest, hub_id: str | None) -> tuple[Path, str]:
    """The file of a model of the Hugging Face hub, from its cache or fetched; and its revision."""
    from huggingface_hub import hf_hub_download

    if not hub_id:
        raise absent(request, "timm names no place to fetch them from")
    repository, _, revision = hub_id.partition("@")
    download = request.library.download
    try:
        file = hf_hub_download(
            repository, "model.safetensors", revision=revision or None, local_files_only=not download
        )
    except Exception as error:  # a dozen classes of three packages, all of which mean that it was not found
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        why = f"could not be fetched ({first})" if download else "downloads are not allowed"
        raise absent(request, why) from error
    path = Path(file)
    return path, path.parent.name  # the hub's cache names the folder of a snapshot after its commit
