"""The verb that freezes: what was decided on development data, before roll-out data are touched."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from fathom.cli.app import Json, Only, Plugin, add_plugins, app
from fathom.cli.console import out as console
from fathom.cli.console import print_json

KINDS = {"queries": "query method", "paradigms": "paradigm", "regimes": "regime"}


@app.command
def freeze(
    study: str,
    /,
    *,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    only: Only = None,
    json: Json = False,
    plugin: Plugin = None,
) -> None:
    """Write down, with a hash, what was decided on development data: query methods, paradigms, grids, recipes.

    A study with roll-out data follows it (`freeze = "NAME.freeze.json"` in its file, or fathom run --freeze FILE): it
    is refused where it departs, and its report says what it followed.

    Args:
        study: Development study: its name, TOML file, or the folder of its results.
        out: The file [default: NAME.freeze.json].
    """
    from fathom.core.text import plural
    from fathom.design.freeze import freeze as write
    from fathom.design.freeze import load_freeze
    from fathom.design.study_file import load_study
    from fathom.design.subset import select
    from fathom.store.store import Store

    add_plugins(plugin)
    store = Store.open(study) if (Path(study) / "study.json").is_file() else None
    path = write(select(store.study if store else load_study(study), only or []), out, store=store)
    kept = load_freeze(path)
    if json:
        print_json({"file": str(path), **kept})
        return
    counts = [plural(len(kept[key]), word) for key, word in KINDS.items()]
    told = f"froze {', '.join(counts)}, decided on {', '.join(kept['developed_on'])}: [bold]{kept['hash']}[/]"
    console.print(told, highlight=False)
    console.print(str(path), markup=False, highlight=False, soft_wrap=True)
