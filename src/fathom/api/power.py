"""Power of a study's design, with the spread of gains from where it is known best."""

from collections.abc import Mapping
from pathlib import Path

from fathom.core.inputs import user_path
from fathom.core.records import FathomError, Study
from fathom.design.power import PowerAnalysis, proof
from fathom.design.spread import Spread, at_least_noise, first_known, measured_spread
from fathom.published.spreads import published_between, published_spread


def study_power(
    study: Study,
    *,
    effect: float | None = None,
    sd: float | None = None,
    finished: str | Path | None = None,
    test_images: Mapping[str, int],
    rounds: Mapping[str, int],
) -> PowerAnalysis:
    """Compute the statistical power of a design.

    The spread over seeds is the one given; else that of a finished study; else what was measured with Fathom on the
    same data, else what the published numbers imply, and at least the noise of the test set.

    Args:
        study: The study.
        effect: Gain to be found, a fraction [default: the study's margin].
        sd: Standard deviation of the gains over seeds, a fraction.
        finished: Folder of a finished study.
        test_images: Dataset -> test images.
        rounds: Regime -> rounds of a run.

    Raises:
        FathomError: A number is out of its range, both `sd` and `finished` are given, or the folder holds no study with
            paired seeds.
    """
    if sd is not None and finished is not None:
        raise FathomError("--sd and --from both say how much gains vary; give one of them")
    if sd is not None:
        if not 0 < sd < 1:
            raise FathomError(f"sd is a fraction between 0 and 1 (a point is .01); got {sd}")
        return proof(study, lambda _: Spread(sd, "as given"), published_between(), effect=effect)
    if finished is not None:
        from fathom.api.observed_spread import ObservedSpreads
        from fathom.results.results import StudyResults

        observed = ObservedSpreads(StudyResults.of(user_path(finished)))
        return proof(study, observed, observed.between() or published_between(), effect=effect)
    known = at_least_noise(first_known([measured_spread, published_spread]), test_images, rounds)
    return proof(study, known, published_between(), effect=effect)
