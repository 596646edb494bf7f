"""Export of results to files that a repository can hold: one Parquet file per study, one row per committed round.

A row holds the run, its scores, the queried labels and the environment, so it can be compared with other results, and
recomputed, without the store that it came from.
"""

import json
import warnings
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fathom.core.inputs import user_path
from fathom.core.records import PROTOCOL, FathomError, LabelRegime, Round, Setting, digest
from fathom.core.work import WorkKind
from fathom.results.snapshot import Snapshot
from fathom.store import atomic_files
from fathom.store.store import Store
from fathom.store.tables import ImageNames

if TYPE_CHECKING:
    import pandas as pd

VERSION = 1  # of the columns; raised when one changes its meaning
CAP = 5_000_000  # bytes; a larger file draws a warning
SUFFIX = ".parquet"

# Columns of every file; metrics, `seconds_*`, facts of the machine and `queried_images` come in addition.
COLUMNS = (
    "results_version", "study", "run", "dataset", "regime", "paradigm", "query", "seed", "protocol",
    "start", "query_size", "rounds", "val_size", "complete", "round", "budget", "paid", "metric", "score",
    "hparams", "recipe", "retries", "queried", "queried_classes", "scores", "labeled_classes", "notes",
    "dataset_revision", "dataset_role", "sha256", "finished", "environment",
    "fathom", "commit", "torch", "numpy", "device", "device_name", "cpu", "threads",
)  # fmt: skip


class LargeResultsWarning(UserWarning):
    """A results file is larger than a repository should hold."""


def rows(store: Store) -> "pd.DataFrame":
    """Table with one row per committed round, runs in the order of the study; lists stay lists, HPs are JSON."""
    import pandas as pd

    facts, recipes, names = store.facts(), _recipes(store), ImageNames(store)
    machines = {name: {**clock, **decides} for name, (decides, clock) in store.records("environments").items()}
    found = []
    for spec in store.study.runs:
        regime, rounds = store.regime(spec), store.rounds(spec)
        own = facts.get(spec.dataset, {})
        if regime is None:
            continue
        for record in rounds:
            row = {"results_version": VERSION, "study": store.study.name, "run": spec.key, **spec.to_json()}
            row |= _sizes(regime, len(rounds)) | _outcome(record, str(own.get("metric", "accuracy")))
            row |= {"queried_images": names.of(spec.dataset, record.queried)}
            row |= {"recipe": recipes.get(spec.setting, ""), "retries": store.retries(spec.setting)}
            row |= {"dataset_revision": str(own.get("revision", "")), "dataset_role": str(own.get("role", ""))}
            found.append(row | _machine(record.environment, machines.get(record.environment, {})))
    return pd.DataFrame(found)


def _sizes(regime: LabelRegime, done: int) -> dict[str, Any]:
    sizes = {key: value for key, value in regime.to_json().items() if key != "name"}
    return {**sizes, "complete": done == regime.rounds}


def _outcome(record: Round, metric: str) -> dict[str, Any]:
    """Columns of a round: scores, HPs, queried labels, times."""
    row: dict[str, Any] = {"round": record.round, "budget": record.budget, "paid": record.paid}
    row |= {"metric": metric, "score": record.metrics[metric], **record.metrics}
    row |= {"hparams": json.dumps(record.hparams, sort_keys=True), "queried": record.queried}
    row |= {"queried_classes": record.queried_classes, "scores": record.scores or []}
    row |= {"labeled_classes": record.labeled_classes, "notes": record.notes, "sha256": digest(record.content())}
    row |= {f"seconds_{name}": value for name, value in sorted(record.seconds.items())}
    row |= {"code": json.dumps(record.code, sort_keys=True)}
    return row | {"finished": record.finished, "engine": record.engine}


def _machine(name: str, known: dict[str, Any]) -> dict[str, Any]:
    """Columns of the environment of a round; empty strings where it is not recorded."""
    columns = {"environment": name, **{key: str(known.get(key, "")) for key in COLUMNS[COLUMNS.index("fathom") :]}}
    extra = ("torchvision", "scikit-learn", "python", "cores", "mode")
    return columns | {key.replace("-", "_"): str(known[key]) for key in extra if key in known}


def _recipes(store: Store) -> dict[Setting, str]:
    records = store.records(WorkKind.HP_CHOICE.folder).values()
    return {Setting(c["dataset"], c["regime"], c["paradigm"]): str(c.get("recipe", "study")) for c, _ in records}


# --------------------------------------------------------------------------------------------------------- files


def export(out: str | Path, to: str | Path) -> Path:
    """Write the committed rounds of a study as one Parquet file (zstd).

    Args:
        out: Folder of the study.
        to: File to write; an existing one is replaced.

    Returns:
        Path of the file. A file above `CAP` is written too, with a warning.

    Raises:
        FathomError: The folder holds no study or no committed round, or the file cannot be written.
    """
    Store.open(out)
    path = user_path(to)
    if path.suffix != SUFFIX:
        raise FathomError(f"expected a file name that ends in {SUFFIX}; got {path}")
    frame = rows(Snapshot(out))
    if frame.empty:
        raise FathomError(f"{out} holds no committed round, so there is nothing to export; run the study first")
    data = _packed(frame)
    atomic_files.write(path, data, replace=True)
    if len(data) > CAP:
        sizes = f"{len(data) / 1e6:.1f} MB; a repository should keep files up to {CAP / 1e6:.0f} MB"
        warnings.warn(f"{path} has {sizes}. Export a study with fewer runs", LargeResultsWarning, stacklevel=2)
    return path


def _packed(frame: "pd.DataFrame") -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    lists = {"queried": pa.list_(pa.int32()), "queried_classes": pa.list_(pa.int16()), "scores": pa.list_(pa.float64()),
             "queried_images": pa.list_(pa.string()),
             "labeled_classes": pa.list_(pa.int32()), "notes": pa.list_(pa.string()),
             "retries": pa.list_(pa.string())}  # fmt: skip
    arrays = {name: pa.array(frame[name].tolist(), type=lists.get(name)) for name in map(str, frame)}
    buffer = BytesIO()
    pq.write_table(pa.table(arrays), buffer, compression="zstd", compression_level=19)
    return buffer.getvalue()


def read_results(path: str | Path) -> "pd.DataFrame":
    """Read one results file.

    Raises:
        FathomError: The file cannot be read, lacks a column, or was written by a newer version.
    """
    import pandas as pd

    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise FathomError(
            f"{path} is not a results file ({str(error).splitlines()[0]}); write it with fathom export"
        ) from None
    if absent := [name for name in COLUMNS if name not in frame]:
        raise FathomError(f"{path} lacks the columns {', '.join(absent)}; write it again with fathom export")
    if (version := int(frame["results_version"].max())) > VERSION or int(frame["protocol"].max()) > PROTOCOL:
        raise FathomError(
            f"{path} was written by a newer Fathom (version {version}): upgrade with pip install -U fathom-al"
        )
    return frame


def read_all(folder: str | Path = "results") -> "pd.DataFrame":
    """Read all results files of a folder into one table, with their stem as column `file`; empty without files.

    Raises:
        FathomError: The folder does not exist, or a file cannot be read.
    """
    import pandas as pd

    root = Path(folder)
    if not root.is_dir():
        raise FathomError(f"there is no folder {root}; expected a folder with files that fathom export wrote")
    found = [read_results(path).assign(file=path.stem) for path in sorted(root.glob(f"*{SUFFIX}"))]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=[*COLUMNS, "file"])
