"""One sentence on a stated claim: what was found, how sure that is, and what it rests on."""

from typing import TYPE_CHECKING

from fathom.core.metrics import METRICS
from fathom.core.records import unique
from fathom.core.text import plural
from fathom.design.stated_claims import BETTER_THAN, FINAL, NOT_WORSE_THAN, PARADIGM
from fathom.results.classifiers import listed
from fathom.results.names import label
from fathom.stats.decisions import GainVerdict
from fathom.stats.verdicts import DATASETS, MethodVerdict

if TYPE_CHECKING:
    from fathom.results.results import StudyResults
    from fathom.results.statements.stated_claims import ClaimAnswer

MINUS = "\u2212"
FEW = 4  # names of datasets that a sentence lists


def claim_sentence(answer: "ClaimAnswer", results: "StudyResults") -> str:
    """Sentence on an answer that may be quoted alone."""
    method, claim = answer.method, answer.claim
    if method is None:
        return f"“{claim.text}” is not tested: {answer.reason}."
    decision, show = method.decision, _Shown(answer)
    sides = [_side(answer, side) for side in (claim.left, claim.right)]
    loss = f" by {show.amount(decision.margin)} or more" if claim.relation == NOT_WORSE_THAN else ""
    relation = {BETTER_THAN: "better than", NOT_WORSE_THAN: "not worse than"}.get(claim.relation, "worse than")
    parts = [f"{show.measure} {show.difference(decision.mean)}"]
    if not decision.refused:
        parts.append(
            f"{_number(100 * decision.level)} % interval {show.signed(decision.low)} to {show.signed(decision.high)}"
        )
        parts.append(_test_words(answer, decision, show))
    else:
        parts.append(f"no test, as {decision.refused}")
    parts.append(_sample_words(answer, method, results, show))
    if decision.missing:
        parts.append(f"{plural(decision.missing, 'seed')} missing on one side, taken at the least favorable value")
    parts.append(_power_words(answer, decision, show))
    text = "; ".join(part for part in parts if part)
    notes = "".join(f" {note}" for note in answer.notes)
    return f"“{sides[0]} is {relation} {sides[1]}{loss}” is {answer.verdict}: {text}; {stated_words(answer)}.{notes}"


def stated_words(answer: "ClaimAnswer") -> str:
    """When a claim was stated: before the first result or not."""
    at, before = answer.stated
    if before is None:
        return "not stated before the results"
    day = f" ({at[:10]})" if at else ""
    return f"stated before the first result{day}" if before else f"stated after results were there{day}"


class _Shown:
    """Numbers of an answer in the unit of its metric: points of a percentage, or nats."""

    def __init__(self, answer: "ClaimAnswer") -> None:
        claim = answer.claim
        nats = claim.unit == "nats"
        self.scale, self.digits = (1.0, 3) if nats else (100.0, 1)
        self.words = ("nat", "nats") if nats else ("point", "points")
        what = "final score" if claim.measure == FINAL else "AUBC"
        metric = next((entry for entry in METRICS if entry.name == claim.metric), None)
        lower = "" if metric is None or metric.higher_is_better else " (a decrease counts as a gain)"
        self.measure = f"gain in {what}{f' of {metric.words}' if metric else ''}{lower}"

    def signed(self, value: float) -> str:
        """Value with its sign, without a unit."""
        return f"{self.scale * value:+.{self.digits}f}".replace("-", MINUS)

    def difference(self, value: float) -> str:
        """Value with its sign and unit."""
        return f"{self.signed(value)} {self.words[1]}"

    def amount(self, value: float) -> str:
        """Value without a sign, with its unit."""
        number = _number(self.scale * value)
        return f"{number} {self.words[number != '1']}"


def _side(answer: "ClaimAnswer", text: str) -> str:
    return text if answer.axis == PARADIGM else label(text)


def _test_words(answer: "ClaimAnswer", decision: GainVerdict, show: _Shown) -> str:
    """The test that decides the claim, with its p."""
    if answer.claim.relation == NOT_WORSE_THAN:
        bound, loss = show.signed(decision.bound), show.amount(decision.margin)
        test = f"lower bound {bound}, one-sided paired t-test of a loss of {loss}"
        p = decision.p_loss_holm
    else:
        test, p = "two-sided paired t-test", decision.p_holm
    family = f" after Holm over {decision.family} claims" if decision.family > 1 else ""
    look = f", look {answer.looks} at this study" if answer.looks > 1 else ""
    return f"{test}, p {_p_words(p)}{family} (alpha = {_number(decision.alpha)}{look})"


def _sample_words(answer: "ClaimAnswer", method: MethodVerdict, results: "StudyResults", show: _Shown) -> str:
    """Sample of an answer: units, seeds, datasets, and whether it reaches beyond them."""
    few, many = answer.seeds
    seeds = plural(many, "seed") if few == many else f"{few} to {many} seeds"
    datasets = unique(gain.setting.dataset for gain in method.gains)
    names = [results.names.dataset.get(name, name) for name in datasets]
    named = listed(names) if len(names) <= FEW else plural(len(names), "dataset")
    settings = plural(len(method.gains), "setting")
    if method.unit == DATASETS:
        text = f"n = {method.decision.n} datasets as units ({named}; {settings}, {seeds} each)"
        if method.prediction:
            low, high = map(show.signed, method.prediction)
            text += f"; on a new dataset 95 % prediction interval {low} to {high}"
        return text
    return f"n = {plural(method.decision.n, 'seed')} as units, on {named} only ({settings})"


def _power_words(answer: "ClaimAnswer", decision: GainVerdict, show: _Shown) -> str:
    if answer.power != answer.power:  # NaN
        return ""
    margin = show.amount(decision.margin)
    sought = "if both are equal" if answer.claim.relation == NOT_WORSE_THAN else f"to find a difference of {margin}"
    return f"power {sought}: {100 * answer.power:.0f} %"


def _p_words(p: float) -> str:
    return "< .001" if p < 0.001 else f"= {p:.3f}".replace("0.", ".", 1)


def _number(value: float) -> str:
    return f"{value:.4g}"
