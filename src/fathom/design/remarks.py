"""Remarks on a study that a reader must know: plans, runs and reports say them in the same words."""

from collections.abc import Iterable, Mapping

from fathom.core.records import LabelRegime, Setting, grouped, unique
from fathom.registry.spec_string import parse_stored


def raw_pixels(paradigm: str) -> bool:
    """Tell whether a paradigm's features are the raw pixels of the images."""
    spec = parse_stored(paradigm)
    return spec.name == "frozen" and dict(spec.arguments).get("backbone", "pixels") == "pixels"


def remarks(settings: Iterable[Setting], regimes: Mapping[Setting, Iterable[LabelRegime]]) -> list[str]:
    """Remarks on the settings of a study.

    Args:
        settings: The settings.
        regimes: Setting -> label regimes of its runs, one per seed; a setting that has not begun may be absent.
    """
    settings = list(settings)
    found = [
        f"{paradigm} has no backbone: its features are the raw pixels, so its classifier is linear in the image. Name "
        "a pre-trained network with frozen(backbone=...); fathom list backbones shows them"
        for paradigm in unique(s.paradigm for s in settings)
        if raw_pixels(paradigm)
    ]
    fitted = grouped(((s.dataset, s.regime), regime) for s in settings for regime in regimes.get(s, ()))
    for (dataset, regime), own in fitted.items():
        found += [f"{dataset}, {text}" for text in validation_remark(regime, own)]
    return found


def validation_remark(regime: str, fitted: Iterable[LabelRegime]) -> list[str]:
    """Sentence on a validation set that is smaller than the rule says, because no more is held out; else none.

    Args:
        regime: Spec string of the regime. A size that it gives is kept, or refused.
        fitted: The regime as it fits the splits of the seeds.
    """
    if "val_size" in dict(parse_stored(regime).arguments):
        return []
    short = [r for r in fitted if r.val_size < LabelRegime.VAL_FACTOR * r.start]
    if not short:
        return []
    low, high = min(r.val_size for r in short), max(r.val_size for r in short)
    size = str(low) if low == high else f"{low} to {high} (by seed)"
    rule = LabelRegime.VAL_FACTOR * short[0].start
    return [
        f"{regime}: {size} validation labels instead of {rule} ({LabelRegime.VAL_FACTOR} x start), as no more can be "
        "drawn of the held-out part; HPs are chosen on fewer images"
    ]
