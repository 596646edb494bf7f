"""Contract of training paradigms."""

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from fathom.core.member_call import MemberExitError, collected
from fathom.core.records import FathomError
from fathom.core.streams import Stream, Streams
from fathom.data import load
from fathom.data.cache.features import FeatureImages, standardized
from fathom.data.dataset import DataRoot, Dataset
from fathom.data.images import Subset
from fathom.data.regimes import build_regime
from fathom.learn import build_paradigm
from fathom.learn.task import NO_CHECKPOINT, Classifier, HParams, ImageSource, Paradigm, State, Task, Unlabeled
from fathom.learn.tensor_file import from_bytes, to_bytes
from fathom.protocol.split import Split
from fathom.registry.registry import find
from fathom.testing.purity import global_state, other_python_state, refuse

DATASET = "digits"
REGIME = "custom(query_size=10, rounds=2, start=40, val_size=40)"
DRAWS = 3
STORED = " (it is restored from the stored bytes, which keep values and no strides or attributes)"


def check_paradigm(text: str, device: torch.device | str = "cpu") -> None:
    """Train a paradigm several times on a few digits and check it against the contract.

    Args:
        text: Spec string of a registered paradigm; give it a short recipe.
        device: Device of the training.

    Raises:
        FathomError: The paradigm breaks the contract; the message lists every finding (see `paradigm_findings`).
    """
    refuse("paradigm", text, paradigm_findings(text, device))


def paradigm_findings(text: str, device: torch.device | str = "cpu") -> list[str]:
    """List how a paradigm breaks the contract; empty if it keeps it.

    With 40 labeled digits, 40 for validation, and a pool of which it sees only images, the paradigm
    must: have a grid with an entry; prepare, embed and train as a function of its arguments and streams only, on a
    CPU to the bit, changing neither its inputs nor a setting of the process; give a validation score, finite normalized
    predictions in the order of the images, the same masks for the same stream, and a history; restore a classifier
    that predicts the same; refuse a task without labels or without validation set; say how much a training sees; and
    have a line of documentation.

    Raises:
        FathomError: The paradigm cannot be built: unknown name or parameter, missing method, or an error on import.
    """
    entry, _ = find("paradigm", text)
    try:
        paradigm = build_paradigm(text)
    except MemberExitError as error:
        return [str(error)]
    findings = [] if entry.summary else [f"{entry.attribute} has no docstring; its first line is shown in lists"]
    with TemporaryDirectory() as nowhere, collected():
        library = DataRoot(Path(nowhere), Path(nowhere), quiet=True)
        try:
            findings += _examine(paradigm, library, torch.device(device))
        except Exception as error:  # any error is a finding
            findings.append(f"{text} raised {type(error).__name__}: {error}")
    return findings


# ---------------------------------------------------------------------------------------------------------- case


class _Asked:
    """Images with the interface of `ImageSource` only: no labels, no ids."""

    __slots__ = ("_images",)

    def __init__(self, images: ImageSource) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    @property
    def size(self) -> tuple[int, int]:
        return self._images.size

    @property
    def device(self) -> torch.device:
        return self._images.device

    def take(self, ids: Tensor) -> Tensor:
        return self._images.take(ids)


class _None(_Asked):
    """No images, with size and device of others."""

    __slots__ = ()

    def __len__(self) -> int:
        return 0


@dataclass(frozen=True)
class _Case:
    paradigm: Paradigm
    task: Task
    test: ImageSource
    state: State | None
    hparams: HParams

    def restored(self, classifier: Classifier, dropout: float = 0.0) -> Classifier:
        """The classifier as a run restores it: from the bytes that its state is stored as."""
        state = from_bytes(to_bytes(classifier.state(), "the classifier's state"))
        return self.paradigm.restore(self.task, state, dropout=dropout)

    def fit(self, dropout: float = 0.0, **changes: Any) -> Classifier:
        task = dataclasses.replace(self.task, **changes)
        return self.paradigm.fit(task, self.hparams, self.state, Streams(0, 1), dropout=dropout)


def _examine(paradigm: Paradigm, library: DataRoot, device: torch.device) -> Iterator[str]:
    loaded = load(DATASET, library)
    plain = dataclasses.replace(loaded, images=loaded.images.to(device), test_images=loaded.test_images.to(device))
    start = Split.draw(plain, build_regime(REGIME, plain, ""), 0, device)
    yield from _facts(paradigm, library)
    state = None
    if paradigm.preparation:
        some = Subset(plain.images, start.tensor(start.train_ids[:128]))
        unlabeled = Unlabeled(_Asked(some), plain.mean, plain.std, plain.augment)
        made = yield from _twice(
            "prepare", lambda: dict(paradigm.prepare(unlabeled, Streams(0)("pretrain"), library, NO_CHECKPOINT))
        )
        state = from_bytes(to_bytes(made, "the state from prepare"))  # a run reads it from a file
    if paradigm.backbone:
        parts = []
        for images in (plain.images, plain.test_images):
            made = yield from _twice("embed", _embedding(paradigm, plain, images, state, library))
            if made["features"].dim() != 2 or made["features"].shape[0] != len(images):
                yield f"embed gave {list(made['features'].shape)} for {len(images)} images; expected one row each"
                return
            parts.append(FeatureImages(made["features"]))
        train, test = (part.to(device) for part in standardized(*parts))
        start = dataclasses.replace(start, dataset=dataclasses.replace(plain, images=train, test_images=test))
    task = start.task(start.open()[1])
    task = dataclasses.replace(
        task, images=_Asked(task.images), val_images=_Asked(task.val_images), pool=_Asked(task.pool)
    )
    grid = paradigm.grid(task)
    if not grid or not all(isinstance(hparams, dict) for hparams in grid):
        yield f"grid gave {grid!r}; expected a list of at least one dictionary of HPs"
        return
    if not _plain(grid) or paradigm.grid(task) != grid:
        yield "grid must give plain JSON and be equal each time, because HPs are stored"
    case = _Case(paradigm, task, _Asked(start.dataset.test_images), state, grid[0])
    yield from _trained(case)
    yield from _dropout(case)
    yield from _refusals(case)


def _embedding(
    paradigm: Paradigm, d: Dataset, images: ImageSource, state: State | None, library: DataRoot
) -> Callable[[], dict[str, Tensor]]:
    unlabeled = Unlabeled(_Asked(images), d.mean, d.std, d.augment)
    return lambda: {"features": torch.cat(list(paradigm.embed(unlabeled, state, library)))}


# --------------------------------------------------------------------------------------------------------- checks


def _facts(paradigm: Paradigm, library: DataRoot) -> Iterator[str]:
    """Check the facts that a plan and a report need."""
    if paradigm.search < 1:
        yield f"search is {paradigm.search}; expected at least one starting set"
    if not paradigm.recipe_name:
        yield "recipe_name is empty; the report shows it"
    if not _plain(paradigm.facts(library)):
        yield "facts must be plain JSON"
    for name in ("training_images", "validation_images"):
        got = getattr(paradigm, name)(40)
        if not isinstance(got, int) or got < 1:
            yield f"{name}(40) is {got!r}; expected a whole number above 0, from which plans estimate the time"
    if paradigm.benchmark_copy(50).training_images(50) > paradigm.training_images(50):
        yield "benchmark_copy(50) trains on more images than the paradigm itself; it must be short"


def _trained(case: _Case) -> Iterator[str]:
    inputs = {"labels": case.task.labels.clone(), "val_labels": case.task.val_labels.clone()}
    before = {name: tensor.clone() for name, tensor in (case.state or {}).items()}
    first: list[Classifier] = []
    given = yield from _twice("fit", lambda: _shown(case, first))
    classifier = first[0]
    if any(not torch.equal(getattr(case.task, name), kept) for name, kept in inputs.items()):
        yield "fit changed the labels it was given"
    if any(not torch.equal(tensor, before[name]) for name, tensor in (case.state or {}).items()):
        yield "fit changed the state from prepare, which all runs of a seed share"
    if not 0 <= classifier.val_score <= 1:
        yield f"val_score is {classifier.val_score}; expected the task's metric, in [0, 1]"
    if not classifier.history or not all({"epoch", "loss"} <= set(row) for row in classifier.history):
        yield "history must have one row per epoch, with epoch and loss"
    if not _plain(classifier.diagnostics):
        yield "diagnostics must be plain JSON, because they are committed with the round"
    if any(tensor.device.type != "cpu" for tensor in classifier.state().values()):
        yield "state must be on the CPU"
    yield from _predictions(case, given, 1)
    with global_state() as touched:
        again = _predicted(case, case.restored(classifier))
    yield from touched
    if not _equal(again, {name: given[name] for name in again}, case.test.device):
        yield f"restore gives a classifier whose predictions differ from those of the stored one{STORED}"
    if not _equal(_predicted(case, classifier), {name: given[name] for name in again}, case.test.device):
        yield "state, restore or another fit changes the predictions of a classifier that was trained before"


def _dropout(case: _Case) -> Iterator[str]:
    classifier = case.fit(dropout=0.5)
    drawn = _predicted(case, classifier, DRAWS)
    yield from _predictions(case, drawn, DRAWS)
    if not _equal(drawn, _predicted(case, classifier, DRAWS), case.test.device):
        yield "stream gives other dropout draws for equal streams of masks"
    if drawn["log_probs"].shape[1] > 1 and bool((drawn["log_probs"] == drawn["log_probs"][:, :1]).all()):
        yield "fit with dropout=0.5 gives a classifier whose draws are all equal, so bald would pick at random"
    if not _equal(drawn, _predicted(case, case.restored(classifier, 0.5), DRAWS), case.test.device):
        yield f"restore with dropout gives a classifier whose draws differ from those of the stored one{STORED}"


def _refusals(case: _Case) -> Iterator[str]:
    none = torch.zeros(0, dtype=torch.int64, device=case.test.device)
    nothing = _None(case.test)
    cases: tuple[tuple[str, dict[str, Any]], ...] = (
        ("without labeled images", {"images": nothing, "labels": none}),
        ("without a validation set", {"val_images": nothing, "val_labels": none}),
    )
    for what, changes in cases:
        try:
            case.fit(**changes)
        except FathomError:
            continue
        except Exception as error:
            yield f"fit {what} raised {type(error).__name__}: {error}; expected a FathomError that says what to do"
        else:
            yield f"fit {what} gave a classifier; expected a FathomError (`learn.paradigms.recipe.expect_labels`)"


def _predictions(case: _Case, given: Mapping[str, Tensor], draws: int) -> Iterator[str]:
    n, classes = len(case.test), case.task.num_classes
    log_probs, features = given["log_probs"], given["features"]
    if tuple(log_probs.shape) != (n, draws, classes) or features.shape[0] != n:
        shapes = f"{list(log_probs.shape)} and {list(features.shape)}"
        yield f"stream gave {shapes} for log-probabilities and features; expected {[n, draws, classes]} and [{n}, d]"
    elif not bool(log_probs.logsumexp(2).abs().max() < 1e-3):
        yield "log-probabilities of an image do not add up to 1"
    elif not bool(features.isfinite().all()):
        yield "features are not finite"


def _shown(case: _Case, kept: list[Classifier]) -> dict[str, Tensor]:
    classifier = case.fit()
    kept.append(classifier)
    return {**_predicted(case, classifier), **{f"state: {k}": v for k, v in classifier.state().items()}}


def _predicted(case: _Case, classifier: Classifier, draws: int = 0) -> dict[str, Tensor]:
    chunks = list(classifier.stream(case.test, draws, Stream(0, ("draws",))))
    return {name: torch.cat([getattr(c, name) for c in chunks]) for name in ("log_probs", "features")}


def _twice(what: str, work: Callable[[], dict[str, Tensor]]) -> Any:
    """Do work twice to find a dependence on anything but its arguments; returns the first result."""
    with global_state() as touched:
        first = work()
    yield from (f"{what} {finding}" for finding in touched)
    with other_python_state():
        second = work()
    if not _equal(first, second, next(iter(first.values())).device):
        yield f"{what} gives another result for equal arguments and streams; draw from the given streams"
    if bad := [name for name, t in first.items() if t.is_floating_point() and not bool(t.isfinite().all())]:
        yield f"{what} gave values that are not finite ({', '.join(bad[:3])}); raise a NonFiniteError"
    return first


def _equal(a: Mapping[str, Tensor], b: Mapping[str, Tensor], device: torch.device) -> bool:
    """True if equal, on a CPU to the bit; on other devices sums may have no fixed order."""
    if set(a) != set(b) or any(a[name].shape != b[name].shape for name in a):
        return False
    if device.type == "cpu":
        return all(torch.equal(a[name], b[name]) for name in a)
    return all(torch.allclose(a[name].float(), b[name].float(), rtol=1e-2, atol=1e-2) for name in a)


def _plain(value: object) -> bool:
    try:
        return bool(json.loads(json.dumps(value, allow_nan=False)) == value)
    except (TypeError, ValueError):
        return False
