"""Exporters that replay a finished or unfinished study into an experiment tracker.

One tracked run per run of the study: its spec as parameters, and the metrics of each round at the step of its budget.
A call that is repeated adds what is new and duplicates nothing. The packages are extras, imported where they are used.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from fathom.core.records import FathomError, LabelRegime, Round, RunSpec
from fathom.results.snapshot import Snapshot
from fathom.store.store import Store


@dataclass(frozen=True)
class TrackedRound:
    """Values of one committed round.

    Args:
        step: Its budget: training labels.
        seconds: When it was committed, since 1970 in UTC.
        values: Metrics, `paid`, `seconds_*` and, last, `round`.
    """

    step: int
    seconds: float
    values: dict[str, float]

    @classmethod
    def of(cls, record: Round) -> "TrackedRound":
        """Take the values out of a committed round."""
        times = {f"seconds_{name}": value for name, value in record.seconds.items()}
        values = {**record.metrics, **times, "paid": record.paid, "round": record.round}
        when = datetime.fromisoformat(record.finished).timestamp() if record.finished else 0.0
        return cls(record.budget, when, {name: float(value) for name, value in values.items()})


@dataclass(frozen=True)
class TrackedRun:
    """One run of a study, as trackers get it.

    Args:
        key: Its folder in the store, such as `0198468fa98b`; with the number of its retry, as that is another run.
        name: Query method and seed, for people.
        group: Setting, for people.
        parameters: Its spec, the sizes of its label regime, and the HPs of its last round.
        rounds: Its committed rounds.
        complete: Whether these are all rounds of its regime.
    """

    key: str
    name: str
    group: str
    parameters: dict[str, Any]
    rounds: list[TrackedRound]
    complete: bool

    @classmethod
    def of(cls, folder: str, spec: RunSpec, regime: LabelRegime, rounds: list[Round]) -> "TrackedRun":
        """Gather a run from its records.

        Args:
            folder: Its folder in the store, for example `runs/0198468fa98b`.
            spec: The run.
            regime: Its label regime.
            rounds: Its committed rounds, one or more.
        """
        sizes = {name: value for name, value in regime.to_json().items() if name != "name"}
        hparams = {f"hparams.{name}": value for name, value in rounds[-1].hparams.items()}
        return cls(
            key=folder.partition("/")[2],
            name=f"{spec.query} seed {spec.seed}",
            group=" ".join(spec.setting),
            parameters={**spec.to_json(), **sizes, **hparams},
            rounds=[TrackedRound.of(record) for record in rounds],
            complete=len(rounds) == regime.rounds,
        )


@dataclass(frozen=True)
class Tracked:
    """Counts of an export to a tracker.

    Args:
        target: Where to, as it was given.
        runs: Runs of the study that have a committed round.
        rounds: Their committed rounds.
        added: Rounds that this call added.
        note: What was left out, and why; empty where nothing was.
    """

    target: str
    runs: int
    rounds: int
    added: int
    note: str = ""


# Writes runs to a target and returns (rounds that were added, note).
Writer = Callable[[str, list[TrackedRun], str], tuple[int, str]]
TRACKERS = {"mlflow": "mlflow-skinny", "tensorboard": "tensorboard", "wandb": "wandb"}  # name -> package of its extra
TARGETS = "mlflow:URI, tensorboard:FOLDER or wandb:[ENTITY/]PROJECT"


def is_tracker(target: str) -> bool:
    """Tell whether a target names a tracker, and is not the name of a file."""
    return target.partition(":")[0] in TRACKERS and ":" in target


def track(out: str | Path, target: str) -> Tracked:
    """Replay the committed rounds of the study in folder `out` into an experiment tracker.

    Args:
        out: Folder of the study.
        target: `mlflow:URI`, `tensorboard:FOLDER` or `wandb:[ENTITY/]PROJECT`.

    Raises:
        FathomError: The folder holds no study or no committed round; the target is malformed; its package is not
            installed; or the tracker cannot be reached or written.
    """
    Store.open(out)
    tracker, _, place = target.partition(":")
    if tracker not in TRACKERS or not place:
        raise FathomError(f"expected {TARGETS}; got {target!r}")
    store = Snapshot(out)
    runs = [
        TrackedRun.of(store.run_name(spec), spec, regime, rounds)
        for spec in store.study.runs
        if (regime := store.regime(spec)) and (rounds := store.rounds(spec))
    ]
    if not runs:
        raise FathomError(f"{out} holds no committed round, so there is nothing to export; run the study first")
    write: Writer = getattr(import_module(f"{__name__}.to_{tracker}"), f"write_{tracker}")
    added, note = write(store.study.name, runs, place)
    return Tracked(target, len(runs), sum(len(run.rounds) for run in runs), added, note)


def package(name: str, tracker: str) -> ModuleType:
    """Import a module of a tracker's package.

    Raises:
        FathomError: It is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise FathomError(
            f"an export to {tracker} needs the package {TRACKERS[tracker]} ({error}). Install it with "
            f"pip install 'fathom-al[{tracker}]'"
        ) from None
