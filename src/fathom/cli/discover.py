"""Verbs that look things up: what there is, what a study takes, how far it is."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter, validators
from rich.markup import escape
from rich.table import Table

from fathom.cli.app import Data, Device, Download, Hparams, Json, Only, Plugin, Workers, add_plugins, app
from fathom.cli.console import member_row, out, print_json, print_status, show_members, show_study, spelled, status_line
from fathom.core.records import FathomError
from fathom.registry import registry

if TYPE_CHECKING:
    from fathom.engine.status import Status
    from fathom.store.store import Store


@app.command(name="list")
def list_(
    what: Literal["all", "studies", "datasets", "regimes", "paradigms", "queries"] = "all",
    /,
    *,
    json: Json = False,
    plugin: Plugin = None,
) -> None:
    """What there is: studies, datasets, regimes, paradigms, query methods.

    Args:
        what: One kind, or all.
    """
    add_plugins(plugin)
    kinds = {"datasets": "dataset", "regimes": "regime", "paradigms": "paradigm", "queries": "query"}
    rows: list[dict[str, Any]] = []
    if what in ("all", "studies"):
        from fathom.design.study_file import designs

        rows += [{"kind": "study", "name": name, "summary": summary} for name, summary in designs().items()]
    for plural, kind in kinds.items():
        if what in ("all", plural):
            rows += [member_row(entry) for entry in registry.index()[kind].values()]
    if json:
        print_json(rows)
        return
    table = Table("kind", "name", "what it is", box=None, header_style="bold", pad_edge=False)
    table.add_column("parameters", overflow="fold")  # whole, however long: they are there to be copied
    for row in rows:
        table.add_row(row["kind"], f"[cyan]{row['name']}", escape(row["summary"]), spelled(row.get("parameters", {})))
    out.print(table)


@app.command
def show(name: str, /, *, only: Only = None, json: Json = False, plugin: Plugin = None) -> None:
    """A study's runs, or a member's description and parameters.

    Args:
        name: Study (name or path of a TOML file), dataset, regime, paradigm or query method.
    """
    from fathom.design.study_file import designs, load_study
    from fathom.design.subset import select

    add_plugins(plugin)
    members = [m[name] for m in registry.index().values() if name in m]
    if members and name not in designs():
        show_members(members, json)
        return
    known = {*designs(), *(member for m in registry.index().values() for member in m)}
    if name not in known and not Path(name).is_file() and Path(name).suffix != ".toml":
        raise FathomError(
            f"there is nothing called {name!r}. {registry.suggest(name, known)} A study file ends in .toml"
        )
    study = select(load_study(name), only or [])
    if json:
        print_json({**study.to_json(), "runs": [{"key": r.key, **r.to_json()} for r in study.runs]})
        return
    show_study(study, name)


@app.command
def plan(
    study: str,
    /,
    *,
    only: Only = None,
    hparams: Hparams = None,
    probe: bool = True,
    profile: str | None = None,
    save_profile: Path | None = None,
    effect: float | None = None,
    sd: float | None = None,
    data: Data = None,
    download: Download = False,
    device: Device = "auto",
    workers: Workers = None,
    json: Json = False,
    plugin: Plugin = None,
) -> None:
    """What a study takes: runs, trainings, labels, disk, time from a short probe here or on named hardware; and what
    its design can prove.

    Datasets whose files are absent are planned by their official sizes, where these are known.

    Args:
        study: Name of a built-in study, or path of a TOML file.
        probe: Measure the time of training and prediction for some seconds.
        profile: Take the rates from a stored profile instead: h200, or a file that --save-profile wrote.
        save_profile: File to write the measured rates to.
        effect: Difference that the study should find, as a fraction of 1 [default: 0.01, one point].
        sd: Standard deviation of the differences of two methods over seeds, in the same unit [default: 0.009, from the
            spread of the published results].
        workers: Worker processes the time is divided by [default: as fathom run].
    """
    from fathom.api import plan as make_plan

    add_plugins(plugin)
    assumed = {key: value for key, value in (("effect", effect), ("sd", sd)) if value is not None}
    options: dict[str, Any] = {"data": data, "download": download, "device": device, "workers": workers}
    options |= {"probe": probe, "profile": profile, "save": save_profile, "hparams": hparams, **assumed}
    with status_line("Loading data and probing this machine", json):
        made = make_plan(study, only=only or [], **options)
    if json:
        print_json(made.to_json())
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    for label, value in made.lines():
        table.add_row(f"[dim]{label}", escape(value))
    out.print(table)


@app.command
def status(
    folder: Path,
    /,
    *,
    watch: Annotated[bool, Parameter(negative="")] = False,
    every: Annotated[float, Parameter(validator=validators.Number(gt=0))] = 5.0,
    json: Json = False,
) -> None:
    """How far a study is: jobs by state and kind, who is at work, the rate, the time left, what failed and why.

    Args:
        folder: The study's folder.
        watch: Look again and again, until Ctrl-C or the end of the study.
        every: Seconds between two looks.
    """
    from fathom.store.store import SHARED, Store

    while True:
        store = Store.open(folder)
        rows, found = _looked(store)
        failures = store.failures()
        if json:
            shared = {kind: len(store.records(f"shared/{kind}")) for kind in SHARED}
            state = {"study": store.study.name, "runs": rows, "shared": shared, "under_way": store.in_progress()}
            print_json(state | {"tasks": found.to_json() if found else None, "failures": failures})
        else:
            if watch and out.is_terminal:
                out.clear()
            print_status(store, rows, failures, found)
        if not watch or all(row["rounds"] == row["of"] for row in rows):
            return
        time.sleep(every)


def _looked(store: "Store") -> tuple[list[dict[str, Any]], "Status | None"]:
    """A row for every run, and the state of the work; every round is read once."""
    from fathom.engine.status import status_of

    rows, rounds = [], {spec: store.rounds(spec) for spec in store.study.runs}
    for spec, done in rounds.items():
        regime = store.regime(spec)
        rows.append({"key": spec.key, **spec.to_json(), "rounds": len(done), "of": regime.rounds if regime else None})
    return rows, status_of(store, rounds)
