"""The tables of a comparison with the published numbers: cells, what is not comparable, claims."""

import math

from fathom.core.records import unique
from fathom.published import tables
from fathom.published.claims import Claim
from fathom.published.compare import AGREES, DIFFERS, OPEN, Compared, Comparison
from fathom.published.findings import CONTRADICTED, SUPPORTED, UNTESTED, ClaimFinding
from fathom.report.numbers import DASH, MINUS, gain, number
from fathom.report.style import styles_of
from fathom.report.tables import ReportTable, TableCell
from fathom.results.names import label
from fathom.results.results import StudyResults
from fathom.stats.differences import SeedSummary

TONES = {AGREES: "up", DIFFERS: "down", SUPPORTED: "up", CONTRADICTED: "down"}


def cells_table(reading: StudyResults, found: Comparison) -> ReportTable | None:
    """Every comparable cell beside the published one; None where there is none."""
    if not found.cells:
        return None
    rows = [_cell_row(reading, cell) for cell in found.cells]
    margin = f"{100 * found.margin:g}"
    caption = (
        "AUBC beside the published one, in % (mean ± standard deviation over seeds); the difference in points with its "
        "95 % Welch interval."
    )
    columns = ["Method", "Setting", "Seeds", "Ours", "Published", f"Ours {MINUS} published", "Verdict"]
    return ReportTable("published", caption, columns, rows, " ".join([_rule(margin), *_known(found.cells)]), 2)


def _cell_row(reading: StudyResults, cell: Compared) -> list[TableCell]:
    style, where = styles_of(reading)[cell.query], reading.names.title(cell.setting)
    d, area = cell.difference, cell.published
    theirs = SeedSummary(area.mean, area.sd, area.n)
    why = [d.refused, *cell.notes, *(tables.caveats()[tag] for tag in area.caveats)]
    if math.isfinite(cell.holm):
        why.append(f"Welch p, Holm-corrected: {cell.holm:.3g}")
    return [
        TableCell(style.label, style.label, style.number),
        TableCell(where, where, title=" · ".join(cell.setting)),
        TableCell(f"{cell.ours.n}, {area.n}", float(cell.ours.n), title="ours, published"),
        TableCell(_spread(cell.ours), cell.ours.mean),
        TableCell(_spread(theirs), area.mean, title=tables.sources()[area.source]),
        TableCell(gain(d.mean, d.low, d.high), d.mean),
        TableCell(cell.verdict + ("*" if cell.notes else ""), cell.verdict, None, TONES.get(cell.verdict, ""),
             " ".join(f"{text.rstrip('.')}." for text in why if text)),
    ]  # fmt: skip


def _spread(arm: SeedSummary) -> str:
    spread = f" ± {number(100 * arm.sd, 2)}" if math.isfinite(arm.sd) else ""
    return f"{number(100 * arm.mean, 2)}{spread}"


def _rule(margin: str) -> str:
    return (
        f"Agrees: the 90 % interval of the difference lies within ± {margin} points (two one-sided tests). Differs: "
        "not that, and Welch's test rejects at .05, Holm-corrected over all cells of this table. Cannot tell: neither. "
        "Both rest on normal theory, which a few seeds cannot check."
    )


def _known(cells: list[Compared]) -> list[str]:
    """What must be known of these cells: how ours were run, then what weakens the published ones."""
    notes = unique(note for cell in cells for note in cell.notes)
    tags = unique(tag for cell in cells for tag in cell.published.caveats)
    told = [f"* {'; '.join(notes)}."] if notes else []
    return told + ([f"Of the published numbers: {' '.join(tables.caveats()[tag] for tag in tags)}"] if tags else [])


def refused_table(reading: StudyResults, found: Comparison) -> ReportTable | None:
    """What is not comparable, and why; None where all is."""
    if not found.refused:
        return None
    rows = []
    for refused in found.refused:
        where = reading.names.title(refused.setting)
        method = label(refused.query) if refused.query else "all"
        title = " · ".join(refused.setting)
        rows.append(
            [TableCell(where, where, title=title), TableCell(method, method), TableCell(refused.reason, refused.reason)]
        )
    caption = "Not comparable with the published numbers, and why."
    return ReportTable("published-refused", caption, ["Setting", "Method", "Why"], rows, "", 3)


def claims_table(ours: list[Claim], theirs: list[Claim]) -> ReportTable:
    """The claims of the study, tested on our runs and on the published numbers, a row a question."""
    rows = []
    for own, said in zip(ours, theirs, strict=True):
        for number_, (a, b) in enumerate(_pairs(own, said)):
            name = f"{own.number}{chr(ord('a') + number_)}"
            rows.append([TableCell(name, name, title=own.text), TableCell(a.question, name), *_answer(a), *_answer(b)])
    caption = (
        "What the study claims, as questions put to our runs and to the published numbers themselves: effect in points "
        "with its 95 % interval, and the data sets/settings/seeds it rests on."
    )
    note = (
        "Means over data sets take each data set as one value. Where something must hold in every cell, the effect is "
        "that of the cell that speaks most against it. Supported or contradicted: the interval, or in cells every "
        "interval, lies on one side, and contradictions are Holm-corrected over cells. A question that three seeds "
        "leave open is not an error of the study: it is what its numbers can prove."
    )
    columns = ["Claim", "Question", "Our runs", "Effect", "n", "Published", "Effect", "n"]
    return ReportTable("claims", caption, columns, rows, note, 2)


def _pairs(own: Claim, said: Claim) -> list[tuple[ClaimFinding, ClaimFinding]]:
    return list(zip(own.findings, said.findings, strict=True))


def _answer(finding: ClaimFinding) -> list[TableCell]:
    title = "; ".join(text for text in (finding.note, ", ".join(finding.cells[:40])) if text)
    said = TableCell(finding.verdict, finding.verdict, None, TONES.get(finding.verdict, ""), title)
    if finding.verdict == UNTESTED:
        return [said, TableCell(DASH), TableCell(DASH)]
    effect = gain(finding.effect, finding.low, finding.high)
    return [said, TableCell(effect, finding.effect, title=title), TableCell(_basis(finding), float(finding.datasets))]


def _basis(finding: ClaimFinding) -> str:
    """Data sets/settings/seeds."""
    low, high = finding.seeds
    seeds = str(low) if low == high else f"{low}{DASH}{high}"
    return f"{finding.datasets}/{finding.settings}/{seeds if high else DASH}"


def claim_lines(ours: list[Claim], theirs: list[Claim]) -> list[str]:
    """The claims and their questions, for a terminal."""
    lines = []
    for own, said in zip(ours, theirs, strict=True):
        lines.append(f"{own.number}. {own.text}")
        for number_, (a, b) in enumerate(_pairs(own, said)):
            lines.append(f"   {chr(ord('a') + number_)}) {a.question}")
            for whose, finding in (("our runs", a), ("published", b)):
                text = f"      {whose}: {finding.verdict}"
                if finding.verdict != UNTESTED:
                    effect = gain(finding.effect, finding.low, finding.high)
                    text += f", {effect} points, data sets/settings/seeds {_basis(finding)}"
                lines.append(text + (f" ({finding.note})" if finding.note else ""))
    return lines


def compare_summary(found: Comparison) -> str:
    """One sentence of all cells."""
    if found.empty:
        return "No data set of this study is one of the published study."
    if not found.cells:
        return "No cell of this study was run as the published study ran it, so none is compared."
    means = [100 * cell.difference.mean for cell in found.cells]
    mean, low, high = sum(means) / len(means), min(means), max(means)
    count = ", ".join(f"{found.count(verdict)} {words}" for verdict, words in
                      ((AGREES, "agree"), (DIFFERS, "differ"), (OPEN, "cannot be told")))  # fmt: skip
    text = f"Of {len(found.cells)} comparable cells {count}; ours minus published is {number(mean, 1, sign=True)} "
    return text + f"points in the mean ({number(low, 1, sign=True)} to {number(high, 1, sign=True)})."
