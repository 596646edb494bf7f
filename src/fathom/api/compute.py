"""The public functions that compute: plan, run, recheck."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fathom.api.read import count_rounds, register
from fathom.core.inputs import user_path
from fathom.core.machine import Machine, RunOptions
from fathom.core.progress import describe_job, progress_bar
from fathom.core.records import Study

if TYPE_CHECKING:
    from fathom.engine.watch import StudyOutcome
    from fathom.estimate.plan import Plan
    from fathom.recheck.recheck import Rechecked


@dataclass(frozen=True)
class PlanOptions:
    """Options of a plan that few studies need.

    Args:
        hparams: Search the published HP grids, or use the published HPs; replaces what the study file says.
        profile: Use a stored profile instead of a probe: h200, or a file that --save-profile wrote.
        save_profile: File to write the measured rates to.
        effect: Gain in AUBC that the study should find, as a fraction of 1 [default: the margin of the study].
        sd: Standard deviation of the paired gains over seeds, as a fraction of 1 [default: as measured or published for
            such data].
        from_: Folder of a finished study, whose gains vary as those of this one will.
    """

    hparams: Literal["search", "published"] | None = None
    profile: str | None = None
    save_profile: Path | None = None
    effect: float | None = None
    sd: float | None = None
    from_: Path | None = None


def plan(
    study: str | Path | Study,
    *,
    only: Sequence[str] = (),
    workers: int | None = None,
    probe: bool = True,
    options: PlanOptions = PlanOptions(),
    machine: Machine = Machine(),
) -> "Plan":
    """Estimate runs, labels, disk space and time, and the statistical power of the design.

    Args:
        study: Name of a built-in study, path of a study file, or a `Study`.
        only: Plan only these runs, as for `run`.
        workers: Worker processes that the time is divided by [default: as run].
        probe: Measure training and prediction on this machine for a few seconds.
        options: HPs, stored rates, assumptions of the power analysis.
        machine: Data, device and threads of the run; `fast` is not used.

    Raises:
        FathomError: Study, data or a regime do not fit.
    """
    from fathom.api.power import study_power
    from fathom.design.hparams import unpublished
    from fathom.design.study_file import load_study
    from fathom.design.subset import select
    from fathom.estimate.plan import estimate_plan
    from fathom.published.undecidable import undecidable, undecidable_words

    register(machine.plugins)
    part = select(load_study(study, options.hparams), only)
    rates: dict[str, Any] = {"profile": options.profile, "save_profile": options.save_profile}
    made = estimate_plan(part, workers=workers, probe=probe, machine=machine, **rates)
    power = study_power(
        part,
        effect=options.effect,
        sd=options.sd,
        finished=options.from_,
        test_images=made.test_images,
        rounds=made.rounds,
    )
    notes = [*made.notes, *power.notes()]
    if part.baseline not in {spec.query for spec in part.runs}:
        notes.append(f"no run has the baseline {part.baseline!r}, so no gains can be computed")
    if options.hparams == "published" and (searched := unpublished(part)):
        pairs = ", ".join(f"{paradigm} on {dataset}" for dataset, paradigm in searched)
        notes.append(f"no HPs are published for {pairs}; they are searched")
    if words := undecidable_words(undecidable(part)):
        notes.append(words)
    return dataclasses.replace(made, notes=notes, proof=power.to_json(), proof_lines=power.lines())


def run(
    study: str | Path | Study,
    out: str | Path | None = None,
    *,
    only: Sequence[str] = (),
    workers: int | None = None,
    engine: str = "local",
    options: RunOptions = RunOptions(),
    machine: Machine = Machine(),
    quiet: bool = False,
) -> "StudyOutcome":
    """Run a study. Run it again with the same folder to resume or extend it.

    Args:
        study: Name of a built-in study, path of a study file, or a `Study`.
        out: Folder for the results [default: runs/NAME].
        only: Run only these, such as `["dataset=cifar10,regime=low"]`; axes are dataset, regime, paradigm, query and
            seed. The folder holds the whole study, so the rest can be run in it later.
        workers: Worker processes [default: one per core, one per GPU]; 0 works in this process. Not for Ray.
        engine: local: worker processes of this machine. ray or ray:HOST:PORT: a Ray cluster whose machines all see the
            results and the data under the same paths.
        options: HPs, freeze, extending a study, another environment, GPU share.
        machine: Data, cache, device, threads, plug-ins.
        quiet: Show no progress.

    Returns:
        The counts and the failed runs; a failed run raises nothing.

    Raises:
        FathomError: Study, data, regime, store or machine do not fit; nothing was trained.
        Interrupted: Ctrl-C or a signal during training; committed rounds are kept.
        KeyboardInterrupt: Ctrl-C before training; its text says how many rounds are kept.
    """
    from fathom.design.departures import follow
    from fathom.design.study_file import load_study
    from fathom.design.subset import select
    from fathom.engine.engine import run_study
    from fathom.store.store import Store

    register(machine.plugins)
    whole = load_study(study, options.hparams, freeze=options.freeze)
    part = select(whole, only)
    if whole.freeze and len(part.runs) < len(whole.runs):
        follow(part, whole.freeze)  # a part of a roll-out is not what was frozen
    folder = user_path(out) if out is not None else Path("runs") / whole.name
    store = Store(folder)
    title = f"{whole.name}: {len(part.runs)} runs"
    try:
        with progress_bar(title, quiet=quiet, in_progress=lambda: _describe_jobs(store)) as progress:
            return run_study(
                whole,
                folder,
                only=part if len(part.runs) < len(whole.runs) else None,
                workers=workers,
                engine=engine,
                options=options,
                machine=machine,
                progress=progress,
            )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"{count_rounds(folder)} rounds are committed in {folder}") from None


def recheck(
    folder: str | Path,
    *,
    sample: int = 5,
    seed: int = 0,
    shared: int = 0,
    workers: int = 0,
    machine: Machine = Machine(),
    quiet: bool = False,
) -> "Rechecked":
    """Recompute committed rounds and compare them with what is committed.

    In the environment that a round was computed in, everything except clock readings must be equal to the bit. In
    another environment budgets, bills and HPs must be equal, and metrics agree within two points. The outcomes are kept
    in FOLDER/rechecks; nothing else changes. An interrupted recheck resumes.

    Args:
        folder: The study's folder.
        sample: Number of rounds, chosen at random.
        seed: Seed for choosing the rounds.
        shared: Also recompute this many HP-search and full-data trainings.
        workers: Worker processes; 0 works in this process.
        machine: Data and device. `threads` and `fast` are those that the study was computed with.
        quiet: Show no progress.

    Raises:
        FathomError: The folder holds no study or no sound round, or the data are absent.
        KeyboardInterrupt: Ctrl-C; its text says how many are done.
    """
    from fathom.recheck.recheck import recheck as recompute

    register(machine.plugins)
    done = [0, sample]
    try:
        with progress_bar("recheck", quiet=quiet, unit="rechecked") as show:

            def count(finished: int, total: int) -> None:
                done[:] = finished, total
                if show:
                    show(finished, total)

            return recompute(
                folder,
                sample=sample,
                seed=seed,
                shared=shared,
                workers=workers,
                machine=machine,
                progress=None if quiet else count,
            )
    except KeyboardInterrupt:
        raise KeyboardInterrupt("" if quiet else f"{done[0]} of {done[1]} are rechecked") from None


def _describe_jobs(store: Any) -> str:
    return "; ".join(map(describe_job, store.in_progress()))
