"""`fathom pretrain`: make an encoder outside a study, or take one in that another program made."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fathom.core.machine import Machine
from fathom.core.records import FathomError, digest
from fathom.data import load
from fathom.data.dataset import DataRoot
from fathom.engine.engine import data_root
from fathom.learn import build_paradigm
from fathom.learn.features.encoders import encoder_folder, import_state, pack_encoder
from fathom.machine.environment import describe, find_device, set_mode
from fathom.protocol.checkpoint import ProgressCallback
from fathom.protocol.context import WorkerContext
from fathom.protocol.preparation import content_of, prepare_state, prepared_key
from fathom.registry.registry import find
from fathom.store import atomic_files
from fathom.store.store import Store


@dataclass(frozen=True)
class Encoder:
    """A kept encoder.

    Args:
        name: SHA-256 of its file; the first 12 digits and more stand for it, `self-sl(encoder="...")`.
        path: Its file, safetensors.
        curve: What was measured on the way: `epoch`, `loss`, `knn_accuracy`; empty for one that was taken in.
        seconds: What its training took.
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
    """Train the encoder of a dataset, paradigm and seed, or go on where that stopped, or find it in the cache.

    A study of the same dataset, paradigm and seed on the same kind of machine takes it from there.

    Args:
        dataset: Call-string.
        paradigm: Call-string of a paradigm that prepares an encoder.
        seed: Seed of the split and of the training.
        machine: As in `run`.
        tell: Called with what a watcher should see.

    Raises:
        FathomError: Something does not fit.
        NonFiniteError: The training diverged.
    """
    root, where = data_root(machine, quiet=tell is None), find_device(machine.device)
    torch.set_num_threads(machine.threads)
    set_mode(where, fast=machine.fast)
    environment = describe(where, machine.threads, fast=machine.fast)
    text, built = str(find("dataset", dataset)[1]), build_paradigm(paradigm)
    if not built.preparation:
        raise FathomError(f"{paradigm} trains no encoder; expected a paradigm such as self-sl")
    # Of unfinished work, and of what it gave; another torch or device gives other bits, and data may change.
    place = digest([environment.decides, text, content_of(load(text, root))], 12)
    store = Store(root.cache / "pretrain-work" / place)
    store.put(f"environments/{environment.name}", environment.decides, environment.machine)
    context = WorkerContext(store, root, where, environment.name, tell=tell)
    key = prepared_key(text, built.preparation, seed)
    try:
        with store.lock(key, wait=True):
            prepare_state(context, text, built, seed)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("The same command goes on where it stopped") from None
    found = store.get(key)
    assert found is not None
    return _kept(root, found[0]["tensors"], found[0]["curve"], float(found[1]["seconds"]))


def take_in(path: str | Path, *, machine: Machine = Machine()) -> Encoder:
    """Keep an encoder that another program made: a safetensors state dict, or a torch file of tensors alone.

    Whether it fits is checked when it is used, by the architecture and the images of that run.

    Raises:
        FathomError: The file is absent, damaged, holds code in place of tensors, or no encoder.
    """
    root = data_root(machine)
    name, content = pack_encoder(import_state(Path(path)))
    atomic_files.write(encoder_folder(root) / f"{name}.safetensors", content, replace=True)
    return _kept(root, name, [])


def _kept(root: DataRoot, name: str, curve: list[dict[str, Any]], seconds: float = 0.0) -> Encoder:
    return Encoder(name, encoder_folder(root) / f"{name}.safetensors", curve, seconds)
