"""The verb that removes what dead processes left behind."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from fathom.cli.app import AtLeast0, Flag, Json, app
from fathom.cli.console import out, print_json
from fathom.core.text import plural


@app.command
def gc(
    *folders: Path,
    data: Path | None = None,
    cache: Path | None = None,
    days: Annotated[float | None, AtLeast0] = None,
    dry_run: Annotated[Flag, Parameter(name="--dry-run")] = False,
    json: Json = False,
) -> int:
    """Remove temporary files that dead processes left in the cache and in studies, and say how much was freed.

    A process that is killed while it writes a file leaves a part of it under a temporary name,
    `.tmp-MACHINE-PROCESS-...`. Only such files are removed: of this machine if the process is gone, of another machine
    if they are old. Results, checkpoints, partial downloads and files of yours stay. Every run does the same for its
    own folder and the cache.

    Args:
        folders: Folders of studies, or folders that hold some [default: runs].
        data: Folder of the datasets [default: FATHOM_DATA, else ./data].
        cache: Folder of decoded images, features and encoders [default: FATHOM_CACHE, else in the folder of datasets].
        days: Age in days from which files of other machines are removed [default: 7].
        dry_run: Remove nothing; list what would be removed.
    """
    from fathom.machine.paths import data_folders
    from fathom.store.leftovers import DAYS, find_leftovers, remove_leftovers

    places = dict.fromkeys([data_folders(data, cache)[1], *(folders or [Path("runs")])])
    work = find_leftovers if dry_run else remove_leftovers
    every = (left for place in places for left in work(place, DAYS if days is None else days))
    found = list({left.path.resolve(): left for left in every}.values())  # a cache may lie in one of the folders
    gone = [left for left in found if left.removed or dry_run]
    freed, stayed = sum(left.nbytes for left in gone), [left for left in found if not left.removed and not dry_run]
    if json:
        rows = [{"path": str(f.path), "bytes": f.nbytes, "reason": f.reason, "removed": f.removed} for f in found]
        print_json({"dry_run": dry_run, "bytes": freed, "files": rows})
        return 1 if stayed else 0
    for left in found:
        verb = "would remove" if dry_run else "removed" if left.removed else "could not remove"
        out.print(f"{verb} {left.path} ({left.nbytes:,} bytes, {left.reason})", markup=False)
    words = "would free" if dry_run else "freed"
    out.print(f"{words} {freed:,} bytes in {plural(len(gone), 'temporary file')} of dead processes", markup=False)
    return 1 if stayed else 0
