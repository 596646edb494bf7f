"""`fathom pretrain`: train an encoder outside a study, or import one of another program."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fathom.core.inputs import user_path
from fathom.core.machine import Machine
from fathom.core.records import FathomError, Setting, digest
from fathom.data import load
from fathom.data.dataset import DataRoot
from fathom.engine.engine import data_root
from fathom.engine.worker import set_up
from fathom.learn import build_paradigm
from fathom.learn.features.encoders import encoder_folder, import_state, pack_encoder
from fathom.machine.environment import describe, find_device
from fathom.protocol.checkpoint import ProgressCallback
from fathom.protocol.context import WorkerContext
from fathom.protocol.preparation import content_of, prepare_state, prepared_key
from fathom.registry.registry import find
from fathom.store import atomic_files
from fathom.store.store import Store


@dataclass(frozen=True)
class Encoder:
    """An encoder in the cache.

    Args:
        name: SHA-256 of its file; 12 or more of its first digits name it, `self-sl(encoder="...")`.
        path: Its file, safetensors.
        curve: Measured during training: `epoch`, `loss`, `knn_accuracy`; empty for an imported one.
        seconds: Duration of its training.
    """

    name: str
    path: Path
    curve: list[dict[str, float]]
    seconds: float = 0.0


def pretrain_encoder(
    dataset: str,
    paradigm: str = "self-sl",
    *,
    seed: int = 0,
    machine: Machine = Machine(),
    tell: ProgressCallback | None = None,
) -> Encoder:
    """Train the encoder of a dataset, paradigm and seed, resume its training, or find it in the cache.

    A study of the same dataset, paradigm and seed on the same kind of machine uses it from the cache.

    Args:
        dataset: Spec string.
        paradigm: Spec string of a paradigm that trains an encoder.
        seed: Seed of the split and of the training.
        machine: Data, device, threads, as in `run`. Its plug-ins are registered by the caller.
        tell: Called with the progress and the measurements.

    Raises:
        FathomError: The paradigm trains no encoder, or data or device do not fit.
        NonFiniteError: The training diverged.
    """
    root, where = data_root(machine, quiet=tell is None), find_device(machine.device)
    set_up(replace(machine, device=str(where)))
    environment = describe(where, machine.threads, fast=machine.fast)
    text, built = str(find("dataset", dataset)[1]), build_paradigm(paradigm)
    if not built.preparation:
        raise FathomError(f"{paradigm} trains no encoder; expected a paradigm such as self-sl")
    # A folder per environment and data: another torch or device gives other bits, and data may change.
    place = digest([environment.decides, text, content_of(load(text, root))], 12)
    store = Store(root.cache / "pretrain-work" / place)
    store.put(f"environments/{environment.name}", environment.decides, environment.machine)
    context = WorkerContext(store, root, where, environment.name, tell=tell)
    key = prepared_key(text, built.preparation, seed)
    try:
        with store.lock(key, wait=True):
            prepare_state(context, Setting(text, "", paradigm), seed)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("Run the same command again to resume") from None
    found = store.get(key)
    assert found is not None
    return _kept(root, found[0]["tensors"], found[0]["curve"], float(found[1]["seconds"]))


def take_in(path: str | Path, *, machine: Machine = Machine()) -> Encoder:
    """Import an encoder that another program trained: a safetensors state dict, or a torch file of tensors alone.

    Whether it fits is checked on use, by the architecture and the images of that run.

    Raises:
        FathomError: The file is absent or damaged, holds code instead of tensors, or holds no encoder.
    """
    root = data_root(machine)
    name, content = pack_encoder(import_state(user_path(path)))
    atomic_files.write(encoder_folder(root) / f"{name}.safetensors", content, replace=True)
    return _kept(root, name, [])


def _kept(root: DataRoot, name: str, curve: list[dict[str, Any]], seconds: float = 0.0) -> Encoder:
    return Encoder(name, encoder_folder(root) / f"{name}.safetensors", curve, seconds)
