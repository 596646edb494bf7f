"""Verdicts on the query methods of a study, from its results (`stats.verdicts`)."""

from typing import TYPE_CHECKING

from fathom.core.records import unique
from fathom.design.freeze import role_of
from fathom.registry.dataset_identity import dataset_identity
from fathom.results.statements.plan_changes import study_looks
from fathom.stats.decisions import look_alpha
from fathom.stats.verdicts import (
    MethodVerdict,
    SettingGain,
    SettingVerdict,
    method_verdicts,
    setting_gains,
    setting_verdicts,
)

if TYPE_CHECKING:
    from fathom.results.results import StudyResults


def paired_gains(results: "StudyResults") -> list[SettingGain]:
    """Paired gains of every query method and setting; matched controls, which are no query methods, are left out."""
    return setting_gains(results.areas, results.baseline, results.references, matched_controls(results))


def matched_controls(results: "StudyResults") -> list[str]:
    """Query methods of the study that are matched controls of others."""
    return unique(q for own in results.classifiers.values() for q in own.dropouts if own.is_control(q))


def study_verdicts(results: "StudyResults") -> list[MethodVerdict]:
    """Headline verdicts of a study: one per role, paradigm and query method."""
    return method_verdicts(
        results.paired_gains,
        identity=dataset_identity,
        role=lambda dataset: role_of(dataset, results.facts),
        margin=results.store.study.margin,
        alpha=look_alpha(study_looks(results)),
    )


def detailed_verdicts(results: "StudyResults") -> list[SettingVerdict]:
    """Verdicts of all settings and methods, corrected over the whole study."""
    return setting_verdicts(
        results.paired_gains, margin=results.store.study.margin, alpha=look_alpha(study_looks(results))
    )
