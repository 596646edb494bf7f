"""The audit of a study: every rule of `rules.toml` put to what its store holds."""

from collections.abc import Sequence
from pathlib import Path

from fathom.audit import integrity, pitfalls
from fathom.audit.rules import PREDICATES, Finding, rules
from fathom.results.results import StudyResults

__all__ = ["audit", "audit_results", "failed", "integrity", "pitfalls"]  # the last two register their predicates


def audit(out: str | Path) -> list[Finding]:
    """What the rules find in the store in folder `out`.

    Raises:
        FathomError: There is none.
    """
    return audit_results(StudyResults.of(out))


def audit_results(results: StudyResults) -> list[Finding]:
    """The same of a store that was read already."""
    return [Finding(rule, *PREDICATES[rule.id](results)) for rule in rules().values()]


def failed(findings: Sequence[Finding]) -> bool:
    """Whether a rule says `fail`."""
    return any(finding.verdict == "fail" for finding in findings)
