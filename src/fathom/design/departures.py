"""Departures of a study from the freeze that it follows: what it runs or judges otherwise than was frozen.

They are refused when a study with roll-out data is loaded or run, and told in its report: another query method,
paradigm or regime, or not all of those that were frozen; fewer seeds; another baseline, metric, margin or alpha; other
claims; changed code. More seeds are allowed. A regime may be left out, as it may not fit a smaller dataset; the report
says how many ran.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from fathom.core.records import PROTOCOL, ROLL_OUT, FathomError, RunSpec, Study, grouped, unique
from fathom.core.text import plural
from fathom.design.freeze import kind_of_test_set, metric_choice, parameters_of, role_of
from fathom.registry.code import codes_of
from fathom.registry.spec_string import Value, parse
from fathom.stats.inference import ALPHA
from fathom.store.codes import NOT_RECORDED

Facts = Mapping[str, Mapping[str, Any]]
# Field of a freeze -> its name for people; freezes of older versions lack them.
FIELDS = {
    "code": "the code of its members",
    "arms": "the number of seeds",
    "baseline": "the baseline",
    "metric": "the metric",
    "margin": "the margin",
    "alpha": "alpha",
    "claims": "claims",
}


def follow(study: Study, kept: Mapping[str, Any]) -> Study:
    """Attach a freeze to the study that follows it.

    Raises:
        FathomError: It departs from the freeze on roll-out data; all departures are listed.
    """
    held_out = [d for d in unique(r.dataset for r in study.runs) if role_of(d) == ROLL_OUT]
    codes = codes_of(r for r in study.runs if r.dataset in held_out)
    if found := departures(study, kept, held_out, {name: [code.sha256] for name, code in codes.items()}):
        listed = "\n".join(f"  {text}" for text in found)
        raise FathomError(
            f"{study.name} departs from the freeze {kept['name']} ({kept['hash']}) on roll-out data:\n{listed}\n"
            "Run what was frozen. If the difference was decided on development data too, freeze that development study "
            "(a part of it with --only)"
        )
    return replace(study, freeze=dict(kept))


def departures(
    study: Study,
    kept: Mapping[str, Any],
    held_out: Iterable[str],
    codes: Mapping[str, Collection[str]],
    facts: Facts | None = None,
) -> list[str]:
    """Everything in which a study departs from a freeze on its roll-out datasets `held_out`.

    Args:
        study: The study.
        kept: The freeze; what one of an older version does not hold is not compared (`not_held`).
        held_out: Its roll-out datasets.
        codes: Member (`query my_al/margin`) -> identities of the code that it runs with on them.
        facts: Recorded facts by dataset, as far as there are some.
    """
    apart = list(held_out)
    runs = [r for r in study.runs if r.dataset in apart]
    if not runs:
        return []
    found = [f"protocol {PROTOCOL}; frozen: {kept['protocol']}"] if kept["protocol"] != PROTOCOL else []
    frozen = [paradigm["call"] for paradigm in kept["paradigms"]]
    for kind, known in (("query", kept["queries"]), ("regime", kept["regimes"]), ("paradigm", frozen)):
        for used in unique(getattr(r, kind) for r in runs):
            if used in known or (kind == "paradigm" and any(_within(used, p) for p in kept["paradigms"])):
                continue
            found.append(f"{'query method' if kind == 'query' else kind} {used}; frozen: {', '.join(known)}")
    found += not_run(runs, kept, apart)
    found += _judged(study, kept)
    found += [text for dataset in apart for text in _measured(dataset, kept, (facts or {}).get(dataset))]
    for member, code in sorted(frozen_code(kept, codes).items()):
        if code and (other := sorted({*codes[member]} - {code, NOT_RECORDED})):
            found.append(f"the code of {member} ({', '.join(other)}); frozen: {code}")
    return found


def not_run(runs: Sequence[RunSpec], kept: Mapping[str, Any], held_out: Iterable[str]) -> list[str]:
    """Parts of a freeze that are not among some runs: query methods, paradigms and seeds, for each roll-out dataset."""
    found = []
    parameters = {own["call"]: own for own in kept["paradigms"]}
    for dataset in held_out:
        own = [r for r in runs if r.dataset == dataset]
        if "arms" not in kept:
            found += _not_run_of_names(dataset, own, kept)
        regimes = {r.regime for r in own}
        for arm in kept.get("arms", ()) if own else ():
            if arm["regime"] in regimes:
                fitting = [r for r in own if r.regime == arm["regime"] and _of_arm(r.paradigm, arm, parameters)]
                found += _not_run_of_arm(f"{dataset}, {arm['regime']}", fitting, arm)
    return found


def _of_arm(paradigm: str, arm: Mapping[str, Any], parameters: Mapping[str, Any]) -> bool:
    frozen = [parameters[call] for call in arm["paradigms"] if call in parameters]
    return any(paradigm == own["call"] for own in frozen) or any(_within(paradigm, own) for own in frozen)


def _not_run_of_arm(where: str, runs: Sequence[RunSpec], arm: Mapping[str, Any]) -> list[str]:
    """Query methods and seeds of one frozen regime and paradigm that are not among its runs on a dataset."""
    paradigm = arm["paradigms"][0]
    if not runs:
        return [f"paradigm {paradigm} is not run ({where}); frozen: it is"]
    seeds = Counter(r.query for r in runs)
    absent = [query for query in arm["seeds"] if not seeds[query]]
    found = []
    if absent:
        ran = len(arm["seeds"]) - len(absent)
        methods = f"{ran} of {plural(len(arm['seeds']), 'query method')} ({where}, {parse(paradigm).name})"
        found.append(f"{methods}; frozen and not run: {', '.join(absent)}")
    few = grouped(((seeds[q], wanted), q) for q, wanted in arm["seeds"].items() if 0 < seeds[q] < wanted)
    for (there, wanted), queries in few.items():
        found.append(f"{plural(there, 'seed')} of {', '.join(queries)} ({where}); frozen: {wanted}")
    return found


def _not_run_of_names(dataset: str, runs: Sequence[RunSpec], kept: Mapping[str, Any]) -> list[str]:
    """Query methods and paradigms of a freeze that holds no more than their names which are not run on a dataset."""
    found, ran = [], {r.query for r in runs}
    if absent := [query for query in kept["queries"] if query not in ran]:
        methods = f"{len(kept['queries']) - len(absent)} of {plural(len(kept['queries']), 'query method')} ({dataset})"
        found.append(f"{methods}; frozen and not run: {', '.join(absent)}")
    names = {parse(r.paradigm).name for r in runs}
    for name in unique(parse(own["call"]).name for own in kept["paradigms"]):
        if name not in names:
            found.append(f"paradigm {name} is not run ({dataset}); frozen: it is")
    return found


def _judged(study: Study, kept: Mapping[str, Any]) -> list[str]:
    """Differences in baseline, margin, alpha and claims."""
    points = [f"{100 * value:g} points" for value in (study.margin, kept.get("margin", 0))]
    compared = {
        "baseline": (study.baseline, study.baseline, str(kept.get("baseline"))),
        "margin": (study.margin, f"of {points[0]}", points[1]),
        "alpha": (ALPHA, f"{ALPHA:g}", f"{kept.get('alpha', 0):g}"),
    }
    found = [
        f"{name} {own}; frozen: {frozen}"
        for name, (value, own, frozen) in compared.items()
        if name in kept and kept[name] != value
    ]
    if "claims" in kept and set(kept["claims"]) != set(study.claims):
        own, frozen = (", ".join(claims) or "none" for claims in (study.claims, kept["claims"]))
        found.append(f"claims: {own}; frozen: {frozen}")
    return found


def _measured(dataset: str, kept: Mapping[str, Any], facts: Mapping[str, Any] | None) -> list[str]:
    """Difference in the metric of a dataset: as its spec string chooses it, and as it is recorded."""
    if not (frozen := kept.get("metric")):
        return []
    if (own := metric_choice(dataset)) not in frozen["chosen"]:
        return [f"metric {own} chosen for {dataset}; frozen: {', '.join(frozen['chosen'])}"]
    if not facts:
        return []
    kind, metric = kind_of_test_set(facts), str(facts.get("metric"))
    differs = metric != frozen.get(kind, metric)
    return [f"metric {metric} on {dataset}; frozen for {kind} test sets: {frozen[kind]}"] if differs else []


def not_held(kept: Mapping[str, Any]) -> list[str]:
    """Names of what a freeze does not hold, because an older version wrote it."""
    return [words for name, words in FIELDS.items() if name not in kept]


def frozen_code(kept: Mapping[str, Any], members: Iterable[str]) -> dict[str, str]:
    """Identity of the frozen code of members, but of datasets, which differ on roll-out data; empty where unknown."""
    known = kept.get("code", {})
    return {member: known.get(member, "") for member in members if not member.startswith("dataset ")}


def _within(paradigm: str, frozen: Mapping[str, Any]) -> bool:
    """True if a paradigm is a frozen one, or has HPs from its frozen grids (`hparams = "published"`)."""
    if parse(paradigm).name != parse(frozen["call"]).name:
        return False
    own, kept = parameters_of(paradigm), frozen["parameters"]
    return set(own) == set(kept) and all(_offered(own[name], kept[name]) for name in own)


def _offered(value: str, frozen: str) -> bool:
    return value == frozen or set(_values(value)) <= set(_values(frozen))


def _values(text: str) -> tuple[Value, ...]:
    """The values that a spelled parameter offers: those of a tuple, or the one."""
    value = parse(f"x(v={text})").arguments[0][1]
    return value if isinstance(value, tuple) else (value,)
