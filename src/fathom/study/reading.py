"""What a store holds, read once and computed: everything that a report then only has to say."""

import warnings
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fathom.callstring import parse
from fathom.records import FathomError, LabelRegime, Round, RunSpec, unique
from fathom.registry import find
from fathom.store import Store
from fathom.study import curves
from fathom.study.environments import Environment, environments
from fathom.study.names import Names
from fathom.study.penalty import Penalty, penalty_matrix
from fathom.study.savings import Saving, label_savings
from fathom.study.style import Look, looks

if TYPE_CHECKING:
    import pandas as pd

Setting = tuple[str, str, str]
SHARED = ("search", "hparams", "first", "ceiling")  # folders of work that runs share
STEPS = ("train", "predict", "query", "test")


class _Snapshot(Store):
    """A store of which everything is read once: a report looks several times, and damage is told once."""

    def __init__(self, root: str | Path) -> None:
        super().__init__(root)
        self._rounds: dict[RunSpec, list[Round]] = {}
        self._records: dict[str, tuple[dict[str, Any], dict[str, Any]] | None] = {}

    def rounds(self, spec: RunSpec) -> list[Round]:
        if spec not in self._rounds:
            self._rounds[spec] = super().rounds(spec)
        return self._rounds[spec]

    def get(self, name: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
        if name not in self._records:
            self._records[name] = super().get(name)
        return self._records[name]


@dataclass(frozen=True)
class RunState:
    """How far a run got."""

    spec: RunSpec
    done: int
    planned: int | None

    @property
    def complete(self) -> bool:
        return self.planned is not None and self.done == self.planned


@dataclass(frozen=True, eq=False)
class Reading:
    """A study's results, read and computed.

    Args:
        store: Where they lie.
        frame: The tidy table.
        runs: How far each run got, in the order of the study.
        damage: Files that were damaged when read just now.
    """

    store: Store
    frame: "pd.DataFrame"
    runs: list[RunState]
    damage: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, out: str | Path) -> "Reading":
        """Read the store in folder `out`.

        Raises:
            FathomError: There is none.
        """
        Store.open(out)
        store = _Snapshot(out)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            frame = store.table()
            runs = [RunState(s, len(store.rounds(s)), _planned(store.regime(s))) for s in store.study.runs]
            reading = cls(store, frame, runs)
            # Whatever is read from disk is read here, so that all damage is seen and told.
            _ = (
                reading.facts,
                reading.hparams,
                reading.ceilings,
                reading.failures,
                reading.environments,
                reading.seconds,
            )
        reading.damage.extend(unique(str(w.message) for w in caught))
        return reading

    # ---------------------------------------------------------------------------------------------- the numbers

    @cached_property
    def planned(self) -> dict[str, int]:
        """Run key -> rounds it was planned to have; a run that never began takes those of its setting."""
        of_setting = {r.spec.setting: r.planned for r in self.runs if r.planned is not None}
        return {r.spec.key: n for r in self.runs if (n := r.planned or of_setting.get(r.spec.setting)) is not None}

    @cached_property
    def areas(self) -> "pd.DataFrame":
        return curves.run_areas(self.frame, self.planned)

    @cached_property
    def means(self) -> "pd.DataFrame":
        return curves.method_means(self.areas)

    @cached_property
    def gains(self) -> "pd.DataFrame":
        return curves.gains(self.areas, self.baseline)

    @cached_property
    def penalty(self) -> Penalty:
        return penalty_matrix(self.frame, rounds=self.planned)

    @cached_property
    def savings(self) -> dict[tuple[Setting, str], list[Saving]]:
        found: dict[tuple[Setting, str], list[Saving]] = {}
        for saving in label_savings(self.frame, self.baseline, rounds=self.planned):
            found.setdefault((saving.setting, saving.query), []).append(saving)
        return found

    # ------------------------------------------------------------------------------------------------- the study

    @property
    def baseline(self) -> str:
        return self.store.study.baseline

    @cached_property
    def queries(self) -> list[str]:
        return unique(r.spec.query for r in self.runs)

    @cached_property
    def looks(self) -> dict[str, Look]:
        return looks(unique([*self.queries, self.baseline]))

    @cached_property
    def names(self) -> Names:
        """Short names of datasets, regimes and paradigms."""
        return Names.of(self.store.study.settings)

    @cached_property
    def facts(self) -> dict[str, dict[str, Any]]:
        return self.store.facts()

    def seeds(self, setting: Setting, query: str) -> int:
        """Seeds that the study plans for a method in a setting."""
        return sum(r.spec.setting == setting and r.spec.query == query for r in self.runs)

    def regime(self, setting: Setting) -> LabelRegime | None:
        """The label regime of a setting; None where no run of it began."""
        found = (self.store.regime(r.spec) for r in self.runs if r.spec.setting == setting)
        return next((regime for regime in found if regime), None)

    def metric(self, setting: Setting) -> str:
        return str(self.facts.get(setting[0], {}).get("metric", "accuracy"))

    # ------------------------------------------------------------------------------------------- shared records

    @cached_property
    def hparams(self) -> dict[Setting, dict[str, Any]]:
        """Setting -> the record of its HP choice."""
        return {_setting(c): c for c, _ in self.store.records("shared/hparams").values()}

    def ceiling(self, setting: Setting) -> list[dict[str, Any]]:
        """The records of the setting's full-data classifiers."""
        return [c for c, _ in self.ceilings.values() if _setting(c) == setting]

    @cached_property
    def ceilings(self) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
        """The records of all full-data classifiers."""
        return self.store.records("shared/ceiling")

    def ceiling_score(self, setting: Setting) -> float | None:
        """Mean test score of the full-data classifiers, a fraction."""
        scores = [record["metrics"][self.metric(setting)] for record in self.ceiling(setting)]
        return float(np.mean(scores)) if scores else None

    @cached_property
    def shortened(self) -> dict[str, list[Setting]]:
        """Recipe -> settings, of all recipes that are not the published one."""
        found: dict[str, list[Setting]] = {}
        for setting, record in self.hparams.items():
            if record.get("recipe", "study") != "study":
                found.setdefault(str(record["recipe"]), []).append(setting)
        return found

    def dropout(self, setting: Setting) -> tuple[list[str], list[str]]:
        """(query methods whose classifier has dropout, those whose has none), by the rule of the paradigm."""
        queries = unique(r.spec.query for r in self.runs if r.spec.setting == setting)
        rule = _argument("paradigm", setting[2], "dropout")
        if not isinstance(rule, str):
            return (queries, []) if rule else ([], queries)
        bayesian = [q for q in queries if rule == "all" or _argument("query", q, "draws")]
        return bayesian, [q for q in queries if q not in bayesian]

    # -------------------------------------------------------------------------------------------- what was bought

    def bought(self, setting: Setting) -> dict[str, list[int]]:
        """Query method -> labels bought of each class, over all rounds and seeds."""
        classes = len(self.facts.get(setting[0], {}).get("class_names", ()))
        found: dict[str, Any] = {}
        for run in self.runs:
            if run.spec.setting == setting and classes:
                queried = [c for r in self.store.rounds(run.spec) for c in r.queried_classes]
                counts = np.bincount(np.asarray(queried, dtype=np.int64), minlength=classes)
                found[run.spec.query] = found.get(run.spec.query, 0) + counts
        return {query: counts.tolist() for query, counts in found.items() if counts.sum()}

    # -------------------------------------------------------------------------------------------- what went wrong

    @cached_property
    def notes(self) -> list[tuple[str, int]]:
        """(a note that rounds carry, how many runs carry it)."""
        count: Counter[str] = Counter()
        for run in self.runs:
            count.update(unique(note for r in self.store.rounds(run.spec) for note in r.notes))
        return count.most_common()

    @cached_property
    def failures(self) -> list[dict[str, Any]]:
        """The failed attempts; `mended` says whether the job was done all the same: its result is committed."""
        complete = {f"runs/{r.spec.key}": r.complete for r in self.runs}
        found = self.store.failures()
        jobs = unique(str(failure.get("job", "")) for failure in found)
        mended = {job: complete[job] if job in complete else self._shared_result(job) for job in jobs}
        return [{**failure, "mended": mended[str(failure.get("job", ""))]} for failure in found]

    def _shared_result(self, job: str) -> bool:
        return job.startswith("shared/") and self.store.get(job) is not None

    @cached_property
    def quarantine(self) -> list[str]:
        return sorted(p.name for p in (self.store.root / "quarantine").glob("*"))

    @cached_property
    def environments(self) -> list[Environment]:
        """What computed the study."""
        return environments(self.store, SHARED)

    @cached_property
    def seconds(self) -> float:
        """Seconds of all work that is recorded: rounds, HP search, round 0, full-data classifiers."""
        clocks = [clock for kind in SHARED for _, clock in self.store.records(f"shared/{kind}").values()]
        shared = sum(clock.get("seconds", 0.0) for clock in clocks)
        return float(shared + (self.frame["seconds_total"].sum() if "seconds_total" in self.frame else 0.0))


def _planned(regime: LabelRegime | None) -> int | None:
    return regime.rounds if regime else None


def _setting(content: dict[str, Any]) -> Setting:
    return (str(content["dataset"]), str(content["regime"]), str(content["paradigm"]))


def _argument(kind: str, text: str, name: str) -> Any:
    """What a call-string sets for a parameter, else its default; None where the member is not installed here."""
    if name in (arguments := dict(parse(text).arguments)):
        return arguments[name]
    try:
        entry, _ = find(kind, text)
    except FathomError:
        return None
    return entry.parameters.get(name, "bayesian" if name == "dropout" else None)


def class_shares(facts: dict[str, Any]) -> list[float]:
    """Share of each class in a dataset's pool, in [0, 1].

    A long tail is cut from the train part of each seed: class c of C keeps rho^(-c / (C - 1)) of what it has.
    """
    counts = np.asarray(facts["class_counts"], dtype=np.float64)
    if rho := facts.get("long_tail"):
        counts = counts * float(rho) ** (-np.arange(len(counts)) / max(1, len(counts) - 1))
    return [float(share) for share in counts / max(1.0, counts.sum())]


def of_setting(frame: Any, setting: Setting) -> Any:
    """The rows of a frame that belong to a setting."""
    if frame.empty:
        return frame
    return frame[(frame["dataset"] == setting[0]) & (frame["regime"] == setting[1]) & (frame["paradigm"] == setting[2])]
