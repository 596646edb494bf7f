"""Verbs that look up: what can be run, what a study needs, how far it is."""

import time
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter, validators
from rich.markup import escape
from rich.table import Table

from fathom import api
from fathom.cli.app import AtLeast0, Flag, Flat, Json, Only, Plugins, ThreadOptions, app
from fathom.cli.console import member_row, out, print_json, print_status, show_members, show_study, spelled, status_line
from fathom.core.inputs import user_path
from fathom.core.records import FathomError
from fathom.core.text import quoted
from fathom.registry import registry


@app.command(name="list")
def list_(
    what: Literal["all", "studies", "datasets", "regimes", "paradigms", "backbones", "queries"] = "all",
    /,
    *,
    plugins: Plugins = (),
    json: Json = False,
) -> None:
    """List studies, datasets, regimes, paradigms, backbones and query methods.

    Args:
        what: One kind, or all.
    """
    api.register(plugins)
    kinds = {
        "datasets": "dataset",
        "regimes": "regime",
        "paradigms": "paradigm",
        "backbones": "backbone",
        "queries": "query",
    }
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
    table = Table("kind", "name", "summary", box=None, header_style="bold", pad_edge=False)
    table.add_column("parameters", overflow="fold")  # whole, however long: they are there to be copied
    for row in rows:
        table.add_row(row["kind"], f"[cyan]{row['name']}", escape(row["summary"]), spelled(row.get("parameters", {})))
    out.print(table)


@app.command
def show(name: str, /, *, only: Only = (), plugins: Plugins = (), json: Json = False) -> None:
    """Show the runs of a study, or the description and parameters of a dataset, regime, paradigm or query method.

    Args:
        name: Study (name or path of a study file), dataset, regime, paradigm or query method.
    """
    from fathom.design.study_file import designs, load_study
    from fathom.design.subset import select

    api.register(plugins)
    members = [m[name] for m in registry.index().values() if name in m]
    if members and name not in designs():
        show_members(members, json)
        return
    known = {*designs(), *(member for m in registry.index().values() for member in m)}
    if name not in known and not (path := user_path(name)).is_file() and path.suffix != ".toml":
        raise FathomError(
            f"nothing is called {quoted(name)}. {registry.suggest(name, known)} A study file ends in .toml"
        )
    study = select(load_study(name), only)
    if json:
        print_json({**study.to_json(), "runs": [{"key": r.key, **r.to_json()} for r in study.runs]})
        return
    show_study(study, name)


@app.command
def plan(
    study: str,
    /,
    *,
    only: Only = (),
    workers: Annotated[int | None, AtLeast0] = None,
    probe: bool = True,
    options: Annotated[api.PlanOptions, Flat] = api.PlanOptions(),
    machine: Annotated[ThreadOptions, Flat] = ThreadOptions(),
    json: Json = False,
) -> None:
    """Estimate runs, labels, disk space and time, and the statistical power of the design.

    Datasets whose files are absent are planned by their official sizes, where these are known.

    Args:
        study: Name of a built-in study, or path of a study file.
        workers: Worker processes that the time is divided by [default: as fathom run].
        probe: Measure training and prediction on this machine for a few seconds.
    """
    with status_line("Loading data and probing this machine", json):
        made = api.plan(study, only=only, workers=workers, probe=probe, options=options, machine=machine)
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
    watch: Flag = False,
    every: Annotated[float, Parameter(validator=validators.Number(gt=0))] = 5.0,
    json: Json = False,
) -> None:
    """Show how far a study is: rounds per run, jobs by state, workers, rate, time left, failures.

    Args:
        folder: The study's folder.
        watch: Show it again and again, until Ctrl-C or the end of the study.
        every: Seconds between two looks of --watch.
    """
    while True:
        found = api.status(folder)
        if json:
            print_json(found.to_json())
        else:
            if watch and out.is_terminal:
                out.clear()
            print_status(found)
        if not watch or found.complete == len(found.runs):
            return
        time.sleep(every)
