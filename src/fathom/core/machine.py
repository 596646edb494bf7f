"""Where a study runs and with what: one record, passed whole from the command line to the worker."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Machine:
    """Where and with what trainings run. It decides no number but through the environment that the store records.

    Args:
        data: Folder of the datasets; None: `FATHOM_DATA`, else `./data`.
        cache: Folder of decoded images, features and encoders; None: `FATHOM_CACHE`, else beside the data.
        download: Whether datasets and weights that are absent are downloaded.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        threads: CPU threads per worker.
        fast: On CUDA: the fastest kernels, whose sums have no fixed order, instead of deterministic ones.
        plugins: Python files that register query methods, datasets or paradigms.
    """

    data: Path | None = None
    cache: Path | None = None
    download: bool = False
    device: str = "auto"
    threads: int = 1
    fast: bool = False
    plugins: tuple[Path, ...] = ()
