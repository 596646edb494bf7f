"""The store: one folder a study, one folder a run, one immutable file a round.

    OUT/study.json                      the study: every run it holds
    OUT/environment-*.json              what computed it: versions, device, threads; normally one
    OUT/datasets/<digest>.json          what each dataset was: counts, metric, source, revision
    OUT/runs/<key>/spec.json            what decides the run, and its label regime
    OUT/runs/<key>/round-00.json        one committed round
    OUT/shared/<kind>/<key>.json        work that several runs share: HP search, HP choice, round 0, ceiling
    OUT/failures/<task>-<attempt>.json  what went wrong; a failure is never repaired silently
    OUT/quarantine/                     files that were damaged when read; their work is done again

A file is written under a temporary name, synced, and linked into place without replacing: it is there whole or not at
all, and the first writer wins. Its `content` is the same in every correct execution; clock readings stand apart under
`clock`. Both carry a SHA-256, checked on every read. Killing a process at any moment loses the work since the last
commit and nothing else.
"""

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from fathom import files
from fathom.records import FathomError, LabelRegime, Round, RunSpec, Study, digest, unique

if TYPE_CHECKING:
    import pandas as pd


class Store:
    """The results of one study in one folder.

    Args:
        root: The folder. Nothing is written before `begin`.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    # ------------------------------------------------------------------------------------------------ the study

    @classmethod
    def open(cls, root: str | Path) -> "Store":
        """The store in an existing folder.

        Raises:
            FathomError: There is none.
        """
        store = cls(root)
        if not (store.root / "study.json").is_file():
            raise FathomError(
                f"{store.root} holds no study (no study.json there). Expected the folder that `fathom run STUDY --out "
                f"{store.root}` writes"
            )
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
            if not (self.root / "study.json").is_file():
                if any(not p.name.startswith((".locks", ".tmp-")) for p in self.root.iterdir()):
                    raise FathomError(f"{self.root} is not empty and holds no study; name a new folder with --out")
                self.put("study", study.to_json())
                return
            added, removed = _difference(self.study.runs, study.runs)
            if removed or (added and not extend):
                raise FathomError(_refusal(self.root, self.study.runs, study.runs))
            if study != self.study:  # more runs, or another title, baseline or ceiling, which decide no result
                files.write(self.root / "study.json", files.pack(study.to_json(), {}), replace=True)
                self.__dict__.pop("study", None)

    @cached_property
    def study(self) -> Study:
        content, _ = self.get("study") or ({}, {})
        return Study.from_json(content)

    def begin_run(self, spec: RunSpec, regime: LabelRegime) -> None:
        """Write down what decides a run and how many rounds it has."""
        self.put(f"runs/{spec.key}/spec", {"spec": spec.to_json(), "regime": regime.to_json()})

    def regime(self, spec: RunSpec) -> LabelRegime | None:
        """The run's label regime; None before the study's first start."""
        found = self.get(f"runs/{spec.key}/spec")
        return LabelRegime.from_json(found[0]["regime"]) if found else None

    # --------------------------------------------------------------------------------------------------- rounds

    def commit(self, spec: RunSpec, record: Round) -> None:
        """Commit one round. A round that is there already stays, if it says the same.

        Raises:
            FathomError: A different round is there.
        """
        before = self.rounds(spec)
        previous = digest(before[record.round - 1].content()) if record.round else ""
        content = {"previous": previous, **record.content()}
        self.put(f"runs/{spec.key}/round-{record.round:02d}", content, record.clock())

    def rounds(self, spec: RunSpec) -> list[Round]:
        """The committed rounds from 0 without a gap. A damaged round goes to quarantine, to be computed again."""
        rounds: list[Round] = []
        while found := self.get(f"runs/{spec.key}/round-{len(rounds):02d}"):
            content, clock = found
            previous = content.pop("previous")
            if previous != (digest(rounds[-1].content()) if rounds else ""):
                self._quarantine(
                    self.root / f"runs/{spec.key}/round-{len(rounds):02d}.json", "does not follow its round"
                )
                break
            rounds.append(Round.from_json({**content, **clock}))
        return rounds

    # --------------------------------------------------------------------------------------------- shared records

    def put(self, name: str, content: Mapping[str, Any], clock: Mapping[str, Any] | None = None) -> None:
        """Commit a record under a name such as `shared/hparams/<key>`.

        Raises:
            FathomError: A record with another content is there.
        """
        path = self.root / f"{name}.json"
        try:
            files.write(path, files.pack(content, clock or {}))
        except FileExistsError:
            found = self.get(name)
            if found is None:  # it was damaged and is in quarantine now
                self.put(name, content, clock)
            elif digest(found[0]) != digest(content):
                raise FathomError(
                    f"{path} holds another result than the one just computed. The machine, its threads or a package "
                    "changed under this study, or a file was edited; compare them before going on"
                ) from None

    def get(self, name: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """(content, clock) of a record, or None where it is absent or was damaged (then it is in quarantine)."""
        path = self.root / f"{name}.json"
        try:
            return files.read(path)
        except FileNotFoundError:
            return None
        except files.DamagedError as error:
            self._quarantine(path, str(error))
            return None

    def records(self, kind: str) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
        """All records of a folder, for example `shared/hparams`: stem -> (content, clock), sorted by stem."""
        names = sorted(p.stem for p in (self.root / kind).glob("*.json"))
        found = {name: self.get(f"{kind}/{name}") for name in names}
        return {name: record for name, record in found.items() if record}

    def put_tensors(self, name: str, tensors: Mapping[str, Any]) -> str:
        """Write arrays as safetensors beside a record of the same name, before that record is committed.

        Returns:
            The SHA-256 of the file, for the record: a file without a record, or with another hash, does not count.
        """
        from safetensors.numpy import save

        data = save(dict(tensors))
        files.write(self.root / f"{name}.safetensors", data, replace=True)
        return hashlib.sha256(data).hexdigest()

    def get_tensors(self, name: str, sha256: str) -> dict[str, Any] | None:
        """The arrays that `put_tensors` wrote; None (and quarantine) where the file is absent or damaged."""
        from safetensors.numpy import load

        path = self.root / f"{name}.safetensors"
        if not path.is_file():
            return None
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != sha256:
            self._quarantine(path, "SHA-256 differs")
            self._quarantine(self.root / f"{name}.json", "its tensors are damaged")
            return None
        return dict(load(data))

    def fail(self, task: str, content: Mapping[str, Any], clock: Mapping[str, Any]) -> None:
        """Write a failed attempt down."""
        for attempt in range(1000):
            try:
                return files.write(self.root / f"failures/{task}-{attempt}.json", files.pack(content, clock))
            except FileExistsError:
                continue
        raise FathomError(f"{task} failed a thousand times; see {self.root / 'failures'}")

    def failures(self) -> list[dict[str, Any]]:
        """The failed attempts, in order of task and attempt."""
        return [{"file": name, **content, **clock} for name, (content, clock) in self.records("failures").items()]

    # ---------------------------------------------------------------------------------------------------- locks

    @contextlib.contextmanager
    def lock(self, name: str, *, wait: bool = False) -> Iterator[bool]:
        """Hold the lock of a task; yields whether it was had. The lock of a process that died is free again."""
        folder = self.root / ".locks"
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f"{name.replace('/', '-')}.lock")
        try:
            lock.acquire(timeout=-1 if wait else 0)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

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

    # -------------------------------------------------------------------------------------------------- writing

    def clean(self) -> None:
        """Remove temporary files that processes of this machine left when they died."""
        files.clean(self.root)

    def _quarantine(self, path: Path, reason: str) -> None:
        """Take a damaged file out of the way, visibly."""
        import warnings

        target = self.root / "quarantine" / path.relative_to(self.root).as_posix().replace("/", "-")
        target.parent.mkdir(exist_ok=True)
        path.replace(target)
        warnings.warn(f"{path}: {reason}; moved to {target}, its work will be done again", stacklevel=3)


def table(out: str | Path) -> "pd.DataFrame":
    """The tidy table of the study in folder `out`: one row a committed round."""
    return Store.open(out).table()


# ------------------------------------------------------------------------------------------------------ refusal


def _difference(old: tuple[RunSpec, ...], new: tuple[RunSpec, ...]) -> tuple[list[RunSpec], list[RunSpec]]:
    """(added, removed) runs."""
    return [r for r in new if r not in set(old)], [r for r in old if r not in set(new)]


def _refusal(root: Path, old: tuple[RunSpec, ...], new: tuple[RunSpec, ...]) -> str:
    added, removed = _difference(old, new)
    lines = [f"{root} holds another study; the difference:"]
    for name in ("dataset", "regime", "paradigm", "query", "seed", "protocol"):
        here, there = unique(getattr(r, name) for r in old), unique(getattr(r, name) for r in new)
        if set(here) != set(there):
            gone = ", ".join(str(v) for v in here if v not in there) or "(none)"
            come = ", ".join(str(v) for v in there if v not in here) or "(none)"
            lines.append(f"  {name}: {gone} -> {come}")
    lines.append(f"  {len(removed)} runs here are not in the new study, {len(added)} new runs are not here")
    lines.append(
        "Name a new folder with --out" + ("" if removed else ", or add the new runs to this one with --extend")
    )
    return "\n".join(lines)
