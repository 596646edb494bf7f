"""Results of a study: its store read once, with all statistics that reports, audits and comparisons show."""

import warnings
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fathom.core.records import LabelRegime, Setting, digest, grouped, unique
from fathom.core.retries import before_runs
from fathom.core.text import joined
from fathom.core.work import SHARED_JOBS, WorkKind
from fathom.results.classifiers import Classifiers, joined_notes
from fathom.results.environments import EnvironmentSummary, environments
from fathom.results.failures import failures_of, retries_of, retry_note
from fathom.results.frames import by_setting
from fathom.results.names import Names
from fathom.results.snapshot import RunState, Snapshot
from fathom.results.trivial import constant_scores
from fathom.results.verdicts import detailed_verdicts, matched_controls, paired_gains, study_verdicts
from fathom.stats import curves
from fathom.stats.decisions import GainVerdict
from fathom.stats.penalty import Penalty, penalty_matrix
from fathom.stats.savings import LabelSaving, label_savings
from fathom.stats.verdicts import MethodVerdict, SettingGain
from fathom.store.codes import recorded_codes
from fathom.store.history import plan_changes
from fathom.store.store import Store
from fathom.store.tables import rounds_table

if TYPE_CHECKING:
    import pandas as pd

STEPS = ("train", "predict", "query", "test")


@dataclass(frozen=True, eq=False)
class StudyResults:
    """Results of a study. Statistics are computed on first use and kept.

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

    @classmethod
    def of(cls, out: str | Path) -> "StudyResults":
        """Read the store in folder `out`.

        Raises:
            FathomError: There is none.
        """
        Store.open(out)
        store = Snapshot(out)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            frame = rounds_table(store)
            planned = {s: regime.rounds if (regime := store.regime(s)) else None for s in store.study.runs}
            runs = [RunState(s, len(store.rounds(s)), rounds) for s, rounds in planned.items()]
            results = cls(store, frame, runs)
            # Everything that comes from disk is read here, while warnings are caught, so that all damage is reported.
            for name in ("facts", "hparams", "full_data_records", "failures", "retries", "prepared", "features",
                         "environments", "codes", "seconds"):  # fmt: skip
                getattr(results, name)
            plan_changes(store)
        results.damage.extend(unique(str(w.message) for w in caught))
        return results

    # ------------------------------------------------------------------------------------------------ statistics

    @cached_property
    def planned(self) -> dict[str, int]:
        """Run key -> planned rounds; a run that has not started has those of its setting."""
        by_setting = {run.spec.setting: run.planned for run in self.runs if run.planned is not None}
        rounds = {run.spec.key: run.planned or by_setting.get(run.spec.setting) for run in self.runs}
        return {key: number for key, number in rounds.items() if number is not None}

    @cached_property
    def areas(self) -> "pd.DataFrame":
        """Area, first and final score of each run (`curves.run_areas`)."""
        return curves.run_areas(self.frame, self.planned)

    @cached_property
    def means(self) -> "pd.DataFrame":
        """Mean area and final score of each setting and method (`curves.method_means`)."""
        return curves.method_means(self.areas)

    @cached_property
    def gains(self) -> "pd.DataFrame":
        """Gain of each method over its reference in each setting (`curves.mean_gains`)."""
        return curves.mean_gains(self.areas, self.baseline, self.references, controls=matched_controls(self))

    @cached_property
    def paired_gains(self) -> list[SettingGain]:
        """Paired gains of each method in each setting."""
        return paired_gains(self)

    @cached_property
    def verdicts(self) -> list[MethodVerdict]:
        """Headline verdict on each method, with its settings (`results.verdicts`)."""
        return study_verdicts(self)

    @cached_property
    def details(self) -> dict[tuple[Setting, str], GainVerdict]:
        """(setting, query method) -> verdict there, corrected over all settings and methods."""
        return {(found.gain.setting, found.gain.query): found.decision for found in detailed_verdicts(self)}

    @cached_property
    def penalty(self) -> Penalty:
        """Pairwise penalty matrix of the study."""
        return penalty_matrix(self.frame, rounds=self.planned)

    @cached_property
    def savings(self) -> dict[tuple[Setting, str], list[LabelSaving]]:
        """(setting, query method) -> labels saved at the last budget, then at the middle one."""
        floors = constant_scores(self.facts)
        found = label_savings(self.frame, self.baseline, self.references, rounds=self.planned, floors=floors)
        return grouped(((saving.setting, saving.query), saving) for saving in found)

    # ------------------------------------------------------------------------------------------------- the study

    @property
    def baseline(self) -> str:
        """Query method that gains are measured from, unless a method has a matched control."""
        return self.store.study.baseline

    @cached_property
    def queries(self) -> list[str]:
        """Query methods of the study, in its order."""
        return unique(r.spec.query for r in self.runs)

    @cached_property
    def names(self) -> Names:
        """Names of datasets as the study file gives them, else short names; short names of regimes and paradigms."""
        return Names.of(self.store.study.settings, self.store.study.names)

    @cached_property
    def facts(self) -> dict[str, dict[str, Any]]:
        """Dataset -> its recorded facts; a dataset has none before its first job."""
        return self.store.facts()

    @cached_property
    def runs_of(self) -> dict[Setting, list[RunState]]:
        """Setting -> its runs, in the order of the study."""
        return grouped((run.spec.setting, run) for run in self.runs)

    def rows(self, setting: Setting) -> "pd.DataFrame":
        """Rows of the tidy table that belong to a setting."""
        return self._rows.get(setting, self.frame.iloc[:0])

    def area_rows(self, setting: Setting) -> "pd.DataFrame":
        """Rows of `areas` that belong to a setting."""
        return self._area_rows.get(setting, self.areas.iloc[:0])

    @cached_property
    def _rows(self) -> dict[Setting, "pd.DataFrame"]:
        return by_setting(self.frame)

    @cached_property
    def _area_rows(self) -> dict[Setting, "pd.DataFrame"]:
        return by_setting(self.areas)

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

    # ----------------------------------------------------------------------------------- classifiers and retries

    @cached_property
    def classifiers(self) -> dict[Setting, Classifiers]:
        """Setting -> classifiers of its query methods."""
        queries = grouped((run.spec.setting, run.spec.query) for run in self.runs)
        return {s: Classifiers.of(s.paradigm, unique(found), self.baseline) for s, found in queries.items()}

    @cached_property
    def references(self) -> dict[tuple[Setting, str], str]:
        """(setting, query method) -> matched control that its gain is measured from; the others use the baseline."""
        found = {(s, query): own.reference(query) for s, own in self.classifiers.items() for query in own.dropouts}
        return {key: reference for key, reference in found.items() if reference != self.baseline}

    @cached_property
    def retries(self) -> dict[Setting, list[dict[str, Any]]]:
        """Setting -> records of its retries; settings without retries are left out."""
        return retries_of(self.store, self.store.study.settings)

    def footnote(self, settings: Collection[Setting]) -> str:
        """Footnote of all numbers of these settings. What a mark means stands once in a report (`Classifiers.note`)."""
        return self.retry_notes(settings)

    def caption_note(self, settings: Collection[Setting]) -> str:
        """Note of a caption whose figure has no marks: methods with another classifier, and retries."""
        classifiers = unique(self.classifiers[s].brief() for s in settings)
        return joined(*classifiers, self.retry_notes(settings))

    def retry_notes(self, settings: Iterable[Setting]) -> str:
        """Notes on the retries of these settings."""
        changes = {s: [str(r["change"]) for r in self.retries.get(s, [])] for s in settings}
        return joined_notes({self.names.title(s): retry_note(own) for s, own in changes.items()})

    # -------------------------------------------------------------------------------------------- queried labels

    def queried_classes(self, setting: Setting) -> dict[str, list[int]]:
        """Query method -> number of queried labels of each class, over all rounds and seeds."""
        classes = len(self.facts.get(setting.dataset, {}).get("class_names", ()))
        found: dict[str, Any] = {}
        for run in self.runs_of.get(setting, ()) if classes else ():
            queried = [c for r in self.store.rounds(run.spec) for c in r.queried_classes]
            counts = np.bincount(np.asarray(queried, dtype=np.int64), minlength=classes)
            found[run.spec.query] = found.get(run.spec.query, 0) + counts
        return {query: counts.tolist() for query, counts in found.items() if counts.sum()}

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
