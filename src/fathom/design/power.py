"""The statistical power of a design before it is run: smallest p, power, and the seeds that an effect needs.

All for a two-sided paired t-test on differences that share a seed; d_z is the effect over the standard deviation of
these differences.
"""

from dataclasses import dataclass
from typing import Any

from fathom.core.records import FathomError, Study, grouped
from fathom.core.text import plural
from fathom.registry.dataset_identity import dataset_identity
from fathom.stats.differences import SMALLEST_EFFECT
from fathom.stats.inference import ALPHA, minimum_p
from fathom.stats.power import power, units_needed

# The published AUBCs (Lüth et al., 2023; final study, three seeds per cell) have a median standard deviation over seeds
# of .0064; the difference of two methods then has sqrt(2) times that, if they share nothing but the number of the seed.
# Pairing makes it smaller, so this is on the safe side.
SD = 0.009


@dataclass(frozen=True)
class PowerAnalysis:
    """The statistical power of a design.

    Args:
        seeds: Seeds of the setting with the fewest.
        smallest_p: The smallest p of an exact paired test (sign-flip, Wilcoxon) within that setting.
        datasets: Distinct datasets (`dataset_identity`): the pairs of an exact test across them, with regimes and
            seeds averaged.
        smallest_p_across: The smallest p of that test.
        comparisons: Query methods compared with the baseline: the family of Holm's correction.
        effect, sd: Assumed effect and standard deviation of the paired differences, as fractions.
        power: Power of a paired t-test within a setting, uncorrected.
        seeds_needed: Seeds for a power of .8; None if it is more than can be run.
    """

    seeds: int
    smallest_p: float
    datasets: int
    smallest_p_across: float
    comparisons: int
    effect: float
    sd: float
    power: float
    seeds_needed: int | None

    @property
    def can_reject(self) -> bool:
        """True if an exact test, within a setting or across datasets, can reach .05 at all."""
        return min(self.smallest_p, self.smallest_p_across) <= ALPHA

    def to_json(self) -> dict[str, Any]:
        """JSON-plain values, with `can_reject`."""
        return {**self.__dict__, "can_reject": self.can_reject}

    def lines(self) -> list[tuple[str, str]]:
        """(label, value) for a person."""
        needed = "more than can be run" if self.seeds_needed is None else f"{self.seeds_needed} seeds"
        return [
            (
                "smallest p",
                f"{self.smallest_p:.3g} within a setting ({self.seeds} seeds), {self.smallest_p_across:.3g} across "
                f"{plural(self.datasets, 'dataset')}, exact and two-sided",
            ),
            (
                "power",
                f"{self.power:.0%} for {100 * self.effect:g} points in one setting, if paired differences have a "
                f"standard deviation of {100 * self.sd:g} points; 80 % would need {needed}",
            ),
        ]

    def notes(self) -> list[str]:
        """Limits of the design that hold whatever the results are."""
        found = []
        if self.seeds and self.smallest_p > ALPHA:
            found.append(
                f"with {self.seeds} seeds an exact paired test cannot give p below {self.smallest_p:.3g}: "
                "within one setting this design can describe differences, but not reject equality"
            )
        if self.seeds and not self.can_reject:
            found.append(
                f"across {plural(self.datasets, 'dataset')} an exact test cannot give p below "
                f"{self.smallest_p_across:.3g}: with an exact test this design cannot reject anything; use 6 "
                "datasets or 6 seeds"
            )
        elif self.comparisons > 1 and min(self.smallest_p, self.smallest_p_across) > ALPHA / self.comparisons:
            found.append(
                f"corrected for {self.comparisons} comparisons (Holm), no exact test of this design can reach .05 for "
                "all of them"
            )
        return found


def proof(study: Study, *, effect: float = SMALLEST_EFFECT, sd: float = SD) -> PowerAnalysis:
    """Compute the statistical power of a study's design.

    Args:
        study: The study.
        effect: Difference to be found, as a fraction of 1 (a point is .01).
        sd: Standard deviation of the paired differences, in the same unit.

    Raises:
        FathomError: Effect or sd is not in (0, 1).
    """
    if not (0 < effect < 1 and 0 < sd < 1):
        raise FathomError(f"effect and sd are fractions between 0 and 1 (a point is .01); got {effect} and {sd}")
    seeds = grouped((run.setting, run.seed) for run in study.runs)
    n = min((len(set(own)) for own in seeds.values()), default=0)
    datasets = len({dataset_identity(run.dataset) for run in study.runs})
    return PowerAnalysis(
        seeds=n,
        smallest_p=minimum_p(n),
        datasets=datasets,
        smallest_p_across=minimum_p(datasets),
        comparisons=len({run.query for run in study.runs} - {study.baseline}),
        effect=effect,
        sd=sd,
        power=power(n, effect / sd),
        seeds_needed=units_needed(effect, sd),
    )
