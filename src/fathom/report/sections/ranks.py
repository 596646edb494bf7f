"""Section on ranks: how stable the order of the methods is, ranks over datasets, dips and cold starts."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fathom.core.records import Setting, grouped, unique
from fathom.core.text import plural
from fathom.registry.dataset_identity import dataset_identity
from fathom.report.builder import PageBuilder
from fathom.report.numbers import DASH, gain, number, p_value
from fathom.report.rank_figure import rank_figure
from fathom.report.style import styles_of
from fathom.report.tables import ReportTable, TableCell, method_cell
from fathom.results.names import label
from fathom.results.results import StudyResults
from fathom.stats.dynamics import cold_starts, dips, imbalance_effect
from fathom.stats.inference import minimum_p
from fathom.stats.ranks import (
    MIN_DATASETS,
    Ranking,
    critical_difference,
    interquartile_mean,
    paired_improvement,
    probability_of_improvement,
    ranking,
    task_interval,
)
from fathom.stats.verdicts import SettingGain


def ranks(page: PageBuilder) -> dict[str, Any] | None:
    """Content of the section; None where nothing can be ranked."""
    results = page.results
    parts = grouped((g.setting.paradigm, g) for g in results.paired_gains)
    found: list[dict[str, Any]] = []
    for number_, (paradigm, gains) in enumerate(parts.items()):
        order = ranking(gains, results.baseline, identity=dataset_identity)
        if order is None:
            continue
        group: dict[str, Any] = {"title": results.names.paradigm[paradigm] if len(parts) > 1 else ""}
        group["table"] = page.add_table(_ranking_table(results, order, gains, f"ranks-{number_}"))
        group["words"] = _stability(order)
        group["figure"] = _diagram(page, gains, order, f"ranks-{number_}")
        group["imbalance"] = page.add_table(_imbalance_table(results, gains, f"imbalance-{number_}"))
        found.append(group)
    events = [*_dip_words(results), *_cold_start_words(results)]
    return {"groups": found, "events": events} if found or events else None


def _ranking_table(results: StudyResults, order: Ranking, gains: Sequence[SettingGain], name: str) -> ReportTable:
    by_query = grouped((g.query, list(g.gains.values())) for g in gains if g.gains)
    areas = _areas(results, gains)
    rows = []
    for i, query in enumerate(order.methods):
        low, high = (f"{value:g}" for value in (order.low[i], order.high[i]))
        row = [
            method_cell(results, query),
            TableCell(number(100 * order.gains[i], 1, sign=True), float(order.gains[i])),
            TableCell(f"{100 * order.first[i]:.0f} %", float(order.first[i])),
            TableCell(low if low == high else f"{low} to {high}", float(order.low[i])),
        ]
        rows.append([*row, *_task_cells(results, by_query.get(query, []), areas, query)])
    base = label(results.baseline)
    columns = ["Method", "Mean gain", "First", "Ranks", "IQM of gains", f"Beats {base}", "Paired"]
    caption = (
        f"Order by the mean gain in AUBC over {base} in points, {plural(order.settings, 'setting')}, {order.seeds} "
        "seeds or more. First: share of the resamples of the seeds in which the method leads. Ranks: 95 % of the "
        "resamples. IQM: mean of the middle half of all gains, with its 95 % bootstrap interval on these settings. "
        f"Beats: probability that a run of the method has a higher AUBC than a run of {base}, over all pairs of seeds. "
        "Paired: share of the seeds with a gain."
    )
    note = ""
    if order.not_ranked:
        note = f"Not ranked (not run in every setting): {', '.join(label(q) for q in order.not_ranked)}."
    return ReportTable(name, caption, columns, rows, note)


def _task_cells(
    results: StudyResults, tasks: list[list[float]], areas: dict[Setting, dict[str, list[float]]], query: str
) -> list[TableCell]:
    """IQM, probability of improvement, and its paired form; dashes for the baseline."""
    if not tasks:
        return [TableCell(DASH)] * 3
    middle = interquartile_mean(np.concatenate(tasks)[None])
    low, high = task_interval(lambda drawn: interquartile_mean(np.concatenate(drawn)[None]), tasks, draws=500)
    both = [own for own in areas.values() if query in own and results.baseline in own]
    beats = probability_of_improvement([own[query] for own in both], [own[results.baseline] for own in both])
    paired = paired_improvement(tasks)
    percents = [TableCell(f"{100 * value:.0f} %", value) for value in (beats, paired)]
    return [TableCell(gain(middle, low, high), middle), *percents]


def _areas(results: StudyResults, gains: Sequence[SettingGain]) -> dict[Setting, dict[str, list[float]]]:
    """Setting -> query method -> areas of its complete runs."""
    found = {}
    for setting in unique(g.setting for g in gains):
        rows = results.area_rows(setting)
        done = rows[rows["complete"]]
        found[setting] = grouped(zip(map(str, done["query"]), map(float, done["aubc"]), strict=True))
    return found


def _stability(order: Ranking) -> str:
    """Sentence on how much of the order is chance."""
    best, share = label(order.methods[0]), float(order.first[0])
    text = f"{best} is first in {100 * share:.0f} % of the resamples of the seeds."
    if len(order.tau):
        text += (
            " With one seed left out, Kendall's tau with the order of all seeds is "
            f"{number(float(order.tau.mean()), 2)} on average and {number(float(order.tau.min()), 2)} at least (1: the "
            "same order, 0: chance)."
        )
    return text


def _diagram(page: PageBuilder, gains: Sequence[SettingGain], order: Ranking, name: str) -> Any:
    """Critical-difference diagram of the ranked methods; None with fewer than `MIN_DATASETS` datasets."""
    methods = order.methods
    by_dataset: dict[str, dict[str, list[float]]] = {}
    for g in gains:
        if g.query in methods and g.gains:
            own = by_dataset.setdefault(dataset_identity(g.setting.dataset), {})
            own.setdefault(g.query, []).append(g.estimate.mean)
    baseline = page.results.baseline
    if len(by_dataset) < MIN_DATASETS or len(methods) < 2:
        return None
    scores = [[0.0 if q == baseline else float(np.mean(own[q])) for q in methods] for own in by_dataset.values()]
    found = critical_difference(methods, np.array(scores))
    caption = (
        f"Mean ranks over {found.datasets} datasets. Bars join methods that no pairwise Wilcoxon test (Holm over all "
        "pairs) tells apart: no difference was shown, which is no proof that there is none. With so many datasets the "
        f"smallest p of one test is {minimum_p(found.datasets):.2g}."
    )
    if np.isfinite(found.friedman):
        p = p_value(found.friedman)
        caption += f" Friedman's test of equal methods: p {p if p.startswith('<') else '= ' + p}."
    return page.add_figure(rank_figure(f"{name}-diagram", found, styles_of(page.results)), caption)


def _imbalance_table(results: StudyResults, gains: Sequence[SettingGain], name: str) -> ReportTable | None:
    """Gain on imbalanced minus on balanced datasets; None without two datasets of each kind."""
    balanced = {dataset: bool(facts["balanced"]) for dataset, facts in results.facts.items() if "balanced" in facts}
    identity = {g.setting.dataset: dataset_identity(g.setting.dataset) for g in gains}
    known = {q: d for q, d in imbalance_effect(gains, balanced, identity).items() if not d.refused}
    if not known:
        return None
    rows = [
        [method_cell(results, query), TableCell(gain(d.mean, d.low, d.high), d.mean), TableCell(f"{d.n[0]}, {d.n[1]}")]
        for query, d in known.items()
    ]
    caption = (
        "Gain in AUBC on imbalanced minus on balanced datasets, in points, with its 95 % Welch interval (not corrected "
        "for several methods). Datasets are the units. They differ in more than their balance, so this is no effect of "
        "imbalance alone."
    )
    return ReportTable(name, caption, ["Method", "Imbalanced \u2212 balanced", "Datasets (imbalanced, balanced)"], rows)


def _dip_words(results: StudyResults) -> Iterator[str]:
    for dip in dips(results.frame):
        yield (
            f"Dip: {label(dip.query)}, {results.names.title(dip.setting)}: the score falls by "
            f"{number(-100 * dip.change)} points from {dip.before:.0f} to {dip.at:.0f} labels (n = {dip.n}, "
            f"p {_p(dip.p_holm)}, Holm over all steps of all curves)."
        )


def _cold_start_words(results: StudyResults) -> Iterator[str]:
    for start in cold_starts(results.frame, results.baseline, results.references):
        yield (
            f"Cold start: {label(start.query)}, {results.names.title(start.setting)}: "
            f"{number(100 * start.early, 1, sign=True)} points against {label(start.reference)} on average up to "
            f"{start.until:.0f} labels (n = {start.n}, p {_p(start.p_holm)}, Holm over all settings and methods), "
            f"{number(100 * start.late, 1, sign=True)} at the last budget."
        )


def _p(value: float) -> str:
    text = p_value(value)
    return text if text.startswith("<") else f"= {text}"
