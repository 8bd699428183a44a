# What the tests of the Python package share.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "python"))


@pytest.fixture(scope="session")
def fakes() -> pathlib.Path:
    """The folder of the hand-written model in its two forms (test/Unit/Runtime)."""
    return ROOT / "build" / "test" / "runtime"


@pytest.fixture(scope="session")
def runner() -> str:
    """The program qcc-run."""
    return str(ROOT / "build" / "bin" / "qcc-run")
