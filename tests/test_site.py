"""The documentation site: every public name is on it, every page is reachable, nothing is fetched from elsewhere."""

import re
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from docs.public_api import LISTS, find

import fathom

ROOT = Path(__file__).parents[1]
EXTERNAL = re.compile(r"""<(?:script|link|img|iframe)[^>]+(?:src|href)=["'](?:https?:)?//""")
EXTERNAL_SHEET = re.compile(r"""(?:@import|url\()\s*["']?(?:https?:)?//""")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make site` builds it."""
    pytest.importorskip("sphinx", reason="the site is built with the packages of the group docs")
    out = tmp_path_factory.mktemp("site")
    doctrees = tmp_path_factory.mktemp("doctrees")
    options = ["-W", "--keep-going", "-n", "-q", "-d", str(doctrees), "-b", "html"]
    command = [sys.executable, "-m", "sphinx", *options, str(ROOT / "docs"), str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


def described(site: Path) -> set[str]:
    """Return the Python names that the built site describes: from its inventory, what other projects link to."""
    data = (site / "objects.inv").read_bytes()
    lines = zlib.decompress(data.split(b"zlib.\n", 1)[1]).decode().splitlines()
    return {name for name, role, *_ in (line.split() for line in lines) if role.startswith("py:")}


@pytest.mark.slow
def test_every_public_name_is_described(site: Path) -> None:
    missing = {f"fathom.{name}" for name in fathom.__all__} - described(site)
    assert not missing
    page = (site / "api.html").read_text(encoding="utf-8")
    assert all(f'id="fathom.{name}"' in page for name in fathom.__all__)


@pytest.mark.slow
def test_a_page_fetches_nothing(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) >= len(list((ROOT / "docs").glob("*.md")))
    assert [p.name for p in pages if EXTERNAL.search(p.read_text(encoding="utf-8"))] == []
    sheets = [*site.rglob("*.css")]
    assert [
        p.name for p in sheets if re.search(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", p.read_text("utf-8"))
    ] == []


def test_every_page_is_in_the_table_of_contents() -> None:
    index = (ROOT / "docs/index.md").read_text(encoding="utf-8")
    listed = {line.strip() for block in re.findall(r"```\{toctree\}(.*?)```", index, flags=re.S) for line in
              block.splitlines() if line.strip() and not line.startswith(":")}  # fmt: skip
    assert listed == {p.stem for p in (ROOT / "docs").glob("*.md")} - {"index"}


@pytest.mark.parametrize("kind", LISTS)
def test_a_list_of_the_api_page_names_things_that_exist(kind: str) -> None:
    names = LISTS[kind]()
    assert names == sorted(set(names))
    assert all(find(name) is not None for name in names)
    page = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    assert f".. public-api:: {kind}" in page


def test_types_of_plug_ins_are_followed_into_their_fields() -> None:
    listed = {name.rpartition(".")[2] for name in [*LISTS["types"](), *LISTS["plug-ins"]()]}
    assert {
        "RunSpec",
        "Study",
        "PoolView",
        "Selection",
        "Dataset",
        "Paradigm",
        "Task",
        "Prediction",
        "Stream",
    } <= listed
