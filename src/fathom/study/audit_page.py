"""The audit's section of a report."""

from itertools import groupby
from typing import Any

from fathom.study.audit import audit_reading
from fathom.study.pieces import Pieces
from fathom.study.tables import Cell, Table
from fathom.study.verdicts import VERDICTS, Finding

EMPHASIS = {"pass": "up", "fail": "down"}


def audit_section(page: Pieces) -> dict[str, Any]:
    """What the template fills in: how the rules came out in words, and the table."""
    findings = audit_reading(page.reading)
    return {"summary": summary(findings), "table": page.kept(audit_table(findings))}


def summary(findings: list[Finding]) -> str:
    """`P1 to P5: 2 pass, 1 partly, 2 fail. Statistics: ...`."""
    told = []
    for group, own in groupby(findings, key=lambda f: f.rule.group):
        verdicts = [f.verdict for f in own]
        counts = [f"{verdicts.count(v)} {v}" for v in VERDICTS if v in verdicts]
        told.append(f"{group}: {', '.join(counts)}.")
    return " ".join(told)


def audit_table(findings: list[Finding]) -> Table:
    """A row a rule."""
    rows = [
        [
            Cell(f"{f.rule.id} {f.rule.title}" if f.rule.group == "Pitfalls" else f.rule.title, title=f.rule.question),
            Cell(f.verdict, emphasis=EMPHASIS.get(f.verdict, "")),
            Cell(f.evidence),
            Cell(_asked(f)),
        ]
        for f in findings
    ]
    caption = "Rules of the audit, and the numbers and names that each verdict rests on."
    note = "What counts as partly and as fail is in docs/protocol.md. Unknown: the store lacks what it needs."
    return Table("audit", caption, ["Rule", "Verdict", "Evidence", "Pass means"], rows, note, text=4)


def _asked(finding: Finding) -> str:
    return f"{finding.rule.passes} ({finding.rule.paper})"
