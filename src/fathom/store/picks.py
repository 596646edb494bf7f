"""Samples that a query method queried most often over the seeds of a setting, and the thumbnails kept of them."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from fathom.core.records import Round, Study
from fathom.store.store import Store

PER_METHOD = 24  # images of a method in a setting
LEAST = 4  # of them, in a study of many settings
IN_TOTAL = 1000  # thumbnails of a study, of 1 to 1.5 kB each
FOLDER = "thumbnails"  # of their records


class Pick(NamedTuple):
    """A queried sample.

    Args:
        id: Dataset id.
        seeds: Number of seeds in which it was queried.
        first: Earliest round after which it was queried.
        label: Its class.
    """

    id: int
    seeds: int
    first: int
    label: int


def most_queried(runs: Iterable[Sequence[Round]], limit: int) -> list[Pick]:
    """Samples in the order of the number of seeds that queried them, the earliest first among equals.

    Args:
        runs: Rounds of the runs of one method in one setting, one run per seed.
        limit: Number of samples to return at most.
    """
    found: dict[int, Pick] = {}
    for rounds in runs:
        for record in rounds:
            for id_, label in zip(record.queried, record.queried_classes, strict=True):
                known = found.get(id_, Pick(id_, 0, record.round, label))
                found[id_] = Pick(id_, known.seeds + 1, min(known.first, record.round), label)
    return sorted(found.values(), key=lambda pick: (-pick.seeds, pick.first, pick.id))[:limit]


def picks_limit(study: Study) -> int:
    """Number of images per method and setting, so that a study has `IN_TOTAL` at most, or nearly so."""
    pairs = {(run.setting, run.query) for run in study.runs}
    return max(LEAST, min(PER_METHOD, IN_TOTAL // max(1, len(pairs))))


def kept_thumbnails(store: Store) -> dict[str, dict[int, str]]:
    """Dataset -> id of a train image -> its thumbnail, a JPEG or PNG in base64."""
    found: dict[str, dict[int, str]] = {}
    for content, _ in store.records(FOLDER).values():
        own = found.setdefault(str(content["dataset"]), {})
        own |= {int(id_): str(image) for id_, image in content["images"].items()}
    return found
