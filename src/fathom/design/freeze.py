"""A freeze: what was decided on development data, written down with a hash before roll-out data are touched.

The protocol's roll-out sets are never tuned on (paper Sec. 3). Nobody can see that in a table of results; so what was
decided is written to a file, the roll-out study names it, and the study is refused where it departs from it. A report
tells the hash, and whether the freeze is older than the first result.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fathom.core.records import PROTOCOL, FathomError, Study, digest, unique
from fathom.registry.registry import find
from fathom.registry.spec_string import Value, parse, spell
from fathom.store import atomic_files
from fathom.store.store import Store

ENDING = ".freeze.json"
ROLL_OUT = "roll-out"


# ------------------------------------------------------------------------------------------------------- writing


def freeze(study: Study, out: str | Path | None = None, *, store: Store | None = None) -> Path:
    """Write down what a development study decided.

    Args:
        study: The study.
        out: The file [default: NAME.freeze.json in the working directory].
        store: Its results, whose digest and environments are then written down too.

    Returns:
        The file.

    Raises:
        FathomError: The study has roll-out data sets, a run has no round yet, or the file is there already and says
            something else.
    """
    if forbidden := [d for d in unique(r.dataset for r in study.runs) if role_of(d, store) == ROLL_OUT]:
        raise FathomError(
            f"{study.name} has roll-out data sets ({', '.join(forbidden)}); a freeze is taken of what was decided on "
            "development data alone. Name the development study, or its part with --only dataset=NAME"
        )
    content = {**decided(study), "results": _results(store, study) if store else None}
    path = Path(out) if out else Path(f"{study.name}{ENDING}")
    if (known := atomic_files.try_read(path)[0]) and known[0] == content:
        return path
    try:
        clock = {"frozen": datetime.now(UTC).isoformat(timespec="seconds")}
        atomic_files.write(path, atomic_files.pack_record(content, clock))
    except FileExistsError:
        raise FathomError(
            f"{path} is there already and says something else; a freeze is never changed. Name another file with --out"
        ) from None
    return path


def decided(study: Study) -> dict[str, Any]:
    """What a study decides: query methods, paradigms with all their parameters, regimes, protocol."""
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


def parameters_of(paradigm: str) -> dict[str, Any]:
    """All parameters of a paradigm's call-string, defaults written out, as a call-string spells them.

    The grids that HPs are chosen from are among them, so a later version with other defaults is another paradigm.
    """
    entry, call = find("paradigm", paradigm)
    return {name: spell(value) for name, value in sorted({**entry.parameters, **dict(call.arguments)}.items())}


def _results(store: Store, study: Study) -> dict[str, Any]:
    """Digest of the results that the decisions rest on, and what computed them."""
    rounds = {spec.key: [r.content() for r in store.rounds(spec)] for spec in study.runs}
    if missing := [key for key, found in rounds.items() if not found]:
        raise FathomError(
            f"{len(missing)} of {len(rounds)} runs in {store.root} have no round yet; finish the study (fathom run) "
            "before what it decided is frozen, or freeze the study file"
        )
    hparams = {name: content["chosen"] for name, (content, _) in store.records("shared/hparams").items()}
    return {
        "sha256": digest([rounds, hparams]),
        "rounds": sum(map(len, rounds.values())),
        "environments": sorted(store.records("environments")),
    }


# ------------------------------------------------------------------------------------------------------- reading


def load_freeze(path: str | Path) -> dict[str, Any]:
    """A freeze as a study keeps it: its content, its `hash` and when it was `frozen`.

    Raises:
        FathomError: The file is absent, damaged, or no freeze.
    """
    found, damage = atomic_files.try_read(Path(path))
    if found is None:
        reason = f"is damaged ({damage})" if damage else "is not there"
        raise FathomError(f"the freeze {path} {reason}; expected a file that `fathom freeze STUDY` wrote")
    content, clock = found
    if not {"queries", "paradigms", "regimes", "protocol"} <= set(content):
        raise FathomError(f"{path} is no freeze; expected a file that `fathom freeze STUDY` wrote")
    return {**content, "hash": digest(content, 12), "frozen": str(clock.get("frozen", ""))}


def follow(study: Study, kept: Mapping[str, Any]) -> Study:
    """The study with the freeze it follows.

    Raises:
        FathomError: On roll-out data it departs from the freeze; how is listed.
    """
    held_out = [d for d in unique(r.dataset for r in study.runs) if role_of(d) == ROLL_OUT]
    if found := departures(study, kept, held_out):
        listed = "\n".join(f"  {text}" for text in found)
        raise FathomError(
            f"{study.name} departs from the freeze {kept['name']} ({kept['hash']}) on roll-out data:\n{listed}\n"
            "Run what was frozen; or, if it was decided on development data too, freeze that study"
        )
    return replace(study, freeze=dict(kept))


def departures(study: Study, kept: Mapping[str, Any], held_out: Iterable[str]) -> list[str]:
    """What a study runs on its roll-out data sets `held_out` that was not frozen."""
    apart = set(held_out)
    runs = [r for r in study.runs if r.dataset in apart]
    frozen = [paradigm["call"] for paradigm in kept["paradigms"]]
    found = [f"protocol {PROTOCOL}; frozen: {kept['protocol']}"] if runs and kept["protocol"] != PROTOCOL else []
    for kind, known in (("query", kept["queries"]), ("regime", kept["regimes"]), ("paradigm", frozen)):
        for used in unique(getattr(r, kind) for r in runs):
            if used in known or (kind == "paradigm" and any(_within(used, p) for p in kept["paradigms"])):
                continue
            found.append(f"{'query method' if kind == 'query' else kind} {used}; frozen: {', '.join(known)}")
    return found


def _within(paradigm: str, frozen: Mapping[str, Any]) -> bool:
    """Whether a paradigm is a frozen one, or one with HPs out of its frozen grids."""
    call = find("paradigm", paradigm)[1]
    if call.name != parse(frozen["call"]).name:
        return False
    own, there = parameters_of(paradigm), frozen["parameters"]
    return set(own) == set(there) and all(_out_of(own[name], there[name]) for name in own)


def _out_of(value: str, frozen: str) -> bool:
    return value == frozen or set(_values(value)) <= set(_values(frozen))


def _values(text: str) -> tuple[Value, ...]:
    """The values that a spelled parameter offers: those of a tuple, or the one."""
    value = parse(f"x(v={text})").arguments[0][1]
    return value if isinstance(value, tuple) else (value,)


# --------------------------------------------------------------------------------------------------------- roles


def role_of(dataset: str, store: Store | None = None) -> str:
    """`development` or `roll-out`: what a store's facts say, else what the data set declares."""
    if store and (facts := store.facts().get(dataset)):
        return str(facts.get("role", "development"))
    entry, call = find("dataset", dataset)
    return str(dict(call.arguments).get("role") or entry.options.get("role", "development"))
