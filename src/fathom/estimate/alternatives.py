"""Faster variants of a long study, each estimated by the same model of cost: shorter recipe, fixed features, size."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from fathom.core.records import FathomError, RunSpec, Study, unique
from fathom.engine.preflight import prepare
from fathom.estimate.cost import seconds_of
from fathom.estimate.throughput import Throughput, speed_name
from fathom.protocol.context import WorkerContext
from fathom.registry.registry import find
from fathom.registry.spec_string import SpecString, Value

LONG = 3 * 3600.0  # seconds, above which a plan names faster variants
BACKBONE = "torchvision:resnet18"  # as fast with random weights, with which it is timed, as with trained ones
SIZE, FEW = 32, 5_000  # pixels, and images that are decoded again to time that size
Rates = Callable[[Study], dict[str, Throughput]]


def alternatives(study: Study, context: WorkerContext, rates: Rates, workers: int) -> list[tuple[str, float]]:
    """Faster variants of a study and their seconds; those that cannot be estimated here are left out.

    Args:
        study: The study.
        context: Open datasets; the store keeps nothing.
        rates: Measures the rates of a study, or looks them up.
        workers: Worker processes that the time is for.
    """
    found = []
    for words, variant in _variants(study, context):
        try:
            jobs, speeds = prepare(variant, context), rates(variant)
            if all(speed_name(setting) in speeds for setting in variant.settings):
                total = math.fsum(seconds_of(context, job, speeds) for job in jobs)
                found.append((words, total / max(1, min(workers, len(jobs)))))
        except FathomError:
            continue
    return found


def _variants(study: Study, context: WorkerContext) -> Iterator[tuple[str, Study]]:
    """(what to change, in words; the study with it)."""
    short = {
        text: made for text in unique(s.paradigm for s in study.settings) if (made := _changed(text, recipe="short"))
    }
    if short:
        yield "recipe=short in every paradigm (for trying out)", _with(study, paradigm=short)
    trained = {s.paradigm for s in study.settings if find("paradigm", s.paradigm)[1].name != "frozen"}
    if trained:
        fixed = str(find("paradigm", f"frozen(backbone={BACKBONE}, weights=random)")[1])
        text = f"paradigm frozen(backbone={BACKBONE}), a linear head on fixed features"
        yield text, _with(study, paradigm=dict.fromkeys(trained, fixed))
    smaller: dict[str, str] = {}
    for text in unique(s.dataset for s in study.settings):
        dataset = context.dataset(text)
        if min(dataset.images.size) > SIZE and len(dataset.images) + len(dataset.test_images) <= FEW:
            smaller |= {text: made} if (made := _changed(text, "dataset", size=SIZE)) else {}
    if smaller:
        yield f"size={SIZE} in every dataset (fewer details)", _with(study, dataset=smaller)
        if short:
            yield f"recipe=short and size={SIZE}", _with(study, paradigm=short, dataset=smaller)


def _changed(text: str, kind: str = "paradigm", **changes: Value) -> str:
    """The canonical spec string with other arguments; empty where it has no such parameter, or is the same."""
    entry, call = find(kind, text)
    if not set(changes) <= set(entry.parameters):
        return ""
    made = str(find(kind, str(SpecString.make(call.name, {**dict(call.arguments), **changes})))[1])
    return made if made != str(call) else ""


def _with(study: Study, **changes: Mapping[str, str]) -> Study:
    """The study with other spec strings; runs that become equal are one run."""

    def change(spec: RunSpec) -> RunSpec:
        return replace(
            spec, **{key: texts.get(getattr(spec, key), getattr(spec, key)) for key, texts in changes.items()}
        )

    return replace(study, runs=tuple(unique(map(change, study.runs))))
