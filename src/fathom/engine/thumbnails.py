"""Thumbnails of the images that were queried most often, kept in the store for the report, which reads no dataset."""

import base64
from collections.abc import Sequence
from io import BytesIO

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from fathom.core.records import digest, grouped
from fathom.data.dataset import Dataset
from fathom.protocol.context import WorkerContext
from fathom.store.picks import FOLDER, IN_TOTAL, kept_thumbnails, most_queried, picks_limit

SIDE = 40  # pixels of the longer side; smaller images keep their size
LOSSLESS = 16  # pixels up to which a PNG is as small as a JPEG
MAX_RUNS = 2000  # of a study; a larger one would be read for minutes, and its report could show few of its images


def keep_thumbnails(context: WorkerContext) -> None:
    """Write thumbnails of a complete study's most often queried images, as far as there are none of them.

    A record holds those that were missing when it was written and is named after them, so a study that grows adds
    records and changes none. An incomplete study gets none, so that its order of work leaves no trace in the store.
    """
    store, study = context.store, context.store.study
    if len(study.runs) > MAX_RUNS or not all(map(store.complete, study.runs)):
        return
    limit, kept = picks_limit(study), kept_thumbnails(store)
    room = IN_TOTAL - sum(map(len, kept.values()))
    runs = grouped(((run.setting, run.query), run) for run in study.runs)
    wanted: dict[str, list[int]] = {}
    for (setting, _), own in runs.items():
        picks = most_queried((store.rounds(run) for run in own), limit)
        wanted.setdefault(setting.dataset, []).extend(pick.id for pick in picks)
    for dataset, ids in wanted.items():
        missing = sorted(set(ids) - kept.get(dataset, {}).keys())[: max(0, room)]
        room -= len(missing)
        images = _thumbnails(context.dataset(dataset), missing) if missing else {}
        if images:
            store.put(f"{FOLDER}/{digest([dataset, missing], 16)}", {"dataset": dataset, "images": images})


def _thumbnails(dataset: Dataset, ids: Sequence[int]) -> dict[str, str]:
    """Id -> thumbnail in base64; empty for a dataset of features."""
    pixels = dataset.images.take(torch.tensor(ids)).cpu()
    if pixels.dtype != torch.uint8 or pixels.ndim != 4:
        return {}
    return {str(id_): _encoded(image.permute(1, 2, 0).numpy()) for id_, image in zip(ids, pixels, strict=True)}


def _encoded(pixels: UInt8[np.ndarray, "h w 3"]) -> str:
    image, data = Image.fromarray(pixels), BytesIO()
    image.thumbnail((SIDE, SIDE))
    lossless = max(image.size) <= LOSSLESS
    image.save(data, "PNG" if lossless else "JPEG", **({"optimize": True} if lossless else {"quality": 70}))
    return base64.b64encode(data.getvalue()).decode()
