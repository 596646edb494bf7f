"""Shapes are checked in every test (jaxtyping + beartype); one thread, so that results are the same everywhere."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
# Of Ray's clusters in tests: a token, as a cluster should have; Ray reads it where it is first imported.
os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4}

import atexit
import shutil
import signal
import tempfile

# What is kept by content beyond a study must not pass from one test run to the next.
os.environ["FATHOM_CACHE"] = tempfile.mkdtemp(prefix="fathom-cache-")
atexit.register(shutil.rmtree, os.environ["FATHOM_CACHE"], ignore_errors=True)

# A shell's background jobs inherit that Ctrl-C is ignored, and so would all processes of the tests.
signal.signal(signal.SIGINT, signal.default_int_handler)

import jaxtyping  # noqa: E402

jaxtyping.install_import_hook(
    [
        "fathom.data",
        "fathom.learn",
        "fathom.query",
        "fathom.protocol",
        "fathom.engine",
        "fathom.estimate",
        "fathom.recheck",
    ],
    "beartype.beartype",
)

from pathlib import Path  # noqa: E402

import pytest  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(1)

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images beside the checkout; the test is skipped, visibly, where it is absent."""
    if not (SHARED_DATA / "unpack_data.py").is_file():
        pytest.skip("needs real images in ../shared/data, which is not here")
    return SHARED_DATA


@pytest.fixture(scope="session")
def cifar10(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the official CIFAR-10 pickles, whose checksums were compared when they were written."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(real_data))
        import unpack_data
    folder = tmp_path_factory.mktemp("data")
    if (len(unpack_data._sheets("cifar10", "train")), len(unpack_data._sheets("cifar10", "test"))) != (50, 10):
        pytest.skip("needs all of CIFAR-10 in ../shared/data")
    unpack_data._cifar("cifar10", folder)
    return folder


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages without drawings, for tests of their words: drawing takes most of a page's time."""
    from matplotlib.figure import Figure

    from fathom.report import figures, paradigm_figures
    from fathom.report.drawing import Drawing

    for module in (figures, paradigm_figures):
        for name in (name for name in vars(module) if name.endswith("_figure")):
            empty = Drawing(name, b"", "<svg></svg>", "", Figure())
            monkeypatch.setattr(module, name, lambda stem, *rest, empty=empty: empty)
