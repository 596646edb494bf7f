"""Recomputing: a committed result is computed again in a temporary store and compared with the committed one.

A round is decided by its `RunSpec`, the setting's HPs and what the rounds before it queried; all of that is committed.
So any round can be computed alone: its classifier is trained on the committed labeled set, tested, and queries. In the
environment that the round was computed in, everything but clock readings must be equal to the bit. In another one, the
last bits of sums differ: then only what does not depend on them must be equal, and metrics must lie within a tolerance;
`RecheckOutcome.bitwise` tells which rule was applied. Outcomes are kept in the study's store, under `rechecks/`.
"""

import shutil
import time
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fathom.core.records import FathomError, NonFiniteError, RunSpec, Setting, digest, unique
from fathom.core.version import __version__
from fathom.core.work import SHARED_RECORDS, WorkKind
from fathom.machine.environment import Environment
from fathom.protocol import loop, tune
from fathom.protocol.context import WorkerContext
from fathom.protocol.dropout import dropout_of
from fathom.query.method import build_query
from fathom.recheck.compare_records import TOLERANCE, compare_records, plain_values
from fathom.store.atomic_files import DamageWarning
from fathom.store.store import PREDICTIONS, Store

# Shared work that a recheck takes as committed; round 0 and full data are trained again.
GIVEN = (WorkKind.PRETRAIN, WorkKind.FEATURES, WorkKind.HP_SEARCH, WorkKind.HP_CHOICE, WorkKind.RETRIES)
ROUND = "round"  # kind of item; the others are kinds of shared work
DAMAGED = "damaged"  # instead of the SHA-256 of kept test predictions
OUTCOMES = "outcomes"  # folder of the temporary store through which outcomes reach the parent process


@dataclass(frozen=True)
class RecheckItem:
    """A result to compute again: an `engine.jobs.WorkItem`, so that the ordinary workers do it.

    Args:
        kind: `ROUND`, `WorkKind.HP_SEARCH` (one training of the HP search) or `WorkKind.FULL_DATA`.
        name: Name of its record in the store.
        out: Folder of the study's store; the workers themselves work in a temporary one.
        run: Key of the run, of a round.
        number: Number of the round.
    """

    kind: str
    name: str
    out: str
    run: str = ""
    number: int = 0

    needs = ()  # not annotated, so not a field: items are independent of each other

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "RecheckItem":
        """The item that `dataclasses.asdict` made JSON-plain."""
        return cls(**fields)

    def __str__(self) -> str:
        return f"round {self.number} of run {self.run}" if self.kind == ROUND else self.name

    @property
    def outcome_name(self) -> str:
        """Name of the outcome's record in the temporary store."""
        return f"{OUTCOMES}/{self.name.replace('/', '-')}"

    def looks_done(self, store: Store) -> bool:
        return False

    def done(self, store: Store) -> bool:
        """Tell whether the outcome is in the temporary store."""
        return store.get(self.outcome_name) is not None

    def do(self, context: WorkerContext) -> None:
        """Compute the result again, compare it, and keep the outcome in the study's store and in the temporary one."""
        outcome = Recheck(Store.open(self.out), context).do(self)
        context.store.put(self.outcome_name, {k: v for k, v in asdict(outcome).items() if k != "item"})

    def trainings(self, store: Store) -> int:
        """Count the trainings: one per item."""
        return 1

    def facts(self, store: Store) -> dict[str, Any]:
        """Facts for the record of a failure: none."""
        return {}


@dataclass(frozen=True)
class RecheckOutcome:
    """Outcome of one recheck.

    Args:
        item: The result that was computed again.
        what: The run in words.
        same: Whether it equals the committed one.
        bitwise: Whether it had to be equal to the bit, as the environment is the same.
        differences: Fields that differ and must not: field, committed, recomputed.
        notes: Fields that differ as another environment may make them.
        before: Whether an earlier call had computed it.
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


def damage(store: Store) -> list[str]:
    """List the damage in a store: one line per file, or per round that does not follow the one before it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for spec in store.study.runs:
            store.rounds(spec)
        for kind in ("environments", "datasets", *(kind.folder for kind in SHARED_RECORDS)):
            store.records(kind)
    texts = unique(str(w.message) for w in caught if issubclass(w.category, DamageWarning))
    return [text.partition("; it counts as absent")[0] for text in texts]


# ------------------------------------------------------------------------------------------------------ computing


def make_bench(store: Store, root: Path) -> Store:
    """Make a temporary store with the study and the shared work of another one, and none of its rounds.

    Its files are symbolic links: they are only ever read, or replaced by name.
    """
    for kind in ("datasets", *(kind.folder for kind in GIVEN)):  # its only environment is the present one
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


class Recheck:
    """The two stores of a recheck, and the environment that it computes under.

    Args:
        store: The study's store.
        context: Open things of this worker; its store is the temporary one.
    """

    def __init__(self, store: Store, context: WorkerContext) -> None:
        self.store, self.context = store, context
        self.environment = Environment(*_whole(context.store, f"environments/{context.environment}"))

    def do(self, item: RecheckItem) -> RecheckOutcome:
        """Compute it again, compare, and keep the outcome in the store; an outcome that is kept already is reused."""
        committed, what, computed_under, changed = self._committed(item)
        bitwise = computed_under == self.environment.decides and computed_under.get("mode") != "fast"
        decided = {
            "round": {"run": item.run, "number": item.number} if item.kind == ROUND else None,
            "shared": item.name if item.kind != ROUND else None,
            "what": what,
            "committed": digest(committed),
            "first": digest(shared) if (shared := self._round_0(self.store, item)) else None,
            "environment": self.environment.decides,
            "fathom": f"{__version__} {self.environment.machine.get('commit', '')}".strip(),
            "bitwise": bitwise,
            "tolerance": None if bitwise else TOLERANCE,
            "changed_code": changed,
            **({"predictions": predictions} if (predictions := self._kept(item)) else {}),
        }
        stem = f"{item.run}-{item.number:02d}" if item.kind == ROUND else f"{item.kind}-{Path(item.name).name}"
        name = f"rechecks/{stem}-{digest(decided, 8)}"
        if kept := self.store.get(name):
            found = kept[0]
            return RecheckOutcome(item, what, found["same"], bitwise, found["differences"], found["notes"], before=True)
        began = time.perf_counter()
        differences, notes = self._compare(item, committed, bitwise, predictions)
        notes += [] if computed_under else ["the environment that it was computed in is not recorded"]
        differences += ["the kept test predictions are damaged or gone"] if predictions == DAMAGED else []
        (differences if differences else notes).extend(f"the code of {text} has changed since" for text in changed)
        outcome = RecheckOutcome(item, what, not differences, bitwise, differences, notes)
        content = {**decided, "same": outcome.same, "differences": differences, "notes": notes}
        clock = {"seconds": time.perf_counter() - began, "finished": datetime.now(UTC).isoformat(timespec="seconds")}
        try:
            self.store.put(name, content, clock | {"machine": self.environment.machine})
        except FathomError as error:  # a study that may only be read can be rechecked too
            warnings.warn(f"the outcome could not be kept: {error}", RecheckWarning, stacklevel=2)
        return outcome

    def _committed(self, item: RecheckItem) -> tuple[dict[str, Any], str, dict[str, Any], list[str]]:
        """(content, description, the facts of the environment it was computed in, members with other code now)."""
        if item.kind == ROUND:
            spec = self._spec(item)
            record = self.store.rounds(spec)[item.number]
            environment, changed = self._decides(record.environment), self._changed(record.code)
            return plain_values(record.content()), f"{spec}, round {item.number}", environment, changed
        content, clock = _whole(self.store, item.name)
        words = f"{item.kind} on {content['dataset']} {content['regime']} {content['paradigm']}, seed {content['seed']}"
        return content, words, self._decides(clock.get("environment", "")), self._changed(clock.get("code", {}))

    def _kept(self, item: RecheckItem) -> str:
        """SHA-256 of the test predictions that a round kept, or `DAMAGED`; empty where it kept none."""
        sha256 = self.store.rounds(self._spec(item))[item.number].predictions if item.kind == ROUND else ""
        return sha256 if not sha256 or self.store.get_named_by_content(PREDICTIONS, sha256) else DAMAGED

    def _decides(self, environment: str) -> dict[str, Any]:
        found = self.store.get(f"environments/{environment}") if environment else None
        return found[0] if found else {}

    def _changed(self, committed: Mapping[str, str]) -> list[str]:
        """Members with other code than the committed result's, with a hash of the present one."""
        now = self.context.codes
        return [f"{m} (now {now[m].sha256})" for m, code in committed.items() if m in now and now[m].sha256 != code]

    def _spec(self, item: RecheckItem) -> RunSpec:
        return next(spec for spec in self.store.study.runs if spec.key == item.run)

    def _compare(
        self, item: RecheckItem, committed: dict[str, Any], bitwise: bool, kept: str
    ) -> tuple[list[str], list[str]]:
        """Compute an item again: (differences, notes)."""
        try:
            found, more = self._again(item, committed, kept)
        except NonFiniteError as error:
            return [f"could not be computed again: {error}"], []
        differences, notes = compare_records(committed, found, bitwise)
        (differences if bitwise else notes).extend(more)
        return differences, notes

    def _again(self, item: RecheckItem, committed: dict[str, Any], kept: str) -> tuple[dict[str, Any], list[str]]:
        """(the content computed now, the differences of kept test predictions and of the classifier of a round 0)."""
        if item.kind == ROUND:
            spec = self._spec(item)
            if item.number == 0:
                self._train_round_0(spec)
            al_run = loop.ActiveLearningRun.open(self.context, spec, self.store.rounds(spec)[: item.number])
            record, _ = al_run.round()
            # Either is empty where the study did not, or does not now, keep those of this round.
            other = kept not in ("", DAMAGED) and record.predictions not in ("", kept)
            texts = [f"test predictions: {kept[:12]} committed, {record.predictions[:12]} now"] if other else []
            return plain_values(record.content()), texts + self._compare_round_0(item)
        setting = Setting(committed["dataset"], committed["regime"], committed["paradigm"])
        self.context.store.path(item.name).unlink(missing_ok=True)
        if item.kind == WorkKind.HP_SEARCH:
            tune.train_candidate(self.context, setting, committed["hparams"], committed["seed"])
        else:
            loop.train_full_data(self.context, setting, committed["seed"])
        return _whole(self.context.store, item.name)[0], []

    def _train_round_0(self, spec: RunSpec) -> None:
        """Train the shared classifier of a round 0, unless another worker did.

        Under its lock: in a mode that gives other bits each time, two workers would commit two different classifiers.
        """
        name, store = self._round_0_key(spec), self.context.store
        with store.lock(name, wait=True):
            if not store.get(name):
                dropout = dropout_of(self.context.paradigm(spec.paradigm), build_query(spec.query))
                loop.train_round_0(self.context, spec.setting, spec.seed, dropout)

    def _compare_round_0(self, item: RecheckItem) -> list[str]:
        """Differences of the classifier that the methods of a seed share in round 0."""
        now, committed = self._round_0(self.context.store, item), self._round_0(self.store, item)
        if committed is None or now is None:
            return []
        return [f"round-0 classifier, {text}" for text in compare_records(committed, now, True)[0]]

    def _round_0(self, store: Store, item: RecheckItem) -> dict[str, Any] | None:
        """The record of the shared classifier of a round 0; None for any other item."""
        if item.kind != ROUND or item.number:
            return None
        found = store.get(self._round_0_key(self._spec(item)))
        return found[0] if found else None

    def _round_0_key(self, spec: RunSpec) -> str:
        dropout = dropout_of(self.context.paradigm(spec.paradigm), build_query(spec.query))
        return loop.round_0_key(self.context, spec.setting, spec.seed, dropout)


class RecheckWarning(UserWarning):
    """The outcome of a recheck could not be kept."""


def _whole(store: Store, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    if not (found := store.get(name)):
        raise FathomError(f"{store.path(name)} is gone or damaged; run the same study again, then recheck")
    return found
