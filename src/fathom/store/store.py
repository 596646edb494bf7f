"""The store: one folder a study, one folder a run, one immutable file a round.

    OUT/study.json                      the study: every run it holds
    OUT/environments/<digest>.json      what computed it: versions, device, threads; normally one
    OUT/datasets/<digest>.json          what each dataset was: counts, metric, source, revision
    OUT/runs/<key>/spec.json            what decides the run, and its label regime
    OUT/runs/<key>/round-00.json        one committed round
    OUT/runs/<key>-1/                   the run again, with what its setting's first retry changed
    OUT/shared/<kind>/<key>.json        shared work and retries (see `core.work` for the kinds)
    OUT/failures/<task>-<attempt>.json  what went wrong; a failure is never repaired silently
    OUT/rechecks/<round>-<digest>.json  a round that was computed again: whether it came out the same, where, and when
    OUT/quarantine/                     damaged files whose work was done again

A file is written under a temporary name, synced, and linked into place without replacing: it is there whole or not at
all, and the first writer wins. Its `content` is the same in every correct execution; clock readings stand apart under
`clock`. Both carry a SHA-256, checked on every read. Killing a process at any moment loses the work since the last
commit and nothing else.

Looking moves nothing: a damaged file counts as absent, with a warning. It goes to quarantine when the same result is
committed again, so only those who compute mend a store.
"""

import json
import tempfile
import time
import warnings
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fathom.core.records import (
    FathomError,
    LabelRegime,
    Round,
    RunSpec,
    Setting,
    Study,
    digest,
    refusal,
    run_difference,
)
from fathom.core.work import WorkKind
from fathom.store import atomic_files
from fathom.store.record_store import LOCKS, Record, RecordStore

if TYPE_CHECKING:
    import pandas as pd


WORK = ".work"  # folder of what long jobs keep on the way (see `protocol.checkpoint`)
RECENT = 60.0  # seconds after which a job that says nothing more is not thought to be under way


class Store(RecordStore):
    """The results of one study in one folder.

    Args:
        root: The folder. Nothing is written before `begin`.
    """

    # ------------------------------------------------------------------------------------------------ the study

    @classmethod
    def open(cls, root: str | Path) -> "Store":
        """The store in an existing folder.

        Raises:
            FathomError: There is none, or the file that says which runs it holds is damaged.
        """
        store = cls(root)
        if not (store.root / "study.json").is_file() and not store._keys():
            raise FathomError(
                f"{store.root} holds no study (no study.json there). Expected the folder that `fathom run STUDY --out "
                f"{store.root}` writes"
            )
        _ = store.study
        return store

    def begin(self, study: Study, *, extend: bool = False) -> None:
        """Write the study down, or check that the one here is the same.

        Args:
            study: What is to be run.
            extend: Accept a study that only adds runs to the one here.

        Raises:
            FathomError: Another study is here, with the difference; or the folder cannot be written.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root):
                pass
        except OSError as error:
            raise FathomError(
                f"cannot write to {self.root}: {error.strerror}. Name another folder with --out"
            ) from None
        with self.lock("study", wait=True):
            if atomic_files.try_read(self.path("study"))[0] is None:
                self._check_remains(study)
                self.put("study", study.to_json())
                return
            added, removed = run_difference(self.study.runs, study.runs)
            if (removed or (added and not extend)) and self._holds_results():
                raise FathomError(refusal(self.root, self.study.runs, study.runs))
            for spec in removed:  # of a study that was refused before anything was computed
                self.path(f"runs/{spec.key}/spec").unlink(missing_ok=True)
            if study != self.study:  # more runs, or another title, baseline or full-data seeds, which decide no result
                atomic_files.write(self.path("study"), atomic_files.pack_record(study.to_json(), {}), replace=True)
                self.__dict__.pop("study", None)

    def _holds_results(self) -> bool:
        """Whether anything was computed here."""
        kinds = ("runs/*/round-*.json", "shared/*/*.json", "failures/*.json")
        return any(True for kind in kinds for _ in self.root.glob(kind))

    @cached_property
    def study(self) -> Study:
        """The study that is here.

        Raises:
            FathomError: Its file is damaged or gone.
        """
        found, reason = atomic_files.try_read(self.path("study"))
        if found:
            return Study.from_json(found[0])
        raise FathomError(
            f"{self.path('study')}, which says what runs the study has, {reason or 'is gone'}. Its rounds are as they "
            f"were: run the same study again (fathom run STUDY --out {self.root}), which writes that file anew"
        )

    def _keys(self) -> set[str]:
        """Keys of the runs that began here."""
        return {path.parent.name.partition("-")[0] for path in self.root.glob("runs/*/spec.json")}

    def _check_remains(self, study: Study) -> None:
        """Refuse a folder without a sound study file unless it is empty or all its runs are of the study."""
        file = self.path("study")
        if not (keys := self._keys()):
            others = [p for p in self.root.iterdir() if not p.name.startswith((".locks", ".tmp-", "quarantine"))]
            if others and not file.exists():
                raise FathomError(f"{self.root} is not empty and holds no study; name a new folder with --out")
            return
        if foreign := sorted(keys - {spec.key for spec in study.runs}):
            found = [self.get(f"runs/{key}/spec") for key in sorted(keys)]
            here = tuple(RunSpec.from_json(record[0]["spec"]) for record in found if record)
            raise FathomError(
                f"{file} is damaged or gone, and {len(foreign)} of the {len(keys)} runs here are not of this study "
                f"({', '.join(foreign[:5])}{', ...' if len(foreign) > 5 else ''}), so it cannot be written anew.\n"
                + refusal(self.root, here, study.runs)
            )
        text = f"{file} is damaged or gone; written anew, as all {len(keys)} runs here are of this study"
        warnings.warn(text, atomic_files.DamageWarning, stacklevel=3)

    @cached_property
    def cached_retries(self) -> dict[str, list[str]]:
        """The retries that this process has seen, by setting: another process may declare one while a job is done."""
        return {}

    def refresh_retries(self) -> bool:
        """Look at retries anew; whether any was declared since they were looked at."""
        seen = self.__dict__.pop("cached_retries", {})
        return any(self.retries(Setting(*json.loads(key))) != changes for key, changes in seen.items())

    def retries(self, setting: Setting) -> list[str]:
        """What was changed for all runs of a setting after a training of it was not finite, in order.

        As it was when this process first asked (`refresh_retries` asks again), so that a job ends as it began.
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
        """Have all runs of a setting done again with a change; what was done without it stays beside."""
        content = dict(zip(("dataset", "regime", "paradigm"), setting, strict=True))
        name = WorkKind.RETRIES.record(f"{digest(list(setting), 12)}-{number}")
        self.put(name, {**content, "number": number, "change": change, "because": because})
        self.cached_retries.pop(json.dumps(setting), None)

    def run_name(self, spec: RunSpec) -> str:
        """Folder of a run, for example `runs/<key>`; `runs/<key>-1` after the first retry of its setting."""
        number = len(self.retries(spec.setting))
        return f"runs/{spec.key}-{number}" if number else f"runs/{spec.key}"

    def begin_run(self, spec: RunSpec, regime: LabelRegime) -> None:
        """Write down what decides a run and how many rounds it has."""
        self.put(f"{self.run_name(spec)}/spec", {"spec": spec.to_json(), "regime": regime.to_json()})

    def regime(self, spec: RunSpec) -> LabelRegime | None:
        """The run's label regime; None before the study's first start."""
        found = self.get(f"{self.run_name(spec)}/spec")
        return LabelRegime.from_json(found[0]["regime"]) if found else None

    # --------------------------------------------------------------------------------------------------- rounds

    def commit(self, spec: RunSpec, record: Round) -> None:
        """Commit one round. A round that is there already stays, if it says the same.

        Raises:
            FathomError: A different round is there, or one before it is not.
        """
        before, _ = self._read(spec)
        if record.round > len(before):
            raise FathomError(
                f"round {record.round} of {spec} cannot be committed: only {len(before)} rounds before it can be read "
                f"in {self.root / self.run_name(spec)}. Run the same again"
            )
        name, previous = f"{self.run_name(spec)}/round-{record.round:02d}", _link(before[: record.round])
        if record.round == len(before):
            self.quarantine(name, lambda: _check_chain(self.path(name), previous))
        self.put(name, {"previous": previous, **record.content()}, record.clock())

    def rounds(self, spec: RunSpec) -> list[Round]:
        """The committed rounds from 0 without a gap. A damaged round ends them, and is computed again."""
        rounds, damage = self._read(spec)
        if damage:
            self.warn(f"{self.run_name(spec)}/round-{len(rounds):02d}", damage)
        return rounds

    def _read(self, spec: RunSpec) -> tuple[list[Round], str]:
        """The rounds, and what is wrong with the one after them (empty where it is absent)."""
        rounds: list[Round] = []
        name = self.run_name(spec)
        while True:
            found, damage = atomic_files.try_read(self.path(f"{name}/round-{len(rounds):02d}"))
            damage = damage or _breaks_chain(found, _link(rounds))
            if found is None or damage:
                return rounds, damage
            content, clock = found
            del content["previous"]
            rounds.append(Round.from_json({**content, **clock}))

    # ------------------------------------------------------------------------------------------------- failures

    def fail(self, task: str, content: Mapping[str, Any], clock: Mapping[str, Any]) -> None:
        """Write a failed attempt down."""
        for attempt in range(1000):
            try:
                return atomic_files.write(
                    self.root / f"failures/{task}-{attempt}.json", atomic_files.pack_record(content, clock)
                )
            except FileExistsError:
                continue
        raise FathomError(f"{task} failed a thousand times; see {self.root / 'failures'}")

    def failures(self) -> list[dict[str, Any]]:
        """The failed attempts, in order of task and attempt."""
        return [{"file": name, **content, **clock} for name, (content, clock) in self.records("failures").items()]

    def in_progress(self) -> list[dict[str, Any]]:
        """How far the jobs are that take long enough to say so: job, epochs done, of how many, what was measured."""
        found = []
        for path in sorted((self.root / WORK).glob("*.json")):
            try:
                if time.time() - path.stat().st_mtime < RECENT:
                    found.append(json.loads(path.read_bytes()))
            except (OSError, ValueError):
                continue  # finished just now
        return found

    def clear_work(self) -> None:
        """Remove what jobs kept on the way, and their locks and marks, when none is left to go on with."""
        atomic_files.clean_locks(self.root / LOCKS, finished=True)
        for path in (self.root / WORK).glob("*"):
            path.unlink(missing_ok=True)

    # -------------------------------------------------------------------------------------------------- results

    def facts(self) -> dict[str, dict[str, Any]]:
        """What each dataset of the study is: call-string -> class names, metric, counts, source, revision."""
        return {content["name"]: content for content, _ in self.records("datasets").values()}

    def table(self) -> "pd.DataFrame":
        """The tidy table: one row a committed round, runs in the order of the study."""
        import pandas as pd

        facts = self.facts()
        rows = []
        for spec in self.study.runs:
            metric = facts.get(spec.dataset, {}).get("metric", "accuracy")
            for r in self.rounds(spec):
                row: dict[str, Any] = {"run": spec.key, **spec.to_json()}
                row |= {"round": r.round, "budget": r.budget, "paid": r.paid, "queried": len(r.queried)}
                row |= {"metric": metric, "score": r.metrics[metric], **r.metrics}
                row |= {f"seconds_{k}": v for k, v in sorted(r.seconds.items())} | {"finished": r.finished}
                rows.append(row)
        return pd.DataFrame(rows)

    def complete(self, spec: RunSpec) -> bool:
        """Whether all rounds of a run are committed."""
        regime = self.regime(spec)
        return regime is not None and len(self.rounds(spec)) == regime.rounds


def read_rounds(out: str | Path) -> "pd.DataFrame":
    """The tidy table of the study in folder `out`: one row a committed round."""
    return Store.open(out).table()


# -------------------------------------------------------------------------------------------- order of rounds


def _check_chain(path: Path, previous: str) -> str:
    """What is wrong with the file of a round that should follow the one of digest `previous`; empty where absent."""
    found, damage = atomic_files.try_read(path)
    return damage or _breaks_chain(found, previous)


def _breaks_chain(found: Record | None, previous: str) -> str:
    """What is wrong with a round that should follow the one of digest `previous`; empty where it does."""
    return "does not follow the round before it" if found and found[0]["previous"] != previous else ""


def _link(before: list[Round]) -> str:
    """What a round says of the rounds before it."""
    return digest(before[-1].content()) if before else ""
