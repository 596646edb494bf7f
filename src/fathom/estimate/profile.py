"""Profiles of hardware: rates by paradigm and image size, stored here or in a file.

`fathom plan --save-profile FILE` on one machine writes a file with which another machine plans for the first.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fathom.core.inputs import read_toml, user_path
from fathom.core.records import FathomError
from fathom.core.text import quoted
from fathom.data.dataset import Dataset
from fathom.estimate.throughput import Throughput
from fathom.registry.registry import suggest
from fathom.registry.spec_string import parse
from fathom.store import atomic_files

PROFILES = Path(__file__).parent / "profiles"
WEIGHTS = 4 * 11_200_000  # bytes of a ResNet-18 in float32, the default of a profile
RATES = ("train", "prepare", "predict", "embed")


@dataclass(frozen=True)
class Profile:
    """Rates of one worker on some hardware.

    Args:
        name: Hardware; `(measured)` for a probe's.
        rates: Rows of `paradigms`, `side` (pixels of an image) and images per second.
    """

    name: str
    rates: tuple[dict[str, Any], ...]

    def speed(self, dataset: Dataset, paradigm: str) -> Throughput | None:
        """Rates of a paradigm at the image size nearest to the dataset's; None if there are none."""
        side = min(dataset.images.size)
        rows = [row for row in self.rates if parse(paradigm).name in row["paradigms"]]
        if not rows:
            return None
        row = min(rows, key=lambda r: abs(math.log(r["side"] / side)))
        rates = {name: float(row.get(name, "inf")) for name in RATES}
        return Throughput(**rates, weights=int(row.get("weights", WEIGHTS)))


def load_profile(source: str | Path) -> Profile:
    """Load a stored profile by name (`h200`), or a TOML file.

    Raises:
        FathomError: There is no such profile, or it cannot be read.
    """
    known = sorted(path.stem for path in PROFILES.glob("*.toml"))
    path = PROFILES / f"{source}.toml" if str(source) in known else user_path(source)
    if not path.is_file():
        raise FathomError(
            f"there is no profile {quoted(str(source))}. {suggest(str(source), known)}, or the path of a file"
        )
    try:
        data = read_toml(path, "the profile")
        rows = tuple({**row, "side": float(row["side"]), "train": float(row["train"])} for row in data["rate"])
        profile = Profile(str(data["name"]), rows)
        sound = all(
            row["side"] > 0 and isinstance(row["paradigms"], list) and all(float(row[r]) > 0 for r in RATES if r in row)
            for row in rows
        )
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise FathomError(
            f"{path} is not a profile ({type(error).__name__}: {error}); expected name and [[rate]] tables of "
            "paradigms, side, train, predict, as fathom plan --save-profile writes"
        ) from None
    if not sound or not rows:
        raise FathomError(f"{path} is not a profile: expected [[rate]] tables with positive rates and sides")
    return profile


def write_profile(path: str | Path, name: str, measured: Mapping[tuple[str, int], Throughput]) -> None:
    """Write measured rates to a file.

    Args:
        path: The file; an existing one is replaced.
        name: Name of the hardware.
        measured: (paradigm's name, side of the images) -> rates.

    Raises:
        FathomError: It cannot be written.
    """
    lines = [f"name = {json.dumps(name)}"]
    for (paradigm, side), speed in measured.items():
        lines += ["", "[[rate]]", f"paradigms = [{json.dumps(paradigm)}]", f"side = {side}"]
        rates = {rate: getattr(speed, rate) for rate in RATES}
        lines += [f"{rate} = {value:.6g}" for rate, value in rates.items() if math.isfinite(value)]
        lines.append(f"weights = {speed.weights}")
    atomic_files.write(user_path(path), ("\n".join(lines) + "\n").encode(), replace=True)
