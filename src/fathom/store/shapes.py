"""Types of the fields of records that readers rely on, by folder of the record; further fields are free.

A SHA-256 shows that a record is as it was written, not that Fathom wrote it: a folder may come from a stranger.
"""

from functools import cache
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from fathom.core.work import WorkKind


class _Shape(BaseModel):
    model_config = ConfigDict(strict=True)


class _OfSetting(_Shape):
    dataset: str
    regime: str
    paradigm: str


class _Dataset(_Shape):
    name: str
    class_names: list[str] = []
    metric: str = ""
    role: str = ""
    class_counts: list[int] = []
    test_class_counts: list[int] = []
    long_tail: float | None = None
    notes: list[str] = []


class _TestLabels(_Shape):
    dataset: str
    labels: list[int]


class _Choice(_OfSetting):
    chosen: dict[str, Any]
    table: list[dict[str, Any]] = []
    retries: list[str] = []


class _FullData(_OfSetting):
    seed: int
    metrics: dict[str, float]
    recalls: list[float | None] = []


class _Encoder(_Shape):
    dataset: str
    seed: int
    preparation: Any


class _Features(_Shape):
    dataset: str
    seed: int
    backbone: Any


class _Retry(_Shape):
    change: str


class _Failure(_Shape):
    what: str = ""
    error: str = ""
    message: str = ""
    traceback: str = ""
    session: str = ""
    job: str = ""
    setting: list[str] = []
    query: str = ""
    seed: int | None = None
    retries: int = 0


class _GrownMethod(_OfSetting):
    query: str
    before: int
    complete: int
    after: int
    elsewhere: dict[str, int] = {}


class _PlanChange(_Shape):
    before: str = Field(alias="from")
    to: str
    results: bool
    grown: list[_GrownMethod]
    margin: Annotated[list[float], Field(min_length=2, max_length=2)]
    baseline: Annotated[list[str], Field(min_length=2, max_length=2)]
    claims: Annotated[list[list[str]], Field(min_length=2, max_length=2)]


class _Spec(_Shape):
    spec: dict[str, Any]
    regime: dict[str, Any]


class _Clock(_Shape):
    seconds: float = 0.0
    finished: str = ""
    environment: str = ""
    since: str = ""
    at: str = ""


SHAPES: dict[str, type[_Shape]] = {
    "datasets": _Dataset,
    "test-labels": _TestLabels,
    WorkKind.HP_CHOICE.folder: _Choice,
    WorkKind.FULL_DATA.folder: _FullData,
    WorkKind.PRETRAIN.folder: _Encoder,
    WorkKind.FEATURES.folder: _Features,
    WorkKind.RETRIES.folder: _Retry,
    "failures": _Failure,
    "history": _PlanChange,
    "spec": _Spec,
}


def malformed(name: str, record: tuple[dict[str, Any], dict[str, Any]]) -> str:
    """Damage of a record that lacks what its readers rely on; empty where it has it.

    Args:
        name: Its name, such as `shared/retries/<key>`.
        record: Its content and clock readings.
    """
    folder, _, stem = name.rpartition("/")
    shape = SHAPES.get(stem if stem == "spec" else folder, _Shape)
    if folder.startswith("runs/") and stem.startswith("round-"):
        return ""  # checked by `Round`, where `seconds` is a table
    for kind, values in ((shape, record[0]), (_Clock, record[1])):
        try:
            _validator(kind).validate_python(values)
        except ValidationError as error:
            return f"lacks {'.'.join(map(str, error.errors()[0]['loc']))}, or has another type there"
    return ""


@cache
def _validator(shape: type[_Shape]) -> TypeAdapter[Any]:
    return TypeAdapter(shape)
