"""Spread of paired gains over seeds, before a study has run: measured on such data, and the noise of a test set.

The published standard deviations, and those of a finished study, come from `published.spreads` and
`api.observed_spread`, which this room does not know; all of them are a `SpreadSource`.
"""

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fathom.core.records import Setting, grouped, unique
from fathom.registry.spec_string import parse_stored

TABLE = Path(__file__).parent / "spreads.csv"
MOST_NAMED = 3  # kinds of data in a sentence
SCORE = 0.9  # assumed of the classifiers where the noise of a test set is computed


@dataclass(frozen=True)
class Spread:
    """Standard deviation of paired gains in AUBC.

    Args:
        sd: A fraction of 1.
        source: Where it is known from, in words.
        where: Data that it was observed on, in words; empty where the source says it.
    """

    sd: float
    source: str
    where: str = ""


SpreadSource = Callable[[Setting], Spread | None]


@cache
def _measured() -> dict[tuple[str, str, str], Spread]:
    with TABLE.open(encoding="utf-8", newline="") as file:
        return {
            (row["dataset"], row["regime"], row["paradigm"]): Spread(float(row["sd"]) / 100, row["source"])
            for row in csv.DictReader(file)
        }


def names_in(setting: Setting) -> tuple[str, str, str]:
    """Names of dataset, regime and paradigm without their arguments."""
    dataset, regime, paradigm = (parse_stored(text).name for text in setting)
    return dataset, regime, paradigm


def measured_spread(setting: Setting) -> Spread | None:
    """Spread measured with Fathom on data of the same name; None where nothing was measured.

    Folders and tables of images have the median of small sets of photos, whatever regime and paradigm.
    """
    dataset, regime, paradigm = names_in(setting)
    return _measured().get((dataset, regime, paradigm)) or _measured().get((dataset, "", ""))


def sources_of(spreads: Iterable[Spread]) -> str:
    """The sources of some spreads in words, each once, with the data that they are known for."""
    named = grouped((spread.source, spread.where) for spread in spreads)
    parts = []
    for source, places in named.items():
        known = [where for where in unique(places) if where]
        what = "; ".join(known) if len(known) <= MOST_NAMED else f"{len(known)} settings"
        parts.append(f"{source}, for {what}" if known else source)
    return "; ".join(parts)


def first_known(sources: Sequence[SpreadSource]) -> SpreadSource:
    """The spread of the first source that knows the setting."""

    def known(setting: Setting) -> Spread | None:
        return next((found for source in sources if (found := source(setting))), None)

    return known


def noise_of_test_set(images: int, rounds: int, score: float = SCORE) -> float:
    """Spread of the gain in AUBC that the test set alone gives, a fraction of 1.

    Two classifiers of one score whose errors correlate by .5 differ in accuracy by chance, with the variance of one of
    them, `score (1 - score) / images`. The rounds after the first are taken as independent, so this is a lower bound.

    Args:
        images: Test images.
        rounds: Rounds of a run; round 0 is shared and adds nothing.
        score: Share of test images that are classified correctly.
    """
    return float((score * (1 - score) / max(1, images) / max(1, rounds - 1)) ** 0.5)


def at_least_noise(source: SpreadSource, images: Mapping[str, int], rounds: Mapping[str, int]) -> SpreadSource:
    """Raise the spreads of a source to the noise of the test set, where they are below it.

    Args:
        source: The spreads.
        images: Dataset -> test images.
        rounds: Regime -> rounds of a run.
    """

    def raised(setting: Setting) -> Spread | None:
        found = source(setting)
        if found is None or setting.dataset not in images:
            return found
        count = images[setting.dataset]
        noise = noise_of_test_set(count, rounds.get(setting.regime, 2))
        if noise <= found.sd:
            return found
        return Spread(noise, f"noise of {count} test images at a score of {100 * SCORE:g} %, above what is known")

    return raised
