"""Verbs that compute: run a study, write its report, train an encoder."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter, validators

from fathom.cli.app import (
    Data,
    Device,
    Download,
    Hparams,
    Json,
    Only,
    Plugin,
    Quiet,
    Threads,
    Workers,
    add_plugins,
    app,
    command_line,
)
from fathom.cli.console import bar_over, err, print_encoder, print_json, print_outcome, write_report
from fathom.core.records import FathomError


@app.command
def run(
    study: str,
    /,
    *,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    only: Only = None,
    hparams: Hparams = None,
    engine: str = "local",
    workers: Workers = None,
    threads: Threads = 1,
    data: Data = None,
    download: Download = False,
    device: Device = "auto",
    gpu_share: Annotated[float | None, Parameter(name="--gpu-share")] = None,
    fast: Annotated[bool, Parameter(negative="")] = False,
    freeze: Path | None = None,
    report: bool = True,
    extend: Annotated[bool, Parameter(negative="")] = False,
    accept_environment: Annotated[bool, Parameter(negative="")] = False,
    quiet: Quiet = False,
    json: Json = False,
    plugin: Plugin = None,
) -> int:
    """Run a study, or go on where it stopped: the same command again finishes it.

    With --only a part of it is done; the folder is that of the whole study, so the rest can follow there.

    Args:
        study: Name of a built-in study, or path of a TOML file.
        out: Folder for the results [default: runs/NAME].
        engine: local: worker processes of this machine. ray or ray:HOST:PORT: a Ray cluster whose machines all see the
            results and the data under the same paths.
        workers: Worker processes [default: one per core, one per GPU]; 0 works in this process. Not for ray.
        threads: CPU threads of each worker; part of what decides the numbers.
        gpu_share: Share of a GPU that a job takes on Ray, such as 0.25 [default: a whole one until it is measured].
        fast: On CUDA, the fastest kernels; numbers then agree from run to run as those of two seeds do, not to the bit.
        freeze: File of fathom freeze: what was decided on development data, and is followed on roll-out data.
        report: Write the report at the end.
        extend: Accept a study that adds runs to the one in the folder.
        accept_environment: Accept other package versions, device or threads than the folder's results have.
    """
    from fathom.design.study_file import load_study
    from fathom.design.subset import select
    from fathom.engine.engine import Interrupted
    from fathom.engine.engine import run_study as run_study

    add_plugins(plugin)
    the_study = load_study(study, hparams, freeze=freeze)
    part = select(the_study, only or [])
    folder = out or Path("runs") / the_study.name
    silent = quiet or json
    try:
        with bar_over(f"{the_study.name}: {len(part.runs)} runs", silent, folder) as progress:
            outcome = run_study(
                the_study,
                folder,
                data=data,
                download=download,
                engine=engine,
                device=device,
                threads=threads,
                workers=workers,
                gpu_share=gpu_share,
                fast=fast,
                extend=extend,
                accept_environment=accept_environment,
                only=part if len(part.runs) < len(the_study.runs) else None,
                quiet=silent,
                progress=progress,
            )
    except Interrupted as stop:
        before = not stop.outcome.trainings  # training began
        safe = f"{stop.outcome.committed} of {stop.outcome.trainings} trainings are safe in {folder}"
        safe = f"{_rounds(folder)} rounds are safe in {folder}" if before else safe
        err.print(
            f"Stopped. {safe}. To go on, type the same command again:\n  {command_line()}", markup=False, soft_wrap=True
        )
        return stop.exit_code
    except KeyboardInterrupt:  # outside training, as while data are loaded
        safe = (
            f"{done} rounds are safe in {folder}" if (done := _rounds(folder)) else f"No round is committed in {folder}"
        )
        raise KeyboardInterrupt(f"{safe}. To go on, type the same command again:\n  {command_line()}") from None
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
    add_plugins(plugin)
    if (dataset is None) == (take_in is None):
        raise FathomError("expected either a dataset to train an encoder on, or --import FILE")
    from fathom.engine import pretrain as encoders

    if take_in is not None:
        made = encoders.take_in(take_in, data=data)
    else:
        options: dict[str, Any] = {"seed": seed, "data": data, "download": download, "device": device}
        with bar_over(f"pre-training on {dataset}, seed {seed}", quiet or json, unit="epochs") as tell:
            options |= {"threads": threads, "fast": fast, "tell": lambda told: tell(told["done"], told["of"])}
            made = encoders.pretrain_encoder(str(dataset), paradigm, **options)
    print_encoder(made, json, quiet)
