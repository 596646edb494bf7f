"""Tables as plain data, for the page and for LaTeX, and the tables of a whole study."""

import math
from dataclasses import dataclass

from fathom.core.durations import duration
from fathom.core.records import RunSpec, Setting
from fathom.core.text import joined, plural
from fathom.design.stated_claims import NOT_WORSE_THAN
from fathom.report.numbers import DASH, gain, number, p_value
from fathom.report.style import styles_of
from fathom.results.environments import EnvironmentSummary, differing, fact_text
from fathom.results.names import label
from fathom.results.results import STEPS, StudyResults
from fathom.results.statements.claim_words import stated_words
from fathom.results.statements.stated_claims import CONTRADICTED, SUPPORTED, ClaimAnswer, stated_answers
from fathom.stats.curves import SETTING

CLAIM_STYLES = {SUPPORTED: "up", CONTRADICTED: "down"}


@dataclass(frozen=True)
class TableCell:
    """One cell.

    Args:
        text: Displayed text.
        value: Value to sort by; None sorts last.
        style: Number of a query method's style, whose mark is drawn before the text.
        emphasis: `strong`, `up` (interval above zero), `down` (below), or empty.
        title: Tooltip: the full text of a short name, or the reason of a dash.
    """

    text: str
    value: float | str | None = None
    style: int | None = None
    emphasis: str = ""
    title: str = ""


EMPTY_CELL = TableCell(DASH)


def method_cell(results: StudyResults, query: str) -> TableCell:
    """Cell of a query method, with its mark."""
    style = styles_of(results)[query]
    return TableCell(style.label, style.label, style.number)


def text_cell(text: str, title: str = "") -> TableCell:
    """Cell that is sorted by its text."""
    return TableCell(text, text, title=title)


def count_cell(count: int) -> TableCell:
    """Cell of a whole number."""
    return TableCell(str(count), float(count))


def time_cell(seconds: float) -> TableCell:
    """Cell of a span of time."""
    return TableCell(duration(seconds), seconds)


@dataclass(frozen=True)
class ReportTable:
    """One table.

    Args:
        name: File stem of the LaTeX file.
        caption: Content, with n, interval and pairing.
        columns: Headers.
        rows: Cells.
        note: Text below the table.
        text: Number of leading columns with text instead of numbers.
    """

    name: str
    caption: str
    columns: list[str]
    rows: list[list[TableCell]]
    note: str = ""
    text: int = 1


def stated_claims_table(results: StudyResults) -> ReportTable | None:
    """Claims that the study file states, with their decisions; None where it states none."""
    answers = stated_answers(results)
    if not answers:
        return None
    caption = (
        "Claims of the study file, decided by paired t-tests with Holm's correction over these claims. Gain of the "
        "left side in points (in nats where the claim is on log loss), with its interval at the level of its test."
    )
    columns = ["Claim", "Verdict", "Gain", "n", "p (Holm)", "Power", "Missing", "Stated"]
    rows = [_claim_cells(answer) for answer in answers]
    return ReportTable("stated-claims", caption, columns, rows, " ".join(a.sentence for a in answers), text=2)


def _claim_cells(answer: ClaimAnswer) -> list[TableCell]:
    verdict = TableCell(answer.verdict, answer.verdict, emphasis=CLAIM_STYLES.get(answer.verdict, ""))
    claim, when, method = text_cell(answer.claim.text), text_cell(stated_words(answer)), answer.method
    if method is None:
        return [claim, verdict, *[EMPTY_CELL] * 5, when]
    own = method.decision
    scale, digits = (0.01, 3) if answer.claim.unit == "nats" else (1.0, 1)
    p = own.p_loss_holm if answer.claim.relation == NOT_WORSE_THAN else own.p_holm
    power = TableCell(f"{100 * answer.power:.0f} %", answer.power) if math.isfinite(answer.power) else EMPTY_CELL
    return [
        claim,
        verdict,
        TableCell(gain(scale * own.mean, scale * own.low, scale * own.high, digits), own.mean),
        TableCell(plural(own.n, method.unit.removesuffix("s")), float(own.n)),
        TableCell(p_value(p), p),
        power,
        count_cell(own.missing),
        when,
    ]


def penalty_table(results: StudyResults) -> ReportTable:
    """Overall penalty of each query method, raw and Holm-corrected, with wins and losses beyond chance."""
    penalty = results.penalty
    raw, corrected = penalty.overall(), penalty.overall(penalty.corrected)
    wins = penalty.beyond_chance.sum(1)
    losses = penalty.beyond_chance.sum(0)
    rows = []
    for i, query in enumerate(penalty.queries):
        mark = "*" if penalty.partial[i] else ""
        penalties = [TableCell(number(value, 2) + mark, value) for value in (raw[i], corrected[i])]
        rows.append([method_cell(results, query), *penalties, count_cell(wins[i]), count_cell(losses[i])])
    columns = ["Method", "Penalty", "Penalty (Holm)", "Wins", "Losses"]
    note = ""
    if penalty.partial.any():
        columns.append("Settings")
        total = len(penalty.seeds)
        for row, present in zip(rows, penalty.present, strict=True):
            strong = "" if present == total else "strong"
            row.append(TableCell(f"{present:.0f} of {total}", float(present), emphasis=strong))
        note = (
            f"* Compared in fewer than {total} settings: mean over its comparisons, scaled to {total} settings; wins "
            "and losses count its comparisons only."
        )
    note = joined(note, results.footnote(results.store.study.settings))
    beyond = "with a win after this correction" if penalty.powerless else "above the null band"
    caption = (
        "Penalty: share of budgets at which another method beats this one, summed over settings and averaged over "
        "the other methods; lower is better. Penalty (Holm): with tests that are Holm-corrected over all pairs, "
        f"budgets and settings. Wins and losses: cells of the method's row and column {beyond}."
    )
    return ReportTable("penalty", caption, columns, rows, note)


def times_table(results: StudyResults) -> ReportTable | None:
    """Median time per round of each query method and setting; None where no round is stored."""
    frame = results.frame
    if frame.empty or "seconds_total" not in frame:
        return None
    steps = [s for s in STEPS if f"seconds_{s}" in frame]
    rows = []
    for key, part in frame.groupby([*SETTING, "query"], sort=False):
        dataset, regime, paradigm, query = map(str, key)
        setting = Setting(dataset, regime, paradigm)
        # Round 0 is trained once for all methods of a seed, so its time is not that of a method.
        own = part[part["round"] > 0] if (part["round"] > 0).any() else part
        row = [method_cell(results, query), text_cell(results.names.brief(setting), " · ".join(setting))]
        row += [time_cell(float(own[f"seconds_{step}"].median())) for step in steps]
        spent, total = float(own[[f"seconds_{s}" for s in steps]].sum().sum()), float(own["seconds_total"].sum())
        rest = 1 - spent / total if total > 0 else float("nan")
        row.append(TableCell(f"{number(100 * rest, 0)} %" if math.isfinite(rest) else DASH, rest))
        rows.append([*row, time_cell(float(part["seconds_total"].sum()))])
    caption = (
        "Wall-clock time: median per round by step (without round 0), share of the time outside these steps, and sum "
        "over all rounds of all seeds."
    )
    note = results.retry_notes(results.store.study.settings)
    columns = ["Method", "Setting", *[s.capitalize() for s in steps], "Other", "All rounds"]
    return ReportTable("times", caption, columns, rows, note, text=2)


def pending_table(results: StudyResults, limit: int = 60) -> ReportTable | None:
    """Incomplete runs; None where all are complete."""
    open_runs = [r for r in results.runs if not r.complete]
    if not open_runs:
        return None
    rows = []
    for run in open_runs[:limit]:
        state = "not started" if run.planned is None else f"{run.done} of {run.planned} rounds"
        rows.append([*_spec_cells(results, run.spec), TableCell(state, float(run.done))])
    left = len(open_runs) - limit
    note = f"… and {left} more." if left > 0 else ""
    columns = ["Dataset", "Regime", "Paradigm", "Method", "Seed", "State"]
    caption = f"{len(open_runs)} of {len(results.runs)} runs are not complete."
    return ReportTable("pending", caption, columns, rows, note, 4)


def _spec_cells(results: StudyResults, spec: RunSpec) -> list[TableCell]:
    short = results.names.parts(spec.setting)
    cells = [text_cell(name, full) for name, full in zip(short, spec.setting, strict=True)]
    return [*cells, text_cell(label(spec.query)), count_cell(spec.seed)]


def environment_table(found: list[EnvironmentSummary]) -> ReportTable | None:
    """Work of each environment and the facts in which they differ; None for one environment."""
    if len(found) < 2:
        return None
    facts = differing(found)
    rows = []
    for e in found:
        row = [text_cell(e.name), count_cell(e.rounds), count_cell(e.shared)]
        row += [TableCell(fact_text(e.facts.get(key)) or DASH) for key in facts]
        rows.append([*row, TableCell(e.since[:16].replace("T", " ") or DASH, e.since)])
    caption = (
        "Environments that computed this study: committed rounds, shared results (encoders, features, HP search, "
        "round 0, full data), and every fact in which they differ. Numbers may differ between environments."
    )
    columns = ["Environment", "Rounds", "Shared", *(key.replace("_", " ").capitalize() for key in facts), "Since (UTC)"]
    return ReportTable("environments", caption, columns, rows)
