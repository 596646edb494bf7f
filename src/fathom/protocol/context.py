"""The open store, device, datasets and paradigms of one worker process."""

import dataclasses
import os
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch

from fathom.core.records import FathomError, RunSpec, Setting, digest
from fathom.core.retries import PRETRAINING, of_stage
from fathom.core.streams import Streams
from fathom.data import load, sketch_of
from fathom.data.dataset import DataRoot, Dataset
from fathom.data.leakage import leakage_of
from fathom.data.regimes import build_regime, fit_regime, split_counts
from fathom.data.splits import train_val_split
from fathom.learn import build_paradigm
from fathom.learn.task import Paradigm
from fathom.protocol.checkpoint import FeatureProbe, FileCheckpointer, ProgressCallback
from fathom.protocol.split import Ids, Split, TrainSplit
from fathom.registry.code import MemberCode, identify_code
from fathom.registry.registry import members_of
from fathom.registry.spec_string import parse
from fathom.store.store import TEST_LABELS, Store


@runtime_checkable
class Announcer(Protocol):
    """Tells others what a worker does (`engine.heartbeat.Heartbeat`)."""

    def doing(self, job: str, what: str, trainings: int) -> AbstractContextManager[dict[str, bool]]:
        """Announce a job while it is done; the caller sets `ok` in the yielded dict once it succeeded."""


@dataclass
class WorkerContext:
    """Open store, device, datasets and paradigms of a worker.

    Args:
        store: Store of the study.
        data: Folders of datasets and cache.
        device: Device to train on.
        environment: Name of the environment record that this worker computes under.
        tell: Called with the progress of long jobs (`protocol.checkpoint`).
        sketched: For plans only: datasets without files are built from their official counts, and noted here with
            the reason.
        owner: Process id that started the study on this machine, for the markers of its jobs.
        heartbeat: Announces the worker's present job to `fathom status`.
        codes: Identity of the code of each member of the study (`registry.code`), to be recorded with its results.
        accept: Accept present data where the record of the data that results were computed on is damaged.
    """

    store: Store
    data: DataRoot
    device: torch.device
    environment: str = ""
    tell: ProgressCallback | None = None
    sketched: dict[str, str] | None = None
    owner: int = field(default_factory=os.getpid)  # the process that the session ends with
    heartbeat: "Announcer | None" = None
    codes: dict[str, MemberCode] = field(default_factory=dict)
    accept: bool = False
    featured: dict[str, Dataset] = field(default_factory=dict)  # by name of their record (`protocol.preparation`)
    _recorded: set[str] = field(default_factory=set)  # code that has a record
    _paradigms: dict[str, Paradigm] = field(default_factory=dict)
    _datasets: dict[str, Dataset] = field(default_factory=dict)
    _splits: dict[tuple[str, str, int, str], Split] = field(default_factory=dict)
    _counts: dict[tuple[str, int], tuple[Ids, Ids]] = field(default_factory=dict)

    def dataset(self, text: str) -> Dataset:
        """Load a dataset, its images on the device, and check it against its record in the store.

        Raises:
            FathomError: It cannot be loaded, or its content differs from what earlier results were computed on.
        """
        if text not in self._datasets:
            loaded = self._load(text)
            self._check(text, loaded)
            images, test_images = loaded.images.to(self.device), loaded.test_images.to(self.device)
            self._datasets[text] = dataclasses.replace(loaded, images=images, test_images=test_images)
        return self._datasets[text]

    def _load(self, text: str) -> Dataset:
        try:
            return load(text, self.data)
        except FathomError as error:
            made = None if self.sketched is None else sketch_of(text)
            if self.sketched is None or made is None:
                raise
            self.sketched[text] = str(error)
            return made

    @property
    def decides(self) -> dict[str, Any]:
        """Environment that decides this worker's numbers (versions, kind of device, threads); empty outside a study."""
        found = self.store.get(f"environments/{self.environment}") if self.environment else None
        return found[0] if found else {}

    @property
    def decided(self) -> str:
        """Digest of the environment that decides this worker's numbers."""
        return digest(self.decides, 12)

    def stamp(self, setting: Setting, query: str = "") -> dict[str, Any]:
        """Name what made a result, for its clock: environment and code of each member, which is recorded first."""
        names = [f"{entry.kind} {entry.name}" for entry in members_of(setting, query)] if self.codes else []
        codes = {name: self.codes[name] for name in names}
        for code in codes.values():
            if code.sha256 not in self._recorded:
                self.store.put(f"code/{code.sha256}", code.content(), {"files": code.files})
                self._recorded.add(code.sha256)
        return {"environment": self.environment, "code": {name: code.sha256 for name, code in codes.items()}}

    def plugin_code(self, setting: Setting) -> list[str]:
        """Identity of the code of a setting's plug-ins; empty where all its members are built in."""
        return [identify_code(entry).sha256 for entry in members_of(setting) if not entry.builtin]

    def checkpointer(self, job: str, decides: Any, probe: FeatureProbe | None = None) -> FileCheckpointer:
        """Checkpointer of a job (see `FileCheckpointer`)."""
        return FileCheckpointer(self.store, job, [decides, self.decided], probe, self.tell)

    def paradigm(self, text: str) -> Paradigm:
        """Paradigm of a spec string."""
        if text not in self._paradigms:
            self._paradigms[text] = build_paradigm(text)
        return self._paradigms[text]

    def paradigm_of(self, setting: Setting) -> Paradigm:
        """Paradigm of a setting, with the changes that retries have made to its pre-training."""
        found = self.paradigm(setting.paradigm)
        for change in of_stage(self.store.retries(setting), PRETRAINING):
            found = found.with_retry(change, self.dataset(setting.dataset).augment) or found
        return found

    def split(self, dataset: str, regime: str, seed: int, paradigm: str = "") -> Split:
        """Draw split, starting set and validation set of a seed; a named regime may have sizes for one paradigm.

        Raises:
            FathomError: The regime does not fit the dataset.
        """
        name = parse(paradigm).name if paradigm else ""
        key = (dataset, regime, seed, name)
        if key not in self._splits:
            loaded = self.dataset(dataset)
            self._splits[key] = Split.draw(loaded, build_regime(regime, loaded, name), seed, self.device)
        return self._splits[key]

    def check_regime(self, setting: Setting, seeds: Iterable[int]) -> None:
        """Refuse a regime that does not fit the splits of all seeds, with one that does.

        Raises:
            FathomError: It does not fit; the message names the seed.
        """
        dataset, name = self.dataset(setting.dataset), parse(setting.paradigm).name
        counts = {seed: self._counts_of(dataset, seed) for seed in seeds}
        fit_regime(dataset, build_regime(setting.regime, dataset, name), counts)

    def _counts_of(self, dataset: Dataset, seed: int) -> tuple[Ids, Ids]:
        """Class counts of a seed's split, which all settings of the dataset share."""
        if (key := (dataset.name, seed)) not in self._counts:
            self._counts[key] = split_counts(dataset, *train_val_split(dataset, Streams(seed)("split")))
        return self._counts[key]

    def train_split(self, dataset: str, seed: int) -> TrainSplit:
        """Train part of a seed's split, which all regimes share."""
        return TrainSplit.draw(self.dataset(dataset), seed, self.device)

    def split_of(self, spec: RunSpec) -> Split:
        """Split of a run."""
        return self.split_at(spec.setting, spec.seed)

    def split_at(self, setting: Setting, seed: int) -> Split:
        """Split of a seed in a setting."""
        return self.split(setting.dataset, setting.regime, seed, setting.paradigm)

    def _check(self, text: str, loaded: Dataset) -> None:
        facts, name = identity_of(text, loaded), f"datasets/{digest(text, 12)}"
        known = self.store.get(name)
        if not known and not self.accept and self._computed_on(text, name):
            raise FathomError(
                f"{self.store.path(name)} is damaged or gone, so it cannot be checked that {text} is the dataset that "
                f"the results in {self.store.root} were computed on. Restore that file, name a new folder with --out, "
                "or accept the present data with --accept-environment"
            )
        if not known:
            self.store.put(name, facts_of(text, loaded))
        elif changed := sorted(k for k in facts if k != "notes" and known[0].get(k) != facts[k]):
            lines = [f"  {k}: {_brief(known[0].get(k))} -> {_brief(facts[k])}" for k in changed]
            raise FathomError(
                f"dataset {text} is not the one that the results in {self.store.root} were computed on:\n"
                + "\n".join(lines)
                + "\nBring the old data back, or name a new folder with --out"
            )
        images = name.replace("datasets/", "images/")
        if loaded.ids is not None and not self.store.path(images).exists():
            # Lone surrogates of names that are not UTF-8 are no JSON.
            names = [file.encode("utf-8", "backslashreplace").decode() for file in loaded.ids]
            self.store.put(images, {"dataset": text, "images": names})
        truth = name.replace("datasets/", f"{TEST_LABELS}/")
        if self.store.get(truth) is None:
            self.store.put(truth, {"dataset": text, "revision": loaded.revision, "labels": loaded.test_labels.tolist()})

    def _computed_on(self, dataset: str, name: str) -> bool:
        """Tell whether results here were computed on a dataset that has no record which can be read."""
        store = self.store
        if not store.holds_results() or not store.path("study").is_file():
            return False
        runs = (store.run_name(spec) for spec in store.study.runs if spec.dataset == dataset)
        return store.path(name).is_file() or any(store.path(f"{run}/round-00").is_file() for run in runs)


def identity_of(text: str, d: Dataset) -> dict[str, Any]:
    """Facts that identify a dataset, JSON-plain; its notes are for the reader alone."""
    import numpy as np

    c = d.num_classes
    return {
        "name": text,
        "class_names": list(d.class_names),
        "metric": d.metric,
        "balanced": d.balanced,
        "role": d.role,
        "train": len(d.labels),
        "test": len(d.test_labels),
        "val_split": d.val_split,
        # Absent for the published draw: stores from before there was another one have the same facts.
        **({"held_out": "stratified by class"} if d.stratify else {}),
        "class_counts": d.vault.class_counts(c).tolist(),
        "test_class_counts": np.bincount(d.test_labels, minlength=c).tolist(),
        "size": list(d.images.size),
        "source": d.source,
        "revision": d.revision,
        "notes": list(d.notes),
        "long_tail": d.long_tail,
        "groups": d.groups is not None,
    }


def facts_of(text: str, d: Dataset) -> dict[str, Any]:
    """Facts of a dataset for reports, JSON-plain, with what was found in it (`data.leakage`), which takes a while."""
    return identity_of(text, d) | leakage_of(d)


def _brief(value: Any) -> str:
    text = str(value)
    return text if len(text) < 80 else text[:77] + "..."
