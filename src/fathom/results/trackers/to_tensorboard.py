"""Export to TensorBoard: one file of events per run, whose content follows from the store and which is replaced."""

import re
from io import BytesIO
from pathlib import Path
from typing import Any

from fathom.core.inputs import user_path
from fathom.results.trackers import TrackedRun, package
from fathom.store import atomic_files


def write_tensorboard(study: str, runs: list[TrackedRun], place: str) -> tuple[int, str]:
    """Write the runs of a study to a folder; returns (rounds that were not there, "").

    Args:
        study: Name of the study, and of the folder of its runs.
        runs: Its runs.
        place: Folder to give to `tensorboard --logdir`.

    Raises:
        FathomError: TensorBoard is not installed, or the folder cannot be written.
    """
    return sum(_write(user_path(place) / study, run) for run in runs), ""


def _write(folder: Path, run: TrackedRun) -> int:
    """Write the file of one run, unless it is there as it should be."""
    short = re.sub(r"[^\w.=-]+", "_", run.name).strip("_")[:80]
    # One name for all calls: two files of events in a folder would be read as one run with every round twice.
    path = folder / f"{short}-{run.key}" / f"events.out.tfevents.{int(run.rounds[0].seconds)}.fathom"
    events = _events(run)
    sizes = [len(packed) for packed in events]
    data = b"".join(events)
    there = path.read_bytes() if path.is_file() else b""
    if there == data:
        return 0
    atomic_files.write(path, data, replace=True)
    done = sum(data[: sum(sizes[: n + 1])] == there[: sum(sizes[: n + 1])] for n in range(1, len(sizes)))
    return len(run.rounds) - done


def _events(run: TrackedRun) -> list[bytes]:
    """Packed events: version and parameters as text, then one part per round."""
    events = package("tensorboard.compat.proto.event_pb2", "tensorboard")
    summaries = package("tensorboard.compat.proto.summary_pb2", "tensorboard")
    lines = "\n".join(f"| {name} | {value} |" for name, value in run.parameters.items())
    tensor = package("tensorboard.compat.proto.tensor_pb2", "tensorboard").TensorProto(
        dtype="DT_STRING", string_val=[f"| parameter | value |\n|---|---|\n{lines}".encode()]
    )
    plugin = summaries.SummaryMetadata.PluginData(plugin_name="text")
    text = summaries.Summary.Value(
        tag="parameters", tensor=tensor, metadata=summaries.SummaryMetadata(plugin_data=plugin)
    )
    began = run.rounds[0].seconds
    head = [events.Event(wall_time=began, file_version="brain.Event:2"),
            events.Event(wall_time=began, summary=summaries.Summary(value=[text]))]  # fmt: skip
    parts = [head]
    for record in run.rounds:
        values = [summaries.Summary.Value(tag=name, simple_value=value) for name, value in record.values.items()]
        summary = summaries.Summary(value=values)
        parts.append([events.Event(wall_time=record.seconds, step=record.step, summary=summary)])
    return [_packed(part) for part in parts]


def _packed(events: list[Any]) -> bytes:
    writer = package("tensorboard.summary.writer.record_writer", "tensorboard")
    buffer = BytesIO()
    records = writer.RecordWriter(buffer)
    for event in events:
        records.write(event.SerializeToString())
    return buffer.getvalue()
