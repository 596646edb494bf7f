"""The active-learning loop of the paper, Sec. 2.1 and 3.

A run trains from scratch on the labeled set, restores the best validation epoch, tests, predicts the pool, queries,
has the picks labeled by the oracle, and commits the round; then again, until the regime's last round. What is labeled
after some rounds follows from the committed rounds alone, so a run goes on wherever it stopped.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch

from fathom.data.images import Subset
from fathom.learn.task import Classifier, Images, Paradigm, Prediction
from fathom.query.method import QueryMethod
from fathom.query.method import build as build_method
from fathom.query.view import PoolView, Selection
from fathom.records import Round, RunSpec, digest
from fathom.run.lab import Lab
from fathom.run.metrics import measure
from fathom.run.start import Start
from fathom.run.tune import Setting, chosen
from fathom.streams import Streams

DROPOUT = 0.5  # before the last linear layer of Bayesian classifiers (study.md 3.5)
DRAWS = 50  # dropout draws whose mean is the prediction of a classifier with dropout (study.md 3.5)


def run(lab: Lab, spec: RunSpec, after_round: Callable[[Round], None] = lambda record: None) -> None:
    """Do the rounds of a run that are not committed yet."""
    start, method = lab.start_of(spec), build_method(spec.query)
    oracle = start.oracle()
    labeled = start.start_ids.tolist()
    for record in lab.store.rounds(spec):
        oracle.label(record.queried)
        labeled += record.queried
    for number in range(len(lab.store.rounds(spec)), start.regime.rounds):
        clock = _Clock()
        with clock("train"):
            classifier = _train(lab, spec, start, method, labeled, number)
        draws = _draws(lab.paradigm(spec.paradigm), method)
        with clock("test"):
            metrics, recalls = test(start, classifier, draws, spec.seed)
        paid = oracle.paid
        queried: list[int] = []
        scores: list[float] | None = None
        notes: list[str] = []
        if number + 1 < start.regime.rounds:  # nothing is asked after the last round
            queried, scores, notes = _query(start, classifier, method, labeled, Streams(spec.seed, number), clock)
        classes = oracle.label(queried).tolist()
        record = Round(
            round=number,
            budget=len(labeled),
            paid=paid,
            hparams=chosen(lab, spec.setting),
            metrics={**metrics, "val_score": classifier.val_score},
            recalls=recalls,
            queried=queried,
            queried_classes=classes,
            scores=scores,
            labeled_classes=np.bincount(start.dataset.labels[labeled], minlength=start.dataset.num_classes).tolist(),
            notes=notes,
            seconds=clock.read(),
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
            environment=lab.environment,
        )
        lab.store.commit(spec, record)
        after_round(record)
        labeled += queried


# ------------------------------------------------------------------------------------------------------- train


def dropout_of(paradigm: Paradigm, method: QueryMethod) -> float:
    """Dropout of the classifier that a query method is run with: as the paradigm's `dropout` says."""
    rule = getattr(paradigm, "dropout", "bayesian")
    if isinstance(rule, str):
        return DROPOUT if rule == "all" or method.draws else 0.0
    return float(rule)


def _draws(paradigm: Paradigm, method: QueryMethod) -> int:
    """Dropout draws that make a test prediction: 0 for a classifier without dropout."""
    return (method.draws or DRAWS) if dropout_of(paradigm, method) else 0


def first_key(setting: Setting, seed: int, dropout: float) -> str:
    """Name of the record of the round-0 classifier that the query methods of a seed share."""
    return f"shared/first/{digest([*setting, seed, dropout], 16)}"


def train_first(lab: Lab, setting: Setting, seed: int, dropout: float) -> None:
    """Train the round-0 classifier once, and keep it for all query methods of the seed."""
    began = time.perf_counter()
    start = lab.start(setting[0], setting[1], seed)
    classifier = _fit(lab, setting, start, start.start_ids.tolist(), Streams(seed, 0), dropout)
    key = first_key(setting, seed, dropout)
    arrays = {name: tensor.cpu().numpy() for name, tensor in classifier.state().items()}
    content = {"dataset": setting[0], "regime": setting[1], "paradigm": setting[2], "seed": seed, "dropout": dropout}
    content |= {"val_score": classifier.val_score, "tensors": lab.store.put_tensors(key, arrays)}
    lab.store.put(key, content, {"seconds": time.perf_counter() - began, "environment": lab.environment})


def train_ceiling(lab: Lab, setting: Setting, seed: int) -> None:
    """Train on every label of the train part: what the best possible budget could reach with the setting's HPs."""
    began = time.perf_counter()
    start = lab.start(setting[0], setting[1], seed)
    everything = start.train_ids.tolist()
    classifier = _fit(lab, setting, start, everything, Streams(seed, start.regime.rounds), 0.0)
    metrics, recalls = test(start, classifier, 0, seed)
    content = {"dataset": setting[0], "regime": setting[1], "paradigm": setting[2], "seed": seed}
    content |= {"budget": len(everything), "hparams": chosen(lab, setting), "metrics": metrics, "recalls": recalls}
    clock = {"seconds": time.perf_counter() - began, "environment": lab.environment}
    lab.store.put(ceiling_key(setting, seed), content, clock)


def ceiling_key(setting: Setting, seed: int) -> str:
    """Name of the record of a full-data classifier."""
    return f"shared/ceiling/{digest([*setting, seed], 16)}"


def _train(
    lab: Lab, spec: RunSpec, start: Start, method: QueryMethod, labeled: Sequence[int], number: int
) -> Classifier:
    paradigm = lab.paradigm(spec.paradigm)
    dropout = dropout_of(paradigm, method)
    if number:
        return _fit(lab, spec.setting, start, labeled, Streams(spec.seed, number), dropout)
    key = first_key(spec.setting, spec.seed, dropout)
    if not (found := lab.store.get(key)) or not (arrays := lab.store.get_tensors(key, found[0]["tensors"])):
        train_first(lab, spec.setting, spec.seed, dropout)
        return _train(lab, spec, start, method, labeled, number)
    state = {name: torch.from_numpy(array) for name, array in arrays.items()}
    classifier = paradigm.restore(start.task(labeled, start.dataset.labels[labeled]), state, dropout=dropout)
    classifier.val_score = found[0]["val_score"]
    return classifier


def _fit(
    lab: Lab, setting: Setting, start: Start, labeled: Sequence[int], streams: Streams, dropout: float
) -> Classifier:
    paradigm = lab.paradigm(setting[2])
    task = start.task(labeled, start.dataset.labels[np.asarray(labeled)])
    state = paradigm.prepare(task, Streams(start.seed)("pretrain"))
    return paradigm.fit(task, chosen(lab, setting), state, streams, dropout=dropout)


def test(start: Start, classifier: Classifier, draws: int, seed: int) -> tuple[dict[str, float], list[float | None]]:
    """Metrics on the fixed test split (see `metrics.measure`)."""
    chunks = [p.log_probs for p in classifier.stream(start.dataset.test_images, draws, Streams(seed)("draws"))]
    return measure(torch.cat(chunks), start.test_labels)


# ------------------------------------------------------------------------------------------------------- query


def _query(
    start: Start, classifier: Classifier, method: QueryMethod, labeled: Sequence[int], streams: Streams, clock: "_Clock"
) -> tuple[list[int], list[float] | None, list[str]]:
    """(dataset ids picked, their scores, notes)."""
    pool_ids = start.pool_ids(labeled)
    size = min(start.regime.query_size, len(pool_ids))
    notes = []
    if size < start.regime.query_size:
        notes.append(
            f"the pool held only {size} samples, fewer than the query size {start.regime.query_size}; took all"
        )
    if size == 0:
        return [], None, notes
    candidates = method.candidates(len(pool_ids), streams("query"))
    if candidates is not None and len(candidates) >= size:
        pool_ids = pool_ids[candidates.cpu().numpy()]
    with clock("query"):
        selection = _select(start, classifier, method, labeled, pool_ids, size, streams, clock)
    scores = None if selection.scores is None else [float(s) for s in selection.scores.cpu()]
    return pool_ids[selection.positions.cpu().numpy()].tolist(), scores, notes


def _select(
    start: Start,
    classifier: Classifier,
    method: QueryMethod,
    labeled: Sequence[int],
    pool_ids: Any,
    size: int,
    streams: Streams,
    clock: "_Clock",
) -> Selection:
    images, device = start.dataset.images, start.device
    none = torch.zeros(0, 0, device=device)
    labeled_features, labeled_labels = none, torch.zeros(0, dtype=torch.int64, device=device)
    if method.labeled:
        with clock("predict"):
            known = Subset(images, torch.as_tensor(np.asarray(labeled), device=device))
            parts = [p.features for p in classifier.stream(known, 0, streams("draws"))]
            labeled_features = torch.cat(parts)
            labeled_labels = torch.as_tensor(start.dataset.labels[np.asarray(labeled)], device=device)
    if not method.predictions:
        nothing = torch.zeros(len(pool_ids), 0, start.dataset.num_classes, device=device)
        view = PoolView(nothing, torch.zeros(len(pool_ids), 0, device=device), labeled_features, labeled_labels)
        return method.select([view], size, streams("query"))
    pool: Images = Subset(images, torch.as_tensor(pool_ids, device=device))
    chunks = clock.each("predict", classifier.stream(pool, method.draws, streams("draws")))
    views = (_view(p, method.features, labeled_features, labeled_labels) for p in chunks)
    return method.select(views, size, streams("query"))


def _view(p: Prediction, features: bool, labeled_features: torch.Tensor, labeled_labels: torch.Tensor) -> PoolView:
    """Only what the method declared that it needs."""
    return PoolView(p.log_probs, p.features if features else p.features[:, :0], labeled_features, labeled_labels)


@dataclass
class _Clock:
    """Wall-clock seconds by step; time inside a nested step counts for that step alone."""

    began: float = field(default_factory=time.perf_counter)
    seconds: dict[str, float] = field(default_factory=dict)
    _open: list[str] = field(default_factory=list)
    _since: float = 0.0

    def __call__(self, step: str) -> "_Step":
        return _Step(self, step)

    def each(self, step: str, items: Iterable[Any]) -> Iterator[Any]:
        """The items, the time it takes to get each counted for `step`."""
        source = iter(items)
        while True:
            with self(step):
                item = next(source, None)
            if item is None:
                return
            yield item

    def switch(self) -> None:
        """Book the time since the last switch to the innermost open step."""
        now = time.perf_counter()
        if self._open:
            self.seconds[self._open[-1]] = self.seconds.get(self._open[-1], 0.0) + now - self._since
        self._since = now

    def read(self) -> dict[str, float]:
        """Seconds of each step, and `total` since the round began."""
        steps = {"train": 0.0, "test": 0.0, "predict": 0.0, "query": 0.0} | self.seconds
        return {**steps, "total": time.perf_counter() - self.began}


@dataclass
class _Step:
    clock: _Clock
    name: str

    def __enter__(self) -> None:
        self.clock.switch()
        self.clock._open.append(self.name)

    def __exit__(self, *_: object) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.clock.switch()
        self.clock._open.pop()
