"""The sections of a page on training paradigms, and on what they show of their training."""

from collections.abc import Iterator
from typing import Any

from fathom.report import paradigm_figures as figures
from fathom.report.builder import PageBuilder, PageFigure
from fathom.report.paradigm_tables import apart_words, paradigm_table, verdict_details, verdict_words
from fathom.report.style import line_styles, styles_of
from fathom.report.training_tables import backbone_table, encoder_table, guess_table
from fathom.results.names import short_names
from fathom.results.paradigms import ParadigmGroup, apart, paradigm_groups, verdicts
from fathom.results.results import of_setting
from fathom.results.training import ProbeCurve, PseudoLabelStats, guesses, probes
from fathom.stats.curves import budget_curves

HIDDEN = (
    "Hidden labels of the pool were looked at for two of these numbers, the kNN accuracy of encoders and the accuracy "
    "of pseudo-labels, by the harness alone and for this report alone: no encoder, classifier or query method was "
    "shown them, and they are not billed."
)


def paradigms(pieces: PageBuilder) -> dict[str, Any] | None:
    """Paradigms side by side; None where no dataset was run with two of them."""
    reading = pieces.reading
    found, left = paradigm_groups(reading), apart(reading)
    if not found and not left:
        return None
    told = [f"{verdict_words(reading, verdict)} {verdict_details(reading, verdict)}" for verdict in verdicts(reading)]
    made = [_group(pieces, number, group) for number, group in enumerate(found)]
    return {"verdicts": told, "groups": made, "apart": apart_words(reading, left)}


def _group(pieces: PageBuilder, number: int, group: ParadigmGroup) -> dict[str, Any]:
    reading, name = pieces.reading, f"paradigms-{number:02d}"
    means = {s: budget_curves(of_setting(reading.frame, s)) for s in group.members}
    # An arm is keyed by its paradigm first, which decides its stroke.
    keys = {s: f"{s[2]} {s[1]}" for s, rows in means.items() if not rows.empty}
    figure = None
    if keys:
        told = line_styles({key: group.members[s] for s, key in keys.items()})
        full_data_records = {key: score for s, key in keys.items() if (score := reading.full_data_score(s)) is not None}
        metric = reading.metric(group.references[0])
        curves = {key: means[s] for s, key in keys.items()}
        drawing = figures.arms_figure(name, curves, told, styles_of(reading), metric, full_data_records)
        text = "Mean over seeds. Color: query method; line and marker: training paradigm."
        if full_data_records:
            text += " Thin lines: each paradigm trained on all labels."
        text += " Bands are in the figures of each setting."
        figure = pieces.add_figure(drawing, f"{text} {reading.caption_note(keys)}".strip())
    return {"title": group.title, "figure": figure, "table": pieces.add_table(paradigm_table(reading, group, name))}


def training(pieces: PageBuilder) -> dict[str, Any] | None:
    """What paradigms show of their training; None where they show nothing."""
    reading = pieces.reading
    encoders, guessed = probes(reading), guesses(reading)
    if not (encoders or guessed or reading.features):
        return None
    return {
        "encoders": pieces.add_table(encoder_table(reading, encoders)),
        "probes": list(_probes(pieces, encoders)),
        "backbones": pieces.add_table(backbone_table(reading)),
        "guesses": [_guesses(pieces, number, own) for number, own in enumerate(guessed)],
        "hidden": HIDDEN if guessed or any(probe.watched for probe in encoders) else "",
    }


def _probes(pieces: PageBuilder, found: list[ProbeCurve]) -> Iterator[PageFigure]:
    names = short_names(probe.preparation for probe in found)
    for number, probe in enumerate(found):
        if probe.watched:
            drawing = figures.probe_figure(f"encoder-{number:02d}", {s: probe.curve(s) for s in probe.watched})
            dataset = pieces.reading.names.dataset.get(probe.dataset, probe.dataset)
            text = f"{dataset}, {names[probe.preparation]}: accuracy of the nearest neighbors in the features of the "
            yield pieces.add_figure(drawing, text + "train part, a line a seed.")


def _guesses(pieces: PageBuilder, number: int, own: PseudoLabelStats) -> dict[str, Any]:
    reading, name = pieces.reading, f"guesses-{number:02d}"
    return {
        "title": reading.names.title(own.setting),
        "figures": list(_guess_figures(pieces, name, own)),
        "table": pieces.add_table(guess_table(reading, own, name)),
    }


def _guess_figures(pieces: PageBuilder, name: str, own: PseudoLabelStats) -> Iterator[PageFigure]:
    reading = pieces.reading
    method, footnote = styles_of(reading)[own.query].label, reading.caption_note([own.setting])
    if rates := own.mask_rates():
        text = f"Share of unlabeled images that were learned from, over training; {method}, mean over seeds, pale to "
        yield pieces.add_figure(
            figures.mask_figure(f"{name}-mask", rates), text + "strong from the first to the last budget."
        )
    above = f"above {own.threshold:g}" if own.threshold is not None else "above the threshold"
    told = {
        "pseudo_rate": ("pseudo-label rate", f"Share of the pool whose prediction is {above}, mean over seeds."),
        "pseudo_accuracy": (
            "pseudo-label accuracy",
            f"How many of the predictions {above} are right, mean over seeds.",
        ),
    }
    for rate, (what, text) in told.items():
        curves = own.curves(rate)
        if not curves.empty:
            drawing = figures.rate_figure(f"{name}-{rate.replace('_', '-')}", curves, styles_of(reading), what)
            yield pieces.add_figure(drawing, f"{text} {footnote}".strip())
    if found := own.marginals():
        budget, marginals, target = found
        lines: dict[str, Any] = {} if target is None else {"target": target}
        if len(own.pool) == len(marginals):
            lines["pool"] = own.pool
        classes = reading.facts.get(own.setting.dataset, {}).get("class_names", [])
        drawing = figures.marginal_figure(f"{name}-classes", marginals, lines, classes)
        text = f"Mean guess of each class in the last epoch at {budget} labels; {method}, mean over seeds. "
        text += "Guesses were aligned to the target." if target is not None else "Guesses were not aligned."
        yield pieces.add_figure(drawing, f"{text} Pool: its true shares, for comparison." if "pool" in lines else text)
