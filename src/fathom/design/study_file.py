"""Study files: the runs that belong together, as a few lines of TOML. A file from anybody is safe to open.

    name = "quickstart"
    datasets = ["digits", "digits-lt"]
    regimes = ["low"]
    paradigms = ["standard"]
    queries = ["random", "entropy", "bald"]
    seeds = 3                       # 0, 1, 2; or a list
    [overrides.low]                 # merged into every spec string of that name
    rounds = 8
    # hparams = "search"            # the published grids; "published": the published choice (`design.hparams`)
    # retry = ["fp32", "lr/10"]     # where a training is not finite: changes with which all runs of its setting restart
    # margin = 1.0                  # points of AUBC that a method may lose and still count as not worse
    # claims = ["badge > random"]   # statements to be decided, written down before the results (`design.stated_claims`)
    # keep = "all"                  # rounds that keep their test predictions; "none"; without it first and last round
    # freeze = "dev.freeze.json"    # a file of `fathom freeze` in this folder, which binds the runs on roll-out data
    [[run]]                         # one more cross product; axes left out are those above
    datasets = ["cifar10", {data = "table(path=ham.csv)", name = "Lesions"}]  # a name for people, which decides nothing

The runs are the cross product of the five axes and those of each `[[run]]`. Built-in studies are in `designs/`.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr, ValidationError

from fathom.core.inputs import read_toml, user_path
from fathom.core.records import FathomError, RunSpec, Study, unique
from fathom.core.retries import RETRIES
from fathom.core.text import quoted
from fathom.design.departures import follow
from fathom.design.freeze import load_freeze
from fathom.design.hparams import with_hparams
from fathom.design.stated_claims import bind_claim, parse_claim
from fathom.registry.registry import find, suggest
from fathom.registry.spec_string import LARGEST, SpecString, Value
from fathom.stats.decisions import MARGIN

DESIGNS = Path(__file__).parent / "designs"
AXES = {"datasets": "dataset", "regimes": "regime", "paradigms": "paradigm", "queries": "query"}  # key -> kind

MOST_RUNS = 1_000_000  # a study's list of runs is held in memory, a few hundred bytes each
MOST_PROBLEMS = 50  # listed at once

Scalar = StrictBool | StrictInt | StrictFloat | StrictStr
Seeds = Annotated[StrictInt, Field(ge=1)] | list[Annotated[StrictInt, Field(ge=0, lt=LARGEST)]]
Texts = Annotated[list[StrictStr], Field(min_length=1, max_length=10_000)]
LONGEST_NAME = 60  # characters


class _NamedDataset(BaseModel):
    """A dataset and its name in reports."""

    model_config = ConfigDict(extra="forbid")

    data: StrictStr
    name: Annotated[StrictStr, Field(min_length=1, max_length=LONGEST_NAME, pattern=r"^\S(.*\S)?$")]


class _Axes(BaseModel):
    """The five axes, as a study file and each of its `[[run]]` entries may give them."""

    model_config = ConfigDict(extra="forbid")

    datasets: Annotated[list[StrictStr | _NamedDataset], Field(min_length=1, max_length=10_000)] | None = None
    regimes: Texts | None = None
    paradigms: Texts | None = None
    queries: Texts | None = None
    seeds: Seeds | None = None


class _File(_Axes):
    """A study file."""

    name: Annotated[StrictStr, Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=100)]
    title: StrictStr = ""
    description: StrictStr = ""
    baseline: StrictStr = "random"
    full_data: Annotated[StrictInt, Field(ge=0, le=MOST_RUNS)] = 1
    hparams: Literal["", "search", "published"] = ""
    retry: list[Literal[tuple(RETRIES)]] = []  # type: ignore[valid-type]
    freeze: StrictStr = ""
    margin: Annotated[float, Field(gt=0, lt=100)] = 100 * MARGIN
    claims: list[StrictStr] = []
    keep: Literal["ends", "all", "none"] = "ends"
    overrides: dict[str, dict[str, Scalar | list[Scalar]]] = {}
    run: list[_Axes] = []


# ------------------------------------------------------------------------------------------------------ loading


def designs() -> dict[str, str]:
    """The built-in studies: name -> title. The name of a study in a folder includes the folder: `paper/main`."""
    found = {}
    for path in sorted(DESIGNS.rglob("*.toml")):
        name = path.relative_to(DESIGNS).with_suffix("").as_posix()
        found[name] = str(tomllib.loads(path.read_text(encoding="utf-8")).get("title", ""))
    return found


def load_study(source: str | Path | Study, hparams: str | None = None, *, freeze: str | Path | None = None) -> Study:
    """Load the study of a built-in name or a TOML file; a `Study` is returned unchanged.

    Relative `path=` arguments of `folder(...)` and `table(...)` are kept as they are written.

    Args:
        source: `quickstart`, `paper/main`, `my_study.toml`, or a `Study`.
        hparams: `search` or `published`; takes precedence over the file.
        freeze: File of `fathom freeze` to follow on roll-out data; takes precedence over the one that the file names.

    Raises:
        FathomError: There is no such study, its file has mistakes (all are listed), or it departs from its freeze.
    """
    if freeze:
        return follow(load_study(source, hparams), load_freeze(freeze))
    if isinstance(source, Study):
        return replace(source, runs=tuple(unique(with_hparams(source.runs, hparams)))) if hparams else source
    path = _locate(source)
    data = read_toml(path, "the study file")
    problems: list[str] = []
    file = _validate(data, problems)
    study = _build(file, problems, file.hparams if hparams is None else hparams) if file else None
    if problems or study is None:
        listed = "\n".join(f"  {p}" for p in unique(problems)[:MOST_PROBLEMS])
        raise FathomError(f"{path} is not a study that can be run:\n{listed}")
    return follow(study, load_freeze(path.parent / file.freeze)) if file and file.freeze else study


def _locate(source: str | Path) -> Path:
    path = user_path(source)
    if path.suffix == ".toml" or path.is_file():
        if not path.is_file():
            raise FathomError(
                f"there is no study file {path}; expected a path to a .toml file or a built-in study's name"
            )
        return path
    built_in = DESIGNS / f"{source}.toml"
    if str(source) not in designs():
        raise FathomError(
            f"unknown study {quoted(str(source))}. {suggest(str(source), designs())}. A file needs its .toml"
        )
    return built_in


def _validate(data: Mapping[str, Any], problems: list[str]) -> _File | None:
    """Check keys, types and ranges."""
    try:
        return _File.model_validate(data)
    except ValidationError as error:
        for item in error.errors(include_url=False):
            problems.append(_explain(item["loc"], item["type"], item["msg"], item.get("input")))
        return None


def _explain(place: tuple[int | str, ...], kind: str, message: str, given: Any) -> str:
    branches = re.compile(r"\[|constrained|^(int|list|bool|str|float)$")  # pydantic's names inside a union
    parts = [p for p in place if not (isinstance(p, str) and branches.search(p))]
    if "datasets" in parts[:-1]:  # a union, of which each member has its own complaint
        entry = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in parts[: parts.index("datasets") + 2])
        wanted = f'"DATASET" or {{data = "DATASET", name = "up to {LONGEST_NAME} characters"}}'
        return f"{entry.lstrip('.')}: expected {wanted}"
    key = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in parts).lstrip(".")
    if kind == "extra_forbidden":
        model = _Axes if parts[0] == "run" else _File
        return f"{key}: unknown key. {suggest(str(parts[-1]), model.model_fields)}"
    if kind == "missing":
        return f"{key}: missing; every study needs it"
    if key == "name":
        return f"name: expected kebab-case such as my-study, at most 100 characters; got {quoted(given)}"
    if parts[-1] == "seeds" or "seeds" in parts[-2:]:
        wanted = "a number of seeds (1 or more) or a list of distinct seeds (0 or more, below 2^63)"
        return f"{key}: expected {wanted}; got {quoted(given)}"
    if parts[0] == "overrides" and len(parts) > 2:
        return f"{key}: expected a number, true, false, a string, or a list of them; got {quoted(given)}"
    return f"{key}: {message[0].lower()}{message[1:]}; got {quoted(given)}"


# ----------------------------------------------------------------------------------------------------- building


def _build(file: _File, problems: list[str], hparams: str) -> Study | None:
    """The study of a well-formed file; None where `problems` were added."""
    blocks = list(_blocks(file, problems))
    if (count := sum(_count(block) for _, block in blocks)) > MOST_RUNS:
        problems.append(
            f"{count:,} runs: expected at most {MOST_RUNS:,} (datasets x regimes x paradigms x queries x seeds of each "
            "block, summed). Divide it into several studies, or correct the number of seeds"
        )
        return None
    runs = [run for where, block in blocks for run in _runs(block, where, file.overrides, problems)]
    baseline = _canonical("query", file.baseline, "baseline", file.overrides, problems)
    texts = [text for _, block in blocks for key in AXES for text in block[key]]
    given = _names(file, problems)
    names = {text.partition("(")[0].strip() for text in texts}  # also of spec strings with mistakes
    for name in file.overrides:
        if name not in names:
            problems.append(f"overrides.{name}: nothing in this study has that name. {suggest(name, names)}")
    if problems:
        return None
    study = Study(
        name=file.name,
        runs=tuple(_ordered(unique(with_hparams(runs, hparams)))),
        title=file.title,
        description=file.description,
        baseline=baseline,
        full_data=file.full_data,
        retry=tuple(file.retry),
        margin=file.margin / 100,
        claims=tuple(unique(file.claims)),
        keep=file.keep,
        names=given,
    )
    for number, text in enumerate(file.claims):
        try:
            bind_claim(parse_claim(text), study)
        except FathomError as error:
            problems.append(f"claims[{number}]: {error}")
    return study


def _names(file: _File, problems: list[str]) -> dict[str, str]:
    """Dataset -> the name that the file gives it; names are distinct."""
    found: dict[str, str] = {}
    for entry in (e for axes in (file, *file.run) for e in axes.datasets or () if isinstance(e, _NamedDataset)):
        dataset = _canonical("dataset", entry.data, "datasets", file.overrides, problems)
        if found.setdefault(dataset, entry.name) != entry.name:
            names = f"{quoted(found[dataset])} and {quoted(entry.name)}"
            problems.append(f"datasets: {entry.data} has two names, {names}; expected one")
    shared = [name for name in unique(found.values()) if list(found.values()).count(name) > 1]
    problems += [f"datasets: several datasets have the name {quoted(name)}; expected distinct names" for name in shared]
    return found


def _blocks(file: _File, problems: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(prefix for messages, the five axes) of the top level and of each `[[run]]`."""
    keys = (*AXES, "seeds")
    top = {key: _texts(getattr(file, key)) for key in keys}
    absent = [key for key in keys if top[key] is None]
    if not absent:
        yield "", top
    elif not file.run:
        problems.append(f"{', '.join(absent)}: missing, and there is no [[run]]; a study needs all five axes")
    for number, entry in enumerate(file.run):
        own = {key: _texts(getattr(entry, key)) for key in keys}
        block = {key: own[key] if own[key] is not None else top[key] for key in keys}
        if absent := [key for key in keys if block[key] is None]:
            problems.append(f"run[{number}]: {', '.join(absent)}: given neither here nor at the top level")
            continue
        yield f"run[{number}].", block


def _texts(axis: Any) -> Any:
    """An axis with its datasets as spec strings, without their names."""
    named = isinstance(axis, list)
    return [entry.data if isinstance(entry, _NamedDataset) else entry for entry in axis] if named else axis


def _count(block: Mapping[str, Any]) -> int:
    """Runs of a block, counted before any of them is made."""
    seeds = block["seeds"]
    return prod(len(block[key]) for key in AXES) * (seeds if isinstance(seeds, int) else len(seeds))


def _runs(
    block: dict[str, Any], where: str, overrides: dict[str, dict[str, Any]], problems: list[str]
) -> list[RunSpec]:
    axes = [
        [
            _canonical(kind, text, f"{where}{key}[{number}]", overrides, problems)
            for number, text in enumerate(block[key])
        ]
        for key, kind in AXES.items()
    ]
    seeds = block["seeds"]
    seeds = list(range(seeds)) if isinstance(seeds, int) else seeds
    if not seeds or len(set(seeds)) < len(seeds):
        problems.append(f"{where}seeds: expected a number of seeds or a list of distinct seeds; got {quoted(seeds)}")
    return [] if problems else [RunSpec(d, r, p, q, seed) for d, r, p, q, seed in product(*axes, seeds)]


def _canonical(kind: str, text: str, where: str, overrides: dict[str, dict[str, Any]], problems: list[str]) -> str:
    """The canonical spec string, with the overrides of its name. Its own arguments take precedence."""
    try:
        if len(problems) >= MOST_PROBLEMS:
            return text
        call = find(kind, text)[1]
    except FathomError as error:
        problems.append(f"{where}: {error}")
        return text
    if call.name in overrides:
        extra: dict[str, Value] = {k: tuple(v) if isinstance(v, list) else v for k, v in overrides[call.name].items()}
        call = SpecString.make(call.name, extra | dict(call.arguments))
        try:
            find(kind, str(call))
        except (FathomError, ValueError) as error:  # ValueError: a number that is too large
            problems.append(f"overrides.{call.name}: {error}")
            return text
    return str(call)


def _ordered(runs: list[RunSpec]) -> list[RunSpec]:
    """Order runs by setting, and within a setting all query methods of a seed before the next seed.

    So a study that is stopped halfway has complete seeds, which can be compared.
    """
    place = {
        name: {value: rank for rank, value in enumerate(unique(getattr(r, name) for r in runs))}
        for name in ("dataset", "regime", "paradigm", "seed", "query")
    }
    return sorted(runs, key=lambda run: tuple(rank[getattr(run, name)] for name, rank in place.items()))
