"""The public functions that give the statistics of a study: claim, verdicts, gains."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fathom.api.answers import StudyClaim
from fathom.stats.inference import ALPHA

if TYPE_CHECKING:
    import pandas as pd


def claim(
    folder: str | Path,
    text: str,
    *,
    where: Sequence[str] = (),
    metric: str = "",
    margin: float | None = None,
    alpha: float = ALPHA,
) -> StudyClaim:
    """Decide a claim about a study by the tests of its report: `claim("out", "badge > random")`.

    `A > B` says that A is better, `A >= B` that it is not worse by the margin, `A < B` that it is worse. Both are query
    methods of the study, or both training paradigms, which are compared with the baseline query method. With three
    datasets or more datasets are the units of the test, else seeds. A claim that the study file states is decided in
    the family of all stated claims, any other one alone, as one that was chosen after seeing the results.

    Args:
        folder: The study's folder.
        text: The claim; `badge > random by final where regime=low` has a metric and conditions.
        where: Conditions on its settings, such as `["dataset=cifar10,regime=low"]`, as `only` of `run`.
        metric: aubc: area under the budget curve by the dataset's metric. final: score of the last round. Or the name
            of a recorded metric such as balanced_accuracy (its area), or final:NAME.
        margin: Loss that counts as none, in points (nats for a metric in nats) [default: that of the study].
        alpha: Error rate of the test, above 0 and below 1.

    Raises:
        FathomError: The folder holds no study, the claim cannot be read, or names what the study has not got.
    """
    from fathom.design.stated_claims import bind_claim, parse_claim
    from fathom.results.results import StudyResults
    from fathom.results.statements.stated_claims import SCALES, answer_claims, stated_answers

    parsed = parse_claim(text, where, metric)
    results = StudyResults.of(folder)
    study = results.store.study
    bind_claim(parsed, study)  # refuses what the study has not got
    if text in study.claims and not where and not metric and margin is None and alpha == ALPHA:
        answer = stated_answers(results)[study.claims.index(text)]
    else:
        scale = SCALES[parsed.unit]
        (answer,) = answer_claims(results, [parsed], study.margin if margin is None else margin / scale, alpha)
    return StudyClaim(text, answer.verdict, answer.sentence, answer.to_json())


def verdicts(folder: str | Path) -> "pd.DataFrame":
    """Read the verdicts of a study: one row per training paradigm and query method, and one per setting and method.

    Columns: `block` (`methods`: over all settings, one family of tests; `settings`: the detail, another family),
    `role`, `dataset`, `regime`, `paradigm`, `query`, `reference` (the method that the gain is measured from), `unit`
    (`datasets` or `seeds`), `verdict` (`better`, `not worse`, `worse`, `undecided`), `mean` (gain in AUBC), `low` and
    `high` (interval at `level`), `bound` (lower bound of the non-inferiority test), `p` and `p_holm`, `p_loss` and
    `p_loss_holm`, `n` (units), `missing`, `family`, `margin`, `alpha`, `refused`, `observed` (verdict without regard to
    missing units), `sd`, `prediction_low` and `prediction_high` (a new dataset), `here_verdict`, `here_low` and
    `here_high` (these datasets alone), `worst` and `worst_mean` (setting), `failures` (settings that lose more than the
    margin), `safe`, `to_settle_better` and `to_settle_not_worse` (units to add for 80 % power; NaN: more than can be
    run or unknown). Gains are fractions: a point is .01. Numbers that are not defined are NaN.

    Args:
        folder: The study's folder.

    Raises:
        FathomError: The folder holds no study.
    """
    from fathom.results.results import StudyResults
    from fathom.results.statements.statistics import statistics_frame

    return statistics_frame(StudyResults.of(folder), "methods", "settings")


def gains(folder: str | Path) -> "pd.DataFrame":
    """Read the paired gains of a study: one row per setting, query method and seed.

    Columns: `dataset`, `regime`, `paradigm`, `query`, `reference` (the method that the gain is measured from: the
    baseline, or a matched control), `seed`, `aubc_gain` and `final_gain` (area under the budget curve and score of the
    last round, minus those of the reference with this seed; fractions), `missing` (one of the two runs is not complete,
    and the gains are NaN).

    Args:
        folder: The study's folder.

    Raises:
        FathomError: The folder holds no study.
    """
    from fathom.results.results import StudyResults
    from fathom.results.statements.statistics import gains_frame

    return gains_frame(StudyResults.of(folder))
