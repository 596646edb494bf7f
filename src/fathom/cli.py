"""The command line: verbs only. Each verb calls a room and prints what it gives (as JSON with --json)."""

import shlex
import sys
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter, validators
from rich.markup import escape
from rich.table import Table

import fathom
from fathom import registry
from fathom.console import (
    bar_over,
    err,
    member_row,
    out,
    print_data_report,
    print_encoder,
    print_json,
    print_outcome,
    print_status,
    show_members,
    show_study,
    show_warning,
    spelled,
    status_line,
    write_report,
)
from fathom.records import FathomError

app = App(
    name="fathom",
    version=fathom.__version__,
    help="How much active learning is worth, measured by the protocol of Lüth et al. (NeurIPS 2023).",
    help_epilogue="Begin with: fathom run quickstart",
    suppress_keyboard_interrupt=False,  # `main` says what is safe
)

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON for scripts.")]
Quiet = Annotated[bool, Parameter(name=["--quiet", "-q"], negative="", help="Print nothing but the result.")]
Plugin = Annotated[list[Path] | None, Parameter(name="--plugin", negative="", help="File with members of your own.")]
Data = Annotated[
    Path | None, Parameter(name="--data", help="Folder of the datasets [default: FATHOM_DATA, else ./data].")
]
Download = Annotated[bool, Parameter(name="--download", negative="", help="Fetch datasets that are not there.")]
Workers = Annotated[int | None, Parameter(name="--workers", validator=validators.Number(gte=0))]
Threads = Annotated[int, Parameter(name="--threads", validator=validators.Number(gte=1))]
Device = Annotated[str, Parameter(name="--device", help="auto, cpu, cuda or cuda:N.")]


# ------------------------------------------------------------------------------------------------------ look up


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
    _plugins(plugin)
    kinds = {"datasets": "dataset", "regimes": "regime", "paradigms": "paradigm", "queries": "query"}
    rows: list[dict[str, Any]] = []
    if what in ("all", "studies"):
        from fathom.study.design import designs

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
def show(name: str, /, *, json: Json = False, plugin: Plugin = None) -> None:
    """A study's runs, or a member's description and parameters.

    Args:
        name: Study (name or path of a TOML file), dataset, regime, paradigm or query method.
    """
    from fathom.study.design import designs, load_study

    _plugins(plugin)
    members = [m[name] for m in registry.index().values() if name in m]
    if members and name not in designs():
        show_members(members, json)
        return
    known = {*designs(), *(member for m in registry.index().values() for member in m)}
    if name not in known and not Path(name).is_file() and Path(name).suffix != ".toml":
        raise FathomError(
            f"there is nothing called {name!r}. {registry.suggest(name, known)} A study file ends in .toml"
        )
    study = load_study(name)
    if json:
        print_json({**study.to_json(), "runs": [{"key": r.key, **r.to_json()} for r in study.runs]})
        return
    show_study(study, name)


@app.command
def plan(
    study: str,
    /,
    *,
    probe: bool = True,
    data: Data = None,
    download: Download = False,
    device: Device = "auto",
    workers: Workers = None,
    json: Json = False,
    plugin: Plugin = None,
) -> None:
    """What a study takes: runs, trainings, labels, disk, and time from a short probe on this machine.

    Args:
        study: Name of a built-in study, or path of a TOML file.
        probe: Measure the time of training and prediction for some seconds.
        workers: Worker processes the time is divided by [default: as fathom run].
    """
    from fathom.api import plan as make_plan

    _plugins(plugin)
    with status_line("Loading data and probing this machine", json):
        made = make_plan(study, data=data, download=download, device=device, workers=workers, probe=probe)
    if json:
        print_json(asdict(made))
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    for label, value in made.lines():
        table.add_row(f"[dim]{label}", escape(value))
    out.print(table)


# --------------------------------------------------------------------------------------------------------- run


@app.command
def run(
    study: str,
    /,
    *,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    workers: Workers = None,
    threads: Threads = 1,
    data: Data = None,
    download: Download = False,
    device: Device = "auto",
    fast: Annotated[bool, Parameter(negative="")] = False,
    report: bool = True,
    extend: Annotated[bool, Parameter(negative="")] = False,
    accept_environment: Annotated[bool, Parameter(negative="")] = False,
    quiet: Quiet = False,
    json: Json = False,
    plugin: Plugin = None,
) -> int:
    """Run a study, or go on where it stopped: the same command again finishes it.

    Args:
        study: Name of a built-in study, or path of a TOML file.
        out: Folder for the results [default: runs/NAME].
        workers: Worker processes [default: one per core, one per GPU]; 0 works in this process.
        threads: CPU threads of each worker; part of what decides the numbers.
        fast: On CUDA, the fastest kernels; numbers then agree from run to run as those of two seeds do, not to the bit.
        report: Write the report at the end.
        extend: Accept a study that adds runs to the one in the folder.
        accept_environment: Accept other package versions, device or threads than the folder's results have.
    """
    from fathom.run.backends import Interrupted
    from fathom.run.backends import run as run_study
    from fathom.study.design import load_study

    _plugins(plugin)
    the_study = load_study(study)
    folder = out or Path("runs") / the_study.name
    silent = quiet or json
    try:
        with bar_over(f"{the_study.name}: {len(the_study.runs)} runs", silent, folder) as progress:
            outcome = run_study(
                the_study,
                folder,
                data=data,
                download=download,
                device=device,
                threads=threads,
                workers=workers,
                fast=fast,
                extend=extend,
                accept_environment=accept_environment,
                quiet=silent,
                progress=progress,
            )
    except Interrupted as stop:
        safe = f"{stop.outcome.committed} of {stop.outcome.trainings} trainings are safe in {folder}"
        err.print(
            f"Stopped. {safe}. To go on, type the same command again:\n  {_command()}", markup=False, soft_wrap=True
        )
        return stop.exit_code
    except KeyboardInterrupt:  # outside training, as while data are loaded
        safe = (
            f"{done} rounds are safe in {folder}" if (done := _rounds(folder)) else f"No round is committed in {folder}"
        )
        raise KeyboardInterrupt(f"{safe}. To go on, type the same command again:\n  {_command()}") from None
    print_outcome(outcome, silent)
    page = write_report(folder, silent) if report and _rounds(folder) else None
    if json:
        print_json({**asdict(outcome), "finished": outcome.finished, "report": str(page) if page else None})
    elif page:
        print(page)  # last line, plain, for scripts
    return 0 if outcome.finished else 3


def _rounds(folder: Path) -> int:
    """Rounds committed in a study's folder, by their names alone."""
    return sum(1 for _ in folder.glob("runs/*/round-*.json"))


@app.command
def status(folder: Path, /, *, json: Json = False) -> None:
    """How far a study is.

    Args:
        folder: The study's folder.
    """
    from fathom.store import SHARED, Store

    store = Store.open(folder)
    rows = []
    for spec in store.study.runs:
        regime, rounds = store.regime(spec), store.rounds(spec)
        total = regime.rounds if regime else None
        rows.append({"key": spec.key, **spec.to_json(), "rounds": len(rounds), "of": total})
    failures = store.failures()
    if json:
        shared = {kind: len(store.records(f"shared/{kind}")) for kind in SHARED}
        state = {"study": store.study.name, "runs": rows, "shared": shared}
        print_json({**state, "under_way": store.under_way(), "failures": failures})
        return
    print_status(store, rows, failures)


@app.command
def report(folder: Path, /, *, quiet: Quiet = False, json: Json = False) -> None:
    """Write the report: one HTML file, results.csv and .parquet, figures as SVG and PDF, LaTeX tables.

    Args:
        folder: The study's folder.
    """
    page = write_report(folder, quiet or json)
    if json:
        print_json({"report": str(page)})
    else:
        print(page)


# ----------------------------------------------------------------------------------------------------- encoders


@app.command
def pretrain(
    dataset: str | None = None,
    /,
    *,
    paradigm: str = "self-sl",
    seed: Annotated[int, Parameter(validator=validators.Number(gte=0))] = 0,
    take_in: Annotated[Path | None, Parameter(name="--import")] = None,
    data: Data = None,
    download: Download = False,
    device: Device = "auto",
    threads: Threads = 1,
    fast: Annotated[bool, Parameter(negative="")] = False,
    quiet: Quiet = False,
    json: Json = False,
    plugin: Plugin = None,
) -> None:
    """Train an encoder without labels and keep it, or import one; prints the name that studies use it by.

    The same command again goes on where it stopped. A study trains the encoders that it needs by itself, and finds one
    that was trained here.

    Args:
        dataset: Call-string of the dataset, for example cifar10; only the train part of the seed's split is used.
        paradigm: Call-string that decides the recipe, for example "self-sl(pretrain_epochs=200)".
        seed: Seed of the split and of the training.
        take_in: Import this file instead: a safetensors state dict, or a torch file of tensors alone.
        threads: CPU threads; part of what decides the numbers.
        fast: As for fathom run, which finds it only in the same mode.
    """
    _plugins(plugin)
    if (dataset is None) == (take_in is None):
        raise FathomError("expected either a dataset to train an encoder on, or --import FILE")
    from fathom.run import pretrain as encoders

    if take_in is not None:
        made = encoders.take_in(take_in, data=data)
    else:
        options: dict[str, Any] = {"seed": seed, "data": data, "download": download, "device": device}
        with bar_over(f"pre-training on {dataset}, seed {seed}", quiet or json, unit="epochs") as tell:
            options |= {"threads": threads, "fast": fast, "tell": lambda told: tell(told["done"], told["of"])}
            made = encoders.pretrain(str(dataset), paradigm, **options)
    print_encoder(made, json, quiet)


# ------------------------------------------------------------------------------------------------------- checks


@app.command(name="check-data")
def check_data(
    dataset: str, /, *, data: Data = None, download: Download = False, json: Json = False, plugin: Plugin = None
) -> int:
    """Counts per class, sizes, duplicates, unreadable files, group leaks. Exit status 1 where there is an error.

    Args:
        dataset: For example digits, cifar10, "folder(path=images)" or "table(path=data.csv)".
    """
    from fathom.data.check import check_data as check
    from fathom.run.backends import data_root

    _plugins(plugin)
    found = check(dataset, data_root(data, download=download, quiet=json))
    if json:
        print_json(found.to_json())
    else:
        print_data_report(found)
    return 0 if found.ok else 1


@app.command(name="check-query")
def check_query(query: str, /, *, json: Json = False, plugin: Plugin = None) -> int:
    """Whether a query method keeps the contract: pure, reproducible, distinct picks, declared needs.

    Args:
        query: Call-string such as bald(draws=20) or my_al/margin, or a .py file: then every method in it.
    """
    from fathom.testing import query_findings

    _plugins(plugin)
    names = [query]
    if query.endswith(".py"):
        prefix = registry.add_file(query)
        names = [name for name in registry.index()["query"] if name.startswith(f"{prefix}/")]
    results = {name: query_findings(name) for name in names}
    if json:
        print_json(results)
    else:
        for name, findings in results.items():
            for finding in findings:
                out.print(f"[red]{escape(name)}[/]: {escape(finding)}")
            if not findings:
                out.print(f"[green]{escape(name)}[/]: keeps the contract")
    return 1 if any(results.values()) else 0


# --------------------------------------------------------------------------------------------------------- help


def _plugins(paths: list[Path] | None) -> None:
    for path in paths or []:
        registry.add_file(path)


def _command() -> str:
    return shlex.join(["fathom", *sys.argv[1:]])


def main() -> None:
    """Entry point: a user's mistake is one message on standard error and a non-zero exit status."""
    with warnings.catch_warnings():
        warnings.showwarning = show_warning
        try:
            code = app(sys.argv[1:])
        except FathomError as error:
            err.print("[bold red]error:[/] " + escape(str(error)), soft_wrap=True)
            sys.exit(error.exit_code)
        except KeyboardInterrupt as stop:
            err.print(f"Stopped. {stop}".rstrip(), markup=False, soft_wrap=True)
            sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
