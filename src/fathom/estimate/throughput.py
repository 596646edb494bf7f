"""How fast a machine trains, embeds and predicts for each dataset and paradigm of a study, by a probe of seconds."""

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

import torch

from fathom.core.records import Setting
from fathom.core.streams import Streams
from fathom.data.cache.features import FeatureImages
from fathom.data.image_names import ImageRows, names_of
from fathom.data.images import Subset
from fathom.learn.task import Checkpointer, Embed, Paradigm, State, Task, Unlabeled
from fathom.protocol.context import WorkerContext
from fathom.protocol.split import Split
from fathom.protocol.tune import grid_of

SMALL, LARGE = 64, 1024  # training images of a probe, and images it predicts
PATIENCE = 1.0  # seconds: if the small probe takes longer, its rate is used
# On an accelerator the first steps choose kernels, allocate, and record the step: none of them is timed.
EPOCH, WARM_EPOCHS, SECONDS = 8192, 2, 2.0  # images per epoch of a probe there; epochs, then seconds, before it ends
PREDICTED = 16384  # images that a probe predicts there


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
            if context.device.type != "cpu":
                speeds[speed_name(setting)] = measure_recorded(context, setting, small)
                continue
            slow = SMALL / min(small.train, small.embed) > PATIENCE
            speeds[speed_name(setting)] = small if slow else _measure(context, setting, LARGE)


class ProbeEnded(Exception):
    """Ends a training that is only timed."""


class EpochClock(Checkpointer):
    """Times the epochs of a training after some to warm up, and ends the training after some seconds.

    Args:
        device: Where it trains.
        seconds: Time to measure.
    """

    def __init__(self, device: torch.device, seconds: float = SECONDS) -> None:
        self.device, self.length, self.ends = device, seconds, list[float]()

    def tell(self, done: int, of: int, numbers: Mapping[str, float], embed: Embed | None = None) -> None:
        """Note the end of an epoch.

        Raises:
            ProbeEnded: Enough was measured.
        """
        _wait(self.device)
        self.ends.append(time.perf_counter())
        if len(self.ends) >= WARM_EPOCHS + 2 and self.ends[-1] - self.ends[WARM_EPOCHS] >= self.length:
            raise ProbeEnded

    @property
    def epoch_seconds(self) -> float:
        """Mean seconds per epoch, once warm."""
        warm = self.ends[WARM_EPOCHS:]
        return (warm[-1] - warm[0]) / (len(warm) - 1)


def measure_recorded(context: WorkerContext, setting: Setting, small: Throughput) -> Throughput:
    """Rates on an accelerator, where a training of one step says nothing about one of thousands.

    Trained is a copy with the run's number of images in short epochs, and ended by an `EpochClock`; so its steps are
    recorded if the run's are.
    """
    paradigm, split = context.paradigm(setting.paradigm), context.split_at(setting, 0)
    unlabeled, streams, prepare = context.train_split(setting.dataset, 0).unlabeled, Streams(0), small.prepare
    if views := paradigm.pretraining_images(unlabeled):
        some = replace(unlabeled, images=_first(split, EPOCH // 2))
        short = paradigm.benchmark_copy(EPOCH, _epochs(views))
        spent = _epoch_seconds(context, lambda clock: short.prepare(some, streams("pretrain"), context.data, clock))
        prepare = 2 * len(some.images) / spent
    brief = paradigm.benchmark_copy(SMALL)
    unlabeled = replace(unlabeled, images=_first(split, SMALL))
    state = brief.prepare(unlabeled, streams("pretrain"), context.data, Checkpointer()) or None
    task, images = _task(context, split, paradigm.benchmark_copy(PREDICTED), state, PREDICTED)
    hparams, labels = grid_of(context, setting)[0], len(task.labels)
    epochs = _epochs(paradigm.training_images(labels))
    long = paradigm.benchmark_copy(EPOCH, epochs)
    spent = _epoch_seconds(context, lambda clock: long.fit(task, hparams, state, streams, checkpointer=clock))
    classifier = brief.fit(task, hparams, state, streams)
    for _ in range(2):  # the second time counts
        _wait(context.device)
        began = time.perf_counter()
        list(classifier.stream(images, 0, streams("draws")))
        _wait(context.device)
        predicting = time.perf_counter() - began
    train = long.training_images(labels) / epochs / spent
    return replace(small, train=train, prepare=prepare, predict=len(images) / predicting)


def _epochs(images: int) -> int:
    """Epochs of `EPOCH` images with the number of images of a training."""
    return max(WARM_EPOCHS + 2, -(-images // EPOCH))


def _epoch_seconds(context: WorkerContext, train: Callable[[Checkpointer], object]) -> float:
    clock = EpochClock(context.device)
    with suppress(ProbeEnded):
        train(clock)
    return clock.epoch_seconds


def _first(split: Split, count: int) -> Subset:
    return Subset(split.dataset.images, split.tensor(split.train_ids[:count]))


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


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
    _wait(context.device)
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
