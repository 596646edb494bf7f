"""Kept test predictions of a finished study, read back without its data."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fathom.core.records import FathomError, Round, RunSpec, digest
from fathom.design.subset import select
from fathom.stats.classification import Array, measure
from fathom.store.atomic_files import DamageWarning
from fathom.store.store import PREDICTIONS, TEST_LABELS, Store


@dataclass(frozen=True, eq=False)
class KeptPredictions:
    """Log-probabilities of the test split from the classifier of one round, with the true classes.

    Args:
        run: The run.
        round: Its round, from 0.
        budget: Training labels of the classifier.
        log_probs: Log of the class probabilities, nats, float32 [t, c]; of their mean over draws. Kept as float16, so a
            probability p has a relative error of at most 2**-11 * abs(log(p)).
        labels: True classes, int64 [t].
    """

    run: RunSpec
    round: int
    budget: int
    log_probs: Array = field(repr=False)
    labels: Array = field(repr=False)

    def metrics(self) -> dict[str, float]:
        """Test metrics (`fathom.core.metrics.METRICS`); those of the round up to the rounding of what was kept."""
        return measure(self.log_probs.astype(np.float64), self.labels)[0]


def read_predictions(out: str | Path, only: Sequence[str] = (), number: int | None = None) -> Iterator[KeptPredictions]:
    """Read the kept test predictions of the study in folder `out`, one round after the other.

    Files that are damaged or gone are left out, with a warning.

    Args:
        out: Folder of the study.
        only: Read only these runs, such as `["query=random"]`.
        number: Read only this round of each run; -1 is the last one of its regime.

    Raises:
        FathomError: The folder holds no study; no round of these kept any; or the test labels are damaged or gone.
    """
    store = Store.open(out)
    found = [(spec, r) for spec in select(store.study, only).runs for r in _rounds(store, spec, number)]
    if not found:
        raise FathomError(
            f"{store.root} has no kept test predictions of these rounds. Expected rounds that were run with keep = "
            '"ends" (first and last round) or keep = "all" in the study file'
        )
    truth = {spec.dataset: _labels(store, spec.dataset) for spec, _ in found}
    return (made for spec, r in found if (made := _read(store, spec, r, truth[spec.dataset])))


def _rounds(store: Store, spec: RunSpec, number: int | None) -> list[Round]:
    """The committed rounds of a run that kept their test predictions and have this number."""
    regime = store.regime(spec)
    if number is not None and number < 0 and regime:
        number += regime.rounds
    return [r for r in store.rounds(spec) if r.predictions and number in (None, r.round)]


def _labels(store: Store, dataset: str) -> Array:
    name = f"{TEST_LABELS}/{digest(dataset, 12)}"
    if (record := store.get(name)) is None:
        raise FathomError(
            f"{store.path(name)}, the test labels of {dataset}, is damaged or gone. Run the same study again, which "
            "writes it from the data"
        )
    return np.array(record[0]["labels"], np.int64)


def _read(store: Store, spec: RunSpec, record: Round, labels: Array) -> KeptPredictions | None:
    """Read those of one round; None, with a warning, where the file is damaged or gone."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    data = store.get_named_by_content(PREDICTIONS, record.predictions)
    try:
        log_probs = load(data)["log_probs"].astype(np.float32) if data else np.empty(0)
    except (SafetensorError, KeyError, ValueError, TypeError):  # with the right SHA-256: not written by Fathom
        log_probs = np.empty(0)
    if log_probs.ndim != 2 or len(log_probs) != len(labels) or labels.max(initial=0) >= log_probs.shape[1]:
        path = store.root / PREDICTIONS / f"{record.predictions}.safetensors"
        text = f"{path}: damaged or gone, so round {record.round} of {spec} is left out; nothing else depends on it"
        warnings.warn(text, DamageWarning, stacklevel=3)
        return None
    return KeptPredictions(spec, record.round, record.budget, log_probs, labels)
