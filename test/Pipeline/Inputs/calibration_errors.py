# Calibrates FOLDER/mlp.onnx with data that must be refused, each with its status and code: calibration_errors.py FOLDER
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import io
import os
import pathlib
import struct
import subprocess
import sys
import zipfile

import numpy as np
import onnx

folder = pathlib.Path(sys.argv[1])
first = onnx.load(folder / "mlp.onnx").graph.input[0]
NAME = first.name
SHAPE = [d.dim_value or 4 for d in first.type.tensor_type.shape.dim]
GOOD = np.ones(SHAPE, np.float32)


def npy(array) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def npz(data: bytes, member: str = f"{NAME}.npy", method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr(member, data)
    return file.getvalue()


def header(text: str, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x02\x00" + struct.pack("<I", len(text)) + text.encode() + data


def described(shape: str, descr: str = "'<f4'") -> bytes:
    return header(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}", GOOD.tobytes())


bad = GOOD.copy()
bad.flat[0] = np.nan
CASES = {
    "not an archive": (b"this is no zip", 5, "E201"),
    "an empty file": (b"", 5, "E201"),
    "an archive cut short": (npz(npy(GOOD))[:-30], 5, "E201"),
    "another name": (npz(npy(GOOD), "nothing.npy"), 5, "E201"),
    "another type": (npz(npy(GOOD.astype(np.int64))), 5, "E201"),
    "another rank": (npz(npy(GOOD.reshape(-1))), 5, "E201"),
    "NaN only": (npz(npy(np.full_like(GOOD, np.nan))), 5, "E201"),
    "objects, which are pickles": (npz(npy(np.array([{}, []], object))), 5, "E201"),
    "no array": (npz(b"text"), 5, "E201"),
    "a header that is an expression": (npz(header("__import__('os').system('true')")), 5, "E201"),
    "a header of 4 GiB": (npz(b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + bytes(100)), 5, "E201"),
    "a shape that overflows": (npz(described("(4294967296, 4294967296, 4294967296)")), 5, "E201"),
    "a negative shape": (npz(described("(-1, 4)")), 5, "E201"),
    "more shape than data": (npz(described("(1099511627776,)")), 5, "E201"),
    "64 dimensions": (npz(described("(" + "1, " * 64 + ")")), 5, "E201"),
    "a bomb of 512 MiB": (npz(npy(np.zeros((1 << 27), np.float32)), method=zipfile.ZIP_DEFLATED), 7, "E501"),
}


def check(name: str, path: pathlib.Path, status: int, code: str) -> None:
    output = folder / "out"
    words = ["qcc", str(folder / "mlp.onnx"), "--target=avx2", "--precision=int8", f"--calib={path}", "-o", str(output), "-q"]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert done.returncode == status, f"{name}: expected {status}, but got {done.returncode}: {done.stderr}"
    assert f"[QCC-{code}]" in done.stderr and "; " in done.stderr, f"{name}: {done.stderr}"
    assert not output.exists(), name


for name, (data, status, code) in CASES.items():
    path = folder / "data.npz"
    path.write_bytes(data)
    check(name, path, status, code)
check("no file", folder / "none.npz", 5, "E201")
os.mkfifo(folder / "pipe.npz")
check("a pipe, which must not be waited for", folder / "pipe.npz", 5, "E201")
(folder / "set").mkdir()
os.mkfifo(folder / "set" / "input_0.pb")
check("a pipe as test data", folder / "set", 5, "E201")
