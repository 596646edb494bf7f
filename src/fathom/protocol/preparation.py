"""Encoders and features, computed once before anything is labeled and shared by regimes, query methods and runs.

An encoder is a record of the store with a file of its weights. The cache has a copy under the digest of all that
decides it, so that another study of the same data can use it. Features are too large for a store: the cache holds them,
and the store records their digest.
"""

import contextlib
import dataclasses
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from fathom.core.records import FathomError, Setting, digest
from fathom.core.streams import Streams
from fathom.core.work import WorkKind
from fathom.data.cache.cache_file import can_write
from fathom.data.cache.features import FeatureImages, features_key, kept_features, standardized
from fathom.data.dataset import Dataset
from fathom.data.image_names import ImageRows, names_of
from fathom.data.images import Subset, pixels_sha256
from fathom.learn.task import Paradigm, State, Unlabeled
from fathom.learn.tensor_file import from_bytes, to_bytes
from fathom.protocol.checkpoint import FileCheckpointer
from fathom.protocol.context import WorkerContext
from fathom.protocol.knn_eval import knn_probe
from fathom.protocol.oracle import Oracle
from fathom.protocol.split import Split, TrainSplit
from fathom.store.record_store import RecordStore
from fathom.store.store import Store

TRIES = 3  # times that a result is stored, should its file be damaged each time it is read


class CacheWarning(UserWarning):
    """An encoder could not be written to the cache that studies share."""


# ------------------------------------------------------------------------------------------------------- encoders


def prepared_key(dataset: str, preparation: str, seed: int) -> str:
    """Name of the record of an encoder for a dataset and seed."""
    return WorkKind.PRETRAIN.record(digest([dataset, preparation, seed], 16))


def prepare_state(context: WorkerContext, setting: Setting, seed: int) -> None:
    """Pre-train the encoder of a setting's paradigm without labels, and store it for every run of the dataset and seed.

    The cache gets a copy, so that other studies can use it, also by name (`learn.features.encoders`). A cache that
    cannot be written gives a warning only.
    """
    dataset, paradigm = setting.dataset, context.paradigm_of(setting)  # with the retries of its setting
    setting = setting._replace(regime="")  # which has no further part in it
    key = prepared_key(dataset, paradigm.preparation, seed)
    data, environment = content_of(context.dataset(dataset)), _decided(context, setting)
    decides = [dataset, data, paradigm.preparation, seed, environment]
    decides += ["stratified"] if context.dataset(dataset).stratify else []  # which images are held out, and not seen
    record_store, name = RecordStore(context.data.cache), f"{WorkKind.PRETRAIN}/{digest(decides, 32)}"
    train_split = context.train_split(dataset, seed)
    oracle = Oracle(train_split.dataset.vault)
    checkpointer = context.checkpointer(key, decides, probe=lambda embed: knn_probe(train_split, oracle, embed))
    with _cache_lock(record_store, name):
        kept = _look_up(record_store, name)
        made, weights = kept or _prepare(paradigm, context, setting, train_split, checkpointer)
        content = {"dataset": dataset, "preparation": paradigm.preparation, "seed": seed, "curve": made["curve"]}
        content["tensors"] = context.store.put_arrays(key, weights)
        context.store.put(key, content, made["clock"])
        checkpointer.close()
        if kept is None:
            _keep(record_store, name, content, made["clock"], weights)


def _prepare(
    paradigm: Paradigm,
    context: WorkerContext,
    setting: Setting,
    train_split: TrainSplit,
    checkpointer: FileCheckpointer,
) -> tuple[dict[str, Any], bytes]:
    """Pre-train now, or resume from a checkpoint: ({curve, clock}, packed weights)."""
    began = time.perf_counter()
    stream = Streams(train_split.seed)("pretrain")
    made = paradigm.prepare(train_split.unlabeled, stream, context.data, checkpointer.restricted())
    weights = to_bytes(made, "the state from prepare")
    clock = {"seconds": time.perf_counter() - began, **context.stamp(setting)}
    return {"curve": checkpointer.curve, "clock": clock}, weights


def _look_up(record_store: RecordStore, name: str) -> tuple[dict[str, Any], bytes] | None:
    """Read ({curve, clock}, weights) from the cache; a record whose weights are missing or damaged is removed."""
    if not (found := record_store.get(name)):
        return None
    content, clock = found
    weights = record_store.get_arrays(f"encoders/{content['tensors']}", content["tensors"])
    if weights is None:
        with contextlib.suppress(OSError):
            record_store.path(name).unlink(missing_ok=True)
        return None
    return {"curve": content["curve"], "clock": clock}, weights


def _keep(record_store: RecordStore, name: str, content: dict[str, Any], clock: dict[str, Any], weights: bytes) -> None:
    try:
        record_store.put_arrays(f"encoders/{content['tensors']}", weights)
        record_store.put(name, content, clock)
    except FathomError as error:
        text = f"the encoder is stored in the study, but could not be written to the cache: {error}"
        warnings.warn(text, CacheWarning, stacklevel=2)


@contextlib.contextmanager
def _cache_lock(record_store: RecordStore, name: str) -> Iterator[None]:
    """Lock an encoder in the cache, so that two studies train it once; without a writable cache, each trains it."""
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):
            if can_write(record_store.root):
                held.enter_context(record_store.lock(name, wait=True))
        yield


def content_of(dataset: Dataset) -> str:
    """Identify a dataset's content: its revision, or the digest of its train images if it has none."""
    return dataset.revision or pixels_sha256(dataset.images)


def _decided(context: WorkerContext, setting: Setting) -> str:
    """Digest of what decides the bits of an encoder beside its data: the environment, and the code of plug-ins."""
    decides = {name: value for name, value in context.decides.items() if name != "scikit-learn"}
    code = context.plugin_code(setting)
    return digest({**decides, "code": code} if code else decides, 12)


def state_of(context: WorkerContext, setting: Setting, seed: int) -> State | None:
    """Encoder of a run, trained again if its file is damaged; None if the paradigm pre-trains nothing."""
    paradigm = context.paradigm_of(setting)
    if not paradigm.preparation:
        return None
    key = prepared_key(setting.dataset, paradigm.preparation, seed)
    return stored_weights(context.store, key, lambda: prepare_state(context, setting, seed))[1]


def stored_weights(store: Store, key: str, train: Callable[[], None]) -> tuple[dict[str, Any], State]:
    """Content and weights of a record; trained again if they are not there, as a damaged file counts as absent.

    Raises:
        FathomError: They cannot be read however often they are stored.
    """
    for _ in range(TRIES):
        found = store.get(key)
        weights = store.get_arrays(key, found[0]["tensors"]) if found else None
        if found and weights is not None:
            return found[0], from_bytes(weights)
        train()
    raise FathomError(f"{store.path(key)} was stored {TRIES} times and cannot be read; check the disk of {store.root}")


# ------------------------------------------------------------------------------------------------------- features


def features_name(dataset: str, paradigm: Paradigm, seed: int) -> str:
    """Name of the record of a backbone's features; features of a seed's own encoder belong to that seed."""
    return WorkKind.FEATURES.record(digest([dataset, paradigm.backbone, _seed(paradigm, seed)], 16))


def with_features(context: WorkerContext, setting: Setting, split: Split) -> Split:
    """Replace the images of a split with features [n, d] if the paradigm has a backbone; else return it unchanged."""
    if not context.paradigm(setting.paradigm).backbone:
        return split
    return dataclasses.replace(split, dataset=features_of(context, setting, split.seed))


def features_of(context: WorkerContext, setting: Setting, seed: int) -> Dataset:
    """Dataset with features in place of images: computed, or found in the cache; the store records their digest.

    Raises:
        FathomError: The features differ from those that the store's results were computed on.
    """
    paradigm = context.paradigm_of(setting)
    name = features_name(setting.dataset, paradigm, seed)
    if name in context.featured:
        return context.featured[name]
    began = time.perf_counter()
    plain, state = context.dataset(setting.dataset), state_of(context, setting, seed)
    facts = paradigm.facts(context.data)
    prepared = context.store.get(prepared_key(setting.dataset, paradigm.preparation, seed)) if state else None
    # An accelerator computes in another precision, so its features are not those of a CPU.
    decides = facts if context.device.type == "cpu" else {**facts, "device": context.device.type}
    if prepared:
        decides = {**decides, "state": prepared[0]["tensors"], "input": [plain.mean, plain.std, plain.augment]}
    parts, names = {}, names_of(plain)
    for part, images in (("train", plain.images), ("test", plain.test_images)):
        own = {**decides, "names": digest(names[part])} if facts.get("matched") == "ids" else decides
        key = features_key(pixels_sha256(images), paradigm.backbone, own)
        parts[part] = _kept(context, paradigm, plain, ImageRows(part, names), state, key)
    content = {"dataset": setting.dataset, "backbone": paradigm.backbone, "seed": _seed(paradigm, seed), "facts": facts}
    content |= {f"{part}_sha256": kept.sha256 for part, kept in parts.items()} | {"dim": parts["train"].size[1]}
    known = context.store.get(name)
    if known and known[0] != content:
        changed = ", ".join(k for k in content if known[0].get(k) != content[k])
        raise FathomError(
            f"the features of {paradigm.backbone} on {setting.dataset} are not those that the results in "
            f"{context.store.root} were computed on ({changed} differ). Bring the old weights "
            "and machine back, or name a new folder with --out"
        )
    made = context.stamp(setting._replace(regime=""))
    context.store.put(name, content, {"seconds": time.perf_counter() - began, **made})
    images, test_images = (kept.to(context.device) for kept in standardized(parts["train"], parts["test"]))
    context.featured[name] = dataclasses.replace(plain, images=images, test_images=test_images)
    return context.featured[name]


def _kept(
    context: WorkerContext, paradigm: Paradigm, plain: Dataset, rows: ImageRows, state: State | None, key: str
) -> FeatureImages:
    """Find the features of all images of a part in the cache, or compute them, resuming where a process stopped."""
    images = plain.images if rows.part == "train" else plain.test_images

    def make(first: int) -> Iterator[Tensor]:
        rest = Subset(images, torch.arange(first, len(images), device=images.device))
        own = dataclasses.replace(rows, wanted=range(first, len(images)))
        return iter(paradigm.embed(Unlabeled(rest, plain.mean, plain.std, plain.augment, own), state, context.data))

    checkpointer = context.checkpointer(WorkKind.FEATURES.record(key), "")

    def tell(done: int) -> None:
        checkpointer.tell(done, len(images), {})

    try:
        return kept_features(key, len(images), make, context.data.cache / "features", tell=tell)
    finally:
        checkpointer.close()


def _seed(paradigm: Paradigm, seed: int) -> int:
    return seed if paradigm.preparation else -1


def jobs_before(paradigm: Paradigm, dataset: str, seed: int) -> list[tuple[WorkKind, str]]:
    """(kind, name) of the jobs that any training of this dataset, paradigm and seed waits for, in order."""
    found: list[tuple[WorkKind, str]] = []
    if paradigm.preparation:
        found.append((WorkKind.PRETRAIN, prepared_key(dataset, paradigm.preparation, seed)))
    if paradigm.backbone:
        found.append((WorkKind.FEATURES, features_name(dataset, paradigm, seed)))
    return found
