"""The kinds of work stand in one table: no other module spells their names or record folders."""

import ast
from pathlib import Path

import fathom
from fathom.core.work import SHARED_JOBS, SHARED_RECORDS, WorkKind

SOURCE = Path(fathom.__file__).parent


def test_each_kind_has_a_folder_of_its_own() -> None:
    assert WorkKind.ROUND_0.record("0123") == "shared/round-0/0123"
    assert WorkKind.RUN.record("0123") == "runs/0123"
    assert len({kind.folder for kind in WorkKind}) == len(WorkKind)
    assert WorkKind.RUN not in SHARED_RECORDS
    assert [kind for kind in SHARED_JOBS if not kind.is_training] == ["features", "hp-choice"]


def test_only_the_table_spells_the_names() -> None:
    names = {kind.value for kind in WorkKind if "-" in kind}  # `run` and `features` are everyday words too
    folders = tuple(kind.folder for kind in SHARED_RECORDS)
    for path in set(SOURCE.rglob("*.py")) - {SOURCE / "core/work.py"}:
        nodes = ast.walk(ast.parse(path.read_text()))
        texts = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
        spelled = [text for text in texts if text in names or text.startswith(folders)]
        assert not spelled, f"{path} spells {spelled}: take them from core.work"
