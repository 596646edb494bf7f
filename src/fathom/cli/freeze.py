"""The verb that writes a pre-registration file."""

from pathlib import Path
from typing import Annotated

from fathom import api
from fathom.cli.app import Json, Only, Out, Plugins, app
from fathom.cli.console import out as console
from fathom.cli.console import print_json
from fathom.core.text import plural

KINDS = {"queries": "query method", "paradigms": "paradigm", "regimes": "regime"}


@app.command
def freeze(
    study: str,
    /,
    *,
    out: Annotated[Path | None, Out] = None,
    only: Only = (),
    plugins: Plugins = (),
    json: Json = False,
) -> None:
    """Write a pre-registration file: query methods, paradigms, HP grids and recipes decided on development data.

    A study with roll-out data follows it (`freeze = "NAME.freeze.json"` in its file, or fathom run --freeze FILE). It
    is refused if it departs from the file, and its report says which file it followed.

    Args:
        study: Development study: its name, its file, or the folder of its results.
        out: File to write [default: NAME.freeze.json].
    """
    made = api.freeze(study, out, only=only, plugins=plugins)
    if json:
        print_json(made.to_json())
        return
    counts = [plural(len(made.content[key]), word) for key, word in KINDS.items()]
    text = f"froze {', '.join(counts)}, decided on {', '.join(made.content['developed_on'])}: [bold]{made.hash}[/]"
    console.print(text, highlight=False)
    console.print(str(made.file), markup=False, highlight=False, soft_wrap=True)
