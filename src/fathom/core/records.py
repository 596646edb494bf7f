"""The records that everything else passes around: frozen, JSON-plain, free of torch.

`RunSpec` says what decides a result, `LabelRegime` how much is labeled, `Round` what one round of a run gave,
`Study` which runs belong together. A record written by `to_json` is read back equal by `from_json`.
"""

import hashlib
import json
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from functools import cache, cached_property
from typing import Any, ClassVar, Literal, NamedTuple, Self, TypeVar, get_type_hints

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

PROTOCOL = 1  # raised whenever the same RunSpec would give other numbers
FORMAT = 2  # raised whenever a stored file changes its shape
ROLES = DEVELOPMENT, ROLL_OUT = "development", "roll-out"  # data that may be tuned on, and data that may never be


class FathomError(Exception):
    """A mistake of the user. The message says what was expected, what was given, and what to do."""

    exit_code = 2


class NonFiniteError(FathomError):
    """Training or a score gave a value that is not finite: a typed failure that stays visible in the report."""

    exit_code = 3
    epoch: int | None = None  # of a training: when and where it was first seen, as far as that is known
    step: int | None = None  # of the epoch
    tensor: str = ""


class NonFiniteScoreError(NonFiniteError):
    """A query method's own score is not finite: this affects the query method only."""


def canonical(value: Any) -> str:
    """Canonical JSON text of a plain value, the input of digests: sorted keys, no spaces, NaN refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def digest(value: Any, length: int = 64) -> str:
    """SHA-256 of the canonical JSON of `value`, the first `length` hexadecimal digits."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:length]


class _Record:
    """Base of the frozen dataclasses below: `from_json` reads what `to_json` wrote."""

    def to_json(self) -> dict[str, Any]:
        # Not dataclasses.asdict, whose copies of every list take most of the time of reading a large store.
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self)}  # type: ignore[arg-type]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The record that `to_json` wrote.

        Raises:
            FathomError: A field is unknown, as in a file of a newer version, absent, or of another type.
        """
        known = {f.name for f in fields(cls)}  # type: ignore[arg-type]
        if unknown := sorted(set(data) - known):
            raise FathomError(
                f"a stored {cls.__name__} has fields this version does not know: {', '.join(unknown)}. "
                "It was probably written by a newer Fathom: upgrade with pip install -U fathom-al"
            )
        required = {f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING}  # type: ignore[arg-type]
        wrong = sorted(required - set(data)) or [name for name in data if not _fits(cls, name, data[name])]
        if wrong:
            raise FathomError(
                f"a stored {cls.__name__} lacks {wrong[0]}, or has another type there: its file was edited. Restore it "
                "from a copy"
            )
        return cls(**data)


@cache
def _validators(record: Any) -> dict[str, Any]:
    """The validator of each field's type."""
    from pydantic import TypeAdapter  # here, so that a command that reads no record starts without it

    hints = get_type_hints(record)
    return {f.name: TypeAdapter(hints[f.name]) for f in fields(record)}


def _fits(record: Any, name: str, value: Any) -> bool:
    """True if a value has the type of a record's field."""
    try:
        _validators(record)[name].validate_python(value, strict=True)
    except ValueError:
        return False
    return True


def _plain(value: Any) -> Any:
    """A field's value as JSON has it, records and tuples of records as dicts."""
    if isinstance(value, _Record):
        return value.to_json()
    return tuple(map(_plain, value)) if isinstance(value, tuple) else value


class Setting(NamedTuple):
    """Setting in which query methods are compared and share one choice of HPs: three canonical spec strings."""

    dataset: str
    regime: str
    paradigm: str


@dataclass(frozen=True)
class RunSpec(_Record):
    """Everything that decides the result of one run. Every field but the seed is a canonical spec string.

    Args:
        dataset: For example `cifar10-lt(rho=50)`.
        regime: For example `low(query_size=50)`.
        paradigm: For example `standard(dropout=0.5)`.
        query: For example `bald(draws=20)` or `my_al/margin`.
        seed: 0 or more. Runs of one seed share split, starting set and round 0.
        protocol: Version of the protocol (`PROTOCOL`).
    """

    dataset: str
    regime: str
    paradigm: str
    query: str
    seed: int
    protocol: int = PROTOCOL

    @cached_property
    def key(self) -> str:
        """12 hexadecimal digits that stand for this run, the name of its folder."""
        return digest(self.to_json(), 12)

    @property
    def setting(self) -> Setting:
        """(dataset, regime, paradigm): the runs in which query methods are compared, and which share their HPs."""
        return Setting(self.dataset, self.regime, self.paradigm)

    def __str__(self) -> str:
        return " ".join((*self.setting, self.query, f"seed={self.seed}"))


@dataclass(frozen=True)
class LabelRegime(_Record):
    """Label regime: how much is labeled, in samples (paper Sec. 3).

    Args:
        name: Spec string of the regime, for example `low`.
        start: Starting budget: training labels of round 0.
        query_size: Labels bought after each round but the last.
        rounds: Trainings; the last budget is `start + (rounds - 1) * query_size`.
        val_size: Labels of the validation set. Where it follows from the rule (`VAL_FACTOR` x start), it shrinks to
            what a seed's held-out part has, down to one label per class (`data.regimes.fit_regime`).
    """

    VAL_FACTOR: ClassVar = 5  # validation labels per label of the starting budget

    name: str
    start: int
    query_size: int
    rounds: int
    val_size: int

    @property
    def final(self) -> int:
        """Training labels of the last round."""
        return self.start + (self.rounds - 1) * self.query_size

    def fits(self, budgets: Sequence[int]) -> bool:
        """True if these are its first budgets; the last query may have been smaller."""
        return all(budget == self.start + i * self.query_size for i, budget in enumerate(budgets[:-1] or budgets))


@dataclass(frozen=True)
class Round(_Record):
    """Result of one committed round.

    Args:
        round: From 0.
        budget: Training labels this round's classifier was trained on.
        paid: Labels bought so far, the validation set included.
        hparams: The HPs of the setting, chosen before round 0.
        metrics: Test metrics (`core.metrics`); `val_*` on the validation set. A metric is left out where it is
            not defined, or was not known to the version that computed the round.
        recalls: Test recall of each class; None for a class absent from the test set.
        queried: Dataset ids bought after this round, in the order the query method gave; empty in the last round.
        queried_classes: Their classes, from the oracle.
        scores: The query method's score of each queried sample (see the method); None where it gives none.
        labeled_classes: Training labels of each class in this round.
        notes: Remarks for the report, for example a last round with fewer samples than the query size.
        training: What the classifier reports of its training (`diagnostics`), with what the harness measured of it.
        seconds: Wall-clock of `train`, `predict`, `query`, `total`. A clock reading: never part of the digest.
        finished: UTC time of the commit, ISO 8601. A clock reading too.
        environment: Which of the store's environments computed it. Kept with the clock readings.
        engine: How training steps were done on CUDA: `captured`, or `eager: ` and why. Kept with them too.
        looked_at: Labels that diagnostics have read so far, for the report only: no training and no query saw them.
            Kept with them too.
        code: Identity of the code of each member that made it, `query margin` -> hash. Kept with them too.
        predictions: SHA-256 of its kept test predictions; empty where the study keeps none of this round. Kept with
            them too, as it does not decide the round.
    """

    round: int
    budget: int
    paid: int
    hparams: dict[str, Any]
    metrics: dict[str, float]
    recalls: list[float | None]
    queried: list[int]
    queried_classes: list[int]
    scores: list[float] | None
    labeled_classes: list[int]
    notes: list[str] = field(default_factory=list)
    training: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    finished: str = ""
    environment: str = ""
    engine: str = ""
    looked_at: int = 0
    code: dict[str, str] = field(default_factory=dict)
    predictions: str = ""

    CLOCK: ClassVar = ("seconds", "finished", "environment", "engine", "looked_at", "code", "predictions")

    def content(self) -> dict[str, Any]:
        """Everything except clock readings: equal in two runs of one RunSpec."""
        empty = () if self.training else ("training",)  # rounds from before there was such a field keep their digest
        return {k: v for k, v in self.to_json().items() if k not in (*self.CLOCK, *empty)}

    def clock(self) -> dict[str, Any]:
        return {k: v for k, v in self.to_json().items() if k in self.CLOCK}

    def __post_init__(self) -> None:
        bad = [k for k, v in self.metrics.items() if not math.isfinite(v)]
        if bad:
            raise NonFiniteError(f"round {self.round}: not finite: {', '.join(bad)}; the round was not committed")


@dataclass(frozen=True)
class Study(_Record):
    """Runs that belong together, and how they are read.

    Args:
        name: Kebab-case, the folder it is written to by default.
        runs: The runs, in the order they are done: all query methods of a seed before the next seed.
        title: One line for the report.
        description: A paragraph for the report.
        baseline: Query method that gains are measured against.
        full_data: Seeds of each setting for which a classifier is trained on the whole pool; 0 for none.
        retry: What is changed, one after the other, where a training of a setting is not finite (`core.retries`): for
            all runs of that setting, which are done again.
        freeze: What was decided on development data and is followed on roll-out data (`design.freeze`); None for none.
        margin: Loss in AUBC that still counts as none, a fraction (`stats.decisions`).
        claims: Statements such as `badge > random` that were written down before the results.
        names: Dataset -> its name for people.
        keep: Rounds that keep their test predictions: `ends` (first and last), `all` or `none`. It decides no number.
    """

    name: str
    runs: tuple[RunSpec, ...]
    title: str = ""
    description: str = ""
    baseline: str = "random"
    full_data: int = 1
    retry: tuple[str, ...] = ()
    freeze: dict[str, Any] | None = field(default=None, hash=False)
    margin: float = 0.01
    claims: tuple[str, ...] = ()
    names: dict[str, Any] = field(default_factory=dict, hash=False)
    keep: Literal["ends", "all", "none"] = "ends"

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        data = dict(data)
        for name, make in (("runs", RunSpec.from_json), ("retry", str), ("claims", str)):
            if isinstance(data.get(name), list | tuple):  # else refused below, with its name
                data[name] = tuple(map(make, data[name]))
        return super().from_json(data)

    @cached_property
    def settings(self) -> list[Setting]:
        """The distinct (dataset, regime, paradigm), in order."""
        return unique(r.setting for r in self.runs)

    def keeps(self, number: int, rounds: int) -> bool:
        """Tell whether a round of a run with so many rounds keeps its test predictions."""
        return self.keep == "all" or (self.keep == "ends" and number in (0, rounds - 1))


def unique(items: Iterable[Any]) -> list[Any]:
    """The distinct items in order of first appearance."""
    return list(dict.fromkeys(items))


def grouped(pairs: Iterable[tuple[K, V]]) -> dict[K, list[V]]:
    """The values of each key, both in order of first appearance."""
    found: dict[K, list[V]] = {}
    for key, value in pairs:
        found.setdefault(key, []).append(value)
    return found


def run_difference(old: tuple[RunSpec, ...], new: tuple[RunSpec, ...]) -> tuple[list[RunSpec], list[RunSpec]]:
    """(added, removed) runs."""
    before, after = set(old), set(new)
    return [r for r in new if r not in before], [r for r in old if r not in after]
