"""The page of the command line is what the command says of itself."""

import re

from docs.generate import PAGE, page

from fathom.cli import app


def test_the_page_is_in_step() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "the help texts changed: run `make docs`"


def test_every_verb_and_option_is_on_the_page() -> None:
    text = page()
    verbs = {name for name in app if not name.startswith("-")}
    assert verbs == set(re.findall(r"^## fathom ([a-z-]+)$", text, flags=re.M))
    assert {"--out", "--workers", "--extend", "--accept-environment", "--no-report", "--plugin"} <= set(
        re.findall(r"--[a-z-]+", text)
    )
    assert "\x1b" not in text
