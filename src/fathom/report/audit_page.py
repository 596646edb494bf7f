"""The audit's section of a report."""

from itertools import groupby
from typing import Any

from fathom.audit.audit import audit_results
from fathom.audit.rules import VERDICTS, Finding
from fathom.report.builder import PageBuilder


def audit_section(page: PageBuilder) -> dict[str, Any]:
    """What the template fills in: how the rules came out in words, and the findings."""
    findings = audit_results(page.reading)
    return {"summary": audit_summary(findings), "findings": findings}


def audit_summary(findings: list[Finding]) -> str:
    """`P1 to P5: 2 pass, 1 partly, 2 fail. Statistics: ...`."""
    told = []
    for group, own in groupby(findings, key=lambda f: f.rule.group):
        verdicts = [f.verdict for f in own]
        counts = [f"{verdicts.count(v)} {v}" for v in VERDICTS if v in verdicts]
        told.append(f"{group}: {', '.join(counts)}.")
    return " ".join(told)
