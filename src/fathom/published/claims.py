"""The eight claims of the published study, each put as questions that runs can answer, and answered.

The same questions are put to our runs and to the published numbers themselves: a claim may be right and yet not follow
from three seeds. Gains are areas under the budget curve minus Random's, in the same setting. The published study's
words are in `CLAIMS`; how a question is answered is said in `findings`.

Source: Lüth et al., 2023, Sec. 4 and 5; the questions are ours.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fathom.core.records import Setting
from fathom.published.evidence import BASELINE, Evidence, is_of
from fathom.published.findings import (
    CONTRADICTED,
    OPEN,
    SUPPORTED,
    UNTESTED,
    ClaimCell,
    ClaimFinding,
    between,
    equal_in_each,
    in_each,
    nowhere_below,
    over_datasets,
    untested,
)
from fathom.published.matching import name_of
from fathom.stats.differences import Difference, contrast, paired, paired_difference

MARGIN = 0.01  # of non-inferiority and equivalence: an effect of one point is what the study speaks of
IMBALANCED = ("isic2019", "mio-tcd")  # the roll-out data sets
DIPS = {"isic2019": (6_400, 7_200, 8_000), "mio-tcd": (6_600, 7_700, 8_800)}
FAILING = [  # Self-SL, where the study says that methods fail
    *(("cifar100", regime, query) for regime in ("low", "mid") for query in ("bald", "entropy")),
    *(("mio-tcd", "low", query) for query in ("bald", "core-set", "entropy")),
]


@dataclass(frozen=True)
class Claim:
    """A claim and what was found of it.

    Args:
        number: In the order of the study's conclusions.
        text: What the study says.
        findings: An answer to each question that it comes down to.
    """

    number: int
    text: str
    findings: list[ClaimFinding]

    @property
    def verdict(self) -> str:
        """Contradicted if any part is, supported if every part that was tested is."""
        said = {f.verdict for f in self.findings} - {UNTESTED}
        if not said:
            return UNTESTED
        return CONTRADICTED if CONTRADICTED in said else SUPPORTED if said == {SUPPORTED} else OPEN

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        parts = [f.to_json() for f in self.findings]
        return {"number": self.number, "claim": self.text, "verdict": self.verdict, "findings": parts}


def claims(evidence: Evidence) -> list[Claim]:
    """The claims, tested on some evidence."""
    return [Claim(number, text, list(test(evidence))) for number, (text, test) in enumerate(CLAIMS, 1)]


# ------------------------------------------------------------------------------------------------------ the claims


def _hp_and_paradigm(e: Evidence) -> Iterator[ClaimFinding]:
    paradigm: dict[ClaimCell, float] = {}
    for dataset, regime in dict.fromkeys((d, r) for d, r, _ in e.settings()):
        there = [s for s in e.settings(dataset=dataset) if s[1] == regime and (s, BASELINE) in e.areas]
        largest = [g for s in there if (g := _largest_gain(e, s)) is not None]
        if len(there) > 1 and largest:
            means = [e.areas[s, BASELINE].mean for s in there]
            paradigm[Setting(dataset, regime, "all"), ""] = max(means) - min(means) - max(largest)
    question = "Random's area with the best paradigm minus that with the worst, minus the largest gain of any method"
    yield over_datasets(e, f"{question} there (above 0 supports)", paradigm)
    grids = {(s, ""): spread - gain for s, spread in e.grids.items() if (gain := _largest_gain(e, s)) is not None}
    question = "best minus worst entry of the HP search (validation score at the start), minus the largest gain there"
    yield over_datasets(e, f"{question} (above 0 supports)", grids)


def _largest_gain(e: Evidence, setting: Setting) -> float | None:
    """The largest gain or loss of any method of a setting, without its sign."""
    gains = [abs(g.mean) for q in e.methods(setting) if (g := e.gain(setting, q))]
    return max(gains) if gains else None


def _imbalance(e: Evidence) -> Iterator[ClaimFinding]:
    for words, parts in (
        ("", {}),
        (" in the low regime of standard training", {"regime": "low", "paradigm": "standard"}),
    ):
        values = {cell: g.mean for cell, g in e.gains(**parts).items()}
        kinds = [{c: v for c, v in values.items() if e.balanced.get(c[0][0]) is kind} for kind in (False, True)]
        yield between(e, f"mean gain{words}, imbalanced minus balanced data sets (above 0 supports)", *kinds)


def _badge(e: Evidence) -> Iterator[ClaimFinding]:
    own = e.gains("badge")
    yield over_datasets(e, "mean gain of BADGE (above 0 supports)", _means(own))
    question = "gain of BADGE minus that of the method that comes nearest to it (above 0 supports)"
    rivals = {q for s, _ in own for q in e.methods(s)} - {"badge"}
    leads = {q: {(s, "badge"): own[s, "badge"].mean - g.mean for (s, _), g in e.gains(q).items() if (s, "badge") in own}
             for q in rivals}  # fmt: skip
    complete = {q: lead for q, lead in leads.items() if len(lead) == len(own)} or leads
    if complete:
        # The one that comes nearest to BADGE: to lead it is to lead all.
        rival = min(sorted(complete), key=lambda q: float(np.mean(list(complete[q].values()))))
        yield over_datasets(e, question, complete[rival], note=f"nearest: {rival}")
    else:
        yield untested(question, "no other method beside BADGE")
    question = f"BADGE's gain above \u2212{100 * MARGIN:g} point in every setting (no failure mode)"
    yield nowhere_below(e, question, own, MARGIN)


def _cold_start(e: Evidence) -> Iterator[ClaimFinding]:
    gains = e.gains("entropy", regime="low", paradigm="standard")
    question = "gain of Entropy in the low regime of standard training (below 0 supports)"
    yield over_datasets(e, question, _means(gains), side=-1)


def _self_sl(e: Evidence) -> Iterator[ClaimFinding]:
    gains = e.gains(paradigm="self-sl")
    failing = {c: g for c, g in gains.items() if (c[0][0], name_of(c[0][1]), c[1]) in FAILING}
    others = {c: g for c, g in gains.items() if c not in failing}
    yield over_datasets(e, "mean gain with Self-SL outside the cells said to fail (above 0 supports)", _means(others))
    question = (
        "gain in the Self-SL cells said to fail: BALD, Entropy on CIFAR-100 low, mid; and Core-Set on MIO-TCD low"
    )
    yield in_each(e, f"{question} (below 0 supports)", failing, side=-1)


def _query_size(e: Evidence) -> Iterator[ClaimFinding]:
    smaller: dict[str, dict[ClaimCell, Difference]] = {}
    lifted: dict[ClaimCell, Difference] = {}
    own = [s for s in e.sizes if is_of(s, dataset="cifar100", paradigm="self-sl", regime="low")]
    for small in own:
        for large in (s for s in own if e.starts[s] == e.starts[small] and e.sizes[s] > e.sizes[small]):
            for (s, query, budget), arm in e.points.items():
                other = e.points.get((large, query, budget))
                if s == small and other is not None and budget > e.starts[small]:
                    where = Setting(small.dataset, f"{e.sizes[small]} or {e.sizes[large]} a query", f"at {budget}")
                    smaller.setdefault(query, {})[where, query] = paired_difference(arm, other)
    least = min((e.sizes[s] for s in own), default=0)
    for (s, query, budget), arm in e.points.items():
        baseline = e.points.get((s, BASELINE, budget))
        if s in own and query == "bald" and e.sizes[s] == least and baseline and budget > e.starts[s]:
            lifted[Setting(s.dataset, s.regime, f"at {budget}"), query] = paired_difference(arm, baseline)
    question = "score of BALD at a budget, smaller minus larger query size, CIFAR-100, Self-SL (above 0 supports)"
    yield in_each(e, question, smaller.pop("bald", {}))
    question = f"score of BALD minus Random's at the smallest query size, above \u2212{100 * MARGIN:g} point"
    yield nowhere_below(e, question, lifted if len(own) > 1 else {}, MARGIN)
    rest = {cell: d for found in smaller.values() for cell, d in found.items()}
    question = f"the same difference of the other methods within {100 * MARGIN:g} point"
    yield equal_in_each(e, question, rest, MARGIN)


def _semi_sl(e: Evidence) -> Iterator[ClaimFinding]:
    leads = {}
    for setting in e.settings(paradigm="semi-sl"):
        mate = _mate(e, setting, "self-sl")
        if mate and (setting, BASELINE) in e.areas:
            leads[setting, BASELINE] = (e.areas[setting, BASELINE], e.areas[mate, BASELINE])
    on_cifar10 = {c: paired_difference(*pair) for c, pair in leads.items() if c[0][0] == "cifar10"}
    yield in_each(e, "Random's area on CIFAR-10, Semi-SL minus Self-SL (above 0 supports)", on_cifar10)
    fading: dict[ClaimCell, Difference] = {}
    for (setting, _), (own, other) in leads.items():
        regime = name_of(setting.regime)  # CIFAR-10's mid regime may have another validation set
        simple = next((pair for (s, _), pair in leads.items() if s[0] == "cifar10" and name_of(s[1]) == regime), None)
        if setting.dataset == "cifar100" and simple:
            terms = [(1.0, simple[0]), (-1.0, simple[1]), (-1.0, own), (1.0, other)]
            fading[setting, BASELINE] = contrast(terms)
    yield in_each(e, "that lead on CIFAR-10 minus that on CIFAR-100 (above 0 supports)", fading)
    starts: dict[ClaimCell, Difference] = {}
    for (s, query, budget), arm in e.points.items():
        if query == BASELINE and is_of(s, paradigm="semi-sl") and s[0] in IMBALANCED:
            pairs = [a for (o, q, b), a in e.points.items()
                     if (o[:2], name_of(o[2]), q, b) == (s[:2], "standard", query, budget)]  # fmt: skip
            if pairs and budget == e.starts.get(s, budget):
                starts[s, query] = paired_difference(arm, pairs[0])
    note = "of the published numbers: test score with weighted loss against validation score with oversampling"
    question = "score at the starting budget on ISIC-2019 and MIO-TCD, Semi-SL minus standard (below 0 supports)"
    known = any(arm.seeds for arm in e.areas.values())
    yield in_each(e, question, starts, side=-1, note="" if known else note)


def _mate(e: Evidence, setting: Setting, paradigm: str) -> Setting | None:
    """The setting of another paradigm with the same data set, regime and Random."""
    found = (s for s in e.settings(dataset=setting.dataset, paradigm=paradigm) if s[1] == setting.regime)
    return next((s for s in found if (s, BASELINE) in e.areas), None)


def _dip(e: Evidence) -> Iterator[ClaimFinding]:
    found: dict[ClaimCell, Difference] = {}
    for setting in dict.fromkeys(s for s, _, _ in e.points if is_of(s, regime="high", paradigm="standard")):
        arms = [e.points.get((setting, BASELINE, budget)) for budget in DIPS.get(setting.dataset, ())]
        if not arms or any(arm is None for arm in arms):
            continue
        before, at, after = (arm for arm in arms if arm is not None)
        seeds = sorted(set(before.seeds) & set(at.seeds) & set(after.seeds))
        if seeds:
            found[setting, BASELINE] = paired([at.seeds[s] - (before.seeds[s] + after.seeds[s]) / 2 for s in seeds])
        else:
            found[setting, BASELINE] = contrast([(1.0, at), (-0.5, before), (-0.5, after)])
    question = "Random's score at 7,200 (ISIC-2019) and 7,700 labels (MIO-TCD) minus the mean of the budgets beside it"
    yield in_each(e, f"{question}, standard training (below 0 supports)", found, side=-1)


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
