"""Verbs that judge a study: the audit of the five pitfalls."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.markup import escape
from rich.table import Table

from fathom.audit.rules import PITFALLS, Finding
from fathom.cli.app import Json, app
from fathom.cli.console import out, print_json
from fathom.core.records import FathomError

COLORS = {"pass": "green", "partly": "yellow", "fail": "red", "unknown": "dim"}


@app.command
def audit(
    what: str | None = None,
    /,
    *,
    all_: Annotated[bool, Parameter(name="--all", negative="")] = False,
    figure: Path | None = None,
    strict: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> int:
    """Which of the five pitfalls a study avoids, with the evidence.

    Of results: P1 to P5, statistics, leakage, reproducibility and roll-out. Of a published study: P1 to P5.
    Exit status 0 whatever it finds; with --strict 1 where a rule says fail.

    Args:
        what: Folder of a study's results, a .toml description of a published study, or a built-in description such as
            lueth-2023; literature for all of these side by side.
        all_: The same as literature.
        figure: With literature: write the comparison as a figure to this .svg file.
        strict: Exit status 1 where a rule says fail.
    """
    from fathom.audit.audit import audit as audit_store
    from fathom.audit.audit import failed
    from fathom.audit.literature import published

    side_by_side = what == "literature" or (all_ and what is None)
    if what is None and not all_:
        raise FathomError("expected a study's folder, a .toml description, a published study's name, or --all")
    if all_ and not side_by_side:
        raise FathomError(f"--all shows every published study; leave {what!r} out, or --all")
    if figure is not None and not side_by_side:
        raise FathomError(
            "--figure draws the comparison of published studies: fathom audit literature --figure FILE.svg"
        )
    if what is None or side_by_side:
        findings = _literature(figure, json)
    elif Path(what).is_dir():
        findings = audit_store(what)
        if json:
            print_json({"study": what, "findings": [f.to_json() for f in findings]})
        else:
            _show(findings)
    else:
        study = published(what)
        findings = list(study.findings)
        if json:
            print_json(study.to_json())
        else:
            out.print(f"[bold]{escape(study.title)}[/]  [dim]{escape(study.source)}[/]")
            _show(findings)
    return 1 if strict and failed(findings) else 0


def _show(findings: Sequence[Finding]) -> None:
    """A line a rule."""
    table = Table("rule", "verdict", "evidence", box=None, header_style="bold", pad_edge=False)
    table.columns[2].overflow = "fold"
    for f in findings:
        name = f"{f.rule.id} {f.rule.title}" if f.rule.group == "Pitfalls" else f.rule.title
        table.add_row(name, f"[{COLORS[f.verdict]}]{f.verdict}[/]", escape(f.evidence))
    out.print(table)


def _literature(figure: Path | None, json: bool) -> list[Finding]:
    """All descriptions side by side."""
    from fathom.audit.literature import literature

    studies = literature()
    if figure is not None:
        from fathom.report.audit_figure import write_comparison

        write_comparison(studies, figure)
    if json:
        print_json([study.to_json() for study in studies])
    else:
        table = Table("study", "name", *PITFALLS, box=None, header_style="bold", pad_edge=False)
        table.columns[1].no_wrap = True
        table.columns[1].min_width = max(len(study.name) for study in studies)  # to be typed as it stands
        for study in studies:
            cells = [f"[{COLORS[f.verdict]}]{f.verdict}[/]" for f in study.findings]
            table.add_row(escape(study.title), f"[cyan]{study.name}", *cells)
        out.print(table)
        if figure is not None:
            out.print(f"[dim]{escape(str(figure))}", soft_wrap=True)
    return [finding for study in studies for finding in study.findings]
