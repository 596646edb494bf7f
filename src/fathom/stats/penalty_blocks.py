"""Settings as blocks of scores, for comparisons of all pairs of query methods."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fathom.core.records import Setting, unique
from fathom.stats.curves import complete_curves, settings
from fathom.stats.inference import Array

if TYPE_CHECKING:
    import pandas as pd

Mask = np.ndarray[Any, np.dtype[np.bool_]]
Places = np.ndarray[Any, np.dtype[np.intp]]
Refused = tuple[Setting, str]  # a setting, and the reason why it or a method of it could not be compared


@dataclass(frozen=True, eq=False)
class PenaltyBlock:
    """One setting, complete: a score for every method, seed and budget.

    Args:
        setting: (dataset, regime, paradigm).
        queries: K methods.
        seeds: S seeds that two of them or more have completed.
        scores: [S, K, T] over T budgets; NaN where a method lacks a seed.
        present: [S, K] True where there is a complete run.
    """

    setting: Setting
    queries: list[str]
    seeds: list[int]
    scores: Array
    present: Mask

    def pairs(self) -> Iterator[tuple[Mask, Places, Places]]:
        """Groups of pairs of methods with the same seeds: (seeds of the group, first methods, second methods).

        Pairs with fewer than two seeds are left out.
        """
        first, second = np.triu_indices(len(self.queries), 1)
        both = self.present[:, first] & self.present[:, second]
        for seeds in np.unique(both, axis=1).T:
            if seeds.sum() >= 2:
                own = (both == seeds[:, None]).all(0)
                yield seeds, first[own], second[own]


def complete_blocks(
    frame: "pd.DataFrame", refused: list[Refused], *, include_start: bool, rounds: Mapping[str, int] | None = None
) -> Iterator[PenaltyBlock]:
    """The settings that can be compared; what cannot is appended to `refused`.

    A method with fewer than two complete seeds leaves the comparison.
    """
    for setting, part in settings(frame):
        curves = complete_curves(part, rounds)
        started = list(part["query"].unique())
        queries = [q for q in started if len(curves.get(q, {})) >= 2]
        for query in started:
            if query not in queries:
                refused.append((setting, f"complete seeds of {query}: {len(curves.get(query, {}))}; a test needs 2"))
        if len(queries) < 2:
            refused.append((setting, "fewer than two methods to compare"))
            continue
        every = unique(seed for q in queries for seed in curves[q])
        present = np.array([[seed in curves[q] for q in queries] for seed in sorted(every)])
        seeds = [seed for seed, count in zip(sorted(every), present.sum(1), strict=True) if count >= 2]
        present = present[present.sum(1) >= 2]
        if not (present.T.astype(int) @ present - len(seeds) * np.eye(len(queries)) >= 2).any():
            refused.append((setting, "no two methods share two complete seeds"))
            continue
        first = 0 if include_start else 1
        lengths = {len(curves[q][s].scores) - first for q in queries for s in seeds if s in curves[q]}
        if lengths == {0} or len(lengths) > 1:
            refused.append((setting, "no budget after round 0 that all runs share"))
            continue
        lacking = np.full(lengths.pop(), np.nan)
        scores = [[curves[q][s].scores[first:] if s in curves[q] else lacking for q in queries] for s in seeds]
        yield PenaltyBlock(setting, queries, seeds, np.array(scores), present)
