# The C example, compiled against installed headers alone.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
COMPILERS = {"c11": "clang-22", "c17": "clang-22", "c++17": "clang++-22", "c++20": "clang++-22"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with what `cmake --install` puts there for those who use artifacts."""
    prefix = tmp_path_factory.mktemp("prefix")
    subprocess.run(
        ["cmake", "--install", str(ROOT / "build"), "--prefix", str(prefix), "--component", "runtime"], check=True, capture_output=True
    )
    return prefix


@pytest.fixture(scope="module")
def example(installed):
    source = ROOT / "examples" / "c" / "run.c"
    program = installed / "run"
    subprocess.run(
        ["clang-22", "-std=c11", "-D_POSIX_C_SOURCE=200809L", "-Wall", "-Wextra", "-Werror", "-pedantic",
         f"-I{installed}/include", str(source), "-ldl", "-o", str(program)],
        check=True,
    )  # fmt: skip
    return program


def test_only_the_interface_is_needed(installed):
    headers = sorted(str(path.relative_to(installed)) for path in (installed / "include").rglob("*.h"))
    assert headers == ["include/qcc/Runtime/qcc.h"]


@pytest.mark.parametrize("standard", COMPILERS)
def test_header_alone(installed, standard):
    language = "c++" if "++" in standard else "c"
    subprocess.run(
        [COMPILERS[standard], f"-std={standard}", "-x", language, "-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only",
         str(installed / "include/qcc/Runtime/qcc.h")],
        check=True,
    )  # fmt: skip


def test_example_runs(example, fakes):
    done = subprocess.run([str(example), str(fakes / "embedded")], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "y: shape 1 4, values 12 22 32 42\n")
    done = subprocess.run([str(example), str(fakes / "external"), "count"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "total: shape 1\n")


def test_example_says_what_failed(example, fakes, tmp_path):
    done = subprocess.run([str(example), str(fakes / "embedded"), "refuse"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "run: error: run: node 'Gather_7': a value of its inputs is out of range\n"
    assert subprocess.run([str(example), str(tmp_path)], capture_output=True).returncode == 1
