"""Where datasets and the cache are; torch-free, so that a machine can be looked at that torch does not run on."""

import os
from pathlib import Path


def data_folders(data: str | Path | None = None) -> tuple[Path, Path]:
    """(folder of datasets, cache): `data`, else FATHOM_DATA, else ./data.

    The cache is FATHOM_CACHE, else in the datasets' folder, else, where there is no such folder, that of the user.
    """
    path = Path(data or os.environ.get("FATHOM_DATA") or "data").expanduser()
    own = path / ".fathom-cache" if path.is_dir() else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "fathom"
    return path, Path(os.environ.get("FATHOM_CACHE") or own).expanduser()
