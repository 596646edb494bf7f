"""A freeze (pre-registration file): the decisions made on development data, with a hash, before roll-out data are used.

The protocol's roll-out datasets are never tuned on (paper Sec. 3), and a table of results cannot show that. So the
decisions are written to a file, the roll-out study names the file, and a study that departs from it is refused. The
report states the hash, and if the freeze is older than the first result.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fathom.core.inputs import user_path
from fathom.core.records import DEVELOPMENT, PROTOCOL, ROLL_OUT, FathomError, Study, digest, unique
from fathom.core.work import WorkKind
from fathom.registry.code import codes_of
from fathom.registry.registry import find
from fathom.registry.spec_string import Value, parse, spell
from fathom.store import atomic_files
from fathom.store.codes import NOT_RECORDED, recorded_codes
from fathom.store.store import Store

ENDING = ".freeze.json"


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
    content = {**decided(study), "results": _results(store, study) if store else None, "code": _code(store, study)}
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


def decided(study: Study) -> dict[str, Any]:
    """The decisions of a study: query methods, paradigms with all their parameters, regimes, protocol."""
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
    }


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
    paradigms = content.get("paradigms")
    return (
        all(isinstance(own, list) and all(isinstance(text, str) for text in own) for own in lists)
        and isinstance(content.get("name"), str)
        and isinstance(content.get("protocol"), int)
        and isinstance(code := content.get("code", {}), dict)
        and all(isinstance(text, str) for text in code.values())
        and isinstance(paradigms, list)
        and all(isinstance(own, dict) and set(own) == {"call", "parameters"} for own in paradigms)
        and all(isinstance(own["call"], str) and isinstance(own["parameters"], dict) for own in paradigms)
        and all(isinstance(text, str) for own in paradigms for text in own["parameters"].values())
    )


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
            "Run what was frozen. If the difference was decided on development data too, freeze that development study"
        )
    return replace(study, freeze=dict(kept))


def departures(
    study: Study, kept: Mapping[str, Any], held_out: Iterable[str], codes: Mapping[str, Collection[str]]
) -> list[str]:
    """Everything that a study runs on its roll-out datasets `held_out` and that was not frozen.

    Args:
        study: The study.
        kept: The freeze.
        held_out: Its roll-out datasets.
        codes: Member (`query my_al/margin`) -> identities of the code that it runs with on them.
    """
    apart = set(held_out)
    runs = [r for r in study.runs if r.dataset in apart]
    frozen = [paradigm["call"] for paradigm in kept["paradigms"]]
    found = [f"protocol {PROTOCOL}; frozen: {kept['protocol']}"] if runs and kept["protocol"] != PROTOCOL else []
    for kind, known in (("query", kept["queries"]), ("regime", kept["regimes"]), ("paradigm", frozen)):
        for used in unique(getattr(r, kind) for r in runs):
            if used in known or (kind == "paradigm" and any(_within(used, p) for p in kept["paradigms"])):
                continue
            found.append(f"{'query method' if kind == 'query' else kind} {used}; frozen: {', '.join(known)}")
    for member, code in sorted(frozen_code(kept, codes).items()):
        if code and (other := sorted({*codes[member]} - {code, NOT_RECORDED})):
            found.append(f"the code of {member} ({', '.join(other)}); frozen: {code}")
    return found


def frozen_code(kept: Mapping[str, Any], members: Iterable[str]) -> dict[str, str]:
    """Identity of the frozen code of members, but of datasets, which differ on roll-out data; empty where unknown."""
    known = kept.get("code", {})
    return {member: known.get(member, "") for member in members if not member.startswith("dataset ")}


def _within(paradigm: str, frozen: Mapping[str, Any]) -> bool:
    """True if a paradigm is a frozen one, or has HPs from its frozen grids (`hparams = "published"`)."""
    call = find("paradigm", paradigm)[1]
    if call.name != parse(frozen["call"]).name:
        return False
    own, kept = parameters_of(paradigm), frozen["parameters"]
    return set(own) == set(kept) and all(_offered(own[name], kept[name]) for name in own)


def _offered(value: str, frozen: str) -> bool:
    return value == frozen or set(_values(value)) <= set(_values(frozen))


def _values(text: str) -> tuple[Value, ...]:
    """The values that a spelled parameter offers: those of a tuple, or the one."""
    value = parse(f"x(v={text})").arguments[0][1]
    return value if isinstance(value, tuple) else (value,)


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
