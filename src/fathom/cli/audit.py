"""The verb that audits a study for the five pitfalls."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.markup import escape
from rich.table import Table

from fathom import api
from fathom.audit.literature import PublishedAudit
from fathom.audit.rules import PITFALLS, Finding
from fathom.cli.app import Flag, Json, app
from fathom.cli.console import out, print_json
from fathom.core.records import FathomError

COLORS = {"pass": "green", "partly": "yellow", "fail": "red", "unknown": "dim"}


@app.command
def audit(
    study: str | None = None,
    /,
    *,
    all_: Annotated[bool, Parameter(name="--all", negative="")] = False,
    figure: Path | None = None,
    strict: Flag = False,
    json: Json = False,
) -> int:
    """Check which of the five pitfalls a study avoids, with the evidence.

    The results of a study are checked for P1 to P5, statistics, leakage, reproducibility and roll-out; the description
    of a published study for P1 to P5. Exit status 0; with --strict 1 if a rule says fail.

    Args:
        study: Folder of a study's results, a .toml description of a published study, or a built-in description such as
            lueth-2023; literature for all built-in descriptions.
        all_: All built-in descriptions, as literature.
        figure: With literature: draw the comparison to this .svg file.
        strict: Exit status 1 if a rule says fail.
    """
    literature = study == "literature" or (all_ and study is None)
    if study is None and not all_:
        raise FathomError("expected a study's folder, a .toml description, a published study's name, or --all")
    if all_ and not literature:
        raise FathomError(f"--all shows every published study; leave out {study!r} or --all")
    if figure is not None and not literature:
        raise FathomError("--figure needs all published studies: fathom audit literature --figure FILE.svg")
    if study is None or literature:
        studies = api.audit_literature(figure)
        findings = [finding for one in studies for finding in one.findings]
        if json:
            print_json([one.to_json() for one in studies])
        else:
            _print_studies(studies, figure)
    else:
        found = api.audit(study)
        findings = list(found.findings)
        if json:
            print_json(found.to_json())
        else:
            if found.title:
                out.print(f"[bold]{escape(found.title)}[/]  [dim]{escape(found.source)}[/]")
            _print_findings(findings)
    return 1 if strict and any(finding.verdict == "fail" for finding in findings) else 0


def _print_findings(findings: Sequence[Finding]) -> None:
    """One line per rule."""
    table = Table("rule", "verdict", "evidence", box=None, header_style="bold", pad_edge=False)
    table.columns[2].overflow = "fold"
    for f in findings:
        name = f"{f.rule.id} {f.rule.title}" if f.rule.group == "Pitfalls" else f.rule.title
        table.add_row(name, f"[{COLORS[f.verdict]}]{f.verdict}[/]", escape(f.evidence))
    out.print(table)


def _print_studies(studies: Sequence[PublishedAudit], figure: Path | None) -> None:
    """One line per published study."""
    table = Table("study", "name", *PITFALLS, box=None, header_style="bold", pad_edge=False)
    table.columns[1].no_wrap = True
    table.columns[1].min_width = max(len(study.name) for study in studies)  # whole, to be copied
    for study in studies:
        cells = [f"[{COLORS[f.verdict]}]{f.verdict}[/]" for f in study.findings]
        table.add_row(escape(study.title), f"[cyan]{study.name}", *cells)
    out.print(table)
    if figure is not None:
        out.print(f"[dim]{escape(str(figure))}", soft_wrap=True)
