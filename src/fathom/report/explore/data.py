"""Data of the section "Explore": every score of every run, as plain JSON that the page's script reads.

The page holds scores per seed, not means, so that gains stay paired by seed and intervals are right at any budget.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fathom.core.metrics import METRICS, Metric
from fathom.core.records import Setting, grouped, unique
from fathom.report.style import styles_of
from fathom.results.class_recalls import class_gains
from fathom.results.results import StudyResults
from fathom.stats.inference import ALPHA, critical_t
from fathom.store.picks import kept_thumbnails, most_queried, picks_limit

DIGITS = 6  # decimals of a score; a report shows at most three
CAP_SCORES = 400_000  # about 3 MB of the page; metrics beyond it stay in results.csv
CAP_CLASSES = 100_000  # results per class, of all settings and methods; about 2 MB


def explore_data(results: StudyResults, files: Mapping[Setting, Mapping[str, Any]]) -> dict[str, Any]:
    """Plain data of all curves of a study.

    Args:
        results: Results of the study.
        files: Setting -> anchor of its section on the page (`id`), and files of its figures and tables by name.

    Returns:
        `methods`, `parts` (names of datasets, regimes, paradigms), `metrics`, `t` (quantile of Student's t by degrees
        of freedom from 1 on), and `settings` with the scores of each run, fractions or nats.
    """
    methods = unique([*results.queries, results.baseline])
    styles = styles_of(results)
    shown = [setting for setting in files if not results.rows(setting).empty]
    metrics, left_out = _metrics(results, shown)
    few = len(methods) * sum(len(results.facts.get(s.dataset, {}).get("class_names", ())) for s in shown) <= CAP_CLASSES
    seeds = max((len(results.rows(s)["seed"].unique()) for s in shown), default=1)
    kept = kept_thumbnails(results.store)
    return {
        "baseline": methods.index(results.baseline),
        "methods": [{"label": styles[q].label, "marker": styles[q].marker, "style": styles[q].number} for q in methods],
        "parts": [list(names.values()) for names in results.names],
        "metrics": {m.name: {"words": m.words, "unit": m.unit, "higher": m.higher_is_better} for m in metrics},
        "left_out": [m.words for m in left_out],
        "t": [round(critical_t(n, ALPHA), 8) for n in range(2, max(2, seeds) + 1)],
        "images": [kept.get(dataset, {}) for dataset in results.names.dataset],
        "settings": [
            _setting(results, s, methods, metrics)
            | {"classes": _classes(results, s, methods) if few else None, "picks": _picks(results, s, methods, kept)}
            | dict(files[s])
            for s in shown
        ],
    }


def _metrics(results: StudyResults, shown: Sequence[Setting]) -> tuple[list[Metric], list[Metric]]:
    """Metrics on the page, main ones first, and those left out because a page has to stay small."""
    frame = results.frame
    main = unique(results.metric(setting) for setting in shown)
    known = {metric.name: metric for metric in METRICS}
    found = [known.get(name, Metric(name, name.replace("_", " "))) for name in main]
    further = [metric for metric in METRICS if metric.name in frame.columns and metric.name not in main]
    room = max(0, CAP_SCORES // max(1, len(frame)) - len(found))
    return found + further[:room], further[room:]


def _setting(results: StudyResults, setting: Setting, methods: list[str], metrics: list[Metric]) -> dict[str, Any]:
    names = [list(results.names[part]) for part in range(3)]
    references = {query: against for (own, query), against in results.references.items() if own == setting}
    full = results.full_data(setting)
    return {
        "class_names": [str(name) for name in results.facts.get(setting.dataset, {}).get("class_names", ())],
        "title": results.names.title(setting),
        "parts": [names[part].index(setting[part]) for part in range(3)],
        "metric": results.metric(setting),
        "references": {methods.index(query): methods.index(against) for query, against in references.items()},
        "full": {
            m.name: _rounded(np.mean([r["metrics"][m.name] for r in full]))
            for m in metrics
            if full and all(m.name in r["metrics"] for r in full)
        },
        **_runs(results, setting, methods, metrics),
    }


def _runs(results: StudyResults, setting: Setting, methods: list[str], metrics: list[Metric]) -> dict[str, Any]:
    """Scores of the runs of a setting; budgets, which many runs share, are listed once."""
    rows = results.rows(setting)
    grids: list[list[int]] = []
    runs = []
    names = [m.name for m in metrics if m.name in rows.columns and rows[m.name].notna().any()]
    values = rows[names].to_numpy(dtype=np.float64)
    labels = {axis: rows[axis].to_numpy(dtype=np.int64) for axis in ("budget", "paid")}
    queries, seeds, numbers = (rows[name].to_numpy() for name in ("query", "seed", "round"))
    for at in rows.reset_index(drop=True).groupby("run", sort=False).indices.values():
        ordered = at[np.argsort(numbers[at], kind="stable")]
        places = []
        for axis in ("budget", "paid"):
            grid = labels[axis][ordered].tolist()
            if grid not in grids:
                grids.append(grid)
            places.append(grids.index(grid))
        scores = [[_rounded(v) for v in values[ordered, column]] for column in range(len(names))]
        runs.append([methods.index(str(queries[at[0]])), int(seeds[at[0]]), *places, scores])
    return {"grids": grids, "names": names, "runs": runs}


def _classes(results: StudyResults, setting: Setting, methods: list[str]) -> dict[str, Any] | None:
    """Recall of each class at the last budget: the baseline's mean, and the gain of each method, in points."""
    found = class_gains(results, setting)
    if not found:
        return None
    facts = results.facts[setting.dataset]
    points = {
        methods.index(query): {
            "n": own.n,
            "labels": [round(v, 1) for v in own.labels],
            **{name: [_points(v) for v in getattr(own, name)] for name in ("mean", "low", "high")},
        }
        for query, own in found.items()
    }
    return {"test": facts.get("test_class_counts"), "pool": facts.get("class_counts"), "methods": points}


def _picks(
    results: StudyResults, setting: Setting, methods: list[str], kept: Mapping[str, Mapping[int, str]]
) -> dict[int, Any]:
    """Method -> seeds, and [id, seeds that queried it, class] of its most often queried images with a thumbnail."""
    images = kept.get(setting.dataset, {})
    runs = grouped((run.spec.query, run.spec) for run in results.runs_of.get(setting, ()))
    limit, found = picks_limit(results.store.study), {}
    for query, own in runs.items() if images else ():
        rounds = [r for spec in own if (r := results.store.rounds(spec))]
        picks = [[p.id, p.seeds, p.label] for p in most_queried(rounds, limit) if p.id in images]
        if picks:
            found[methods.index(query)] = {"seeds": len(rounds), "images": picks}
    return found


def _rounded(value: float) -> float | None:
    return round(float(value), DIGITS) if math.isfinite(value) else None


def _points(value: float) -> float | None:
    return round(100 * float(value), 2) if math.isfinite(value) else None
