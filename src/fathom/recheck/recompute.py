"""Recomputing: some committed rounds are done again beside the store, and compared with what is committed.

A round is decided by its `RunSpec`, the setting's HPs and what the rounds before it queried; all of that is committed.
So any round can be done again alone: its classifier is trained on the committed labeled set, tests, and queries. On the
environment that the round was computed in, everything but clock readings must be the same to the bit. On another one
only what does not depend on the last bits must be, and metrics must lie within a tolerance; `RecheckOutcome.bitwise`
says which it was. Outcomes are kept in the store, under `rechecks/`, for those who audit it.
"""

import shutil
import time
import warnings
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import fathom
from fathom.core.records import FathomError, NonFiniteError, RunSpec, Setting, digest, unique
from fathom.core.streams import Stream
from fathom.core.work import SHARED_RECORDS, WorkKind
from fathom.data.dataset import DataRoot
from fathom.machine.environment import Environment, check
from fathom.protocol import loop, tune
from fathom.protocol.context import WorkerContext
from fathom.protocol.dropout import dropout_of
from fathom.query.method import build_query as build_method
from fathom.recheck.compare_records import TOLERANCE, compare_records, plain_values
from fathom.store.atomic_files import DamageWarning
from fathom.store.store import Store

# Shared work that a recheck takes as committed; round 0 and full data are trained again.
GIVEN = (WorkKind.PRETRAIN, WorkKind.FEATURES, WorkKind.HP_SEARCH, WorkKind.HP_CHOICE, WorkKind.RETRIES)


@dataclass(frozen=True)
class RecheckItem:
    """What is to be done again.

    Args:
        kind: `round`, or `WorkKind.HP_SEARCH` (one training of the HP search) or `WorkKind.FULL_DATA`.
        name: Of its record in the store.
        run: Key of the run, of a round.
        number: Of the round.
    """

    kind: str
    name: str
    run: str = ""
    number: int = 0

    def __str__(self) -> str:
        return f"round {self.number} of run {self.run}" if self.kind == "round" else self.name


@dataclass(frozen=True)
class RecheckOutcome:
    """What came of one recheck.

    Args:
        item: What was done again.
        what: The run in words.
        same: Whether it came out as it is committed.
        bitwise: Whether everything had to be the same, as the environment is.
        differences: What is not as it should be: field, committed, recomputed.
        notes: What differs as another environment may make it.
        before: Whether an earlier call had done it.
    """

    item: RecheckItem
    what: str
    same: bool
    bitwise: bool
    differences: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    before: bool = False

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "item": str(self.item)}


# ------------------------------------------------------------------------------------------------------- sampling


def draw(store: Store, sample: int, seed: int, shared: int = 0) -> list[RecheckItem]:
    """Some committed rounds, and some records of shared work, drawn without replacement; all where there are fewer.

    Raises:
        FathomError: Nothing is committed.
    """
    rounds = [
        RecheckItem("round", f"{store.run_name(spec)}/round-{number:02d}", spec.key, number)
        for spec in store.study.runs
        for number in range(len(store.rounds(spec)))
    ]
    if not rounds:
        raise FathomError(f"{store.root} holds no round that can be read; there is nothing to recheck")
    records = [
        RecheckItem(kind, kind.record(name))
        for kind in (WorkKind.HP_SEARCH, WorkKind.FULL_DATA)
        for name in _names(store, kind)
    ]
    return [*_some(rounds, sample, seed, "rounds"), *_some(records, shared, seed, "shared")]


def _some(items: list[RecheckItem], count: int, seed: int, purpose: str) -> list[RecheckItem]:
    random = Stream(seed, ("recheck", purpose)).numpy()
    places = random.permutation(len(items))[:count]
    return [items[place] for place in sorted(places.tolist())]


def _names(store: Store, kind: str) -> list[str]:
    """Records of shared work that count: on full data, those of the setting's present form."""
    found = store.records(kind.folder)
    if kind == WorkKind.HP_SEARCH:
        return list(found)
    changes = {s: store.retries(s) for s in store.study.settings}
    named = {name: (Setting(c["dataset"], c["regime"], c["paradigm"]), c["seed"]) for name, (c, _) in found.items()}
    return [name for name, (s, seed) in named.items() if name == digest([*s, seed, *changes.get(s, [])], 16)]


def damage(store: Store) -> list[str]:
    """What is damaged in a store: one line a file, or a round that does not follow the one before it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for spec in store.study.runs:
            store.rounds(spec)
        for kind in ("environments", "datasets", *(kind.folder for kind in SHARED_RECORDS)):
            store.records(kind)
    told = unique(str(w.message) for w in caught if issubclass(w.category, DamageWarning))
    return [text.partition("; it counts as absent")[0] for text in told]


# ------------------------------------------------------------------------------------------------------ computing


def bench(store: Store, root: Path) -> Store:
    """A throw-away store that has the study and the shared work of another one, and none of its rounds.

    Its files are links: they are only ever read, or replaced by name.
    """
    for kind in ("environments", "datasets", *(kind.folder for kind in GIVEN)):
        (root / kind).mkdir(parents=True)
        for path in sorted((store.root / kind).glob("*")):
            _link(path, root / kind / path.name)
    _link(store.path("study"), root / "study.json")
    return Store.open(root)


def _link(source: Path, target: Path) -> None:
    try:
        target.symlink_to(source.resolve())
    except OSError:  # a system without links
        shutil.copyfile(source, target)


@dataclass
class Recheck:
    """One process's open things: the store, the throw-away one, and what it computes under."""

    store: Store
    context: WorkerContext
    environment: Environment

    @classmethod
    def open(
        cls, store: Store, aside: Path, data: DataRoot, device: torch.device, environment: Environment
    ) -> "Recheck":
        """Everything in place to compute; what is computed goes to the folder `aside`."""
        made = bench(store, aside)
        check(made, environment, accept=True)
        return cls(store, WorkerContext(made, data, device, environment.name), environment)

    def do(self, item: RecheckItem) -> RecheckOutcome:
        """Do it again, compare, and keep the outcome in the store; one that is kept already is taken from there."""
        committed, what, computed_under = self._committed(item)
        bitwise = computed_under == self.environment.decides and computed_under.get("mode") != "fast"
        decided = {
            "round": {"run": item.run, "number": item.number} if item.kind == "round" else None,
            "shared": item.name if item.kind != "round" else None,
            "what": what,
            "committed": digest(committed),
            "first": digest(first) if (first := self._shared_first(self.store, item)) else None,
            "environment": self.environment.decides,
            "fathom": f"{fathom.__version__} {self.environment.machine.get('commit', '')}".strip(),
            "bitwise": bitwise,
            "tolerance": None if bitwise else TOLERANCE,
        }
        stem = f"{item.run}-{item.number:02d}" if item.kind == "round" else f"{item.kind}-{Path(item.name).name}"
        name = f"rechecks/{stem}-{digest(decided, 8)}"
        if kept := self.store.get(name):
            found = kept[0]
            return RecheckOutcome(item, what, found["same"], bitwise, found["differences"], found["notes"], before=True)
        began = time.perf_counter()
        differences, notes = self._compare(item, committed, bitwise)
        outcome = RecheckOutcome(item, what, not differences, bitwise, differences, notes)
        content = {**decided, "same": outcome.same, "differences": differences, "notes": notes}
        clock = {"seconds": time.perf_counter() - began, "finished": datetime.now(UTC).isoformat(timespec="seconds")}
        try:
            self.store.put(name, content, clock | {"machine": self.environment.machine})
        except FathomError as error:
            warnings.warn(f"the outcome could not be kept: {error}", RecheckWarning, stacklevel=2)
        return outcome

    def _committed(self, item: RecheckItem) -> tuple[dict[str, Any], str, dict[str, Any]]:
        """(content, what it is, what decided its numbers)."""
        if item.kind == "round":
            spec = self._spec(item)
            record = self.store.rounds(spec)[item.number]
            return plain_values(record.content()), f"{spec}, round {item.number}", self._decides(record.environment)
        content, clock = _whole(self.store, item.name)
        words = f"{item.kind} on {content['dataset']} {content['regime']} {content['paradigm']}, seed {content['seed']}"
        return content, words, self._decides(clock.get("environment", ""))

    def _decides(self, environment: str) -> dict[str, Any]:
        found = self.store.get(f"environments/{environment}") if environment else None
        return found[0] if found else {}

    def _spec(self, item: RecheckItem) -> RunSpec:
        return next(spec for spec in self.store.study.runs if spec.key == item.run)

    def _compare(self, item: RecheckItem, committed: dict[str, Any], bitwise: bool) -> tuple[list[str], list[str]]:
        """(differences, notes) of doing an item again."""
        try:
            found, more = self._again(item, committed)
        except NonFiniteError as error:
            return [f"could not be done again: {error}"], []
        differences, notes = compare_records(committed, found, bitwise)
        (differences if bitwise else notes).extend(more)
        return differences, notes

    def _again(self, item: RecheckItem, committed: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """The content that comes out now, and how the classifier of a round 0 differs from the committed one."""
        if item.kind == "round":
            spec = self._spec(item)
            al_run = loop.ActiveLearningRun.open(self.context, spec, self.store.rounds(spec)[: item.number])
            record, _ = al_run.round()
            return plain_values(record.content()), self._first(item)
        setting = Setting(committed["dataset"], committed["regime"], committed["paradigm"])
        self.context.store.path(item.name).unlink(missing_ok=True)
        if item.kind == WorkKind.HP_SEARCH:
            tune.train_candidate(self.context, setting, committed["hparams"], committed["seed"])
        else:
            loop.train_full_data(self.context, setting, committed["seed"])
        return _whole(self.context.store, item.name)[0], []

    def _first(self, item: RecheckItem) -> list[str]:
        """How the classifier that the methods of a seed share in round 0 differs from the committed one."""
        ours, committed = self._shared_first(self.context.store, item), self._shared_first(self.store, item)
        if committed is None or ours is None:
            return []
        return [f"round-0 classifier, {text}" for text in compare_records(committed, ours, True)[0]]

    def _shared_first(self, store: Store, item: RecheckItem) -> dict[str, Any] | None:
        """The record of the classifier of a round 0, which its methods share; None for anything else."""
        if item.kind != "round" or item.number:
            return None
        spec = self._spec(item)
        dropout = dropout_of(self.context.paradigm(spec.paradigm), build_method(spec.query))
        found = store.get(loop.round_0_key(self.context, spec.setting, spec.seed, dropout))
        return found[0] if found else None


class RecheckWarning(UserWarning):
    """The outcome of a recheck could not be kept."""


def _whole(store: Store, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    if not (found := store.get(name)):
        raise FathomError(f"{store.path(name)} is gone or damaged; run the same study again, then recheck")
    return found
