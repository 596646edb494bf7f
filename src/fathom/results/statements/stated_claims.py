"""Stated claims, decided on the results of a study by the tests of its report (`stats.verdicts`).

A claim is decided over all settings that it names: with three datasets or more datasets are the units, else seeds.
Regimes, and with a claim on query methods paradigms, are averaged within a dataset. Roll-out data and development data
are never averaged: a study with both decides its claims on the roll-out data, which nothing was tuned on.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from fathom.core.metrics import METRICS
from fathom.core.records import ROLES, ROLL_OUT, FathomError, Setting, unique
from fathom.core.text import quoted
from fathom.design.freeze import role_of
from fathom.design.stated_claims import (
    BETTER_THAN,
    FINAL,
    NOT_WORSE_THAN,
    PARADIGM,
    QUERY,
    BoundClaim,
    StatedClaim,
    bind_claim,
    parse_claim,
)
from fathom.registry.dataset_identity import dataset_identity
from fathom.results.results import StudyResults
from fathom.results.statements.plan_changes import StatedWhen, stated_when, study_looks
from fathom.stats.curves import run_areas
from fathom.stats.decisions import BETTER, MARGIN, NOT_WORSE, WORSE, look_alpha
from fathom.stats.inference import ALPHA
from fathom.stats.power import power, power_not_worse
from fathom.stats.verdicts import MethodVerdict, SettingGain, family_verdicts, setting_gains

if TYPE_CHECKING:
    import pandas as pd

SUPPORTED, CONTRADICTED, OPEN, UNTESTED = "supported", "contradicted", "undecided", "not tested"  # verdicts
NOT_KNOWN = StatedWhen()
SCALES = {"fraction": 100.0, "nats": 1.0}  # of numbers for people


@dataclass(frozen=True)
class ClaimAnswer:
    """Decision on a stated claim.

    Args:
        claim: The claim.
        axis: `query` or `paradigm`.
        verdict: `supported`, `contradicted`, `undecided` or `not tested`.
        method: Verdict on the left side compared with the right one; None where it was not tested.
        power: Probability that its test supports the claim, from the spread that was observed: for `>` and `<` at a
            difference of the margin, for `>=` if both are equal.
        seeds: Fewest and most pairs of one setting.
        stated: When it was stated.
        looks: Number of this analysis (`plan_changes.study_looks`).
        notes: What a reader must know besides.
        reason: Why it was not tested; empty where it was.
        sentence: All of it in one sentence.
    """

    claim: StatedClaim
    axis: str
    verdict: str
    method: MethodVerdict | None
    power: float = float("nan")
    seeds: tuple[int, int] = (0, 0)
    stated: StatedWhen = NOT_KNOWN
    looks: int = 1
    notes: tuple[str, ...] = ()
    reason: str = ""
    sentence: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values for scripts: differences in fractions, and None where there is no number."""
        row = claim_row(self)
        return {name: None if value != value else value for name, value in row.items()}  # NaN


def claim_row(answer: ClaimAnswer) -> dict[str, Any]:
    """All fields of an answer, flat."""
    claim, method = answer.claim, answer.method
    row: dict[str, Any] = {"claim": claim.text, "left": claim.left, "relation": claim.relation, "right": claim.right}
    row |= {"where": ",".join(claim.where), "measure": claim.measure, "metric": claim.metric, "verdict": answer.verdict}
    decision = asdict(method.decision) if method else {}
    row |= {"decision": decision.pop("verdict", "")} | decision
    low, high = method.prediction or (float("nan"),) * 2 if method else (float("nan"),) * 2
    row |= {"unit": method.unit if method else "", "seeds_min": answer.seeds[0], "seeds_max": answer.seeds[1]}
    row |= {"prediction_low": low, "prediction_high": high, "power": answer.power, "value_unit": claim.unit}
    row |= {"settings": len(method.gains) if method else 0, "looks": answer.looks, "stated": answer.stated.at}
    row |= {"stated_before_first_result": answer.stated.before, "notes": " ".join(answer.notes)}
    return row | {"reason": answer.reason, "sentence": answer.sentence}


def stated_answers(results: StudyResults) -> list[ClaimAnswer]:
    """Answers to the claims of the study, in its order: one family of tests, with the study's margin."""
    study = results.store.study
    claims, broken = [], {}
    for text in study.claims:
        try:
            claims.append(parse_claim(text))
        except FathomError as error:
            broken[text] = _untested(StatedClaim(text, "", "", ""), str(error))
    found = {answer.claim.text: answer for answer in answer_claims(results, claims, study.margin)} | broken
    return [found[text] for text in study.claims]


def answer_claims(
    results: StudyResults, claims: Sequence[StatedClaim], margin: float = MARGIN, alpha: float = ALPHA
) -> list[ClaimAnswer]:
    """Decide claims, in the order given, all of them one family of tests.

    Args:
        results: Results of the study.
        claims: The claims.
        margin: Loss that counts as none: a fraction, or nats for a metric in nats.
        alpha: Error rate of a study that never grew; after further looks less (`stats.decisions.look_alpha`).
    """
    looks = study_looks(results)
    tests = [_Test.of(results, claim) for claim in claims]
    family = [test for test in tests if test.gains]
    groups = [(("", "", test.bound.claim.left), test.gains) for test in family if test.bound]
    verdicts = family_verdicts(groups, identity=dataset_identity, margin=margin, alpha=look_alpha(looks, alpha))
    methods = dict(zip(map(id, family), verdicts, strict=True))
    return [_answer(results, test, methods.get(id(test)), looks) for test in tests]


@dataclass(frozen=True, eq=False)
class _Test:
    """Data that a claim is tested on: gains, or the reason why there are none."""

    claim: StatedClaim
    bound: BoundClaim | None = None
    gains: Sequence[SettingGain] = ()
    notes: tuple[str, ...] = ()
    reason: str = ""

    @classmethod
    def of(cls, results: StudyResults, claim: StatedClaim) -> "_Test":
        try:
            bound, notes = _one_role(results, bind_claim(claim, results.store.study))
            gains = _query_gains(results, bound) if bound.axis == QUERY else _paradigm_gains(results, bound)
        except FathomError as error:
            return cls(claim, reason=str(error))
        if not any(own.gains for own in gains):
            return cls(claim, bound, reason=f"no seed is complete for both {claim.left} and {claim.right}")
        return cls(claim, bound, gains, (*notes, *_classifier_notes(results, bound, gains)))


def _one_role(results: StudyResults, bound: BoundClaim) -> tuple[BoundClaim, tuple[str, ...]]:
    """The claim on data of one role, with a note where the other role was left out.

    Raises:
        FathomError: Its conditions name datasets of both roles.
    """
    roles = {setting: role_of(setting.dataset, results.facts) for setting in bound.settings}
    if len(set(roles.values())) < len(ROLES):
        return bound, ()
    if any("dataset" in text for text in bound.claim.where):
        raise FathomError(
            f"claim {quoted(bound.claim.text)} names development data and roll-out data, which are never averaged; "
            "name datasets of one role"
        )
    kept = tuple(setting for setting in bound.settings if roles[setting] == ROLL_OUT)
    return BoundClaim(bound.claim, bound.axis, bound.left, bound.right, kept, bound.seeds), (
        "Decided on the roll-out data; development data are left out.",
    )


# ------------------------------------------------------------------------------------------------------------ gains


def _areas(results: StudyResults, claim: StatedClaim, frame: "pd.DataFrame | None" = None) -> "pd.DataFrame":
    """Areas of the runs in `frame`, by default of all, whose `aubc` is what a claim measures: higher is better."""
    areas = results.areas
    if claim.metric or frame is not None:
        scored = results.frame if frame is None else frame
        if claim.metric and claim.metric not in scored:
            raise FathomError(f"claim {quoted(claim.text)}: the results hold no {claim.metric}")
        if claim.metric:
            sign = 1.0 if _higher_is_better(claim.metric) else -1.0
            scored = scored.assign(score=sign * scored[claim.metric])
        areas = run_areas(scored, results.planned if frame is None else None)
    return areas.assign(aubc=areas["final"]) if claim.measure == FINAL and not areas.empty else areas


def _higher_is_better(metric: str) -> bool:
    return next(entry.higher_is_better for entry in METRICS if entry.name == metric)


def _query_gains(results: StudyResults, bound: BoundClaim) -> list[SettingGain]:
    """Paired gains of the left method over the right one; over its matched control where the report has one."""
    areas = _areas(results, bound.claim)
    if areas.empty:
        return []
    (left,), (right,) = bound.left, bound.right
    references = results.references if right == results.baseline else {}
    used = {left, right, *(references.get((setting, left), right) for setting in bound.settings)}
    wanted = areas["query"].isin(used) & areas["seed"].isin(bound.seeds)
    found = setting_gains(areas[wanted], right, references, used - {left})
    return [own for own in found if own.query == left and own.setting in bound.settings]


def _paradigm_gains(results: StudyResults, bound: BoundClaim) -> list[SettingGain]:
    """Paired gains of the left paradigm over the right one, with the baseline query method, where both start alike."""
    found = []
    lefts, rights = ([s for s in bound.settings if s.paradigm in side] for side in (bound.left, bound.right))
    for left, right in product(lefts, rights):
        if left.dataset == right.dataset and _partner(results, left, rights) == right:
            found.append(_paired(results, bound, left, right))
    return [gain for gain in found if gain is not None]


def _partner(results: StudyResults, setting: Setting, others: Sequence[Setting]) -> Setting | None:
    """The setting that one of another paradigm is paired with: of its regime, else one that starts like it."""
    on_same = [other for other in others if other.dataset == setting.dataset]
    same = [other for other in on_same if other.regime == setting.regime]
    if not same and (own := results.regime(setting)):
        regimes = [(other, results.regime(other)) for other in on_same]
        same = [o for o, r in regimes if r and (r.start, r.val_size) == (own.start, own.val_size)]
    if len(same) > 1:
        names = ", ".join(f"{other.regime} {other.paradigm}" for other in same)
        raise FathomError(f"{setting.regime} {setting.paradigm} has several counterparts: {names}; name one with where")
    return same[0] if same else None


def _paired(results: StudyResults, bound: BoundClaim, left: Setting, right: Setting) -> SettingGain | None:
    """Gains of one setting over another at the budgets that both have."""
    rows = [results.rows(setting) for setting in (left, right)]
    rows = [own[(own["query"] == results.baseline) & own["seed"].isin(bound.seeds)] for own in rows]
    shared = set(rows[0]["budget"]) & set(rows[1]["budget"])
    if len(shared) < 2:
        return None
    complete = set(results.areas[results.areas["complete"]]["run"])
    areas = []
    for own in rows:
        part = own[own["budget"].isin(shared) & own["run"].isin(complete)]
        part = part.assign(round=part["budget"].map({budget: i for i, budget in enumerate(sorted(shared))}))
        of_run = _areas(results, bound.claim, part)
        areas.append(dict(zip(of_run["seed"].astype(int), of_run["aubc"].astype(float), strict=True)))
    both = sorted(areas[0].keys() & areas[1].keys())
    gains = {seed: areas[0][seed] - areas[1][seed] for seed in both}
    return SettingGain(left, bound.claim.left, bound.claim.right, gains, frozenset(areas[0].keys() ^ areas[1].keys()))


# ----------------------------------------------------------------------------------------------------------- answer


def _classifier_notes(results: StudyResults, bound: BoundClaim, gains: Sequence[SettingGain]) -> Collection[str]:
    """Notes on other classifiers and matched controls."""
    if bound.axis == PARADIGM:
        return [f"Both with the query method {results.baseline}."]
    (left,), (right,) = bound.left, bound.right
    own = [(results.classifiers[gain.setting], gain.reference) for gain in gains]
    controls = unique(reference for _, reference in own if reference != right)
    notes = [f"Measured from {control}, the matched control of {left}." for control in controls]
    if any(classifiers.crossed(left, reference) for classifiers, reference in own):
        notes.append("The two have different classifiers (dropout), so the difference is due to both.")
    return notes


def _answer(results: StudyResults, test: _Test, method: MethodVerdict | None, looks: int) -> ClaimAnswer:
    from fathom.results.statements.claim_words import claim_sentence

    claim, when = test.claim, stated_when(results, test.claim.text)
    if method is None or test.bound is None:
        answer = _untested(claim, test.reason, when)
    else:
        counts = [len(own.gains) for own in method.gains if own.gains]
        answer = ClaimAnswer(
            claim, test.bound.axis, _claim_verdict(claim, method), method, _claim_power(claim, method),
            (min(counts), max(counts)), when, looks, test.notes,
        )  # fmt: skip
    return ClaimAnswer(**{**answer.__dict__, "sentence": claim_sentence(answer, results)})


def _untested(claim: StatedClaim, reason: str, when: StatedWhen = NOT_KNOWN) -> ClaimAnswer:
    return ClaimAnswer(claim, "", UNTESTED, None, stated=when, reason=reason, sentence=reason)


def _claim_verdict(claim: StatedClaim, method: MethodVerdict) -> str:
    """Decision on a claim from that on its gain.

    A loss that is shown may still be smaller than the margin: then `>=` is supported as well. With missing units the
    verdict on the gain holds wherever these lie, and the bounds do not, so nothing is read from the bounds.
    """
    decision = method.decision
    if claim.relation == NOT_WORSE_THAN:
        if decision.verdict == WORSE and not decision.missing:
            small, large = decision.bound > -decision.margin, decision.high < -decision.margin
            return SUPPORTED if small else CONTRADICTED if large else OPEN
        return SUPPORTED if decision.verdict in (BETTER, NOT_WORSE) else OPEN
    good, bad = (BETTER, WORSE) if claim.relation == BETTER_THAN else (WORSE, BETTER)
    words: Mapping[str, str] = {good: SUPPORTED, bad: CONTRADICTED}
    return words.get(decision.verdict, OPEN)


def _claim_power(claim: StatedClaim, method: MethodVerdict) -> float:
    """Power of the claim's test at the first step of Holm's correction; NaN where the gains have no spread."""
    decision, sd = method.decision, method.sd
    if decision.refused or not sd > 0:
        return float("nan")
    level = decision.alpha / max(1, decision.family)
    if claim.relation == NOT_WORSE_THAN:
        return power_not_worse(decision.n, 0.0, sd, decision.margin, level)
    return power(decision.n, decision.margin / sd, level)
