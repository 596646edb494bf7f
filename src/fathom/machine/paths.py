"""Folders of the datasets and of the cache; torch-free, so that `doctor` works where torch does not start."""

import os
import tempfile
from pathlib import Path

from fathom.core.inputs import user_path


def data_folders(data: str | Path | None = None, cache: str | Path | None = None) -> tuple[Path, Path]:
    """(folder of datasets, cache).

    Args:
        data: None: FATHOM_DATA, else ./data.
        cache: None: FATHOM_CACHE, else in the folder of datasets, else (without such a folder) `user_cache`.
    """
    path = user_path(data or os.environ.get("FATHOM_DATA") or "data")
    given = cache or os.environ.get("FATHOM_CACHE") or (path / ".fathom-cache" if path.is_dir() else None)
    return path, user_path(given) if given else user_cache()


def user_cache() -> Path:
    """The user's cache; without a home folder (a container whose user has no name) a folder for temporary files."""
    if given := os.environ.get("XDG_CACHE_HOME"):
        return user_path(given) / "fathom"
    try:
        return Path("~/.cache/fathom").expanduser()
    except RuntimeError:
        return Path(tempfile.gettempdir()) / f"fathom-cache-{getattr(os, 'getuid', os.getpid)()}"
