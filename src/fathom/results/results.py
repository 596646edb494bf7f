"""Results of a study: its store read once, with all statistics that reports, audits and comparisons show."""

import warnings
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fathom.core.records import Setting, grouped, unique
from fathom.core.text import joined
from fathom.results.classifiers import Classifiers, joined_notes
from fathom.results.failures import retry_note
from fathom.results.frames import by_setting
from fathom.results.names import Names
from fathom.results.snapshot import RunState, Snapshot
from fathom.results.study_records import StudyRecords
from fathom.results.trivial import constant_scores
from fathom.results.verdicts import detailed_verdicts, matched_controls, paired_gains, study_verdicts
from fathom.stats import curves
from fathom.stats.decisions import GainVerdict
from fathom.stats.penalty import Penalty, penalty_matrix
from fathom.stats.savings import LabelSaving, label_savings
from fathom.stats.verdicts import MethodVerdict, SettingGain
from fathom.store.history import plan_changes
from fathom.store.store import Store
from fathom.store.tables import rounds_table

if TYPE_CHECKING:
    import pandas as pd

STEPS = ("train", "predict", "query", "test")


@dataclass(frozen=True, eq=False)
class StudyResults(StudyRecords):
    """Results of a study. Statistics are computed on first use and kept."""

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

    @cached_property
    def names(self) -> Names:
        """Names of datasets as the study file gives them, else short names; short names of regimes and paradigms."""
        return Names.of(self.store.study.settings, self.store.study.names)

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
