"""Store whose files are read once, and the progress of its runs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fathom.core.records import Round, RunSpec
from fathom.store.store import Store


class Snapshot(Store):
    """Store that reads each file once.

    A report uses most records several times. A snapshot is faster, warns once about a damaged file, and stays
    consistent while workers commit further rounds.
    """

    def __init__(self, root: str | Path) -> None:
        super().__init__(root)
        self._rounds: dict[RunSpec, list[Round]] = {}
        self._records: dict[str, tuple[dict[str, Any], dict[str, Any]] | None] = {}

    def rounds(self, spec: RunSpec) -> list[Round]:
        if spec not in self._rounds:
            self._rounds[spec] = super().rounds(spec)
        return self._rounds[spec]

    def get(self, name: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
        if name not in self._records:
            self._records[name] = super().get(name)
        return self._records[name]


@dataclass(frozen=True)
class RunState:
    """Progress of a run: committed and planned rounds; `planned` is None for a run that has not started."""

    spec: RunSpec
    done: int
    planned: int | None

    @property
    def complete(self) -> bool:
        return self.planned is not None and self.done == self.planned
