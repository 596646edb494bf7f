"""Methods paragraphs of a study, ready for a paper."""

from fathom.core.records import grouped, unique
from fathom.core.text import joined, number_ranges, plural
from fathom.core.version import __version__
from fathom.report.head.verdict_text import span
from fathom.results.classifiers import listed
from fathom.results.names import label
from fathom.results.results import StudyResults
from fathom.stats.decisions import MIN_UNITS
from fathom.stats.inference import ALPHA
from fathom.stats.verdicts import DATASETS, SEEDS
from fathom.stats.words import in_points

CITATION = (
    "C. T. Lüth, T. J. Bungert, L. Klein and P. F. Jaeger. Navigating the Pitfalls of Active Learning Evaluation: A "
    "Systematic Framework for Meaningful Performance Assessment. Advances in Neural Information Processing Systems 36, "
    "2023."
)


def methods_paragraphs(results: StudyResults) -> list[str]:
    """Paragraphs on design, training and statistics; they state nothing that the store does not know."""
    return [text for text in (_design(results), _training(results), _statistics(results)) if text]


def citations() -> list[str]:
    """References of the protocol and of the software."""
    return [CITATION, f"The Fathom developers. Fathom {__version__}: how much active learning is worth, measured."]


def _design(results: StudyResults) -> str:
    settings, base = results.store.study.settings, label(results.baseline)
    methods = [label(q) for q in results.queries if q != results.baseline]
    datasets = [_dataset(results, d) for d in unique(s.dataset for s in settings)]
    paradigms = unique(results.names.paradigm[s.paradigm] for s in settings)
    compared = f"{plural(len(methods), 'query method')} ({listed(methods)}) with {base}" if methods else base
    seeds = number_ranges(run.spec.seed for run in results.runs)
    done = sum(run.complete for run in results.runs)
    return joined(
        f"We compared {compared} in {plural(len(settings), 'setting')} on {listed(datasets)}, by the protocol of Lüth "
        f"et al. (2023).",
        _regimes(results),
        f"Training paradigms: {listed(paradigms)}.",
        f"Seeds: {seeds}; runs of one seed share split, starting set and random streams.",
        f"{done} of {len(results.runs)} runs are complete." if done < len(results.runs) else "",
    )


def _dataset(results: StudyResults, dataset: str) -> str:
    """`Lesions (7 classes, 1 000 train and 360 test images, balanced accuracy)`."""
    name, facts = results.names.dataset[dataset], results.facts.get(dataset)
    if not facts:
        return name
    metric = str(facts["metric"]).replace("_", " ")
    images = f"{facts['train']:,} train and {facts['test']:,} test images".replace(",", "\u202f")
    return f"{name} ({plural(len(facts['class_names']), 'class').replace('classs', 'classes')}, {images}, {metric})"


def _regimes(results: StudyResults) -> str:
    found = {}
    for setting in results.store.study.settings:
        for r in unique(results.regimes(setting)):
            text = f"{r.start} labels at the start, {r.query_size} per query, {r.rounds} rounds"
            found[setting, r] = f"{text}, {r.val_size} more labels for validation"
    by_text = grouped((text, results.names.brief(setting)) for (setting, _), text in found.items())
    if len(by_text) == 1:
        return f"Label regime: {next(iter(by_text))}."
    places = [listed(unique(where)) if len(where) <= 3 else plural(len(where), "setting") for where in by_text.values()]
    parts = [f"{text} ({place})" for text, place in zip(by_text, places, strict=True)]
    return f"Label regimes: {'; '.join(parts)}." if parts else ""


def _training(results: StudyResults) -> str:
    if not results.hparams:
        return ""
    records = list(results.hparams.values())
    sizes, starts = span(len(r["table"]) for r in records), span(len(r["seeds"]) for r in records if r["seeds"])
    metrics = listed(unique(str(r["metric"]).replace("_", " ") for r in records))
    recipes = list(results.shortened)
    return joined(
        "Hyper-parameters were chosen once per setting before round 0, on the starting budget, by validation "
        f"{metrics} over {sizes} grid entries and {starts} starting sets, and held for all query methods and rounds.",
        "Every round trains from its initial weights again, and validation labels count as paid.",
        f"Recipes other than the published one: {'; '.join(recipes)}." if recipes else "",
        results.retry_notes(results.store.study.settings),
    )


def _statistics(results: StudyResults) -> str:
    if not results.verdicts:
        return ""
    first, units = results.verdicts[0].decision, {v.unit for v in results.verdicts}
    base, loss = label(results.baseline), in_points(first.margin)
    unit = {
        SEEDS: "seeds, each the mean gain over the settings of its dataset; the verdicts hold for these datasets only",
        DATASETS: "datasets, each the mean over its settings, and of a setting over its seeds",
    }
    spelled = "; ".join(unit[u] for u in (DATASETS, SEEDS) if u in units)
    return joined(
        f"The outcome is the area under the budget curve (AUBC; Zhan et al., 2021), as a gain over {base} paired by "
        f"seed. Units of the tests: {spelled}.",
        f"A method is better or worse where a two-sided paired t-test rejects a gain of 0, and not worse where a "
        f"one-sided one rejects a loss of {loss} (margin stated in the study file); both are corrected by Holm (1979) "
        f"over all {first.family} comparisons at alpha = {first.alpha:.3g}. With fewer than {MIN_UNITS} units nothing "
        "is decided. Missing runs are set to their worst and best plausible values.",
        "The study grew after its first results; alpha is spent over the looks (Lan and DeMets, 1983)."
        if first.alpha < ALPHA
        else "",
    )
