"""Range of the values of a dataset's 16-bit files, which decides what is white in them (`files.decode`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fathom.core.records import FathomError, digest
from fathom.data.cache.cache_file import add_to_index, cache_errors, read_index
from fathom.data.cache.pixels import content_hashes, each
from fathom.data.files.decode import WHITE, deep_peak, white_of

_DARK = 64  # of 256: below it no 16-bit color file uses the upper two bits


@dataclass(frozen=True)
class ValueRange:
    """Values of the 16-bit grey files of a dataset.

    Args:
        files: Number of such files.
        peak: Largest value in any of them.
    """

    files: int = 0
    peak: int = 0

    @property
    def white(self) -> int:
        """Value that becomes 255."""
        return white_of(self.peak) if self.files else WHITE

    @property
    def notes(self) -> tuple[str, ...]:
        """Note for the reader of the report, if there are such files."""
        if not self.files:
            return ()
        bits = self.white.bit_length()
        return (
            f"16-bit grey in {self.files:,} files: the largest value of all is {self.peak:,}, so they are read as "
            f"{bits}-bit values, with {self.white:,} as white",
        )


def value_range(paths: Sequence[Path], cache_dir: Path | None = None, *, quiet: bool = False) -> ValueRange:
    """Find the largest value in the 16-bit grey files among all files of a dataset, whatever their order.

    Args:
        paths: All files, train and test.
        cache_dir: Folder where the result is kept by the files' contents; None to keep nothing.
        quiet: No progress bar.

    Raises:
        FathomError: 16-bit color files are so dark that reading their upper 8 bits would lose most levels, files cannot
            be read, or the cache cannot be written.
    """
    if cache_dir is None:
        return _look(paths, quiet)
    with cache_errors(cache_dir, "value ranges"):
        key = digest(sorted(content_hashes(paths, cache_dir, quiet=quiet)), 32)
        index = cache_dir / "value-ranges.json"
        known = read_index(index).get(key)
        if not (isinstance(known, list) and len(known) == 2 and all(type(n) is int and n >= 0 for n in known)):
            found = _look(paths, quiet)
            known = [found.files, found.peak]
            add_to_index(index, {key: known})
    return ValueRange(*known)


def _look(paths: Sequence[Path], quiet: bool) -> ValueRange:
    found = each(deep_peak, paths, "reading depths", quiet)
    grey = [peak for kind, peak in found if kind == "grey"]
    color = [peak for kind, peak in found if kind == "color"]
    if color and max(color) < _DARK:
        raise FathomError(
            f"{len(color):,} files of 16-bit color have no value above {256 * max(color) + 255:,} of {WHITE:,}. "
            f"Only the upper 8 of their bits are read, which would keep {max(color) + 1} of 256 levels; convert "
            "them to 8-bit color"
        )
    return ValueRange(len(grey), min(max(grey, default=0), WHITE))
