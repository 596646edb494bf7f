"""Budget curves, the area under them, and the gain of query methods over the baseline, paired by seed.

The input is the tidy table (`fathom.table`): one row per committed round. A round that is missing or not finite leaves
the area of its run undefined (NaN); it is never dropped, and a mean over fewer runs than planned carries its n.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fathom.core.records import FathomError, Setting
from fathom.stats.decisions import GainEstimate, decide
from fathom.stats.inference import LEVEL, Array, t_interval

if TYPE_CHECKING:
    import pandas as pd

SETTING = list(Setting._fields)  # columns of the tidy table
AXES = ("budget", "paid")


class RunCurve(NamedTuple):
    """Curve of one complete run, over its rounds.

    Args:
        budgets: Training labels.
        scores: Fractions.
        val: Labels of the validation set.
    """

    budgets: Array
    scores: Array
    val: float


# (setting, query method) -> the query method that its gain is measured against, where that is not the baseline
References = Mapping[tuple[Setting, str], str]


def aubc(budgets: Sequence[float] | Array, scores: Sequence[float] | Array) -> float:
    """Area under the budget curve: `1 / (B_T - B_0)` times the trapezoid over the true budgets.

    In the unit of the scores, so a constant score is its own area. NaN where a score is missing, or with one budget.

    Args:
        budgets: Increasing, in samples.
        scores: As many.

    Raises:
        FathomError: The budgets do not increase, or their number differs from the scores'.

    Source: Zhan et al., 2021, on true budgets; their code spaces rounds equally, whatever was labeled in them.
    """
    x, y = np.asarray(budgets, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    if x.shape != y.shape or x.ndim != 1:
        raise FathomError(f"a curve has one score per budget; got {x.shape} budgets and {y.shape} scores")
    if (np.diff(x) <= 0).any():
        raise FathomError(f"the budgets of a curve increase; got {', '.join(f'{b:g}' for b in x)}")
    if len(x) < 2 or not np.isfinite(y).all():
        return float("nan")
    return float(np.trapezoid(y, x) / (x[-1] - x[0]))


def settings(frame: "pd.DataFrame") -> Iterator[tuple[Setting, "pd.DataFrame"]]:
    """The settings of the table in its order, each with its rows."""
    if frame.empty:
        return
    for key, rows in frame.groupby(SETTING, sort=False):
        dataset, regime, paradigm = key
        yield Setting(str(dataset), str(regime), str(paradigm)), rows


def budget_curves(frame: "pd.DataFrame", axis: str = "budget", level: float = LEVEL) -> "pd.DataFrame":
    """Mean score and t-interval over seeds of each setting, query method and round.

    Args:
        frame: The tidy table.
        axis: `budget` (training labels) or `paid` (with validation labels).
        level: Coverage of the interval.

    Returns:
        Columns of `SETTING`, `query`, `round`, `budget` (mean over seeds, samples), `n`, `mean`, `low`, `high`, `sd`.
        With one seed `low`, `high` and `sd` are NaN: there is no interval.

    Raises:
        FathomError: `axis` is neither.
    """
    import pandas as pd

    if axis not in AXES:
        raise FathomError(f"the labels of a curve are counted by {' or '.join(AXES)}; got {axis!r}")
    rows: list[dict[str, Any]] = []
    for setting, part in settings(frame):
        for (query, number), seeds in part.groupby(["query", "round"], sort=False):
            band = t_interval(seeds["score"].to_numpy(dtype=np.float64), level)
            row: dict[str, Any] = setting._asdict() | {"query": query, "round": number}
            row |= {"budget": float(seeds[axis].mean()), "n": band.n, "mean": band.mean}
            rows.append(row | {"low": band.low, "high": band.high, "sd": band.sd})
    columns = [*SETTING, "query", "round", "budget", "n", "mean", "low", "high", "sd"]
    return pd.DataFrame(rows, columns=columns)


def seed_gains(frame: "pd.DataFrame", baseline: str, references: References | None = None) -> "pd.DataFrame":
    """Rows of the tidy table of all methods but the baseline, with `score` replaced by the difference to it.

    A seed that the baseline or the method lacks at a round has no row there.
    """
    if frame.empty:
        return frame.copy()
    keys = [*SETTING, "seed", "round", "query"]
    compared_with = []
    for dataset, regime, paradigm, query in frame[[*SETTING, "query"]].itertuples(index=False):
        compared_with.append((references or {}).get((Setting(dataset, regime, paradigm), query), baseline))
    # The score of the same seed and round under the other query method; NaN where that run lacks the round.
    other = frame.assign(query=compared_with).set_index(keys).index
    scores = frame.set_index(keys)["score"]
    found = frame.assign(score=frame["score"].to_numpy() - scores.reindex(other).to_numpy())
    return found[(frame["query"] != baseline) & found["score"].notna()]


def gain_curves(
    frame: "pd.DataFrame", baseline: str, references: References | None = None, level: float = LEVEL
) -> "pd.DataFrame":
    """Mean difference to the baseline at each round, paired by seed; columns and units as `budget_curves`.

    A seed that the baseline or the method lacks at a round does not count there; `n` is the number that counts.
    """
    return budget_curves(seed_gains(frame, baseline, references), level=level)


def run_areas(frame: "pd.DataFrame", rounds: Mapping[str, int] | None = None) -> "pd.DataFrame":
    """Area under the budget curve, first and final score of each run, one row per run.

    The area is the same over paid labels, from which the budget differs by a constant.

    Args:
        frame: The tidy table.
        rounds: Run key -> planned rounds; by default the maximum over the runs of its setting.

    Returns:
        Columns of `SETTING`, `query`, `seed`, `run`, `rounds`, `planned`, `complete`, `aubc`, `first`, `final`
        (fractions). `aubc` and `final` are NaN for a run that is not complete.
    """
    import pandas as pd

    names = [*SETTING, "query", "seed", "run"]
    columns = [*names, "rounds", "planned", "complete", "aubc", "first", "final"]
    if frame.empty:
        return pd.DataFrame(columns=columns)
    # Rows are taken out as arrays, and the runs of one length are summed at once: a table per run or per setting costs
    # pandas most of the time of a large report.
    of_setting = frame.groupby(SETTING, sort=False).ngroup().to_numpy()
    numbers, budgets, scores = (frame[name].to_numpy(dtype=np.float64) for name in ("round", "budget", "score"))
    most = np.zeros(of_setting.max() + 1)
    np.maximum.at(most, of_setting, numbers + 1)
    of_run = pd.factorize(frame["run"])[0]
    order = np.lexsort((numbers, of_run, of_setting))  # runs in order of first appearance within their setting
    of_setting, of_run = of_setting[order], of_run[order]
    numbers, budgets, scores = numbers[order], budgets[order], scores[order]
    starts = np.flatnonzero(np.append(True, (np.diff(of_run) != 0) | (np.diff(of_setting) != 0)))
    lengths = np.diff(np.append(starts, len(order)))
    rows = frame[names].iloc[order[starts]].reset_index(drop=True)
    planned = most[of_setting[starts]].astype(int)
    if rounds:
        planned = np.array([rounds.get(str(run), most) for run, most in zip(rows["run"], planned, strict=True)])
    in_turn = np.logical_and.reduceat(numbers == np.arange(len(numbers)) - np.repeat(starts, lengths), starts)
    complete = (lengths == planned) & in_turn
    areas = np.full(len(starts), np.nan)
    for length in np.unique(lengths[complete]):
        own = np.flatnonzero(complete & (lengths == length))
        at = starts[own][:, None] + np.arange(length)
        areas[own] = _aubcs(budgets[at], scores[at])
    final = np.where(complete, scores[starts + lengths - 1], np.nan)
    found = {"rounds": lengths, "planned": planned, "complete": complete, "aubc": areas}
    return rows.assign(**found, first=scores[starts], final=final)[columns]


def _aubcs(budgets: Array, scores: Array) -> Array:
    """`aubc` of many curves [runs, budgets] at once."""
    if budgets.shape[1] < 2 or (np.diff(budgets) <= 0).any():
        return np.array([aubc(x, y) for x, y in zip(budgets, scores, strict=True)])  # raises where they do not increase
    whole = np.isfinite(scores).all(1)
    with np.errstate(invalid="ignore"):
        found = np.trapezoid(scores, budgets, axis=1) / (budgets[:, -1] - budgets[:, 0])
    return np.where(whole, found, np.nan)


def complete_curves(part: "pd.DataFrame", rounds: Mapping[str, int] | None = None) -> dict[str, dict[int, RunCurve]]:
    """Query method -> seed -> curve of the complete runs of one setting.

    Columns are taken out as arrays once: the table of a run costs pandas more time than all tests of its setting.

    Args:
        part: Rows of one setting.
        rounds: Run key -> planned rounds; by default the maximum over the runs.
    """
    most = int(part["round"].max()) + 1
    ordered = part.sort_values("round")
    numbers, methods, seeds = (ordered[name].to_numpy() for name in ("round", "query", "seed"))
    budgets, paid, scores = (ordered[name].to_numpy(dtype=np.float64) for name in ("budget", "paid", "score"))
    found: dict[str, dict[int, RunCurve]] = {}
    for run, at in ordered.groupby("run", sort=False).indices.items():
        if numbers[at].tolist() == list(range((rounds or {}).get(str(run), most))):
            curve = RunCurve(budgets[at], scores[at], float(paid[at[0]] - budgets[at[0]]))
            found.setdefault(str(methods[at[0]]), {})[int(seeds[at[0]])] = curve
    return found


def method_means(areas: "pd.DataFrame", level: float = LEVEL) -> "pd.DataFrame":
    """Mean and t-interval over the complete runs of each setting and query method.

    Returns:
        Columns of `SETTING`, `query`, `n` (complete runs), `runs` (all runs with a round), and for each of `aubc` and
        `final` the mean under its name, `*_low`, `*_high`, `*_sd`.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for setting, part in settings(areas):
        for query, runs in part.groupby("query", sort=False):
            row: dict[str, Any] = setting._asdict() | {"query": query}
            done = runs[runs["complete"]]
            row |= {"n": len(done), "runs": len(runs)}
            for what in ("aubc", "final"):
                band = t_interval(done[what].to_numpy(dtype=np.float64), level)
                row |= {what: band.mean, f"{what}_low": band.low, f"{what}_high": band.high, f"{what}_sd": band.sd}
            rows.append(row)
    return pd.DataFrame(rows)


def mean_gains(
    areas: "pd.DataFrame",
    baseline: str,
    references: References | None = None,
    level: float = LEVEL,
    controls: Collection[str] = (),
) -> "pd.DataFrame":
    """Gain of each query method over the baseline in each setting, paired by seed.

    Only seeds that both have completed count. The AUBC alone is tested: the final score is one noisy point of the
    curve, and a second family of tests needs its own correction. P-values are those of `decide`, Holm-corrected over
    all settings and methods of the table.

    Args:
        areas: From `run_areas`.
        baseline: Spec string of the query method to compare with.
        references: Query methods that are compared with another one.
        level: Coverage of the t-intervals, which are not corrected.
        controls: Matched controls. They are no query methods, so their gains are not tested.

    Returns:
        Columns of `SETTING`, `query`, `reference` (the method it is compared with), `n` (pairs), and for each of `aubc`
        and `final` the mean difference under its name, `*_low` and `*_high`, and `aubc_p`, `aubc_holm`, `aubc_refused`
        (the reason for having no p). No row where the reference has no complete run.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    family: list[tuple[int, GainEstimate]] = []
    for setting, part in settings(areas):
        done = part[part["complete"]].set_index("seed")
        for query in part["query"].unique():
            against = (references or {}).get((setting, query), baseline)
            own, reference = done[done["query"] == query], done[done["query"] == against]
            if query == baseline or reference.empty:
                continue
            seeds = sorted(set(own.index) & set(reference.index))
            row: dict[str, Any] = setting._asdict() | {"query": query, "reference": against, "n": len(seeds)}
            for what in ("aubc", "final"):
                differences = (own.loc[seeds, what] - reference.loc[seeds, what]).to_numpy(dtype=np.float64)
                band = t_interval(differences, level)
                row |= {what: band.mean, f"{what}_low": band.low, f"{what}_high": band.high}
                if what == "aubc" and query not in controls:
                    family.append((len(rows), GainEstimate.of(differences)))
            no_test = {"aubc_p": float("nan"), "aubc_holm": float("nan"), "aubc_refused": "a matched control"}
            rows.append(row | no_test)
    for (at, _), found in zip(family, decide([estimate for _, estimate in family]), strict=True):
        rows[at] |= {"aubc_p": found.p, "aubc_holm": found.p_holm, "aubc_refused": found.refused}
    return pd.DataFrame(rows)
