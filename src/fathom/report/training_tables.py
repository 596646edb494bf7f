"""Tables of training itself: encoders, backbones, pseudo-labels, and the time that went into what runs share."""

from typing import Any

import numpy as np

from fathom.core.durations import duration
from fathom.report.numbers import DASH, number, percent
from fathom.report.style import styles_of
from fathom.report.tables import ReportTable, TableCell
from fathom.results.environments import spoken
from fathom.results.names import short_names
from fathom.results.results import StudyResults
from fathom.results.training import ProbeCurve, PseudoLabelStats
from fathom.stats.inference import t_interval

SHORT = 12  # hexadecimal digits shown of a SHA-256


def encoder_table(reading: StudyResults, probes: list[ProbeCurve]) -> ReportTable | None:
    """What each encoder came to; None where none was learned."""
    rows = []
    names = short_names(p.preparation for p in probes)
    for probe in probes:
        for seed, (content, clock) in probe.records.items():
            epochs, accuracy = probe.curve(seed)
            losses = [p["loss"] for p in content.get("curve", []) if "loss" in p]
            row = [_dataset(reading, probe.dataset)]
            row.append(TableCell(names[probe.preparation], probe.preparation, title=probe.preparation))
            row.append(TableCell(str(seed), float(seed)))
            row.append(TableCell(f"{epochs[-1]:g}", epochs[-1]) if epochs else TableCell(DASH))
            row.append(TableCell(f"{number(100 * accuracy[-1])} %", accuracy[-1]) if accuracy else TableCell(DASH))
            row.append(TableCell(number(losses[-1], 3), losses[-1]) if losses else TableCell(DASH))
            rows.append([*row, _sha(content.get("tensors")), _time(clock)])
    caption = (
        "Encoders learned without labels on the train part of each seed's split, and how good they were at the end."
    )
    columns = ["Dataset", "Way", "Seed", "Epochs", "kNN accuracy", "Loss", "SHA-256", "Time"]
    return ReportTable("encoders", caption, columns, rows, text=2) if rows else None


def backbone_table(reading: StudyResults) -> ReportTable | None:
    """The fixed backbones and what is known of their weights; None where there is none."""
    if not reading.features:
        return None
    names = short_names(str(content["backbone"]) for content, _ in reading.features)
    rows = []
    for content, clock in reading.features:
        facts: dict[str, Any] = dict(content.get("facts", {}))
        sha = next((facts[key] for key in ("weights_sha256", "sha256") if facts.get(key)), None)
        told = {key: spoken(facts.get(key)) for key in ("backbone", "weights", "license", "revision", "input")}
        seed = int(content["seed"])
        row = [_dataset(reading, str(content["dataset"]))]
        named = told["backbone"] or names[str(content["backbone"])]
        row.append(TableCell(named, named, title=str(content["backbone"])))
        row.append(TableCell("all" if seed < 0 else str(seed), float(seed)))
        row.append(TableCell(str(content.get("dim", DASH)), content.get("dim")))
        weights = _cut(told["weights"])
        row.append(TableCell(weights or DASH, weights or None, title=told["weights"]))
        row.append(_sha(sha))
        row += [
            TableCell(_cut(told[key]) or DASH, told[key] or None, title=told[key])
            for key in ("license", "revision", "input")
        ]
        rest = "; ".join(f"{k}: {spoken(v)}" for k, v in facts.items() if k not in (*told, "weights_sha256", "sha256"))
        rows.append([*row, TableCell(rest or DASH), _time(clock)])
    caption = "Backbones whose features took the place of the images; they stay as they are, only a head is trained."
    columns = [
        "Dataset",
        "Backbone",
        "Seed",
        "Features",
        "Weights",
        "SHA-256",
        "License",
        "Revision",
        "Input",
        "Other facts",
    ]
    columns.append("Time")
    kept = [i for i in range(len(columns)) if any(row[i].text != DASH for row in rows)]
    note = "A hash says which weights they were; whether their pre-training saw the test images, nobody here can know."
    return ReportTable(
        "backbones", caption, [columns[i] for i in kept], [[row[i] for i in kept] for row in rows], note, 2
    )


def guess_table(reading: StudyResults, guesses: PseudoLabelStats, name: str) -> ReportTable:
    """Mask rate, pseudo-label rate and accuracy of each query method at its last budget."""
    frame = guesses.frame
    rows = []
    for query, part in frame.groupby("query", sort=False):
        last = part[part["round"] == part["round"].max()]
        style = styles_of(reading)[str(query)]
        row = [
            TableCell(style.label, style.label, style.number),
            TableCell(str(last["budget"].max()), float(last["budget"].max())),
        ]
        row.append(TableCell(str(len(last)), float(len(last))))
        for rate in ("mask_rate", "pseudo_rate", "pseudo_accuracy"):
            values = last[rate].dropna().to_numpy(dtype=np.float64)
            band = t_interval(values)
            row.append(TableCell(percent(band.mean, band.low, band.high), band.mean if len(values) else None))
        rows.append(row)
    threshold = f"at least {guesses.threshold:g} sure" if guesses.threshold is not None else "sure enough"
    caption = (
        f"Pseudo-labels in the last round, in %: mean over seeds ± half the 95 % t-interval. Mask rate: share of the "
        f"unlabeled images of the last epoch that were learned from. Rate: share of the pool the finished classifier "
        f"is {threshold} of; accuracy: how many of those are right."
    )
    columns = ["Method", "Labels", "Seeds", "Mask rate", "Pseudo-label rate", "Their accuracy"]
    return ReportTable(name, caption, columns, rows, reading.footnote([guesses.setting]))


def ground_table(reading: StudyResults) -> ReportTable | None:
    """Time of pre-training and of feature extraction, which runs share; None where there was none."""
    found: dict[tuple[str, str, str], list[float]] = {}
    for what, key, records in (
        ("pre-training", "preparation", reading.prepared),
        ("features", "backbone", reading.features),
    ):
        for content, clock in records:
            group = (what, str(content["dataset"]), str(content[key]))
            found.setdefault(group, []).append(float(clock.get("seconds", 0.0)))
    if not found:
        return None
    ways = short_names(way for _, _, way in found)
    rows = []
    for (what, dataset, way), seconds in found.items():
        row = [TableCell(what, what), _dataset(reading, dataset), TableCell(ways[way], way, title=way)]
        median, total = float(np.median(seconds)), sum(seconds)
        row += [TableCell(str(len(seconds)), float(len(seconds))), TableCell(duration(median), median)]
        rows.append([*row, TableCell(duration(total), total)])
    caption = (
        "Wall-clock of what is done once, before anything is labeled, and shared by regimes, query methods and runs; "
        "where it was taken from the cache, the time that it had taken."
    )
    return ReportTable("ground-times", caption, ["What", "Dataset", "Way", "Times", "Median", "All"], rows, text=3)


def _dataset(reading: StudyResults, text: str) -> TableCell:
    name = reading.names.dataset.get(text, text)
    return TableCell(name, name, title=text)


def _sha(value: Any) -> TableCell:
    text = str(value or "")
    return TableCell(text[:SHORT] or DASH, text or None, title=text)


def _cut(text: str) -> str:
    return text if len(text) <= 32 else f"{text[:31]}…"


def _time(clock: dict[str, Any]) -> TableCell:
    seconds = float(clock.get("seconds", 0.0))
    return TableCell(duration(seconds), seconds) if seconds else TableCell(DASH)
