"""The store: one folder per study, one folder per run, one immutable file per round.

    OUT/study.json                      the study: all its runs
    OUT/environments/<digest>.json      versions, device and threads that results were computed with; normally one
    OUT/code/<digest>.json              what identifies the code of a member: hashes of what it uses, by module
    OUT/datasets/<digest>.json          facts on each dataset: counts, metric, source, revision
    OUT/images/<digest>.json            names of the train images of each dataset that has names, by id
    OUT/test-labels/<digest>.json       classes of the test images of each dataset
    OUT/runs/<key>/spec.json            the RunSpec and its label regime
    OUT/runs/<key>/round-00.json        one committed round
    OUT/runs/<key>-1/                   the run again, with the change of its setting's first retry
    OUT/shared/<kind>/<key>.json        shared work and retries (see `core.work` for the kinds)
    OUT/predictions/<sha256>.safetensors   test predictions of rounds that keep them (`Study.keep`), named by content
    OUT/thumbnails/<digest>.json        small copies of images that were queried often, for the report
    OUT/history/<number>.json           a change of the study: seeds added, another margin or claim
    OUT/failures/<task>-<attempt>.json  a failed attempt; a failure is never repaired silently
    OUT/rechecks/<round>-<digest>.json  the outcome of a round that was computed again
    OUT/quarantine/                     damaged files whose work was done again

A file is written under a temporary name, synced, and linked into place without replacing: it is there whole or not at
all, and the first writer wins. Its `content` is equal in every correct execution; clock readings are under `clock`.
Both carry a SHA-256, checked on every read. Killing a process loses the work since the last commit and nothing else.

Reading moves nothing: a damaged file counts as absent, with a warning. It moves to quarantine when its result is
committed again, so only processes that compute repair a store.
"""

import contextlib
import json
import re
import time
import warnings
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from fathom.core.records import FathomError, LabelRegime, Round, RunSpec, Setting, Study, digest, run_difference
from fathom.core.work import WorkKind
from fathom.store import atomic_files, history, locks, study_folder
from fathom.store.record_store import LOCKS, Record, RecordStore

R = TypeVar("R", Study, Round, LabelRegime)
PREDICTIONS = "predictions"  # folder of kept test predictions
TEST_LABELS = "test-labels"  # folder of the records of test labels
WORK = ".work"  # folder of the checkpoints of long jobs (see `protocol.checkpoint`)
CHECKPOINT = re.compile(r".+-[0-9a-f]{12}\.(safetensors|json)")
RECENT_SECONDS = 60.0  # without news from a job, after which it does not count as in progress


class Store(RecordStore):
    """The results of one study in one folder.

    Args:
        root: The folder. Nothing is written before `begin`.
    """

    _last: tuple[str, int, str] = ("", 0, "")  # run, number of rounds and digest of the last round committed here

    # ------------------------------------------------------------------------------------------------ the study

    @classmethod
    def open(cls, root: str | Path) -> "Store":
        """Open the store in an existing folder.

        Raises:
            FathomError: There is none, its study file is damaged, or it has another format.
        """
        store = cls(root)
        if not (store.root / "study.json").is_file() and not study_folder.run_keys(store.root):
            raise FathomError(
                f"{store.root} holds no study (no study.json there). Expected the folder that `fathom run STUDY --out "
                f"{store.root}` writes"
            )
        _ = store.study
        return store

    def begin(self, study: Study, *, extend: bool = False) -> None:
        """Write the study, or check that the one here is equal.

        Args:
            study: The study to run.
            extend: Accept a study that only adds runs to the one here.

        Raises:
            FathomError: Another study is here (the message lists the difference); or the folder cannot be written.
        """
        study_folder.make_folder(self.root)
        with self.lock("study", wait=True):
            self.__dict__.pop("study", None)  # another process may have begun since
            if warning := study_folder.expect_study(self, study, extend=extend):
                warnings.warn(warning, atomic_files.DamageWarning, stacklevel=2)
            history.note_change(self, study)
            if atomic_files.try_read(self.path("study"))[0] is None:
                self.put("study", study.to_json())
                return
            for spec in run_difference(self.study.runs, study.runs)[1]:  # of a study that computed nothing
                self.path(f"runs/{spec.key}/spec").unlink(missing_ok=True)
            if study != self.study:  # more runs, or another title, baseline or full-data seeds, which decide no result
                atomic_files.write(self.path("study"), atomic_files.pack_record(study.to_json(), {}), replace=True)
                self.__dict__.pop("study", None)

    def holds_results(self) -> bool:
        """Tell whether anything was computed here."""
        kinds = ("runs/*/round-*.json", "shared/*/*.json", "failures/*.json")
        found = (path for kind in kinds for path in self.root.glob(kind))
        return any(path.parent.name != WorkKind.RETRIES for path in found)  # declared before anything is computed

    @cached_property
    def study(self) -> Study:
        """The study in this folder.

        Raises:
            FathomError: Its file is damaged or gone.
        """
        found, reason = atomic_files.try_read(self.path("study"))
        if found:
            return self._made(Study, "study", found[0])
        raise FathomError(
            f"{self.path('study')}, which lists the study's runs, {reason or 'is gone'}. Its rounds are unchanged: "
            f"run the same study again (fathom run STUDY --out {self.root}), which writes that file again"
        )

    @cached_property
    def _regimes(self) -> dict[str, LabelRegime]:
        """The label regimes that this process has read, by run; they never change."""
        return {}

    @cached_property
    def cached_retries(self) -> dict[str, list[str]]:
        """The retries that this process has read, by setting."""
        return {}

    def refresh_retries(self) -> bool:
        """Read the retries again; returns whether another process has declared one since."""
        seen = self.__dict__.pop("cached_retries", {})
        return any(self.retries(Setting(*json.loads(key))) != changes for key, changes in seen.items())

    def retries(self, setting: Setting) -> list[str]:
        """The changes to all runs of a setting after trainings that were not finite, in order.

        Cached on the first read until `refresh_retries`: another process may declare a retry while a job of this one
        runs, and a job must end under the retries that it began under.
        """
        key = json.dumps(setting)
        if key not in self.cached_retries:
            self.cached_retries[key] = self._retries(setting)
        return self.cached_retries[key]

    def _retries(self, setting: Setting) -> list[str]:
        stem = WorkKind.RETRIES.record(digest(list(setting), 12))
        changes: list[str] = []
        while found := self.get(f"{stem}-{len(changes) + 1}"):
            changes.append(found[0]["change"])
        return changes

    def retry(self, setting: Setting, number: int, change: str, because: str) -> None:
        """Declare a retry: all runs of a setting are computed again with a change; earlier results are kept."""
        content = dict(zip(("dataset", "regime", "paradigm"), setting, strict=True))
        name = WorkKind.RETRIES.record(f"{digest(list(setting), 12)}-{number}")
        self.put(name, {**content, "number": number, "change": change, "because": because})
        self.cached_retries.pop(json.dumps(setting), None)

    def run_name(self, spec: RunSpec) -> str:
        """Folder of a run, for example `runs/<key>`; `runs/<key>-1` after the first retry of its setting."""
        number = len(self.retries(spec.setting))
        return f"runs/{spec.key}-{number}" if number else f"runs/{spec.key}"

    def begin_run(self, spec: RunSpec, regime: LabelRegime) -> None:
        """Write the RunSpec and the label regime of a run; refused if it is lost and its rounds have other sizes."""
        if self.regime(spec) == regime:
            return
        name = f"{self.run_name(spec)}/spec"
        done = [] if self.get(name) else self.rounds(spec)
        if any(r.paid - r.budget != regime.val_size for r in done) or not regime.fits([r.budget for r in done]):
            text = f"{self.path(name)} is damaged or gone, and the label regime of {spec} gives other sizes now"
            raise FathomError(f"{text} than its rounds have. Restore that file, or name a new folder with --out")
        self.put(name, {"spec": spec.to_json(), "regime": regime.to_json()})

    def regime(self, spec: RunSpec) -> LabelRegime | None:
        """The label regime of a run; None before the study's first start."""
        if (name := self.run_name(spec)) not in self._regimes and (found := self.get(f"{name}/spec")):
            self._regimes[name] = self._made(LabelRegime, f"{name}/spec", found[0]["regime"])
        return self._regimes.get(name)

    def _made(self, record: type[R], name: str, content: Mapping[str, Any]) -> R:
        """The record of a stored content.

        Raises:
            FathomError: It has unknown, absent or wrong fields; with the name of its file.
        """
        try:
            return record.from_json(content)
        except FathomError as error:
            raise FathomError(f"{self.path(name)}: {error}") from None

    # --------------------------------------------------------------------------------------------------- rounds

    def commit(self, spec: RunSpec, record: Round) -> None:
        """Commit one round. A round that is there already stays, if its content is equal.

        Raises:
            FathomError: A different round is there, or one before it is not.
            TakenOverError: Another process has taken over the run.
        """
        self.expect_lease()
        run, content = self.run_name(spec), record.content()
        if (run, record.round) == self._last[:2]:
            count, previous = self._last[1:]  # of what this process committed just now: no need to read it again
        else:
            before, _ = self._read(spec)
            count, previous = len(before), _link(before[: record.round])
        if record.round > count:
            raise FathomError(
                f"round {record.round} of {spec} cannot be committed: only {count} rounds before it can be read "
                f"in {self.root / run}. Run the same command again"
            )
        name = f"{run}/round-{record.round:02d}"
        if record.round == count:
            self.quarantine(name, lambda: _check_chain(self.path(name), previous))
        self.put(name, {"previous": previous, **content}, record.clock())
        self._last = (run, record.round + 1, digest(content))

    def rounds(self, spec: RunSpec) -> list[Round]:
        """The committed rounds from 0 without a gap. A damaged round ends the list, and is computed again."""
        rounds, damage = self._read(spec)
        if damage:
            self.warn(f"{self.run_name(spec)}/round-{len(rounds):02d}", damage)
        return rounds

    def _read(self, spec: RunSpec) -> tuple[list[Round], str]:
        """The rounds, and the damage of the one after them (empty where it is absent)."""
        rounds: list[Round] = []
        name, previous = self.run_name(spec), ""
        while True:
            found, damage = atomic_files.try_read(self.path(f"{name}/round-{len(rounds):02d}"))
            damage = damage or _breaks_chain(found, previous)
            if found is None or damage:
                return rounds, damage
            content, clock = found
            del content["previous"]
            previous = digest(content)
            rounds.append(self._made(Round, f"{name}/round-{len(rounds):02d}", {**content, **clock}))

    # ------------------------------------------------------------------------------------------------- failures

    def fail(self, task: str, content: Mapping[str, Any], clock: Mapping[str, Any]) -> None:
        """Write the record of a failed attempt."""
        data = atomic_files.pack_record(content, clock)
        for attempt in range(1000):
            with contextlib.suppress(FileExistsError):
                return atomic_files.write(self.path(f"failures/{task}-{attempt}"), data)
        raise FathomError(f"{task} failed a thousand times; see {self.root / 'failures'}")

    def failures(self) -> list[dict[str, Any]]:
        """The failed attempts, in order of task and attempt."""
        empty = dict.fromkeys(("job", "what", "error", "message", "traceback", "session"), "")
        return [
            {"file": name, **empty, **content, **clock} for name, (content, clock) in self.records("failures").items()
        ]

    def in_progress(self) -> list[dict[str, Any]]:
        """Progress of the long jobs that run now: job, epochs done, of how many, measurements."""
        found = []
        for path in sorted((self.root / WORK).glob("*.json")):
            with contextlib.suppress(OSError):  # finished just now
                note = atomic_files.read_note(path) or {}
                numbers = [value for name, value in note.items() if name != "job"]
                sound = isinstance(note.get("job"), str) and {"done", "of"} <= note.keys()
                if sound and all(map(_is_number, numbers)) and time.time() - path.stat().st_mtime < RECENT_SECONDS:
                    found.append(note)
        return found

    def clear_work(self) -> None:
        """Remove checkpoints, locks and markers, once no job is left to resume."""
        locks.clean_locks(self.root / LOCKS, finished=True)
        if (folder := self.root / WORK).is_symlink():
            return
        for path in folder.glob("*"):
            if CHECKPOINT.fullmatch(path.name) and path.is_file() and not path.is_symlink():
                path.unlink(missing_ok=True)

    # -------------------------------------------------------------------------------------------------- results

    def facts(self) -> dict[str, dict[str, Any]]:
        """Facts per dataset of the study: spec string -> class names, metric, counts, source, revision."""
        return {content["name"]: content for content, _ in self.records("datasets").values()}

    def looks_complete(self, spec: RunSpec) -> bool:
        """Tell whether the last round of a run is there, by its name: a hundred times as fast as `complete`."""
        regime = self.regime(spec)
        return regime is not None and self.path(f"{self.run_name(spec)}/round-{regime.rounds - 1:02d}").exists()

    def complete(self, spec: RunSpec) -> bool:
        """Tell whether all rounds of a run are committed."""
        regime = self.regime(spec)
        return regime is not None and len(self.rounds(spec)) == regime.rounds


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and -(2.0**63) < value < 2.0**63  # not NaN either


# -------------------------------------------------------------------------------------------- order of rounds


def _check_chain(path: Path, previous: str) -> str:
    """Damage of the file of a round that should follow the one of digest `previous`; empty where it is absent."""
    found, damage = atomic_files.try_read(path)
    return damage or _breaks_chain(found, previous)


def _breaks_chain(found: Record | None, previous: str) -> str:
    """Damage of a round that should follow the one of digest `previous`; empty where it does."""
    return "does not follow the round before it" if found and found[0].get("previous") != previous else ""


def _link(before: list[Round]) -> str:
    """Digest of the round before, which a round carries: so an edited round breaks the chain of those after it."""
    return digest(before[-1].content()) if before else ""
