"""Tables of training itself: encoders, backbones, pseudo-labels, and the time of pre-training and features."""

from typing import Any

import numpy as np

from fathom.report.numbers import DASH, number, percent
from fathom.report.tables import EMPTY_CELL, ReportTable, TableCell, count_cell, method_cell, text_cell, time_cell
from fathom.results.environments import fact_text
from fathom.results.names import short_names
from fathom.results.results import StudyResults
from fathom.results.training import ProbeCurve, PseudoLabelStats
from fathom.stats.inference import t_interval

SHORT = 12  # hexadecimal digits of a SHA-256 that are shown


def encoder_table(results: StudyResults, probes: list[ProbeCurve]) -> ReportTable | None:
    """Encoders with the end of their learning curve; None where there are none."""
    rows = []
    names = short_names(p.preparation for p in probes)
    for probe in probes:
        for seed, (content, clock) in probe.records.items():
            epochs, accuracy = probe.curve(seed)
            losses = [p["loss"] for p in content.get("curve", []) if "loss" in p]
            row = [_dataset(results, probe.dataset)]
            row.append(TableCell(names[probe.preparation], probe.preparation, title=probe.preparation))
            row.append(count_cell(seed))
            row.append(TableCell(f"{epochs[-1]:g}", epochs[-1]) if epochs else TableCell(DASH))
            row.append(TableCell(f"{number(100 * accuracy[-1])} %", accuracy[-1]) if accuracy else TableCell(DASH))
            row.append(TableCell(number(losses[-1], 3), losses[-1]) if losses else TableCell(DASH))
            rows.append([*row, _sha(content.get("tensors")), _time(clock)])
    caption = "Encoders learned without labels on the train part of each seed's split; values after the last epoch."
    columns = ["Dataset", "Pre-training", "Seed", "Epochs", "kNN accuracy", "Loss", "SHA-256", "Time"]
    return ReportTable("encoders", caption, columns, rows, text=2) if rows else None


def backbone_table(results: StudyResults) -> ReportTable | None:
    """Fixed backbones and the facts about their weights; None where there are none."""
    if not results.features:
        return None
    names = short_names(str(content["backbone"]) for content, _ in results.features)
    rows = []
    for content, clock in results.features:
        facts: dict[str, Any] = dict(content.get("facts", {}))
        sha = next((facts[key] for key in ("weights_sha256", "sha256") if facts.get(key)), None)
        known = {key: fact_text(facts.get(key)) for key in ("backbone", "weights", "license", "revision", "input")}
        seed = int(content["seed"])
        row = [_dataset(results, str(content["dataset"]))]
        row.append(text_cell(known["backbone"] or names[str(content["backbone"])], str(content["backbone"])))
        row.append(TableCell("all" if seed < 0 else str(seed), float(seed)))
        row.append(TableCell(str(content.get("dim", DASH)), content.get("dim")))
        row += [_cut(known["weights"]), _sha(sha), *(_cut(known[key]) for key in ("license", "revision", "input"))]
        others = {key: value for key, value in facts.items() if key not in (*known, "weights_sha256", "sha256")}
        rest = "; ".join(f"{key}: {fact_text(value)}" for key, value in others.items())
        rows.append([*row, TableCell(rest or DASH), _time(clock)])
    caption = "Fixed backbones: their features replace the images, and only a head is trained."
    columns = ["Dataset", "Backbone", "Seed", "Features", "Weights", "SHA-256", "License", "Revision", "Input"]
    columns += ["Other facts", "Time"]
    filled = [i for i in range(len(columns)) if any(row[i].text != DASH for row in rows)]
    note = "A hash identifies the weights. It does not show whether their pre-training used the test images."
    columns, rows = [columns[i] for i in filled], [[row[i] for i in filled] for row in rows]
    return ReportTable("backbones", caption, columns, rows, note, 2)


def pseudo_label_table(results: StudyResults, found: PseudoLabelStats, name: str) -> ReportTable:
    """Mask rate, pseudo-label rate and accuracy of each query method at its last budget."""
    frame = found.frame
    rows = []
    for query, part in frame.groupby("query", sort=False):
        last = part[part["round"] == part["round"].max()]
        row = [method_cell(results, str(query)), count_cell(last["budget"].max()), count_cell(len(last))]
        for rate in ("mask_rate", "pseudo_rate", "pseudo_accuracy"):
            values = last[rate].dropna().to_numpy(dtype=np.float64)
            band = t_interval(values)
            row.append(TableCell(percent(band.mean, band.low, band.high), band.mean if len(values) else None))
        rows.append(row)
    threshold = f"at least {found.threshold:g}" if found.threshold is not None else "above the threshold"
    caption = (
        f"Pseudo-labels in the last round, in %: mean over seeds ± half the 95 % t-interval. Mask rate: share of the "
        "unlabeled images of the last epoch that got a pseudo-label. Pseudo-label rate: share of the pool on which the "
        f"final classifier has a confidence of {threshold}. Pseudo-label accuracy: share of these that are correct."
    )
    columns = ["Method", "Labels", "Seeds", "Mask rate", "Pseudo-label rate", "Pseudo-label accuracy"]
    return ReportTable(name, caption, columns, rows, results.footnote([found.setting]))


def preparation_table(results: StudyResults) -> ReportTable | None:
    """Time of pre-training and feature extraction, which runs share; None where there was none."""
    found: dict[tuple[str, str, str], list[float]] = {}
    kinds = (("pre-training", "preparation", results.prepared), ("features", "backbone", results.features))
    for what, key, records in kinds:
        for content, clock in records:
            group = (what, str(content["dataset"]), str(content[key]))
            found.setdefault(group, []).append(float(clock.get("seconds", 0.0)))
    if not found:
        return None
    names = short_names(spec for _, _, spec in found)
    rows = []
    for (what, dataset, spec), seconds in found.items():
        row = [text_cell(what), _dataset(results, dataset), TableCell(names[spec], spec, title=spec)]
        rows.append([*row, count_cell(len(seconds)), time_cell(float(np.median(seconds))), time_cell(sum(seconds))])
    caption = (
        "Wall-clock time of work that is done once, before anything is labeled, and shared by runs; for a result from "
        "the cache, the time it took originally."
    )
    columns = ["Work", "Dataset", "Method", "Count", "Median", "Total"]
    return ReportTable("preparation-times", caption, columns, rows, text=3)


def _dataset(results: StudyResults, text: str) -> TableCell:
    return text_cell(results.names.dataset.get(text, text), text)


def _sha(value: Any) -> TableCell:
    text = str(value or "")
    return TableCell(text[:SHORT] or DASH, text or None, title=text)


def _cut(text: str) -> TableCell:
    """Cell of the beginning of a fact."""
    return TableCell((text if len(text) <= 32 else f"{text[:31]}…") or DASH, text or None, title=text)


def _time(clock: dict[str, Any]) -> TableCell:
    seconds = float(clock.get("seconds", 0.0))
    return time_cell(seconds) if seconds else EMPTY_CELL
