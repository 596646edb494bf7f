"""Folders of the datasets and of the cache; torch-free, so that `doctor` works where torch does not start."""

import os
from pathlib import Path

from fathom.core.inputs import user_path


def data_folders(data: str | Path | None = None, cache: str | Path | None = None) -> tuple[Path, Path]:
    """(folder of datasets, cache).

    Args:
        data: None: FATHOM_DATA, else ./data.
        cache: None: FATHOM_CACHE, else in the folder of datasets, else (without such a folder) the user's cache.
    """
    path = user_path(data or os.environ.get("FATHOM_DATA") or "data")
    own = path / ".fathom-cache" if path.is_dir() else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "fathom"
    return path, user_path(cache or os.environ.get("FATHOM_CACHE") or own)
