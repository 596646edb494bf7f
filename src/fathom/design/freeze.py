"""A freeze (pre-registration file): the decisions made on development data, with a hash, before roll-out data are used.

The protocol's roll-out datasets are never tuned on (paper Sec. 3), and a table of results cannot show that. So the
decisions are written to a file, the roll-out study names the file, and a study that departs from it is refused. The
report states the hash, and if the freeze is older than the first result.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fathom.core.inputs import user_path
from fathom.core.records import DEVELOPMENT, PROTOCOL, ROLL_OUT, FathomError, Study, digest, grouped, unique
from fathom.core.work import WorkKind
from fathom.registry.code import codes_of
from fathom.registry.registry import find
from fathom.registry.spec_string import parse, parse_stored, spell
from fathom.stats.inference import ALPHA
from fathom.store import atomic_files
from fathom.store.codes import NOT_RECORDED, recorded_codes
from fathom.store.store import Store

ENDING = ".freeze.json"
METRIC_RULE = {"balanced": "accuracy", "imbalanced": "balanced_accuracy"}  # kind of test set -> main metric


# ------------------------------------------------------------------------------------------------------- writing


def freeze(study: Study, out: str | Path | None = None, *, store: Store | None = None) -> Path:
    """Write the decisions of a development study to a file.

    Args:
        study: The study.
        out: The file [default: NAME.freeze.json in the working directory].
        store: Its results; if given, their digest and environments are written too, and the code of the members is that
            which computed them; else that of the present source.

    Returns:
        The file.

    Raises:
        FathomError: The study has roll-out datasets, a run has no round yet, a member's results were computed with two
            versions of its code, or the file exists with other content.
    """
    facts = store.facts() if store else {}
    if forbidden := [d for d in unique(r.dataset for r in study.runs) if role_of(d, facts) == ROLL_OUT]:
        raise FathomError(
            f"{study.name} has roll-out datasets ({', '.join(forbidden)}); a freeze contains decisions made on "
            "development data only. Name the development study, or a part of it with --only dataset=NAME"
        )
    if study.baseline not in {r.query for r in study.runs}:
        raise FathomError(
            f"{study.name} does not run its baseline {study.baseline}, so a roll-out could not measure any gain. Add "
            "it to the query methods, or name another baseline"
        )
    results = {"results": _results(store, study) if store else None, "code": _code(store, study)}
    content = {**decided(study, facts), **results}
    path = user_path(out or f"{study.name}{ENDING}")
    if path.exists() and not path.is_file():
        raise FathomError(f"{path} is no file that a freeze can be written to. Name another file with --out")
    if (known := atomic_files.try_read(path)[0]) and known[0] == content:
        return path
    try:
        clock = {"frozen": datetime.now(UTC).isoformat(timespec="seconds")}
        atomic_files.write(path, atomic_files.pack_record(content, clock))
    except FileExistsError:
        raise FathomError(
            f"{path} exists with other content; a freeze is never changed. Name another file with --out"
        ) from None
    return path


def decided(study: Study, facts: Mapping[str, Mapping[str, Any]] | None = None) -> dict[str, Any]:
    """The decisions of a study: what is run, by which protocol, and how it is judged.

    Args:
        study: The study.
        facts: Recorded facts on its datasets, as far as there are some (`Store.facts`).
    """
    return {
        "name": study.name,
        "protocol": PROTOCOL,
        "developed_on": unique(r.dataset for r in study.runs),
        "queries": unique(r.query for r in study.runs),
        "regimes": unique(r.regime for r in study.runs),
        "paradigms": [
            {"call": call, "parameters": parameters_of(call)} for call in unique(r.paradigm for r in study.runs)
        ],
        "retry": list(study.retry),
        "arms": _arms(study),
        "baseline": study.baseline,
        "metric": _metrics(study, facts or {}),
        "margin": study.margin,
        "alpha": ALPHA,
        "claims": list(study.claims),
    }


def _arms(study: Study) -> list[dict[str, Any]]:
    """Query methods and their numbers of seeds, for each regime and paradigm.

    A dataset may have its own HPs in the spec string of a paradigm. Spec strings of one name, of which each dataset has
    one, are one arm.
    """
    by_name = grouped(((r.regime, parse(r.paradigm).name), r) for r in study.runs)
    found = []
    for (regime, _), own in by_name.items():
        calls = grouped((r.dataset, r.paradigm) for r in own)
        several = any(len(set(texts)) > 1 for texts in calls.values())
        paradigms = unique(r.paradigm for r in own)
        for alternatives in [[call] for call in paradigms] if several else [paradigms]:
            seeds = grouped(((r.query, r.dataset), r.seed) for r in own if r.paradigm in alternatives)
            fewest = {
                query: min(counts) for query, counts in grouped((q, len(n)) for (q, _), n in seeds.items()).items()
            }
            found.append({"regime": regime, "paradigms": alternatives, "seeds": fewest})
    return found


def _metrics(study: Study, facts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The measure of the tests, the metric of each kind of test set, and how datasets were told to choose it."""
    datasets = unique(r.dataset for r in study.runs)
    known = {kind_of_test_set(own): str(own["metric"]) for d in datasets if (own := facts.get(d))}
    return {"measure": "AUBC", **METRIC_RULE, **known, "chosen": unique(metric_choice(d) for d in datasets)}


def kind_of_test_set(facts: Mapping[str, Any]) -> str:
    """`balanced` or `imbalanced`, by the counts of a test set's classes: the rule of `folder(metric=auto)`."""
    counts = [count for count in facts.get("test_class_counts", ()) if count]
    return "imbalanced" if counts and max(counts) > 1.5 * min(counts) else "balanced"


def metric_choice(dataset: str) -> str:
    """The `metric` of a dataset's spec string; `auto` where it has none."""
    return str(dict(parse_stored(dataset).arguments).get("metric", "auto"))


def _code(store: Store | None, study: Study) -> dict[str, str]:
    """Identity of the code of each member; none for a member whose results do not name it."""
    if store is None:
        return {name: code.sha256 for name, code in sorted(codes_of(study.runs).items())}
    counts = recorded_codes(store, study.runs)
    found = {member: sorted({*codes} - {NOT_RECORDED}) for member, codes in sorted(counts.items())}
    if mixed := [member for member, codes in found.items() if len(codes) > 1]:
        raise FathomError(
            f"results in {store.root} were computed with several versions of the code of {', '.join(mixed)}, so it is "
            "not known which one is frozen. Run the study in a new folder, or freeze a part of it with --only"
        )
    return {member: codes[0] for member, codes in found.items() if codes and NOT_RECORDED not in counts[member]}


def parameters_of(paradigm: str) -> dict[str, Any]:
    """All parameters of a paradigm's spec string with their defaults, spelled as in a spec string.

    They include the grids that HPs are chosen from, so a later version with other defaults is another paradigm.
    """
    entry, call = find("paradigm", paradigm)
    return {name: spell(value) for name, value in sorted({**entry.parameters, **dict(call.arguments)}.items())}


def _results(store: Store, study: Study) -> dict[str, Any]:
    """Digest of the results that the decisions are based on, and the environments that computed them."""
    rounds = {spec.key: [r.content() for r in store.rounds(spec)] for spec in study.runs}
    if missing := [key for key, found in rounds.items() if not found]:
        raise FathomError(
            f"{len(missing)} of {len(rounds)} runs in {store.root} have no round yet; finish the study (fathom run) "
            "before freezing it, or freeze the study file"
        )
    hparams = {name: content["chosen"] for name, (content, _) in store.records(WorkKind.HP_CHOICE.folder).items()}
    return {
        "sha256": digest([rounds, hparams]),
        "rounds": sum(map(len, rounds.values())),
        "environments": sorted(store.records("environments")),
    }


# ------------------------------------------------------------------------------------------------------- reading


def load_freeze(path: str | Path) -> dict[str, Any]:
    """Read a freeze: its content, its `hash` and the time when it was `frozen`.

    Raises:
        FathomError: The file is absent, damaged, or not a freeze.
    """
    path = user_path(path)
    found, damage = atomic_files.try_read(path) if path.is_file() or not path.exists() else (None, "no file")
    if found is None:
        reason = f"is damaged ({damage})" if damage else "does not exist"
        raise FathomError(f"the freeze {path} {reason}; expected a file that `fathom freeze STUDY` wrote")
    content, clock = found
    if not _is_freeze(content):
        raise FathomError(f"{path} is not a freeze; expected a file that `fathom freeze STUDY` wrote")
    return {**content, "hash": digest(content, 12), "frozen": str(clock.get("frozen", ""))}


def _is_freeze(content: Mapping[str, Any]) -> bool:
    """True if a record has the shape that `decided` gives it."""
    lists = [content.get(name) for name in ("developed_on", "queries", "regimes", "retry")]
    lists.append(content.get("claims", []))
    paradigms = content.get("paradigms")
    return (
        all(isinstance(own, list) and all(isinstance(text, str) for text in own) for own in lists)
        and isinstance(content.get("name"), str)
        and isinstance(content.get("protocol"), int)
        and isinstance(code := content.get("code", {}), dict)
        and all(isinstance(text, str) for text in code.values())
        and isinstance(content.get("baseline", ""), str)
        and all(isinstance(content.get(name, 0.01), float) for name in ("margin", "alpha"))
        and isinstance(metric := content.get("metric", {}), dict)
        and isinstance(metric.get("chosen", []), list)
        and isinstance(arms := content.get("arms", []), list)
        and all(isinstance(own, dict) and set(own) == {"regime", "paradigms", "seeds"} for own in arms)
        and all(isinstance(own["paradigms"], list) and isinstance(own["seeds"], dict) for own in arms)
        and all(isinstance(count, int) for own in arms for count in own["seeds"].values())
        and isinstance(paradigms, list)
        and all(isinstance(own, dict) and set(own) == {"call", "parameters"} for own in paradigms)
        and all(isinstance(own["call"], str) and isinstance(own["parameters"], dict) for own in paradigms)
        and all(isinstance(text, str) for own in paradigms for text in own["parameters"].values())
    )


# --------------------------------------------------------------------------------------------------------- roles


def role_of(dataset: str, facts: Mapping[str, Mapping[str, Any]] | None = None) -> str:
    """Role of a dataset, `development` or `roll-out`: from a store's facts, else as its spec string or code declares.

    Args:
        dataset: Spec string.
        facts: Recorded facts by dataset (`Store.facts`). A dataset without a record that is not registered here either
            counts as development data, as a report must open without the plug-ins that its study was run with.

    Raises:
        FathomError: No facts are given and the dataset is unknown.
    """
    if recorded := (facts or {}).get(dataset):
        return str(recorded.get("role", DEVELOPMENT))
    try:
        entry, call = find("dataset", dataset)
    except FathomError:
        if facts is None:
            raise
        return DEVELOPMENT
    return str(dict(call.arguments).get("role") or entry.options.get("role", DEVELOPMENT))
