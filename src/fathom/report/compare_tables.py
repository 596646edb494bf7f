"""Tables of a comparison with the published numbers: cells, cells that are not comparable, claims."""

import math
from collections.abc import Iterator
from string import ascii_lowercase

from fathom.core.records import unique
from fathom.core.text import plural
from fathom.published import tables
from fathom.published.claims import Claim
from fathom.published.compare import AGREES, BASELINE, DIFFERS, OPEN, Compared, ComparedGain, Comparison
from fathom.published.findings import CONTRADICTED, SUPPORTED, UNTESTED, ClaimFinding
from fathom.published.reproduction import AREAS, DEPARTS, GAINS, REPRODUCES, UNCLEAR, WholeComparison, reproduction
from fathom.report.numbers import DASH, MINUS, gain, number
from fathom.report.tables import EMPTY_CELL, ReportTable, TableCell, method_cell, text_cell
from fathom.results.names import label
from fathom.results.results import StudyResults
from fathom.stats.differences import SeedSummary
from fathom.stats.inference import ALPHA
from fathom.stats.verdicts import DATASETS

TONES = {AGREES: "up", DIFFERS: "down", SUPPORTED: "up", CONTRADICTED: "down"}


def cells_table(results: StudyResults, found: Comparison) -> ReportTable | None:
    """Comparable cells with the published numbers; None where there are none."""
    if not found.cells:
        return None
    rows = [_cell_row(results, cell) for cell in found.cells]
    caption = (
        "Our AUBC and the published AUBC in % (mean ± standard deviation over seeds); their difference in points with "
        "its 95 % Welch interval."
    )
    columns = ["Method", "Setting", "Seeds", "Ours", "Published", f"Ours {MINUS} published", "Verdict"]
    return ReportTable("published", caption, columns, rows, " ".join([_rule(found), *_limitations(found.cells)]), 2)


def _cell_row(results: StudyResults, cell: Compared) -> list[TableCell]:
    difference, area = cell.difference, cell.published
    reasons = [difference.refused, *cell.notes, *(tables.caveats()[tag] for tag in area.caveats)]
    if math.isfinite(cell.holm):
        reasons.append(f"Welch p, Holm-corrected: {cell.holm:.3g}")
    tooltip = " ".join(f"{text.rstrip('.')}." for text in reasons if text)
    verdict = cell.verdict + ("*" if cell.notes else "")
    return [
        method_cell(results, cell.query),
        text_cell(results.names.title(cell.setting), " · ".join(cell.setting)),
        TableCell(f"{cell.ours.n}, {area.n}", float(cell.ours.n), title="ours, published"),
        TableCell(_spread(cell.ours), cell.ours.mean),
        TableCell(_spread(SeedSummary(area.mean, area.sd, area.n)), area.mean, title=tables.sources()[area.source]),
        TableCell(gain(difference.mean, difference.low, difference.high), difference.mean),
        TableCell(verdict, cell.verdict, emphasis=TONES.get(cell.verdict, ""), title=tooltip),
    ]


def gains_table(results: StudyResults, found: Comparison) -> ReportTable | None:
    """Gains over Random of comparable cells with the published gains; None where there are none."""
    rows = [_gain_row(results, cell, cell.gain) for cell in found.cells if cell.gain]
    if not rows:
        return None
    caption = (
        f"Gain in AUBC over {label(BASELINE)} in points, ours (paired by seed) and published (means of runs that are "
        "not paired), each with its 95 % interval; and their difference with its 95 % interval."
    )
    columns = ["Method", "Setting", "Seeds", "Our gain", "Published gain", f"Ours {MINUS} published", "Verdict"]
    note = "Rules as for the areas; these gains are a family of their own."
    return ReportTable("published-gains", caption, columns, rows, note, 2)


def _gain_row(results: StudyResults, cell: Compared, found: ComparedGain) -> list[TableCell]:
    ours, theirs, difference = found.ours, found.published, found.difference
    reasons = [difference.refused] + [f"Holm-corrected p: {found.holm:.3g}"] * math.isfinite(found.holm)
    tooltip = " ".join(f"{text.rstrip('.')}." for text in reasons if text)
    return [
        method_cell(results, cell.query),
        text_cell(results.names.title(cell.setting), " · ".join(cell.setting)),
        TableCell(f"{ours.n[0]}, {min(theirs.n)}", float(ours.n[0]), title="ours, published"),
        *(TableCell(gain(d.mean, d.low, d.high), d.mean) for d in (ours, theirs, difference)),
        TableCell(found.verdict, found.verdict, emphasis=TONES.get(found.verdict, ""), title=tooltip),
    ]


def _spread(summary: SeedSummary) -> str:
    spread = f" ± {number(100 * summary.sd, 2)}" if math.isfinite(summary.sd) else ""
    return f"{number(100 * summary.mean, 2)}{spread}"


def _rule(found: Comparison) -> str:
    return (
        f"Agrees: the difference is within ± {_margin(found.margin)} (two one-sided tests). Differs: not that, and "
        f"Welch's test rejects equal means. Both at {ALPHA:g}, Holm-corrected over all cells of this table. Cannot "
        "tell: neither. Both tests assume normal scores, which a few seeds cannot check."
    )


def _limitations(cells: list[Compared]) -> list[str]:
    """Notes on differences in how our cells were run, then on limitations of the published numbers."""
    notes = unique(note for cell in cells for note in cell.notes)
    tags = unique(tag for cell in cells for tag in cell.published.caveats)
    ours = [f"* {'; '.join(notes)}."] if notes else []
    caveats = " ".join(tables.caveats()[tag] for tag in tags)
    return ours + ([f"Limitations of the published numbers: {caveats}"] if caveats else [])


def refused_table(results: StudyResults, found: Comparison) -> ReportTable | None:
    """Cells that are not comparable with the reason; None where all are comparable."""
    if not found.refused:
        return None
    rows = []
    for refused in found.refused:
        where = text_cell(results.names.title(refused.setting), " · ".join(refused.setting))
        rows.append([where, text_cell(label(refused.query) if refused.query else "all"), text_cell(refused.reason)])
    caption = "Settings and methods that are not comparable with the published numbers, with the reason."
    return ReportTable("published-refused", caption, ["Setting", "Method", "Reason"], rows, "", 3)


def claims_table(ours: list[Claim], published: list[Claim]) -> ReportTable:
    """Claims of the published study, tested on our runs and on the published numbers; one row per question."""
    rows = []
    for claim, name, own, other in _questions(ours, published):
        question = TableCell(own.question, name)
        rows.append([TableCell(name, name, title=claim.text), question, *_answer(own), *_answer(other)])
    caption = (
        "Claims of the published study, as questions to our runs and to the published numbers: effect in points with "
        "its 95 % interval, and n as datasets/settings/seeds."
    )
    note = (
        "Our runs: only those that are comparable with the published ones. In means over datasets each dataset counts "
        "as one value. Where an effect must hold in every cell, the least favorable cell is shown. Supported or "
        f"contradicted: at {ALPHA:g}, Holm-corrected over all questions to one source; intervals are not corrected. "
        "A question that three seeds cannot decide is no error of the published study; it is the limit of its numbers."
    )
    columns = ["Claim", "Question", "Our runs", "Effect", "n", "Published", "Effect", "n"]
    return ReportTable("claims", caption, columns, rows, note, 2)


def _questions(ours: list[Claim], published: list[Claim]) -> Iterator[tuple[Claim, str, ClaimFinding, ClaimFinding]]:
    """(claim, name such as `1a`, our finding, published finding) of each question."""
    for claim, other in zip(ours, published, strict=True):
        for letter, own, reference in zip(ascii_lowercase, claim.findings, other.findings, strict=False):
            yield claim, f"{claim.number}{letter}", own, reference


def _answer(finding: ClaimFinding) -> list[TableCell]:
    title = "; ".join(text for text in (finding.note, ", ".join(finding.cells[:40])) if text)
    verdict = TableCell(finding.verdict, finding.verdict, None, TONES.get(finding.verdict, ""), title)
    if finding.verdict == UNTESTED:
        return [verdict, EMPTY_CELL, EMPTY_CELL]
    effect = _effect(finding)
    basis = TableCell(_basis(finding), float(finding.datasets))
    return [verdict, TableCell(effect, finding.effect, title=title), basis]


def _effect(finding: ClaimFinding) -> str:
    """Effect with its interval; the interval alone where there is no unbiased estimate."""
    if math.isfinite(finding.effect) or not math.isfinite(finding.low):
        return gain(finding.effect, finding.low, finding.high)
    low, high = (number(100 * end, 1, sign=True) for end in (finding.low, finding.high))
    return f"[{low}, {high}]"


def _basis(finding: ClaimFinding) -> str:
    """`datasets/settings/seeds` behind a finding."""
    low, high = finding.seeds
    seeds = str(low) if low == high else f"{low}{DASH}{high}"
    return f"{finding.datasets}/{finding.settings}/{seeds if high else DASH}"


def claim_lines(ours: list[Claim], published: list[Claim]) -> list[str]:
    """Claims and their questions as lines for a terminal."""
    lines: list[str] = []
    for claim, name, own, other in _questions(ours, published):
        if name.endswith("a"):
            lines.append(f"{claim.number}. {claim.text}")
        lines.append(f"   {name[-1]}) {own.question}")
        for source, finding in (("our runs", own), ("published", other)):
            text = f"      {source}: {finding.verdict}"
            if finding.verdict != UNTESTED:
                text += f", {_effect(finding)} points, datasets/settings/seeds {_basis(finding)}"
            lines.append(text + (f" ({finding.note})" if finding.note else ""))
    return lines


def compare_summary(found: Comparison) -> list[str]:
    """Sentences on all compared cells together: areas, gains over Random, and the count of cells."""
    if found.empty:
        return ["This study has no dataset of the published study, so nothing is compared and no claim is tested."]
    if not found.cells:
        return ["No cell of this study was run as the published study ran it, so none is compared."]
    counts = [(len(found.cells), "areas", found.count)]
    if gains := sum(cell.gain is not None for cell in found.cells):
        counts.append((gains, "gains", found.count_gains))
    cells = " ".join(
        f"Of {n} comparable {what} {count(AGREES)} agree, {count(DIFFERS)} differ, {count(OPEN)} cannot be decided one "
        "by one."
        for n, what, count in counts
    )
    return [*map(whole_words, reproduction(found)), cells]


def whole_words(whole: WholeComparison) -> str:
    """Sentence with the verdict on all areas or all gains."""
    name = {AREAS: "AUBC", GAINS: f"Gains over {label(BASELINE)}"}[whole.what]
    verdict = {
        REPRODUCES: "this study reproduces the published numbers",
        DEPARTS: "this study differs from the published numbers",
        UNCLEAR: "cannot tell whether this study reproduces the published numbers",
    }[whole.verdict]
    text = f"{name}: {verdict}"
    if not math.isfinite(whole.mean):
        return f"{text}, since {whole.refused}."
    low, high = (number(100 * bound, 1, sign=True) for bound in (whole.low, whole.high))
    interval = f"95 % interval {low} to {high}" if math.isfinite(whole.low) else f"no interval: {whole.refused}"
    units = (
        f"n = {plural(whole.n, 'dataset')}"
        if whole.unit == DATASETS
        else f"n = {plural(whole.n, 'seed')} against {whole.published_seeds} published, on these data only"
    )
    left_out = f"; {plural(whole.left_out, 'cell')} of one seed left out" if whole.left_out else ""
    return (
        f"{text}: ours minus published is {number(100 * whole.mean, 1, sign=True)} points on average over "
        f"{plural(whole.settings, 'setting')} of {plural(whole.datasets, 'dataset')} ({interval}; margin ± "
        f"{_margin(whole.margin)}; {units}{left_out})."
    )


def _margin(margin: float) -> str:
    return f"{100 * margin:g} point{'' if margin == 0.01 else 's'}"
