"""Where a study runs and how: two records, passed whole from the command line and the API to the engine."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class Machine:
    """Where and with what trainings run. It changes numbers only through the environment that the store records.

    Args:
        data: Folder of the datasets [default: FATHOM_DATA, else ./data].
        cache: Folder of decoded images, features and encoders [default: FATHOM_CACHE, else in the folder of datasets].
        download: Download datasets and weights that are absent.
        device: auto, cpu, cuda or cuda:N.
        threads: CPU threads per worker. Results computed on the CPU depend on it.
        fast: On CUDA, use the fastest kernels instead of deterministic ones. Two runs then differ like two seeds.
        plugins: Python files that register your query methods, datasets or paradigms.
    """

    data: Path | None = None
    cache: Path | None = None
    download: bool = False
    device: str = "auto"
    threads: int = 1
    fast: bool = False
    plugins: tuple[Path, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """JSON-plain fields, for the orders of worker processes."""
        folders = {name: path and str(path) for name, path in (("data", self.data), ("cache", self.cache))}
        return {**asdict(self), **folders, "plugins": [str(path) for path in self.plugins]}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Machine":
        """The machine that `to_json` wrote."""
        folders = {name: fields[name] and Path(fields[name]) for name in ("data", "cache")}
        return cls(**{**fields, **folders, "plugins": tuple(map(Path, fields["plugins"]))})


@dataclass(frozen=True)
class RunOptions:
    """Options of a run that few studies need.

    Args:
        hparams: Search the published HP grids, or use the published HPs; replaces what the study file says.
        freeze: Pre-registration file written by fathom freeze; runs on roll-out data must follow it.
        extend: Accept a study that adds runs to the study in the folder.
        accept_environment: Accept other package versions, another device, other threads or other code of a member than
            the folder's results, or records of these that are damaged.
        gpu_share: Share of a GPU per job on Ray, such as 0.25 [default: one GPU per job until memory use is measured].
    """

    hparams: Literal["search", "published"] | None = None
    freeze: Path | None = None
    extend: bool = False
    accept_environment: bool = False
    gpu_share: float | None = None
