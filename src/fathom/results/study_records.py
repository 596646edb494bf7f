"""Records of a study besides the scores of its rounds: facts, shared work, notes, failures."""

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from fathom.core.records import LabelRegime, Setting, digest, grouped, unique
from fathom.core.retries import before_runs
from fathom.core.work import SHARED_JOBS, WorkKind
from fathom.results.environments import EnvironmentSummary, environments
from fathom.results.failures import failures_of, retries_of
from fathom.results.snapshot import RunState
from fathom.store.codes import recorded_codes
from fathom.store.store import Store

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class StudyRecords:
    """Records of a study, read on first use and kept.

    Args:
        store: Snapshot of the store.
        frame: The tidy table (`fathom.table`): one row per committed round.
        runs: Progress of each run, in the order of the study.
        damage: Messages about files that were damaged when they were read.
    """

    store: Store
    frame: "pd.DataFrame"
    runs: list[RunState]
    damage: list[str] = field(default_factory=list)

    @property
    def baseline(self) -> str:
        """Query method that gains are measured from, unless a method has a matched control."""
        return self.store.study.baseline

    @cached_property
    def queries(self) -> list[str]:
        """Query methods of the study, in its order."""
        return unique(r.spec.query for r in self.runs)

    @cached_property
    def facts(self) -> dict[str, dict[str, Any]]:
        """Dataset -> its recorded facts; a dataset has none before its first job."""
        return self.store.facts()

    @cached_property
    def runs_of(self) -> dict[Setting, list[RunState]]:
        """Setting -> its runs, in the order of the study."""
        return grouped((run.spec.setting, run) for run in self.runs)

    def seeds(self, setting: Setting, query: str) -> int:
        """Number of seeds that the study plans for a method in a setting."""
        return sum(run.spec.query == query for run in self.runs_of.get(setting, ()))

    def regime(self, setting: Setting) -> LabelRegime | None:
        """Label regime of a setting; None where no run of it has started."""
        return next(iter(self.regimes(setting)), None)

    def regimes(self, setting: Setting) -> list[LabelRegime]:
        """Label regime of each run of a setting; validation sizes may differ by seed (`regimes.fit_regime`)."""
        found = (self.store.regime(run.spec) for run in self.runs_of.get(setting, ()))
        return [regime for regime in found if regime]

    def metric(self, setting: Setting) -> str:
        """Name of the metric that scores of a setting are measured by."""
        return str(self.facts.get(setting.dataset, {}).get("metric", "accuracy"))

    # ------------------------------------------------------------------------------------------- shared records

    @cached_property
    def hparams(self) -> dict[Setting, dict[str, Any]]:
        """Setting -> record of its HP choice."""
        records = [c for c, _ in self.store.records(WorkKind.HP_CHOICE.folder).values()]
        # After a retry of the HP search the records of the earlier attempts stay in the store but no longer count.
        valid = [c for c in records if c.get("retries", []) == before_runs(self.store.retries(_setting(c)))]
        return {_setting(c): c for c in valid}

    def full_data(self, setting: Setting) -> list[dict[str, Any]]:
        """Records of the setting's full-data classifiers; after a retry only of those that were trained again."""
        found = {name: c for name, (c, _) in self.full_data_records.items() if _setting(c) == setting}
        if changes := self.store.retries(setting):
            valid = {name for name, c in found.items() if name == digest([*setting, c["seed"], *changes], 16)}
            return [c for name, c in found.items() if name in valid]
        return list(found.values())

    @cached_property
    def full_data_records(self) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
        """Name -> (content, clock) of all full-data classifiers."""
        return self.store.records(WorkKind.FULL_DATA.folder)

    def full_data_score(self, setting: Setting) -> float | None:
        """Mean test score of the full-data classifiers, a fraction."""
        scores = [record["metrics"][self.metric(setting)] for record in self.full_data(setting)]
        return float(np.mean(scores)) if scores else None

    @cached_property
    def shortened(self) -> dict[str, list[Setting]]:
        """Recipe -> its settings, for all recipes other than the published one."""
        recipes = {setting: str(record.get("recipe", "study")) for setting, record in self.hparams.items()}
        return grouped((recipe, setting) for setting, recipe in recipes.items() if recipe != "study")

    @cached_property
    def prepared(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """(content, clock) of encoders learned without labels, sorted by dataset, pre-training and seed."""
        records = self.store.records(WorkKind.PRETRAIN.folder).values()
        return sorted(records, key=lambda r: (str(r[0]["dataset"]), str(r[0]["preparation"]), int(r[0]["seed"])))

    @cached_property
    def features(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """(content, clock) of the features of fixed backbones, sorted by dataset, backbone and seed."""
        records = self.store.records(WorkKind.FEATURES.folder).values()
        return sorted(records, key=lambda r: (str(r[0]["dataset"]), str(r[0]["backbone"]), int(r[0]["seed"])))

    @cached_property
    def retries(self) -> dict[Setting, list[dict[str, Any]]]:
        """Setting -> records of its retries; settings without retries are left out."""
        return retries_of(self.store, self.store.study.settings)

    # -------------------------------------------------------------------------------------------- notes, failures

    @cached_property
    def notes(self) -> list[tuple[str, int]]:
        """(note of rounds, number of runs that have it), most frequent first."""
        own = (unique(note for r in self.store.rounds(run.spec) for note in r.notes) for run in self.runs)
        return Counter(note for notes in own for note in notes).most_common()

    @cached_property
    def failures(self) -> list[dict[str, Any]]:
        """Failed attempts with their outcome (`failures.failures_of`)."""
        complete = {run.spec: run.complete for run in self.runs}
        return failures_of(self.store, complete, lambda job: self.store.get(job) is not None)

    @cached_property
    def quarantine(self) -> list[str]:
        """Names of damaged files that were set aside."""
        return sorted(p.name for p in (self.store.root / "quarantine").glob("*"))

    @cached_property
    def environments(self) -> list[EnvironmentSummary]:
        """Environments that computed the study."""
        return environments(self.store, SHARED_JOBS)

    @cached_property
    def codes(self) -> dict[str, Counter[str]]:
        """Member -> version of its code -> number of results (`store.codes`)."""
        return recorded_codes(self.store, self.store.study.runs)

    @cached_property
    def seconds(self) -> float:
        """Seconds of all recorded work: rounds and shared work, such as pre-training and HP search."""
        clocks = [clock for kind in SHARED_JOBS for _, clock in self.store.records(kind.folder).values()]
        shared = sum(clock.get("seconds", 0.0) for clock in clocks)
        return float(shared + (self.frame["seconds_total"].sum() if "seconds_total" in self.frame else 0.0))


def _setting(content: dict[str, Any]) -> Setting:
    return Setting(str(content["dataset"]), str(content["regime"]), str(content["paradigm"]))
