"""Verbs that compute: run a study, write its report, train an encoder."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from fathom import api
from fathom.cli.app import AtLeast0, Flag, Flat, Json, MachineOptions, Only, Out, Output, Quiet, again, app
from fathom.cli.console import err, print_encoder, print_json, print_outcome, print_plain, write_report
from fathom.core.machine import RunOptions
from fathom.core.progress import progress_bar
from fathom.core.records import FathomError


@dataclass(frozen=True)
class RunFlags(RunOptions):
    """`RunOptions` as options."""

    extend: Flag = False
    accept_environment: Flag = False
    gpu_share: Annotated[float | None, Parameter(validator=validators.Number(gt=0, lte=1))] = None


@app.command
def run(
    study: str,
    /,
    *,
    out: Annotated[Path | None, Out] = None,
    only: Only = (),
    workers: Annotated[int | None, AtLeast0] = None,
    engine: str = "local",
    options: Annotated[RunFlags, Flat] = RunFlags(),
    machine: Annotated[MachineOptions, Flat] = MachineOptions(),
    output: Annotated[Output, Flat] = Output(),
) -> int:
    """Run a study. Run the same command again to resume it.

    With --only a part of it is run; the folder holds the whole study, so the rest can be run in it later.

    Args:
        study: Name of a built-in study, or path of a study file.
        out: Folder for the results [default: runs/NAME].
        workers: Worker processes [default: one per core, one per GPU]; 0 works in this process. Not for Ray.
        engine: local: worker processes of this machine. ray or ray:HOST:PORT: a Ray cluster whose machines all see the
            results and the data under the same paths.
        output.report: Write the report at the end.
    """
    from fathom.engine.watch import Interrupted

    try:
        outcome = api.run(
            study, out, only=only, workers=workers, engine=engine, options=options, machine=machine, quiet=output.silent
        )
    except Interrupted as stop:
        ended, done = stop.outcome, f"{api.count_rounds(stop.outcome.out)} rounds"
        done = f"{ended.committed} of {ended.trainings} trainings" if ended.trainings else done
        text = f"Stopped. {done} are committed in {ended.out}. {again()}"
        err.print(text, markup=False, soft_wrap=True)
        return stop.exit_code
    except KeyboardInterrupt as stop:  # before training, as while data are loaded
        raise KeyboardInterrupt(f"{stop}. {again()}") from None
    print_outcome(outcome, output.silent)
    page = write_report(Path(outcome.out), output.silent) if output.report and api.count_rounds(outcome.out) else None
    if output.json:
        print_json({**asdict(outcome), "finished": outcome.finished, "report": str(page) if page else None})
    elif page:
        print_plain(page)  # last line, plain, for scripts
    return 0 if outcome.finished else 3


@app.command
def report(
    folder: Path | None = None,
    /,
    *,
    compare: tuple[Path, Path] | None = None,
    to: Path = Path("compare.html"),
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Write the report: one HTML file, results, picks and statistics as data, figures as SVG and PDF, LaTeX tables.

    Args:
        folder: The study's folder.
        compare: Folders of two studies to show side by side on one page instead, paired where seeds and data agree.
        to: The page of --compare; it is replaced.
    """
    page = write_report(folder, quiet or json) if folder and not compare else api.report(folder, compare=compare, to=to)
    if json:
        print_json({"report": str(page)})
    else:
        print_plain(page)


@app.command
def pretrain(
    dataset: str | None = None,
    /,
    *,
    paradigm: str = "self-sl",
    seed: Annotated[int, AtLeast0] = 0,
    take_in: Annotated[Path | None, Parameter(name="--import")] = None,
    machine: Annotated[MachineOptions, Flat] = MachineOptions(),
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Train an encoder without labels, or import one. Prints the name that studies use it by.

    Run the same command again to resume. Studies find an encoder that was trained here, and train those that they need
    and do not find.

    Args:
        dataset: Spec string of the dataset, for example cifar10; only the train part of the seed's split is used.
        paradigm: Spec string that decides the recipe, for example "self-sl(pretrain_epochs=200)".
        seed: Seed of the split and of the training.
        take_in: Import this file instead: a safetensors state dict, or a torch file that holds only tensors.
    """
    api.register(machine.plugins)
    if (dataset is None) == (take_in is None):
        raise FathomError("expected either a dataset to train an encoder on, or --import FILE")
    from fathom.engine import pretrain as encoders

    if take_in is not None:
        made = encoders.take_in(take_in, machine=machine)
    else:
        title = f"pre-training on {dataset}, seed {seed}"
        with progress_bar(title, quiet=quiet or json, unit="epochs") as show:
            tell = (lambda said: show(said["done"], said["of"])) if show else None
            made = encoders.pretrain_encoder(str(dataset), paradigm, seed=seed, machine=machine, tell=tell)
    print_encoder(made, json, quiet)
