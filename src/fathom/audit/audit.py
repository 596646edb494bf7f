"""Audit of a study: every rule of `rules.toml`, applied to its results."""

from pathlib import Path

from fathom.audit import agreement, integrity, pitfalls
from fathom.audit.rules import PREDICATES, Finding, rules
from fathom.results.results import StudyResults

# Importing the last three registers their predicates.
__all__ = ["agreement", "audit", "audit_results", "integrity", "pitfalls"]


def audit(out: str | Path) -> list[Finding]:
    """Apply all rules to the study in folder `out`.

    Raises:
        FathomError: The folder holds no study.
    """
    return audit_results(StudyResults.of(out))


def audit_results(results: StudyResults) -> list[Finding]:
    """Apply all rules to results that are already read."""
    return [Finding(rule, *PREDICATES[rule.id](results)) for rule in rules().values()]
