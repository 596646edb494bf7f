"""Sections of the page on training paradigms and on details of their training."""

from collections.abc import Iterator
from typing import Any

from fathom.core.text import plural
from fathom.report import paradigm_figures as figures
from fathom.report.builder import PageBuilder, PageFigure
from fathom.report.panels import Panel, panel_figure
from fathom.report.paradigm_tables import (
    across_words,
    not_compared_words,
    paradigm_table,
    verdict_details,
    verdict_words,
)
from fathom.report.style import styles_of
from fathom.report.training_tables import backbone_table, encoder_table, pseudo_label_table
from fathom.results.names import short_names
from fathom.results.paradigm_lead import across
from fathom.results.paradigms import ParadigmGroup, paradigm_groups, paradigm_verdicts, without_group
from fathom.results.training import ProbeCurve, PseudoLabelStats, probe_curves, pseudo_label_stats
from fathom.stats.curves import budget_curves

HIDDEN = (
    "Two of these numbers use hidden labels of the pool: the kNN accuracy of encoders and the accuracy of "
    "pseudo-labels. They are computed for this report only: no encoder, classifier or query method sees these labels, "
    "and they do not count as paid."
)


def paradigms(page: PageBuilder) -> dict[str, Any] | None:
    """Comparison of training paradigms; None where no dataset was run with two of them."""
    results = page.results
    groups, ungrouped = paradigm_groups(results), without_group(results)
    if not groups and not ungrouped:
        return None
    found = paradigm_verdicts(results)
    sentences = [across_words(lead) for lead in across(results, found)]
    return {
        "verdicts": [*sentences, *(f"{verdict_words(results, v)} {verdict_details(results, v)}" for v in found)],
        "groups": [_group(page, number, group) for number, group in enumerate(groups)],
        "not_compared": not_compared_words(results, ungrouped),
    }


def _group(page: PageBuilder, number: int, group: ParadigmGroup) -> dict[str, Any]:
    name = f"paradigms-{number:02d}"
    figure = _group_figure(page, name, group)
    return {"title": group.title, "figure": figure, "table": page.add_table(paradigm_table(page.results, group, name))}


def _group_figure(page: PageBuilder, name: str, group: ParadigmGroup) -> PageFigure | None:
    """Budget curves of all members; None where none has a round."""
    results = page.results
    means = {setting: budget_curves(results.rows(setting)) for setting in group.members}
    begun = [setting for setting, rows in means.items() if not rows.empty]
    if not begun:
        return None
    styles, reference = styles_of(results), group.references[0]
    base = means[reference]
    base = base[base["query"] == results.baseline]
    panels = [Panel(group.members[s], means[s], results.full_data_score(s)) for s in begun]
    grey = f"{styles[results.baseline].label}, {group.members[reference]}"
    drawing = panel_figure(name, panels, base, grey, styles, results.metric(reference))
    text = f"One panel per training paradigm, mean over seeds. Grey in every panel: {grey}."
    if any(panel.full_data is not None for panel in panels):
        text += " Dashed: trained on all labels."
    text += f" {page.test_size(reference)} The figures of each setting show the intervals."
    return page.add_figure(drawing, f"{text} {results.caption_note(begun)}".strip())


def training(page: PageBuilder) -> dict[str, Any] | None:
    """Details of training: encoders, backbones, pseudo-labels; None where none were recorded."""
    results = page.results
    encoders, pseudo_labels = probe_curves(results), pseudo_label_stats(results)
    if not (encoders or pseudo_labels or results.features):
        return None
    return {
        "encoders": page.add_table(encoder_table(results, encoders)),
        "probes": list(_probe_figures(page, encoders)),
        "backbones": page.add_table(backbone_table(results)),
        "pseudo_labels": [_pseudo_labels(page, number, stats) for number, stats in enumerate(pseudo_labels)],
        "hidden": _hidden(pseudo_labels) if pseudo_labels or any(probe.seeds for probe in encoders) else "",
    }


def _hidden(stats: list[PseudoLabelStats]) -> str:
    """Say that hidden labels were read, and how many, if the rounds recorded it."""
    looked_at = max((max(s.frame["looked_at"], default=0) for s in stats), default=0)
    return HIDDEN + (
        f" At most {plural(int(looked_at), 'label')} of the pool per run were read so." if looked_at else ""
    )


def _probe_figures(page: PageBuilder, found: list[ProbeCurve]) -> Iterator[PageFigure]:
    names = short_names(probe.preparation for probe in found)
    for number, probe in enumerate(found):
        if probe.seeds:
            drawing = figures.probe_figure(f"encoder-{number:02d}", {seed: probe.curve(seed) for seed in probe.seeds})
            dataset = page.results.names.dataset.get(probe.dataset, probe.dataset)
            title = f"{dataset}, {names[probe.preparation]}"
            text = f"{title}: kNN accuracy of the features on the train part, one line per seed."
            yield page.add_figure(drawing, text)


def _pseudo_labels(page: PageBuilder, number: int, stats: PseudoLabelStats) -> dict[str, Any]:
    name = f"pseudo-labels-{number:02d}"
    return {
        "title": page.results.names.title(stats.setting),
        "figures": [
            *_mask_figure(page, name, stats),
            *_rate_figures(page, name, stats),
            *_marginal_figure(page, name, stats),
        ],
        "table": page.add_table(pseudo_label_table(page.results, stats, name)),
    }


def _mask_figure(page: PageBuilder, name: str, stats: PseudoLabelStats) -> Iterator[PageFigure]:
    if rates := stats.mask_rates():
        text = (
            "Mask rate: share of the unlabeled images that got a pseudo-label, over training. "
            f"{styles_of(page.results)[stats.query].label}, mean over seeds; from the first budget (pale) to the last."
        )
        yield page.add_figure(figures.mask_figure(f"{name}-mask", rates), text)


def _rate_figures(page: PageBuilder, name: str, stats: PseudoLabelStats) -> Iterator[PageFigure]:
    styles, footnote = styles_of(page.results), page.results.caption_note([stats.setting])
    above = f"above {stats.threshold:g}" if stats.threshold is not None else "above the threshold"
    shares = {
        "pseudo_rate": f"Share of the pool with a confidence {above}, mean over seeds.",
        "pseudo_accuracy": f"Share of correct predictions among those with a confidence {above}, mean over seeds.",
    }
    for rate, text in shares.items():
        curves = stats.curves(rate)
        if not curves.empty:
            axis = rate.replace("pseudo_", "pseudo-label ")
            drawing = figures.rate_figure(f"{name}-{rate.replace('_', '-')}", curves, styles, axis)
            yield page.add_figure(drawing, f"{text} {footnote}".strip())


def _marginal_figure(page: PageBuilder, name: str, stats: PseudoLabelStats) -> Iterator[PageFigure]:
    found = stats.marginals()
    if found is None:
        return
    budget, marginals, target = found
    lines: dict[str, Any] = {} if target is None else {"target": target}
    if len(stats.pool) == len(marginals):
        lines["pool"] = stats.pool
    classes = page.results.facts.get(stats.setting.dataset, {}).get("class_names", [])
    method = styles_of(page.results)[stats.query].label
    text = f"Mean predicted share of each class in the last epoch at {budget} labels; {method}, mean over seeds."
    text += " Predictions were aligned with the target." if target is not None else " Predictions were not aligned."
    if "pool" in lines:
        text += " Pool: true shares, for comparison."
    yield page.add_figure(figures.marginal_figure(f"{name}-classes", marginals, lines, classes), text)
