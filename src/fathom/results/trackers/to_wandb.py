"""Export to Weights & Biases: one run per run, whose id is the run's key.

With `WANDB_MODE=offline` it writes folders, which `wandb sync` uploads later.
"""

import os
from pathlib import Path
from typing import Any

from fathom.core.records import FathomError
from fathom.results.trackers import TrackedRun, package


def write_wandb(study: str, runs: list[TrackedRun], place: str) -> tuple[int, str]:
    """Add the rounds that a project does not have; returns (rounds added, note).

    A folder that was written offline cannot be added to. So offline only complete runs are written, each once.

    Args:
        study: Name of the study, a tag of its runs.
        runs: Its runs.
        place: Project, or ENTITY/PROJECT.

    Raises:
        FathomError: The package is not installed, nobody is logged in, or the service refuses.
    """
    wandb = package("wandb", "wandb")
    entity, _, project = place.rpartition("/")
    common = {"entity": entity or None, "project": project, "tags": [study]}
    try:
        offline = os.environ.get("WANDB_MODE", "") in ("offline", "dryrun")
        chosen = [run for run in runs if run.complete and not _written(run)] if offline else runs
        added = sum(_add(wandb, common, run) for run in chosen)
    except (wandb.errors.Error, OSError) as error:
        raise FathomError(
            f"Weights & Biases cannot be written: {error}. Log in with wandb login, or set WANDB_MODE=offline. Runs "
            "that are there stay; run the same command again"
        ) from None
    left = len(runs) - len(chosen)
    note = "they are incomplete, or were written before; upload with wandb sync"
    return added, f"offline: {left} runs left out, as {note}" if left else ""


def _written(run: TrackedRun) -> bool:
    folder = Path(os.environ.get("WANDB_DIR") or ".") / "wandb"
    return any(folder.glob(f"offline-run-*-{run.key}"))


def _add(wandb: Any, common: dict[str, Any], run: TrackedRun) -> int:
    """Write what is new of one run. A run that is resumed knows the last values that it was given."""
    settings = wandb.Settings(x_disable_stats=True, x_disable_meta=True, console="off", silent=True, disable_git=True)
    opened = wandb.init(id=run.key, name=run.name, group=run.group[:128], config=run.parameters, resume="allow",
                        settings=settings, **common)  # fmt: skip
    try:
        last = opened.summary.get("round", -1)
        new = [record for record in run.rounds if record.values["round"] > last]
        for record in new:
            opened.log({**record.values, "budget": record.step, "_timestamp": record.seconds}, step=record.step)
    finally:
        opened.finish()
    return len(new)
