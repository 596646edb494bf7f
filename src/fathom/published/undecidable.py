"""Claims of the published study that a design cannot test, told before anything is run.

The claims are asked of made-up scores of the runs that the design plans; what gets no answer then, whatever the scores,
gets none from the real ones either. Sizes that a spec string leaves open count as published.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_lowercase
from typing import Any

import numpy as np

from fathom.core.records import Setting, Study, grouped
from fathom.published import tables
from fathom.published.claims import claims
from fathom.published.compare import UnmatchedCells
from fathom.published.evidence import Evidence
from fathom.published.findings import NO_SETTINGS, TOO_FEW, UNTESTED, ClaimFinding
from fathom.published.matching import SIZES, NotComparable, is_published, name_of, published_table, query_of
from fathom.published.tables import PublishedRegime
from fathom.registry.spec_string import parse_stored
from fathom.stats.differences import SeedSummary


@dataclass(frozen=True)
class UndecidableClaim:
    """Parts of a published claim that a design cannot test.

    Args:
        number: Of the claim, from 1.
        text: Wording of the study.
        reasons: Part (a, b, ...) -> why not.
    """

    number: int
    text: str
    reasons: dict[str, str]


def undecidable(study: Study) -> list[UndecidableClaim]:
    """Published claims that a study cannot test, with reasons; empty where it has no published dataset."""
    if not any(is_published(spec.dataset) for spec in study.runs):
        return []
    found = []
    for claim in claims(_planned(study)):
        reasons = {part: _reason(f) for part, f in zip(ascii_lowercase, claim.findings, strict=False)}
        reasons = {part: reason for part, reason in reasons.items() if reason}
        if reasons:
            found.append(UndecidableClaim(claim.number, claim.text, reasons))
    return found


def undecidable_words(found: Sequence[UndecidableClaim]) -> str:
    """One sentence on all parts that cannot be tested, by reason; empty where there are none."""
    parts = [(reason, f"{claim.number}{part}") for claim in found for part, reason in claim.reasons.items()]
    texts = [f"{', '.join(own)} ({reason})" for reason, own in grouped(parts).items()]
    return f"published claims that this design cannot test (docs/protocol.md): {'; '.join(texts)}" if texts else ""


def _reason(finding: ClaimFinding) -> str:
    """Why a question has no answer, whatever the scores; empty where it may have one."""
    if finding.verdict == UNTESTED:
        return finding.note.replace(NO_SETTINGS, "none of its settings is planned")
    before, found, _ = finding.note.partition(f"; {TOO_FEW}")
    return f"{before.rpartition('; ')[2]}, {TOO_FEW}" if found else ""


def _planned(study: Study) -> Evidence:
    """Evidence of the planned runs, with made-up scores."""
    found, random = Evidence(), np.random.default_rng(0)
    seeds = grouped(((spec.setting, spec.query), spec.seed) for spec in study.runs)
    for (setting, query), own in seeds.items():
        try:
            named, sizes = _named(setting)
            query_of(query)
        except NotComparable as reason:
            found.left_out.append(UnmatchedCells(setting, query, str(reason)))
            continue
        found.balanced[named.dataset] = tables.datasets()[named.dataset].balanced
        found.sizes[named], found.starts[named] = sizes["query_size"], sizes["start"]
        scores = SeedSummary.of(dict(zip(own, random.random(len(own)).tolist(), strict=True)))
        if "(" not in named.regime:  # the whole regime is the published one, so its area is comparable
            found.areas[named, query] = scores
            if "lr" not in dict(parse_stored(setting.paradigm).arguments):
                found.grids[named] = [SeedSummary.of(dict(enumerate(random.random(3).tolist()))) for _ in range(2)]
        for number in range(sizes["rounds"]):
            found.points[named, query, sizes["start"] + number * sizes["query_size"]] = scores
    return found


def _named(setting: Setting) -> tuple[Setting, dict[str, int]]:
    """(published name, sizes) of a setting; with its query size and rounds where these are not published.

    Raises:
        NotComparable: It is not planned as the published study ran it.
    """
    if not is_published(setting.dataset):
        raise NotComparable("its dataset is not in the published study")
    known = tables.datasets()[name_of(setting.dataset)]
    if setting.dataset not in known.calls:
        raise NotComparable(f"{setting.dataset} is not the published {known.title}, which is {known.calls[0]}")
    if published_table(setting.paradigm, known) != "final":
        raise NotComparable("trained with a weighted loss, as only the first version of the study was")
    if (recipe := dict(parse_stored(setting.paradigm).arguments).get("recipe", "study")) != "study":
        raise NotComparable(f"recipe differs from the published one: {recipe}")
    given, paradigm = dict(parse_stored(setting.regime).arguments), name_of(setting.paradigm)
    alike = _alike(setting, known.name, given)
    sizes: dict[str, Any] = {size: given.get(size, getattr(alike, size)) for size in SIZES}
    changed = {size for size in SIZES if sizes[size] != getattr(alike, size)}
    # Without a size a regime takes 5 validation labels per starting label; CIFAR-10 mid was published with 10.
    if "val_size" not in given and alike.val_size > 5 * alike.start:
        changed.add("val_size")
    if changed & {"start", "val_size"}:
        wanted = f"start={alike.start}, val_size={alike.val_size}"
        raise NotComparable(f"{setting.regime} on {known.title}: published with {alike.regime}({wanted})")
    own = f"(query_size={sizes['query_size']}, rounds={sizes['rounds']})"
    whole = not changed and alike.paradigm == paradigm
    return Setting(known.name, alike.regime + ("" if whole else own), paradigm), sizes


def _alike(setting: Setting, dataset: str, given: dict[str, Any]) -> PublishedRegime:
    """Published regime of the same name (`custom`: of the same start) on a dataset, best with the same paradigm."""
    name, paradigm = name_of(setting.regime), name_of(setting.paradigm)
    there = [r for r in tables.regimes() if r.dataset == dataset]
    own = [r for r in there if (r.start == given.get("start") if name == "custom" else r.regime == name)]
    if not own:
        raise NotComparable(f"{setting.regime} is no published regime of {dataset}")
    return next((r for r in own if r.paradigm == paradigm), own[0])
