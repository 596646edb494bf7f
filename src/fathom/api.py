"""What notebooks call: `fathom.run`, `fathom.plan`, `fathom.table`, `fathom.report`. The CLI calls the same."""

import dataclasses
from pathlib import Path
from typing import Any

from fathom.records import Study
from fathom.run.backends import Outcome
from fathom.run.backends import run as run_study
from fathom.run.plan import Plan, make_plan
from fathom.study.design import load_study
from fathom.study.inference import minimum_p


def run(study: str | Path | Study, out: str | Path, **options: Any) -> Outcome:
    """Run a study, or go on where it stopped.

    Args:
        study: A `Study`, the name of a built-in one, or the path of a study file.
        out: Folder for the results; the same folder again goes on where it stopped.
        options: See `fathom.run.backends.run`: data, download, device, threads, workers, extend, ...

    Returns:
        How it ended; failed runs are in it, they raise nothing.

    Raises:
        FathomError: Study, data, regime, store or machine do not fit; nothing was trained.
    """
    return run_study(load_study(study), out, **options)


def plan(study: str | Path | Study, **options: Any) -> Plan:
    """What a study takes, and what its design cannot show.

    Args:
        study: A `Study`, the name of a built-in one, or the path of a study file.
        options: See `fathom.run.plan.make_plan`: data, device, workers, probe.

    Raises:
        FathomError: Study, data or a regime do not fit.
    """
    the_study = load_study(study)
    made = make_plan(the_study, **options)
    return dataclasses.replace(made, notes=[*made.notes, *_limits(the_study)])


def _limits(study: Study) -> list[str]:
    """What the design cannot show, however the runs turn out."""
    notes = []
    seeds = min((len({r.seed for r in study.runs if r.setting == s}) for s in study.settings), default=0)
    if seeds and (p := minimum_p(seeds)) > 0.05:
        notes.append(
            f"with {seeds} seeds an exact paired test cannot give p below {p:.3g}: "
            "within one setting this design describes, it cannot reject"
        )
    if study.baseline not in {spec.query for spec in study.runs}:
        notes.append(f"no run has the baseline {study.baseline!r}: there will be no gains")
    return notes
