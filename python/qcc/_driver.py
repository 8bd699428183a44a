# Calls the compiler.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from numbers import Number
from typing import Union

from ._errors import CompileError

# Options that would make something else than an artifact.
_NO_OPTIONS = ("help", "help_advanced", "version")

# Switches whose absence leaves the choice to the driver: False says the opposite.
_OPPOSITES = {"embed_weights": "--no-embed-weights", "correct_bias": "--no-correct-bias"}

Option = Union[str, int, float, bool, os.PathLike, Sequence[object], Mapping[str, object]]


def _find_driver() -> str:
    """The program: $QCC, that of the source tree that this file is in, or the one on the PATH."""
    given = os.environ.get("QCC")
    if given:
        return given
    built = pathlib.Path(__file__).resolve().parents[2] / "build" / "bin" / "qcc"
    found = str(built) if built.exists() else shutil.which("qcc")
    if not found:
        raise FileNotFoundError("found no program qcc: put it on the PATH, or its path into the environment as QCC")
    return found


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _join(value: object) -> str:
    return ",".join(map(str, value)) if _is_list(value) else str(value)


def _flags(name: str, value: Option) -> list[str]:
    """One option of the command line: True is the flag alone, a sequence repeats it, a mapping gives NAME=VALUE.

    In a mapping a sequence gives NAME=VALUE,VALUE.
    """
    if name in _NO_OPTIONS:
        raise TypeError(f"compile() expected an option of how to compile, but got '{name}'")
    flag = "--" + name.replace("_", "-")
    if value is None:
        return []
    if value is False:
        return [_OPPOSITES[name]] if name in _OPPOSITES else []
    if value is True:
        return [flag]
    if isinstance(value, Mapping):
        return [f"{flag}={key}={_join(item)}" for key, item in value.items()]
    if _is_list(value):
        return [f"{flag}={item}" for item in value]
    if not isinstance(value, (str, Number, os.PathLike)):
        raise TypeError(f"compile() expected text, a number or a path as {name}, but got {type(value).__name__}")
    return [f"{flag}={os.fspath(value) if isinstance(value, os.PathLike) else value}"]


def compile(  # noqa: A001 - the name that users know
    model: str | os.PathLike,
    output: str | os.PathLike | None = None,
    **options: Option,
) -> pathlib.Path:
    """Compiles an ONNX file and returns the folder of the artifact (default: the model's path with .qcc).

    Options are those of the command line with _ for -: compile("m.onnx", target="avx2", dim={"batch": [1, 8]},
    require_fused=True, embed_weights=False). Raises CompileError when the driver refuses the model.
    """
    source = pathlib.Path(model)
    folder = pathlib.Path(output) if output is not None else source.with_suffix(".qcc")
    # Only errors: nobody would see the rest.
    command = [_find_driver(), str(source), "-q", "-o", str(folder)]
    for name, value in options.items():
        command += _flags(name, value)
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    if done.returncode != 0:
        text = done.stderr.strip()
        code = re.search(r"QCC-E\d+", text)
        raise CompileError(done.returncode, code.group() if code else "", text)
    return folder
