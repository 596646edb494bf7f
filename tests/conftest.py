"""Shapes are checked in every test (jaxtyping + beartype); one thread, so that results are the same everywhere."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

import atexit
import shutil
import tempfile

# What is kept by content beyond a study must not pass from one test run to the next.
os.environ["FATHOM_CACHE"] = tempfile.mkdtemp(prefix="fathom-cache-")
atexit.register(shutil.rmtree, os.environ["FATHOM_CACHE"], ignore_errors=True)

import jaxtyping  # noqa: E402

jaxtyping.install_import_hook(["fathom.data", "fathom.learn", "fathom.query", "fathom.run"], "beartype.beartype")

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
