"""The public functions: `fathom.run`, `fathom.plan`, `fathom.table`, ... The command line calls the same functions.

Importing this room imports neither torch nor pandas; each function imports the rooms that it needs. Nothing is
printed; progress goes to standard error.
"""

from fathom.api.answers import Audit, Freeze, StudyClaim, StudyComparison, StudyStatus
from fathom.api.compute import PlanOptions, plan, recheck, run
from fathom.api.read import (
    audit,
    audit_literature,
    compare,
    count_rounds,
    freeze,
    predictions,
    register,
    report,
    status,
    table,
)
from fathom.api.statistics import claim, gains, verdicts

__all__ = [
    "Audit", "Freeze", "PlanOptions", "StudyClaim", "StudyComparison", "StudyStatus", "audit", "audit_literature",
    "claim", "compare", "count_rounds", "freeze", "gains", "plan", "predictions", "recheck", "register", "report",
    "run", "status", "table", "verdicts",
]  # fmt: skip
