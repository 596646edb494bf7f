"""Claims about a study, as people state them: `badge > random`, in a study file before its runs or on the command line.

    badge > random                              BADGE is better than Random
    badge >= random                             BADGE is not worse than Random by the margin
    entropy < random where regime=low           Entropy is worse than Random in the settings that match
    self-sl > standard                          with the baseline query method, Self-SL is better than standard training
    badge > random by final:balanced_accuracy   by another measure than the area under the budget curve

Both sides are query methods or both are training paradigms of the study, by name or by spec string. A claim that its
study cannot decide is refused when the study file is loaded.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from fathom.core.metrics import METRICS
from fathom.core.records import FathomError, Setting, Study, unique
from fathom.core.text import quoted
from fathom.design.subset import OUTSIDE, matches, select
from fathom.registry.registry import suggest
from fathom.registry.spec_string import parse

RELATIONS = BETTER_THAN, NOT_WORSE_THAN, WORSE_THAN = ">", ">=", "<"
LONGEST_CLAIM = 1_000  # characters
AUBC, FINAL = "aubc", "final"
QUERY, PARADIGM = "query", "paradigm"
HOW = "Expected METHOD > METHOD, METHOD >= METHOD (not worse by the margin) or METHOD < METHOD, such as badge > random"
_PARTS = re.compile(rf"(?P<head>.*?)(?: by{OUTSIDE} (?P<metric>\S+))?(?: where{OUTSIDE} (?P<where>.+))?")
_RELATION = re.compile(rf" ?([<>=!~]++){OUTSIDE} ?")  # possessive: no text makes it slow


@dataclass(frozen=True)
class StatedClaim:
    """A claim as it was written.

    Args:
        text: Its wording.
        left, right: Names or spec strings of two query methods, or of two training paradigms.
        relation: `>` (better), `>=` (not worse by the margin) or `<` (worse).
        where: Conditions on its settings, as for `subset.select`.
        measure: `aubc` (area under the budget curve) or `final` (score of the last round).
        metric: Test metric that is measured; empty for that of the dataset.
    """

    text: str
    left: str
    relation: str
    right: str
    where: tuple[str, ...] = ()
    measure: str = AUBC
    metric: str = ""

    @property
    def unit(self) -> str:
        """Unit of what is measured: `fraction` or `nats`."""
        return next((entry.unit for entry in METRICS if entry.name == self.metric), "fraction")


@dataclass(frozen=True)
class BoundClaim:
    """A claim with the runs of a study that it is about.

    Args:
        claim: The claim.
        axis: `query` or `paradigm`.
        left, right: Spec strings of the study that its two sides name; one each for query methods.
        settings: Settings in which query methods are compared, or that have one of the paradigms; in the study's order.
        seeds: Seeds that count.
    """

    claim: StatedClaim
    axis: str
    left: tuple[str, ...]
    right: tuple[str, ...]
    settings: tuple[Setting, ...]
    seeds: frozenset[int]


def parse_claim(text: str, where: Sequence[str] = (), metric: str = "") -> StatedClaim:
    """Parse a claim.

    Args:
        text: `LEFT RELATION RIGHT [by METRIC] [where AXIS=VALUE,...]`.
        where, metric: Further conditions, and another METRIC than that of the text: `aubc`, `final`, the name of a test
            metric (its area), or `final:NAME`.

    Raises:
        FathomError: It is not of this form.
    """
    if len(text) > LONGEST_CLAIM:
        raise FathomError(f"a claim has at most {LONGEST_CLAIM:,} characters; got {len(text):,}")
    found = _PARTS.fullmatch(" ".join(text.split()))
    sides = _RELATION.split(found["head"]) if found else []
    if found is None or len(sides) != 3 or not (sides[0] and sides[2]):
        raise FathomError(f"claim {quoted(text)} cannot be read. {HOW}")
    left, relation, right = sides
    if relation not in RELATIONS:
        hint = " (write A <= B as B >= A)" if relation == "<=" else ""
        raise FathomError(f"claim {quoted(text)} has the relation {relation}{hint}. {HOW}")
    for side in (left, right):
        try:
            parse(side)
        except FathomError as error:
            raise FathomError(f"claim {quoted(text)}: {error}") from None
    conditions = tuple(filter(None, (found["where"], *where)))
    return StatedClaim(text, left, relation, right, conditions, *_measure(metric or found["metric"] or AUBC, text))


def _measure(metric: str, text: str) -> tuple[str, str]:
    """(measure, metric) that a METRIC names."""
    known = [entry.name for entry in METRICS]
    first, _, rest = metric.partition(":")
    measure, name = (first, rest) if first in (AUBC, FINAL) else (AUBC, metric)
    if name not in ("", *known):
        raise FathomError(
            f"claim {quoted(text)}: unknown metric {quoted(metric)}. Expected aubc, final, final:NAME, or NAME of a "
            f"test metric: {', '.join(known)}"
        )
    return measure, name


def bind_claim(claim: StatedClaim, study: Study) -> BoundClaim:
    """Find what a claim is about in a study.

    Raises:
        FathomError: The study has not got what it names, a name is ambiguous, or no setting can decide it.
    """
    said = f"claim {quoted(claim.text)}"
    try:
        part = select(study, claim.where, "where")
    except FathomError as error:
        raise FathomError(f"{said}: {error}") from None
    named = {axis: [_named(study, axis, side) for side in (claim.left, claim.right)] for axis in (QUERY, PARADIGM)}
    axis = next((axis for axis, sides in named.items() if all(sides)), "")
    if not axis:
        raise FathomError(f"{said}: {_unknown(study, claim, named)}")
    left, right = named[axis]
    if set(left) & set(right):
        raise FathomError(f"{said} compares {' and '.join(sorted(set(left) & set(right)))} with itself")
    if axis == QUERY and (several := next((side for side in (left, right) if len(side) > 1), ())):
        raise FathomError(f"{said}: the study has {', '.join(several)}; write one of them in full")
    if any(re.search(rf"(^|,)\s*{axis}\s*=", text) for text in claim.where):
        raise FathomError(f"{said}: its two sides say the {axis}; leave {axis}= out of the conditions")
    settings = _decidable(part, axis, left, right)
    if not settings:
        share = "setting" if axis == QUERY else "dataset"
        raise FathomError(f"{said}: no {share} of {study.name} has both {claim.left} and {claim.right} there")
    seeds = frozenset(run.seed for run in part.runs if run.setting in settings)
    return BoundClaim(claim, axis, tuple(left), tuple(right), tuple(settings), seeds)


def _named(study: Study, axis: str, side: str) -> list[str]:
    """Spec strings on an axis of a study that a text means: the one that it spells, else all of that name."""
    values = unique(getattr(run, axis) for run in study.runs)
    exact = [value for value in values if value == side]
    return exact or unique(getattr(run, axis) for run in study.runs if matches(run, axis, side))


def _unknown(study: Study, claim: StatedClaim, named: dict[str, list[list[str]]]) -> str:
    """Message for two sides that are not on one axis."""
    kinds = {"query": "query method", "paradigm": "training paradigm"}
    for place, side in enumerate((claim.left, claim.right)):
        if not any(sides[place] for sides in named.values()):
            values = unique(value for run in study.runs for value in (run.query, run.paradigm))
            known = unique([*(parse(value).name for value in values), *values])
            return f"{study.name} has no query method or training paradigm {quoted(side)}. {suggest(side, known)}"
    axes = [kinds[axis] for place in (0, 1) for axis, sides in named.items() if sides[place]]
    return f"{claim.left} is a {axes[0]} and {claim.right} a {axes[1]}; expected two of a kind"


def _decidable(part: Study, axis: str, left: Sequence[str], right: Sequence[str]) -> list[Setting]:
    """Settings of a study in which two query methods, or on whose dataset two paradigms, are both run."""
    if axis == QUERY:
        having = [{run.setting for run in part.runs if run.query in side} for side in (left, right)]
        return [s for s in part.settings if s in having[0] & having[1]]
    on = [{s.dataset for s in part.settings if s.paradigm in side} for side in (left, right)]
    return [s for s in part.settings if s.dataset in on[0] & on[1] and s.paradigm in {*left, *right}]
