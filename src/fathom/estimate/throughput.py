"""How fast a machine trains, embeds and predicts for each dataset and paradigm of a study, by a probe of seconds."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch

from fathom.core.records import Setting
from fathom.core.streams import Streams
from fathom.data.cache.features import FeatureImages
from fathom.data.image_names import ImageRows, names_of
from fathom.data.images import Subset
from fathom.learn.task import Checkpointer, Paradigm, State, Task, Unlabeled
from fathom.protocol.context import WorkerContext
from fathom.protocol.split import Split
from fathom.protocol.tune import grid_of

SMALL, LARGE = 64, 1024  # training images of a probe, and images it predicts
PATIENCE = 1.0  # seconds: if the small probe takes longer, its rate is used


@dataclass(frozen=True)
class Throughput:
    """Rates of one worker, from a probe or a profile.

    Args:
        train: Images per second in training.
        prepare: Views per second in pre-training; infinite if there is none.
        predict: Images per second in prediction.
        embed: Images per second through a fixed backbone; infinite if there is none.
        weights: Bytes of a trained classifier.
    """

    train: float
    prepare: float
    predict: float
    embed: float
    weights: int


def speed_name(setting: Setting) -> str:
    """Name of a rate: it depends on dataset and paradigm only."""
    return f"{setting.dataset}, {setting.paradigm}"


def measure_speeds(context: WorkerContext, settings: Iterable[Setting], threads: int = 1) -> dict[str, Throughput]:
    """Measure the rates of every dataset and paradigm of the settings, by name, with the threads of a worker."""
    speeds: dict[str, Throughput] = {}
    before = torch.get_num_threads()
    torch.set_num_threads(
        threads
    )  # torch takes all cores, a worker does not: on a busy machine the plan was 60 times off
    try:
        _measure_all(context, settings, speeds)
    finally:
        torch.set_num_threads(before)
    return speeds


def _measure_all(context: WorkerContext, settings: Iterable[Setting], speeds: dict[str, Throughput]) -> None:
    for setting in settings:
        if speed_name(setting) not in speeds:
            _measure(context, setting, SMALL)  # warms up: imports, allocator, kernels, caches
            small = _measure(context, setting, SMALL)
            slow = SMALL / min(small.train, small.embed) > PATIENCE
            speeds[speed_name(setting)] = small if slow else _measure(context, setting, LARGE)


def _measure(context: WorkerContext, setting: Setting, images: int) -> Throughput:
    """Train on a few images and predict a part of the pool."""
    split, short = context.split_at(setting, 0), context.paradigm(setting.paradigm).benchmark_copy(images)
    unlabeled = context.train_split(setting.dataset, 0).unlabeled
    first = torch.arange(min(images, len(unlabeled.images)), device=context.device)
    unlabeled = replace(unlabeled, images=Subset(split.dataset.images, split.tensor(split.train_ids)[first]))
    asked = time.perf_counter()
    state = short.prepare(unlabeled, Streams(0)("pretrain"), context.data, Checkpointer()) or None
    began = time.perf_counter()
    task, some = _task(context, split, short, state, images)
    embedded = time.perf_counter()
    classifier = short.fit(task, grid_of(context, setting)[0], state, Streams(0))
    trained = time.perf_counter()
    list(classifier.stream(some, 0, Streams(0)("draws")))
    if context.device.type == "cuda":
        torch.cuda.synchronize()
    ended = time.perf_counter()
    return Throughput(
        train=short.training_images(len(task.labels)) / (trained - embedded),
        prepare=views / (began - asked) if (views := short.pretraining_images(unlabeled)) else float("inf"),
        predict=len(some) / (ended - trained),
        embed=len(some) / (embedded - began) if short.backbone else float("inf"),
        weights=sum(t.numel() * t.element_size() for t in classifier.state().values()),
    )


def _task(
    context: WorkerContext, split: Split, short: Paradigm, state: State | None, images: int
) -> tuple[Task, Subset]:
    """A task of the starting set with one validation image, and images to predict; features for a fixed backbone."""
    task = split.task(split.open()[1])
    validation_images = Subset(split.dataset.images, split.tensor(split.val_ids[:1]))
    task = replace(task, val_images=validation_images, val_labels=task.val_labels[:1])
    some = Subset(split.dataset.images, split.tensor(split.train_ids[:images]))
    if not short.backbone:
        return task, some
    d = split.dataset
    rows = ImageRows("train", names_of(d), split.train_ids[:images].tolist())
    chunks = short.embed(Unlabeled(some, d.mean, d.std, d.augment, rows), state, context.data)
    features = FeatureImages(torch.cat(list(chunks)))
    ids = torch.arange(len(features), device=features.device)
    all_of_them = Subset(features, ids)
    labels = task.labels[torch.arange(len(features)) % len(task.labels)]
    one = Subset(features, ids[:1])
    return replace(task, images=all_of_them, labels=labels, val_images=one, pool=all_of_them), all_of_them
