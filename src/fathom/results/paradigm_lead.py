"""The choice of the paradigm against the choice of the query method, over all datasets of a study."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fathom.core.records import grouped
from fathom.design.freeze import role_of
from fathom.registry.dataset_identity import dataset_identity
from fathom.results.paradigms import ParadigmVerdict
from fathom.results.results import StudyResults
from fathom.results.statements.plan_changes import study_looks
from fathom.stats.decisions import MIN_UNITS, GainEstimate, GainVerdict, decide, look_alpha


@dataclass(frozen=True)
class ParadigmLead:
    """Gain of choosing the paradigm minus gain of choosing the query method, over the datasets of one role."""

    role: str
    decision: GainVerdict


def across(results: StudyResults, found: Sequence[ParadigmVerdict]) -> list[ParadigmLead]:
    """Decision over datasets for each role that has three or more; datasets are the units, and roles one family.

    What is chosen on some seeds and measured on another is unbiased, and datasets are independent of each other.
    """
    known = [v for v in found if np.isfinite(v.paradigm)]
    by_role = grouped((role_of(v.dataset, results.facts), v) for v in known)
    leads = {
        role: grouped((dataset_identity(v.dataset), v.paradigm - v.query) for v in own).values()
        for role, own in by_role.items()
    }
    enough = {role: [float(np.mean(own)) for own in by] for role, by in leads.items() if len(by) >= MIN_UNITS}
    decisions = decide([GainEstimate.of(v) for v in enough.values()], alpha=look_alpha(study_looks(results)))
    names = [role if len(by_role) > 1 else "" for role in enough]
    return [ParadigmLead(role, decision) for role, decision in zip(names, decisions, strict=True)]
