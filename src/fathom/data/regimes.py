"""Label regimes: how much is labeled (paper Sec. 3), and the check that it fits a dataset."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from fathom.core.member_call import guard
from fathom.core.records import FathomError, LabelRegime
from fathom.data.dataset import Dataset
from fathom.data.splits import Ids, largest_start, largest_validation
from fathom.registry import registry
from fathom.registry.registry import regime
from fathom.registry.spec_string import SpecString, parse, spell

SIZES = ("start", "query_size", "rounds", "val_size")
ROUNDS = 10
Size = int | None  # None: the rule of the regime, or of the dataset


def build_regime(text: str, dataset: Dataset, paradigm: str = "") -> LabelRegime:
    """The label regime of a spec string on a dataset; its name is the canonical spec string.

    Args:
        text: Spec string.
        dataset: Its dataset, whose `regimes` may change the sizes of a named regime, for all paradigms (`"low"`) or for
            one (`"semi-sl/low"`).
        paradigm: Name of the training paradigm.

    Raises:
        FathomError: Unknown regime or parameter, or a value that is not a positive whole number.
    """
    entry, call = registry.find("regime", text)
    for key, value in call.arguments:
        if key in SIZES:
            _positive(call.name, key, value)
    own = {key.removeprefix(f"{paradigm}/"): sizes for key, sizes in dataset.regimes.items() if "/" in key}
    changed = {key: {**dataset.regimes.get(key, {}), **sizes} for key, sizes in own.items()}
    sized = replace(dataset, regimes={**dataset.regimes, **changed}) if paradigm else dataset
    build = entry.load()
    with guard(str(call)):
        made = build(sized, **dict(call.arguments))
    if not isinstance(made, LabelRegime):
        raise FathomError(f"regime {text!r} ({entry.path}) gave {type(made).__name__}; expected a LabelRegime")
    sizes = {key: getattr(made, key) for key in SIZES}
    for key, value in sizes.items():
        _positive(str(call), key, value)
    return LabelRegime(str(call), **sizes)


@regime("low")
def low(
    dataset: Dataset, *, start: Size = None, query_size: Size = None, rounds: Size = None, val_size: Size = None
) -> LabelRegime:
    """Low-label regime: 5 labels per class in the starting set and in each query, 10 rounds.

    An argument of the spec string takes precedence over a change by the dataset, and that over this rule. Unless given,
    `query_size` equals `start`, and `val_size` is 5 x `start`, or all that can be drawn of the held-out part where that
    is less; one label per class at least.

    Source: Lüth et al. 2023, Sec. 3.
    """
    return _regime("low", 5, dataset, start=start, query_size=query_size, rounds=rounds, val_size=val_size)


@regime("mid")
def mid(
    dataset: Dataset, *, start: Size = None, query_size: Size = None, rounds: Size = None, val_size: Size = None
) -> LabelRegime:
    """Mid-label regime: 25 labels per class in the starting set and in each query, 10 rounds. Arguments as for `low`.

    Source: Lüth et al. 2023, Sec. 3. Validation is 5 x start as in the paper; the study's launch script has 2,500
        labels for CIFAR-10, a remnant of an earlier regime: `mid(val_size=2500)`.
    """
    return _regime("mid", 25, dataset, start=start, query_size=query_size, rounds=rounds, val_size=val_size)


@regime("high")
def high(
    dataset: Dataset, *, start: Size = None, query_size: Size = None, rounds: Size = None, val_size: Size = None
) -> LabelRegime:
    """High-label regime: 100 labels per class in the starting set and in each query, 10 rounds. Arguments as for `low`.

    Source: Lüth et al. 2023, Sec. 3.
    """
    return _regime("high", 100, dataset, start=start, query_size=query_size, rounds=rounds, val_size=val_size)


@regime("custom")
def custom(
    dataset: Dataset, *, start: Size = None, query_size: Size = None, rounds: Size = None, val_size: Size = None
) -> LabelRegime:
    """A regime with given sizes: `custom(start=200, query_size=50, rounds=8)`. Arguments as for `low`.

    Raises:
        FathomError: `start` is not given.
    """
    if start is None:
        raise FathomError("regime custom needs the size of the starting set: custom(start=200)")
    return _regime("custom", 1, dataset, start=start, query_size=query_size, rounds=rounds, val_size=val_size)


def check_regime(dataset: Dataset, regime: LabelRegime, train_ids: Ids, val_ids: Ids) -> LabelRegime:
    """Fit a regime to a single split; see `fit_regime`."""
    return fit_regime(dataset, regime, {-1: split_counts(dataset, train_ids, val_ids)})[-1]


def split_counts(dataset: Dataset, train_ids: Ids, val_ids: Ids) -> tuple[Ids, Ids]:
    """Images of each class in a split's pool and held-out part, int64 [classes] each."""
    classes = dataset.num_classes
    return dataset.vault.class_counts(classes, train_ids), dataset.vault.class_counts(classes, val_ids)


def fit_regime(dataset: Dataset, regime: LabelRegime, counts: Mapping[int, tuple[Ids, Ids]]) -> dict[int, LabelRegime]:
    """Fit a regime to the splits of all seeds of a study, or refuse it, before anything is trained.

    A validation size that the spec string does not give shrinks by itself to the largest that can be drawn in the split
    of the seed, down to one label per class. Everything else is refused where it does not fit. Only the last query may
    be smaller than the query size (it takes the rest of the pool).

    Args:
        dataset: The dataset.
        regime: The regime.
        counts: Seed -> images of each class in the pool and in the held-out part (`split_counts`).

    Returns:
        Seed -> the regime, with the validation size of its split.

    Raises:
        FathomError: It does not fit the split of a seed; with the seed, the reason, and the spec string of the largest
            regime that fits all seeds.

    Source: ours. In the published study too the validation set is all that is held out where that is less than five
        times the starting budget (CIFAR-100, ISIC-2019 high).
    """
    fits = {seed: _fit(dataset, regime, *parts) for seed, parts in counts.items()}
    if wrong := [seed for seed, fit in fits.items() if fit.problems]:
        _refuse(dataset, regime, list(fits.values()), fits[wrong[0]], _seeds(wrong, len(fits)))
    return {seed: replace(regime, val_size=fit.val_size) for seed, fit in fits.items()}


# ------------------------------------------------------------------------------------------------------- helpers


@dataclass(frozen=True)
class _Fit:
    """The largest sizes up to a regime's that can be drawn in one split, and why these are not the regime's."""

    start: int
    rounds: int
    val_size: int
    startable: bool  # a starting set with one label of each class can be drawn
    problems: tuple[str, ...]


def _fit(dataset: Dataset, regime: LabelRegime, pool: Ids, held_out: Ids) -> _Fit:
    images = int(pool.sum())
    start = largest_start(dataset, pool, regime.start)
    val_size = largest_validation(dataset, held_out, regime.val_size)
    query_size = start if regime.query_size == regime.start else regime.query_size
    rounds = _largest_rounds(start or 1, query_size or 1, images, regime.rounds)
    least = regime.val_size if "val_size" in dict(parse(regime.name).arguments) else dataset.num_classes
    problems = []
    if start < regime.start:
        problems.append(
            f"a starting set of {regime.start} labels cannot be drawn: {_counts(dataset, pool, 'the pool')}"
        )
    if val_size < min(least, regime.val_size):
        problems.append(
            f"a validation set of {min(least, regime.val_size)} labels cannot be drawn: "
            f"{_counts(dataset, held_out, 'the held-out part')}"
        )
    if start == regime.start and rounds < regime.rounds:
        problems.append(f"{regime.rounds} rounds need {regime.final} training labels, the pool has {images} images")
    if regime.start < dataset.num_classes:  # a classifier of these classes needs at least one label of each
        problems.append(f"a starting set of {regime.start} labels is too small")
    startable = largest_start(dataset, pool, dataset.num_classes) == dataset.num_classes
    return _Fit(start, rounds, val_size, startable, tuple(problems))


def _refuse(dataset: Dataset, regime: LabelRegime, fits: list[_Fit], worst: _Fit, where: str) -> None:
    """Raise the error of a regime that does not fit all splits."""
    reason = f"regime {regime.name} does not fit dataset {dataset.name}{where}: {'; '.join(worst.problems)}"
    start, classes = min(fit.start for fit in fits), dataset.num_classes
    if start < classes:
        needed = f"{classes} classes need a starting set of {classes} labels or more"
        advice = "leave out the rare classes or add images"
        if all(fit.startable for fit in fits):
            advice = f"use {_with(regime, start=classes)}"
        raise FathomError(f"{reason}; {needed}: {advice}")
    query_size = start if regime.query_size == regime.start else regime.query_size
    rounds, val_size = min(fit.rounds for fit in fits), min(fit.val_size for fit in fits)
    fitting = {"start": start, "query_size": query_size, "rounds": rounds, "val_size": val_size}
    if "val_size" not in dict(parse(regime.name).arguments) and val_size >= classes:
        del fitting["val_size"]  # it shrinks by itself, by seed
        val_size = min(val_size, LabelRegime.VAL_FACTOR * start)
    raise FathomError(
        f"{reason}. The largest that fits (start {start}, query size {query_size}, {rounds} rounds, {val_size} "
        f"validation labels): use {_with(regime, **fitting)}"
    )


def _seeds(wrong: list[int], of: int) -> str:
    """Where a regime does not fit, in words: in which seeds."""
    if wrong[0] < 0:
        return ""
    others = f" and of {len(wrong) - 1} others of {of} seeds" if len(wrong) > 1 else ""
    return f" in the split of seed {wrong[0]}{others}"


def _regime(name: str, per_class: int, dataset: Dataset, **given: int | None) -> LabelRegime:
    changed = dict(dataset.regimes.get(name, {}))
    if given["start"] is not None:
        # The dataset's sizes of these belong to its own start; with another start they follow that one.
        changed.pop("query_size", None)
        changed.pop("val_size", None)
    sizes = changed | {key: value for key, value in given.items() if value is not None}
    start = sizes.get("start", per_class * dataset.num_classes)
    return LabelRegime(
        name=name,
        start=start,
        query_size=sizes.get("query_size", start),
        rounds=sizes.get("rounds", ROUNDS),
        val_size=sizes.get("val_size", LabelRegime.VAL_FACTOR * start),
    )


def _positive(name: str, key: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        shown = spell(value) if isinstance(value, bool | int | float | str | tuple) else repr(value)
        raise FathomError(f"regime {name}: {key} is {shown}; expected a whole number of 1 or more")


def _largest_rounds(start: int, query_size: int, pool: int, rounds: int) -> int:
    """The most rounds in which all queries but the last are full, and the last finds at least one sample."""
    queries = -(-(pool - start) // query_size)
    return max(1, min(rounds, queries + 1))


def _counts(dataset: Dataset, counts: Ids, where: str) -> str:
    rare = int(counts.argmin())
    return f"{where} has {int(counts.sum())} images, of class {dataset.class_names[rare]!r} only {int(counts[rare])}"


def _with(regime: LabelRegime, **sizes: int) -> SpecString:
    """The spec string of `regime` with other sizes; sizes that it implies are left out."""
    call = parse(regime.name)
    arguments = dict(call.arguments)
    moved = sizes.get("start", regime.start) != regime.start
    for key, value in sizes.items():
        if moved or value != getattr(regime, key):
            arguments[key] = value
    return SpecString.make(call.name, arguments)
