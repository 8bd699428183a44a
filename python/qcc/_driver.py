# Calls the compiler.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from numbers import Number
from typing import Union

import numpy as np

from ._errors import CompileError, CompileWarning

# Options that would make something else than an artifact.
_NO_OPTIONS = ("help", "help_advanced", "version")

# Switches whose absence leaves the choice to the driver: False says the opposite.
_OPPOSITES = {"embed_weights": "--no-embed-weights", "correct_bias": "--no-correct-bias"}

# What a line starts with that is no error.
_WARNING = "qcc: warning: "

# Options that are given once, with several values joined by commas or one only: a sequence would leave but the last.
_JOINED = ("precision", "algo", "metric")
_REPEATED = ("keep", "load_plugin", "dim", "state", "drop_output")
# Options that are names with values.
_MAPPED = ("dim", "state")

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
    """One option of the command line: True is the flag alone, a sequence joins values or repeats the flag, a mapping gives
    NAME=VALUE.

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
    if isinstance(value, Mapping) and name in _MAPPED:
        return [f"{flag}={key}={_join(item)}" for key, item in value.items()]
    if _is_list(value) and name in _JOINED:
        return [f"{flag}={_join(value)}"] if value else []
    if _is_list(value):
        if name not in _REPEATED and len(value) > 1:
            raise TypeError(f"compile() expected one value of {name}, but got {len(value)}")
        return [f"{flag}={item}" for item in value]
    if not isinstance(value, (str, Number, os.PathLike)):
        raise TypeError(f"compile() expected text, a number or a path as {name}, but got {type(value).__name__}")
    return [f"{flag}={os.fspath(value) if isinstance(value, os.PathLike) else value}"]


def _save_arrays(arrays: Mapping[str, object], folder: str) -> pathlib.Path:
    """Arrays by name as an .npz. The same arrays give the same bytes, whose hash the artifact has."""
    path = pathlib.Path(folder) / "calib.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in arrays.items():
            array = np.asarray(value)
            if array.dtype.hasobject:
                raise TypeError(f"compile() expected arrays of numbers as calib, but got {type(value).__name__} as '{name}'")
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
    return path


def compile(  # noqa: A001 - the name that users know
    model: str | os.PathLike,
    output: str | os.PathLike | None = None,
    **options: Option,
) -> pathlib.Path:
    """Compiles an ONNX file and returns the folder of the artifact (default: the model's path with .qcc).

    Options are those of the command line with _ for -: compile("m.onnx", target="avx2", dim={"batch": [1, 8]},
    require_fused=True, embed_weights=False). Calibration data may be arrays by input name, too: calib={"x": array}. Raises CompileError when the driver refuses the model; what it warns of is a
    CompileWarning.
    """
    if not isinstance(model, (str, os.PathLike)):
        raise TypeError(f"compile() expected the path of an ONNX file, but got {type(model).__name__}: write the model to a file first")
    source = pathlib.Path(model)
    folder = pathlib.Path(output) if output is not None else source.with_suffix(".qcc")
    # Only errors and warnings: nobody would see the rest.
    # A relative name that begins with a hyphen is no flag.
    named = f"./{source}" if str(source).startswith("-") else str(source)
    command = [_find_driver(), named, "--progress=none", "--color=never", "-o", str(folder)]
    with tempfile.TemporaryDirectory(prefix="qcc-") as temporary:
        for name, value in options.items():
            is_data = name == "calib" and isinstance(value, Mapping)
            command += _flags(name, _save_arrays(value, temporary) if is_data else value)
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    said, notes = [], []
    # Arrays were in no file that the caller knows.
    for line in done.stderr.replace(f"{temporary}{os.sep}", "").splitlines():
        if (told := line.removeprefix(_WARNING)) != line:
            notes.append(told)
        else:
            said.append(line)
    for note in notes:
        warnings.warn(note, CompileWarning, stacklevel=2)
    if done.returncode != 0:
        text = "\n".join(said).strip()
        code = re.search(r"QCC-E\d+", text)
        raise CompileError(done.returncode, code.group() if code else "", text)
    return folder
