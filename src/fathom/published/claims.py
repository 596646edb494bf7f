"""Tests of the eight claims of the published study: each claim is split into questions that runs can answer.

Our runs and the published numbers get the same questions, since a claim may be right and still not follow from three
seeds. A gain is an area under the budget curve minus Random's in the same setting. `CLAIMS` has the wording of the
published study; `findings` has the rules for the answers.

Source: Lüth et al., 2023, Sec. 4 and 5; the questions are ours.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from fathom.core.records import Setting
from fathom.published.choice_claim import hp_spread, paradigm_spread
from fathom.published.evidence import BASELINE, Evidence, is_of
from fathom.published.findings import (
    CONTRADICTED,
    OPEN,
    SUPPORTED,
    UNTESTED,
    ClaimCell,
    ClaimFinding,
    between,
    decide_questions,
    equal_in_each,
    in_each,
    nowhere_below,
    over_datasets,
    untested,
)
from fathom.published.matching import name_of
from fathom.stats.differences import SMALLEST_EFFECT, Difference, contrast, paired, paired_difference

MARGIN = SMALLEST_EFFECT  # of non-inferiority and equivalence: the study speaks of effects of one point
POINT = f"{100 * MARGIN:g} point"
IMBALANCED = ("isic2019", "mio-tcd")  # the roll-out datasets
# Roll-out dataset -> budgets before, at and after the dip of standard training (high regime).
DIPS = {"isic2019": (6_400, 7_200, 8_000), "mio-tcd": (6_600, 7_700, 8_800)}
FAILING = [  # (dataset, regime, query method) in which the study says that a method fails with Self-SL
    *(("cifar100", regime, query) for regime in ("low", "mid") for query in ("bald", "entropy")),
    *(("mio-tcd", "low", query) for query in ("bald", "core-set", "entropy")),
]


@dataclass(frozen=True)
class Claim:
    """A claim of the published study and the answers to its questions.

    Args:
        number: Position in the order of the study's conclusions, from 1.
        text: Wording of the study.
        findings: One answer per question.
    """

    number: int
    text: str
    findings: list[ClaimFinding]

    @property
    def verdict(self) -> str:
        """Contradicted if any question is, supported if all of them are; one that is not tested leaves it open."""
        verdicts = {f.verdict for f in self.findings}
        if verdicts == {UNTESTED}:
            return UNTESTED
        return CONTRADICTED if CONTRADICTED in verdicts else SUPPORTED if verdicts == {SUPPORTED} else OPEN

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        parts = [f.to_json() for f in self.findings]
        return {"number": self.number, "claim": self.text, "verdict": self.verdict, "findings": parts}


def claims(evidence: Evidence) -> list[Claim]:
    """All claims, tested on the evidence; their questions are one family of tests (`findings.decide_questions`)."""
    asked = [list(test(evidence)) for _, test in CLAIMS]
    decided = iter(decide_questions([finding for own in asked for finding in own]))
    if evidence.reasons:
        decided = (replace(f, note=_why(f, evidence)) for f in decided)
    return [
        Claim(number, text, list(islice(decided, len(own))))
        for number, ((text, _), own) in enumerate(zip(CLAIMS, asked, strict=True), 1)
    ]


def _why(finding: ClaimFinding, evidence: Evidence) -> str:
    """Note of a finding; where nothing was tested, with the reasons why runs are not comparable."""
    return f"{finding.note}; not comparable: {evidence.reasons}" if finding.verdict == UNTESTED else finding.note


# ------------------------------------------------------------------------------------------------------ the claims


def _hp_and_paradigm(e: Evidence) -> Iterator[ClaimFinding]:
    question = "Random's area with the best paradigm minus that with the worst, minus the largest gain of any method"
    yield paradigm_spread(e, f"{question} there (above 0 supports)")
    question = "best minus worst entry of the HP search (validation score at the start), minus the largest gain there"
    yield hp_spread(e, f"{question} (above 0 supports)")


def _imbalance(e: Evidence) -> Iterator[ClaimFinding]:
    low_standard = {"regime": "low", "paradigm": "standard"}
    for words, parts in (("", {}), (" in the low regime of standard training", low_standard)):
        gains = _means(e.gains(**parts))
        imbalanced = {cell: gain for cell, gain in gains.items() if e.balanced.get(cell[0].dataset) is False}
        balanced = {cell: gain for cell, gain in gains.items() if e.balanced.get(cell[0].dataset) is True}
        question = f"mean gain{words}, imbalanced minus balanced datasets (above 0 supports)"
        yield between(e, question, imbalanced, balanced)


def _badge(e: Evidence) -> Iterator[ClaimFinding]:
    own = e.gains("badge")
    yield over_datasets(e, "mean gain of BADGE (above 0 supports)", _means(own))
    question = "gain of BADGE minus that of the closest other method (above 0 supports)"
    leads: dict[str, dict[ClaimCell, float]] = {}
    for query in {q for s, _ in own for q in e.methods(s)} - {"badge"}:
        for (setting, _), gain in e.gains(query).items():
            if (setting, "badge") in own:
                leads.setdefault(query, {})[setting, "badge"] = own[setting, "badge"].mean - gain.mean
    # Methods that were run in every setting of BADGE come first: means over other settings are not comparable.
    complete = {q: lead for q, lead in leads.items() if len(lead) == len(own)} or leads
    if complete:
        # BADGE is the best method if it leads the closest one.
        rival = min(sorted(complete), key=lambda q: float(np.mean(list(complete[q].values()))))
        yield over_datasets(e, question, complete[rival], note=f"closest: {rival}")
    else:
        yield untested(question, "BADGE is the only method")
    question = f"BADGE's gain above \u2212{POINT} in every setting (no failure mode)"
    yield nowhere_below(question, own, MARGIN)


def _cold_start(e: Evidence) -> Iterator[ClaimFinding]:
    gains = e.gains("entropy", regime="low", paradigm="standard")
    question = "gain of Entropy in the low regime of standard training (below 0 supports)"
    yield over_datasets(e, question, _means(gains), side=-1)


def _self_sl(e: Evidence) -> Iterator[ClaimFinding]:
    gains = e.gains(paradigm="self-sl")
    failing = {c: g for c, g in gains.items() if (c[0].dataset, name_of(c[0].regime), c[1]) in FAILING}
    others = {c: g for c, g in gains.items() if c not in failing}
    yield over_datasets(
        e, "mean gain with Self-SL outside the cells that are said to fail (above 0 supports)", _means(others)
    )
    where = "BALD and Entropy on CIFAR-100 low, mid and on MIO-TCD low, Core-Set on MIO-TCD low"
    yield in_each(f"gain in the Self-SL cells that are said to fail ({where}; below 0 supports)", failing, side=-1)


def _query_size(e: Evidence) -> Iterator[ClaimFinding]:
    # Settings of one starting budget that differ in query size only; the starting budget itself is left out, because
    # nothing has been queried there yet.
    own = [s for s in e.sizes if is_of(s, dataset="cifar100", paradigm="self-sl", regime="low")]
    smaller: dict[str, dict[ClaimCell, Difference]] = {}  # by query method: smaller minus larger query size
    for small in own:
        for large in (s for s in own if e.starts[s] == e.starts[small] and e.sizes[s] > e.sizes[small]):
            for (setting, query, budget), score in e.points.items():
                other = e.points.get((large, query, budget))
                if setting == small and other is not None and budget > e.starts[small]:
                    sizes = f"query size {e.sizes[small]} or {e.sizes[large]}"
                    where = Setting(small.dataset, sizes, f"at {budget}")
                    smaller.setdefault(query, {})[where, query] = paired_difference(score, other)
    least = min((e.sizes[s] for s in own), default=0)
    lifted: dict[ClaimCell, Difference] = {}  # BALD minus Random at the smallest query size
    for (setting, query, budget), score in e.points.items():
        baseline = e.points.get((setting, BASELINE, budget))
        if setting in own and query == "bald" and e.sizes[setting] == least and baseline and budget > e.starts[setting]:
            where = Setting(setting.dataset, setting.regime, f"at {budget}")
            lifted[where, query] = paired_difference(score, baseline)
    question = "score of BALD at a budget, smaller minus larger query size, CIFAR-100, Self-SL (above 0 supports)"
    yield in_each(question, smaller.pop("bald", {}))
    question = f"score of BALD minus Random's at the smallest query size, above \u2212{POINT}"
    yield nowhere_below(question, lifted if len(own) > 1 else {}, MARGIN)
    rest = {cell: d for found in smaller.values() for cell, d in found.items()}
    question = f"score of the other methods at a budget, smaller minus larger query size, within {POINT}"
    yield equal_in_each(question, rest, MARGIN)


def _semi_sl(e: Evidence) -> Iterator[ClaimFinding]:
    leads = {}
    for setting in e.settings(paradigm="semi-sl"):
        counterpart = _counterpart(e, setting, "self-sl")
        if counterpart and (setting, BASELINE) in e.areas:
            leads[setting, BASELINE] = (e.areas[setting, BASELINE], e.areas[counterpart, BASELINE])
    on_cifar10 = {cell: paired_difference(*pair) for cell, pair in leads.items() if cell[0].dataset == "cifar10"}
    yield in_each("Random's area on CIFAR-10, Semi-SL minus Self-SL (above 0 supports)", on_cifar10)
    fading: dict[ClaimCell, Difference] = {}
    for (setting, _), (own, other) in leads.items():
        # Regimes are matched by name: CIFAR-10's mid regime may have another validation set than CIFAR-100's.
        regime = name_of(setting.regime)
        simple = next((pair for (s, _), pair in leads.items() if is_of(s, dataset="cifar10", regime=regime)), None)
        if setting.dataset == "cifar100" and simple:
            # Difference of two differences; seeds of two datasets share nothing, so all four means are independent.
            fading[setting, BASELINE] = contrast([(1.0, simple[0]), (-1.0, simple[1]), (-1.0, own), (1.0, other)])
    yield in_each("lead of Semi-SL over Self-SL on CIFAR-10 minus that on CIFAR-100 (above 0 supports)", fading)
    starts: dict[ClaimCell, Difference] = {}
    for (setting, query, budget), score in e.points.items():
        at_start = query == BASELINE and budget == e.starts.get(setting, budget)
        if not (at_start and is_of(setting, paradigm="semi-sl") and setting.dataset in IMBALANCED):
            continue
        for (there, q, b), reference in e.points.items():
            same = (there.dataset, name_of(there.regime), q, b) == (
                setting.dataset, name_of(setting.regime), query, budget
            )  # fmt: skip
            if same and name_of(there.paradigm) == "standard":
                starts.setdefault((setting, query), paired_difference(score, reference))
    note = "published numbers: test score with weighted loss against validation score with oversampling"
    question = "score at the starting budget on ISIC-2019 and MIO-TCD, Semi-SL minus standard (below 0 supports)"
    ours = any(summary.seeds for summary in e.areas.values())  # published areas come without their seeds
    yield in_each(question, starts, side=-1, note="" if ours else note)


def _counterpart(e: Evidence, setting: Setting, paradigm: str) -> Setting | None:
    """The setting of another paradigm with the same dataset and regime in which Random was run."""
    found = (s for s in e.settings(dataset=setting.dataset, paradigm=paradigm) if s.regime == setting.regime)
    return next((s for s in found if (s, BASELINE) in e.areas), None)


def _dip(e: Evidence) -> Iterator[ClaimFinding]:
    found: dict[ClaimCell, Difference] = {}
    for setting in dict.fromkeys(s for s, _, _ in e.points if is_of(s, regime="high", paradigm="standard")):
        scores = [e.points.get((setting, BASELINE, budget)) for budget in DIPS.get(setting.dataset, ())]
        known = [score for score in scores if score is not None]
        if len(known) != 3:
            continue
        before, at, after = known
        seeds = sorted(set(before.seeds) & set(at.seeds) & set(after.seeds))
        if seeds:  # one curve per seed: its neighbors cancel the level of that seed
            found[setting, BASELINE] = paired([at.seeds[s] - (before.seeds[s] + after.seeds[s]) / 2 for s in seeds])
        else:
            found[setting, BASELINE] = contrast([(1.0, at), (-0.5, before), (-0.5, after)])
    question = (
        "Random's score at 7,200 (ISIC-2019) and 7,700 labels (MIO-TCD) minus the mean of the neighboring budgets"
    )
    yield in_each(f"{question}, standard training (below 0 supports)", found, side=-1)


def _means(gains: dict[ClaimCell, Difference]) -> dict[ClaimCell, float]:
    return {cell: gain.mean for cell, gain in gains.items()}


CLAIMS: list[tuple[str, Callable[[Evidence], Iterator[ClaimFinding]]]] = [
    ("The choice of HPs and of the training paradigm matters more than active learning.", _hp_and_paradigm),
    ("Active learning gains more on imbalanced data, also in the low regime of standard training.", _imbalance),
    ("BADGE is the best query method overall and has no failure mode.", _badge),
    ("Entropy fails in the low regime of standard training (cold start).", _cold_start),
    (
        "Self-SL and active learning go well together, but BALD and Entropy fail on CIFAR-100 (low, mid), and BALD, "
        "Core-Set and Entropy on MIO-TCD (low).",
        _self_sl,
    ),
    (
        "A smaller query size lifts BALD (Self-SL, CIFAR-100) from below Random to Random, and changes nothing for "
        "other methods.",
        _query_size,
    ),
    (
        "Semi-SL is excellent on CIFAR-10, fades as data get more complex, and is of no use at the starting budgets "
        "of ISIC-2019 and MIO-TCD.",
        _semi_sl,
    ),
    ("Standard training dips at about 7,000 labels on ISIC-2019 and MIO-TCD.", _dip),
]
