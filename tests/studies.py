"""Small real studies on the embedded digits, and how two stores are compared."""

import re
from pathlib import Path

import numpy as np

from fathom.core.records import RunSpec, Study
from fathom.data.dataset import Dataset
from fathom.data.splits import Ids
from fathom.protocol.oracle import Oracle
from fathom.registry.registry import find

ROOT = Path(__file__).parents[1]
REGIME = "custom(query_size=10, rounds=3, start=20, val_size=60)"
PARADIGM = (
    "standard(augmentation=standard, batch_size=32, epoch_size=64, epochs=2, lr=0.1, warmup=0, weight_decay=0.0005)"
)
SELF_SL = (
    "self-sl(recipe=short, pretrain_epochs=3, epochs=2, epoch_size=64, lr=0.01, weight_decay=0.0005, "
    "augmentation=standard)"
)
SEMI_SL = "semi-sl(recipe=short, epochs=3, steps=2, lr=0.1, weight_decay=0.0005, threshold=0.15)"
FROZEN = "frozen(epochs=2, epoch_size=64, lr=0.1, weight_decay=0.1)"
SEARCHING = PARADIGM.replace("lr=0.1", "lr=0.1|0.01, search=2")


def study(
    queries: tuple[str, ...] = ("random", "entropy"),
    seeds: tuple[int, ...] = (0,),
    dataset: str = "digits",
    regime: str = REGIME,
    paradigm: str = PARADIGM,
    full_data: int = 0,
) -> Study:
    """A study of seconds: real images, real training, too short to be accurate."""
    regime, paradigm = (str(find(kind, text)[1]) for kind, text in (("regime", regime), ("paradigm", paradigm)))
    runs = tuple(RunSpec(dataset, regime, paradigm, query, seed) for seed in seeds for query in queries)
    return Study("toy", runs, full_data=full_data)


def labels_of(dataset: Dataset) -> Ids:
    """All train labels, through the door that a run takes."""
    return Oracle(dataset.vault).look(np.arange(len(dataset.labels)))


def contents(root: Path) -> dict[str, bytes]:
    """Every file of a store without its clock readings: what two correct executions agree on byte for byte."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_file() and not name.startswith((".locks/", "report/", "environments/")):
            found[name] = re.sub(rb'^ "clock(_sha256)?": .*$', b"", path.read_bytes(), flags=re.M)
    return found
