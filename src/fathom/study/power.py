"""What a design can prove before anything is run: the smallest p it can reach, its power, the seeds it would need."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import nct
from scipy.stats import t as student

from fathom.records import FathomError, Study, unique
from fathom.study.inference import minimum_p

ALPHA = 0.05
TARGET = 0.8  # power that a design is usually asked for
MOST_SEEDS = 10_000
EFFECT = 1.0  # points of AUBC

# Standard deviation of paired AUBC differences, in points. The published study gives no paired differences, only the
# spread of each cell over three seeds; its median over the 174 cells with a spread is 0.635, and two independent cells
# differ by sqrt(2) times that. Pairing by seed makes it smaller, so this errs on the careful side.
SD = 0.9


@dataclass(frozen=True)
class Proof:
    """What a design can prove of its query methods.

    Args:
        seeds: Fewest seeds of a setting.
        datasets: Data sets.
        comparisons: Query methods beside the baseline, at most in one setting.
        smallest_p: Smallest p that an exact paired test of one setting can reach.
        smallest_p_datasets: The same for an exact test over data sets, each the mean of its regimes.
        corrected: `alpha` divided by the comparisons: what the smallest p must reach under Holm's correction.
        effect: Effect the power is for, in points.
        sd: Standard deviation of the paired differences it is reckoned with, in points.
        power: Chance that the paired t-test of one setting finds the effect, without correction; 0 below two seeds.
        seeds_needed: Seeds for a power of .8.
        alpha: Level of the tests.
    """

    seeds: int
    datasets: int
    comparisons: int
    smallest_p: float
    smallest_p_datasets: float
    corrected: float
    effect: float
    sd: float
    power: float
    seeds_needed: int
    alpha: float = ALPHA

    @classmethod
    def of(cls, study: Study, *, effect: float = EFFECT, sd: float = SD) -> "Proof":
        """What a study can prove.

        Args:
            study: The study.
            effect: Difference to be found, in points; above 0.
            sd: Standard deviation of the paired differences, in points; above 0.

        Raises:
            FathomError: `effect` or `sd` is not a positive number.
        """
        seeds = min((len({r.seed for r in study.runs if r.setting == s}) for s in study.settings), default=0)
        methods = [unique(r.query for r in study.runs if r.setting == s) for s in study.settings]
        comparisons = max((len([q for q in m if q != study.baseline]) for m in methods), default=0)
        datasets = len({r.dataset for r in study.runs})
        return cls(
            seeds=seeds,
            datasets=datasets,
            comparisons=comparisons,
            smallest_p=minimum_p(seeds) if seeds else 1.0,
            smallest_p_datasets=minimum_p(datasets) if datasets else 1.0,
            corrected=ALPHA / max(1, comparisons),
            effect=effect,
            sd=sd,
            power=paired_power(seeds, effect / _positive("sd", sd)),
            seeds_needed=seeds_for(effect / sd),
        )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def lines(self) -> list[tuple[str, str]]:
        """(label, value) for a person."""
        over = f"over {self.datasets} data set{'s' if self.datasets > 1 else ''} {self.smallest_p_datasets:.3g}"
        chance = f"{self.power:.0%} for {self.effect:g} point{'s' if self.effect != 1 else ''}"
        return [
            ("smallest p", f"{self.smallest_p:.3g} in one setting with {self.seeds} seeds; {over}"),
            (
                "power",
                f"{chance} in one setting, where differences paired by seed vary by {self.sd:g} points "
                f"(standard deviation); {TARGET:.0%} would need {self.seeds_needed} seeds",
            ),
        ]

    def limits(self) -> list[str]:
        """What the design cannot show, however the runs turn out."""
        if not self.comparisons:
            return ["no query method beside the baseline: there is nothing to compare"]
        notes = []
        if self.smallest_p > self.alpha:
            notes.append(
                f"with {self.seeds} seed{'s' if self.seeds != 1 else ''} an exact paired test cannot give p below "
                f"{self.smallest_p:.3g}: within one setting this design describes, it cannot reject"
            )
        elif self.smallest_p > self.corrected:
            notes.append(
                f"Holm's correction over {self.comparisons} methods needs p below {self.corrected:.3g} once; an exact "
                f"test with {self.seeds} seeds cannot give less than {self.smallest_p:.3g}: no method alone can pass it"
            )
        if self.datasets > 1 and self.smallest_p_datasets > self.alpha:
            notes.append(
                f"over {self.datasets} data sets an exact test cannot give p below {self.smallest_p_datasets:.3g}: "
                "nothing can be shown for data sets in general"
            )
        if self.smallest_p > self.alpha and self.smallest_p_datasets > self.alpha:
            notes.append("this design cannot reject anything, neither in a setting nor over data sets: it describes")
        return notes


def paired_power(n: int, effect: float, alpha: float = ALPHA) -> float:
    """Power of the two-sided paired t-test.

    Args:
        n: Pairs; below 2 there is no test and no power.
        effect: Mean of the differences over their standard deviation (d_z).
        alpha: Level of the test.

    Source: Cohen, 1988, by the noncentral t distribution.
    """
    if n < 2:
        return 0.0
    critical = student.ppf(1 - alpha / 2, n - 1)
    shift = abs(effect) * n**0.5
    upper, lower = nct.sf(critical, n - 1, shift), nct.cdf(-critical, n - 1, shift)
    return float(np.nan_to_num(upper, nan=1.0) + np.nan_to_num(lower, nan=0.0))  # far out scipy gives NaN: certain


def seeds_for(effect: float, power: float = TARGET, alpha: float = ALPHA) -> int:
    """Fewest pairs with which the paired t-test finds an effect with the given power.

    Args:
        effect: Mean of the differences over their standard deviation (d_z); not 0.
        power: In (0, 1).
        alpha: Level of the test.

    Returns:
        At least 2; `MOST_SEEDS` where even these do not suffice.

    Raises:
        FathomError: The effect is not a positive number.
    """
    _positive("effect", effect)
    low, high = 2, 2
    while paired_power(high, effect, alpha) < power:
        if high >= MOST_SEEDS:
            return MOST_SEEDS
        low, high = high, min(MOST_SEEDS, 2 * high)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if paired_power(middle, effect, alpha) >= power else (middle + 1, high)
    return high


def _positive(name: str, value: float) -> float:
    if not (np.isfinite(value) and value > 0):
        raise FathomError(f"{name} must be a positive number of points; got {value}")
    return value
