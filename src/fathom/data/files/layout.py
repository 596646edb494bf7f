"""Tell classes, splits and system folders apart by their names, and refuse a folder whose layout is doubtful.

A folder that is silently taken for a class gives a plausible wrong study, so whatever remains doubtful is an error that
says what to write instead.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fathom.data.files.listing import Problem, problem
from fathom.registry.spec_string import spell


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


VAL_USES = ("auto", "train", "test", "ignore")
_SPLIT_WORDS = {
    "train": "train training trn trainval",
    "val": "val valid validation validate validating vali dev devel development",
    "test": "test tests testing tst eval evaluation holdout heldout",
    "unlabeled": "unlabeled unlabelled unannotated unsup unsupervised nolabel nolabels",
}
_SPLIT_OF = {word: split for split, words in _SPLIT_WORDS.items() for word in words.split()}
_FILLER = _words("images image imgs img data dataset datasets set sets split splits samples folder part files")

# Folders of operating systems, file servers, photo software and tools, in lower case. Names that begin with a period
# are ignored too.
_SYSTEM = _words("""
    @eadir @tmp @recycle @recently-snapshot @sharebin #recycle #snapshot $recycle.bin recycler recycled __macosx
    __pycache__ node_modules lost+found found.000 thumbs.db ehthumbs.db ehthumbs_vista.db desktop.ini ~snapshot _gsdata_
    picasa.ini""") | {"system volume information", "network trash folder", "temporary items", "icon\r"}

# Names that say what kind of files a folder holds, not which class its images are of.
_CONTAINERS = _words("""
    data dataset datasets images image imgs img pictures pics photos jpegimages jpg jpeg png raw src source sources code
    scripts notebooks docs doc documentation assets static output outputs results figures figs plots runs logs
    checkpoints weights annotations labels metadata meta tmp temp cache backup labeled labelled annotated thumbnails
    thumbs classes folds splits venv build dist htmlcov site-packages unsorted todo""") | {
    "new folder",
    "untitled folder",
}
_PARTS = "patient subject participant person animal lesion specimen slide case video vid clip track sequence seq scene"
_PARTS += " session camera cam fold batch chunk shard part visit scan"
_PART_OF = re.compile(rf"(?:{'|'.join(_PARTS.split())})s?[ _.-]*\d+", re.IGNORECASE)
_YEAR = re.compile(r"(?:19|20)\d\d")
_FEW = 10  # classes, below which it is no surprise that one has a single image


def is_system(name: str) -> bool:
    """True for hidden, system and thumbnail files and folders, which are ignored."""
    return name.startswith(".") or name.casefold() in _SYSTEM


def split_of(name: str) -> str:
    """The split that a name stands for, in any case and spelling: `train`, `val`, `test`, `unlabeled`, or empty."""
    kept = "".join(word for word in _name_words(name) if word not in _FILLER)
    for filler in _FILLER:
        kept = kept.removesuffix(filler) if kept.removesuffix(filler) in _SPLIT_OF else kept
    return _SPLIT_OF.get(kept, "")


def _name_words(name: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", unicodedata.normalize("NFKC", name).casefold())


@dataclass
class Layout:
    """How the files below a folder are read.

    Args:
        splits: Top folder -> `train`, `test`, or empty if it is left out. Empty where the top folders are the classes.
        drawn: True if Fathom draws the test split.
        problems: Problems found.
    """

    splits: dict[str, str] = field(default_factory=dict)
    drawn: bool = True
    problems: list[Problem] = field(default_factory=list)

    @property
    def depth(self) -> int:
        """Folders above an image that its split and class are read from."""
        return 2 if self.splits else 1


def read_layout(root: Path, images: Sequence[tuple[str, ...]], folders: Iterable[tuple[str, ...]], val: str) -> Layout:
    """Decide which folders are splits and which are classes.

    Args:
        root: The folder.
        images: Path of each image below it, as parts.
        folders: Path of each folder below it, as parts.
        val: Use of the images of a validation folder, as in `resolve_splits`.
    """
    layout = Layout()
    used = sorted({parts[0] for parts in images if len(parts) > 1}, key=str.encode)
    kinds = {name: split_of(name) for name in used}
    others = [name for name in used if not kinds[name]]
    inner = _inner(images)
    nested = len(used) == 1 and kinds[used[0]] != "train" and _deeper(root, inner)
    if nested or (used and set(used) <= _lower(used, _CONTAINERS)):
        _refuse(layout, "container", f"{root} has its classes deeper than one folder", used, _deeper(root, inner))
    elif others and any(kinds.values()):
        message = (
            f"{root} mixes folders named like splits with others. Move the others away; if all are classes, list the "
            "images in a table (table(path=data.csv)), where any label can be written"
        )
        layout.problems.append(problem("error", "split-folders", message, used))
    elif any(kinds.values()):
        _read_splits(layout, root, kinds, val)
    elif doubtful := _like_splits(used, inner):
        message = (
            f"{root}: folders that look like splits or versions of one dataset, as their names differ by that of a "
            "split alone, or they hold folders of the same names. Name splits train and test, or give one of them: "
            f"{_write(root / doubtful[0])}. If they are classes, use a table (table(path=data.csv))"
        )
        layout.problems.append(problem("error", "split-folders", message, doubtful))
    elif val != "auto":
        layout.problems.append(Problem("error", "val", f"val={val} is given, but {root} has no validation folder"))
    if not any(p.severity == "error" for p in layout.problems):
        _check_classes(layout, root, images, folders, inner)
    return layout


def resolve_splits(
    kinds: Iterable[str], val: str, where: str, write: Callable[[str], str]
) -> tuple[dict[str, str], list[Problem]]:
    """Decide what images of each split are used for.

    Args:
        kinds: Splits that exist, as `split_of` names them.
        val: Use of validation images. `auto`: they join the train images where there is a test split, and the user is
            asked otherwise. `train`, `test`, `ignore`: as it says.
        where: Where they were found, for messages.
        write: Spells the spec string with one more argument, for example `val=test`.

    Returns:
        ({kind: `train`, `test` or empty for images that are left out}, problems).
    """
    found, problems = set(kinds), []
    uses = {"train": "train", "test": "test", "unlabeled": "", "val": {"auto": "train", "ignore": ""}.get(val, val)}
    if "unlabeled" in found:
        message = (
            f"{where} has unlabeled images. Every image of the pool needs its label, because the oracle reveals it "
            "when it is queried; move the unlabeled images away"
        )
        problems.append(Problem("error", "unlabeled", message))
    if "train" not in found:
        message = f"{where} has the splits {', '.join(sorted(found))} and no train images; add them"
        problems.append(Problem("error", "split", message))
    elif "val" in found and "test" not in found and val == "auto":
        message = (
            f"{where} has train and validation images and no test images. Say what the validation images are: "
            f"{write('val=test')} tests on them; {write('val=train')} draws a test split from both; "
            f"{write('val=ignore')} leaves them out"
        )
        problems.append(Problem("error", "val", message))
    elif "val" in found:
        words = {
            "train": "join the train images; each seed draws its own validation set from these",
            "test": "are test images (val=test)",
            "": "are left out (val=ignore)",
        }[uses["val"]]
        problems.append(Problem("warning", "val", f"the images of the validation split {words}"))
    if "val" not in found and val != "auto":
        problems.append(Problem("error", "val", f"val={val} is given, but {where} has no validation images"))
    return {kind: uses[kind] for kind in found}, problems


# ------------------------------------------------------------------------------------------------------- helpers


def _read_splits(layout: Layout, root: Path, kinds: dict[str, str], val: str) -> None:
    def write(argument: str) -> str:
        return f"folder(path={spell(str(root))}, {argument})"

    names: dict[str, list[str]] = {}
    for name, kind in kinds.items():
        names.setdefault(kind, []).append(name)
    if twice := [" and ".join(same) for same in names.values() if len(same) > 1]:
        message = f"{root} has several folders for one split; keep one of them"
        layout.problems.append(problem("error", "split-folders", message, twice))
    if set(names) == {"train"}:
        message = f"{root} has train images only; to draw a test split from them write"
        layout.problems.append(Problem("error", "split", f"{message} {_write(root / names['train'][0])}"))
    uses, problems = resolve_splits(names, val, str(root), write)
    layout.problems += problems
    layout.splits = {name: uses[kind] for name, kind in kinds.items()}
    layout.drawn = "test" not in layout.splits.values()


def _like_splits(used: Sequence[str], inner: dict[tuple[str, ...], set[str]]) -> list[str]:
    """Top folders that may be splits under other names: `seg_train` and `seg_test`, or each with the same classes."""
    splits: dict[tuple[str, ...], dict[str, str]] = {}  # rest of the name -> split -> name
    for name in used:
        words = _name_words(name)
        for i, word in enumerate(words):
            for cut in (word, word[:-1]):  # train, trainA
                if split := _SPLIT_OF.get(cut):
                    splits.setdefault((*words[:i], word[len(cut) :], *words[i + 1 :]), {})[split] = name
    if found := sorted(name for names in splits.values() if len(names) > 1 for name in names.values()):
        return found
    below = [inner.get((name,), set()) for name in used]
    common = set.intersection(*below) if below else set()
    classes = [
        name for name in common - _lower(common, _CONTAINERS) if not _PART_OF.fullmatch(name) and not split_of(name)
    ]
    # As many as the folders above them: splits are few, and classes with folders of years or sites in each are many.
    return list(used) if len(classes) >= max(2, len(used)) > 1 and not any(map(_YEAR.fullmatch, classes)) else []


def _check_classes(
    layout: Layout,
    root: Path,
    images: Sequence[tuple[str, ...]],
    folders: Iterable[tuple[str, ...]],
    inner: dict[tuple[str, ...], set[str]],
) -> None:
    """Refuse folders that may be no classes, and images that are in no class."""
    depth, problems = layout.depth, layout.problems
    seen = {parts[:depth] for parts in images if len(parts) > depth}
    if loose := ["/".join(parts) for parts in images if len(parts) <= depth]:
        message = "images outside the folders of the classes; move each into the folder of its class, or away"
        problems.append(problem("error", "no-class", message, loose))
    empty = [parts for parts in folders if len(parts) == depth and parts not in seen]
    empty = [parts for parts in empty if depth == 1 or layout.splits.get(parts[0])]
    if harmless := ["/".join(parts) for parts in empty if parts[-1].casefold() in _CONTAINERS]:
        problems.append(problem("warning", "no-images", "folders without an image are left out", harmless))
    if empty := [parts for parts in empty if parts[-1].casefold() not in _CONTAINERS]:
        message = "folders without an image; if they are classes, add images, else move them away"
        problems.append(problem("error", "empty-class", message, ["/".join(parts) for parts in empty]))
    if split := ["/".join((*c, s)) for c in sorted(seen) for s in sorted(inner.get(c, ())) if split_of(s)]:
        message = "folders named like splits inside the folder of a class; put the split above the class (train/cat)"
        problems.append(problem("error", "split-in-class", f"{root}: {message}, or use a table", split))
    classes = sorted({parts[-1] for parts in seen}, key=str.encode)
    if doubtful := sorted(_lower(classes, _CONTAINERS)):
        message = f"{root}: folders whose names say that they hold files, not images of one class"
        _refuse(layout, "container", message, doubtful, _deeper(root, inner))
    if len(parts_of := [name for name in classes if _PART_OF.fullmatch(name)]) > len(classes) / 2:
        message = f"{root}: folders named after patients, videos or parts of the data instead of classes; put"
        message += " folders of the classes above them, or use a table with the columns path, label and group"
        problems.append(problem("error", "not-a-class", message, parts_of))
    of_class = Counter(parts[depth - 1] for parts in images if len(parts) > depth)
    single = [name for name in classes if of_class[name] == 1]
    if len(classes) > _FEW and len(single) >= len(classes) / 2:
        message = (
            f"{root}: {len(single)} of {len(classes)} folders have a single image, so they are hardly classes; put"
        )
        message += " them into one folder per class, or use a table (table(path=data.csv))"
        problems.append(problem("error", "single-images", message, single))


def _inner(images: Sequence[tuple[str, ...]]) -> dict[tuple[str, ...], set[str]]:
    """Folder -> its sub-folders that images are in, at any depth."""
    inner: dict[tuple[str, ...], set[str]] = {}
    for folder in {parts[:-1] for parts in images}:
        for i, name in enumerate(folder):
            inner.setdefault(folder[:i], set()).add(name)
    return inner


def _deeper(root: Path, inner: dict[tuple[str, ...], set[str]]) -> list[str]:
    """Spec strings of the sub-folders that look like a folder of classes or of splits, the highest first."""
    good = [
        folder
        for folder, names in inner.items()
        if folder and len(names) > 1 and not names & _lower(names, _CONTAINERS)
        and (not any(map(split_of, names)) or {"train"} <= {split_of(name) for name in names})
    ]  # fmt: skip
    return [_write(root.joinpath(*folder)) for folder in sorted(good, key=lambda f: (len(f), f))[:3]]


def _refuse(layout: Layout, kind: str, message: str, folders: Sequence[str], deeper: list[str]) -> None:
    advice = f"write {' or '.join(deeper)}" if deeper else "give the folder that holds one sub-folder per class"
    message = f"{message}; {advice}. If they are classes, rename them or use a table (table(path=data.csv))"
    layout.problems.append(problem("error", kind, message, list(folders)))


def _lower(names: Iterable[str], known: frozenset[str]) -> set[str]:
    """Those of the names that are known, in any case."""
    return {name for name in names if name.casefold() in known}


def _write(path: Path) -> str:
    return f"folder(path={spell(str(path))})"
