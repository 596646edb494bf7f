"""A store whose records stay in memory: for plans, and for checks that must change nothing if they refuse a study."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fathom.core.records import digest
from fathom.store.record_store import Record
from fathom.store.store import Store


class UnwrittenStore(Store):
    """A store that writes nothing before `write_to`.

    Args:
        root: The folder.
        reads: Read the records that are in the folder; else it counts as empty.
    """

    def __init__(self, root: str | Path, *, reads: bool = True) -> None:
        super().__init__(root)
        self.reads = reads
        self._records: dict[str, Record] = {}

    def put(self, name: str, content: Mapping[str, Any], clock: Mapping[str, Any] | None = None) -> None:
        """Keep a record in memory, unless an equal one is in the folder.

        Raises:
            FathomError: A sound record with another content is there.
        """
        if (found := self.get(name)) is None:
            self._records[name] = (dict(content), dict(clock or {}))
        elif digest(found[0]) != digest(content):
            raise self.differing(name)

    def get(self, name: str) -> Record | None:
        """The record that was kept, else the one in the folder."""
        return self._records.get(name) or (super().get(name) if self.reads else None)

    def write_to(self, store: Store) -> None:
        """Commit the records that were kept to another store of the folder."""
        for name, (content, clock) in self._records.items():
            store.put(name, content, clock)
