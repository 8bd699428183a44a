# Calibrates a model of two inputs on data of many kinds: calibrate_data.py FOLDER
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import statistics_file

folder = pathlib.Path(sys.argv[1])
rng = np.random.default_rng(3)


def weight(name: str, *shape: int) -> onnx.TensorProto:
    return numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)


graph = helper.make_graph(
    [
        helper.make_node("Gather", ["table", "ids"], ["rows"], name="rows"),
        helper.make_node("Add", ["rows", "x"], ["sum"], name="sum"),
        helper.make_node("MatMul", ["sum", "w"], ["y"], name="product"),
        helper.make_node("MatMul", ["x", "w"], ["z"], name="direct"),
    ],
    "g",
    [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 8]),
        helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch"]),
    ],
    [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in "yz"],
    [weight("table", 16, 8), weight("w", 8, 4)],
)
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "m.onnx")


def good(rows: int = 4) -> dict:
    return {"x": rng.standard_normal((rows, 8)).astype(np.float32), "ids": rng.integers(0, 16, rows)}


def changed(**arrays) -> dict:
    return {k: v for k, v in (good() | arrays).items() if v is not None}


def with_value(value: float, rows: int = 4, at: int = 0) -> dict:
    data = good(rows)
    data["x"].flat[at] = value
    return data


def filled(value: float) -> dict:
    return changed(x=np.full((4, 8), value, np.float32))


dead = good()
dead["x"][:, 3] = 0

# name: data, flags, status, words of the message
CASES = {
    # Data that is good.
    "plain": (good(), [], 0, ""),
    "one row": (good(1), [], 0, ""),
    "many rows, the last piece shorter": (good(1001), [], 0, ""),
    "arrays of labels, which nobody asked for": (changed(label=np.arange(4), names=np.array([1.5])), [], 0, ""),
    "such arrays beside rows that are cut": (good(1001) | {"label": np.arange(3), "scale": np.float32(2)}, [], 0, ""),
    "rows in the order of Fortran": (changed(x=np.asfortranarray(good()["x"])), [], 0, ""),
    "zeros": (filled(0), [], 0, ""),
    "minus zeros": (filled(-0.0), [], 0, ""),
    "a constant": (filled(-2.5), [], 0, ""),
    "a channel that is always zero": (dead, [], 0, ""),
    "denormals": (filled(1e-42), [], 0, ""),
    "large magnitudes": (filled(1e30), [], 0, ""),
    # Values that are not finite.
    "NaN": (with_value(np.nan), [], 5, "input 'x' has 1 NaN"),
    "NaN, refused": (with_value(np.nan, 1600), ["--calib-nan=refuse"], 5, "input 'x' has 1 NaN; --calib-nan=skip"),
    "NaN in one sample of 200": (with_value(np.nan, 1600), [], 0, "warning: data.npz row 0: input 'x' has 1 NaN; the sample is left out"),
    "NaN in one sample of 2": (with_value(np.nan, 16, 64), [], 5, f"m.onnx: {folder / 'data.npz'} row 8: input 'x' has 1 NaN"),
    "NaN in one sample of 2, skipped": (with_value(np.nan, 16, 64), ["--calib-nan=skip"], 0, "data.npz row 8"),
    "NaN everywhere, skipped": (filled(np.nan), ["--calib-nan=skip"], 5, "input 'x' has 32 NaN"),
    "infinity": (with_value(np.inf), [], 5, "x.input: 1 of 32 values are NaN or infinite"),
    "infinity, one of many": (with_value(-np.inf, 1000), [], 0, "warning: x.input: 1 of 8000 values"),
    "infinity, refused": (with_value(-np.inf, 1000), ["--calib-nan=refuse"], 5, "x.input: 1 of 8000 values"),
    "infinity everywhere, skipped": (filled(np.inf), ["--calib-nan=skip"], 5, "x.input: 32 of 32 values"),
    "an unknown policy": (good(), ["--calib-nan=perhaps"], 2, "expected tolerate, refuse or skip, but got 'perhaps'"),
    # Arrays that do not fit.
    "no array of an input": (changed(ids=None), [], 5, "no array for input 'ids'; there are 'x'"),
    "an input's name in capitals": (changed(x=None, X=good()["x"]), [], 5, "no array for input 'x'; there are 'ids', 'X'"),
    "no arrays": ({}, [], 5, "no array for input 'x'"),
    "f64": (changed(x=good()["x"].astype(np.float64)), [], 5, "x"),
    "f16": (changed(x=good()["x"].astype(np.float16)), [], 5, "x"),
    "integers for floats": (changed(x=np.ones((4, 8), np.int32)), [], 5, "x"),
    "floats for integers": (changed(ids=np.ones(4, np.float32)), [], 5, "ids"),
    "integers of 32 bits": (changed(ids=np.ones(4, np.int32)), [], 5, "ids"),
    "complex numbers": (changed(x=np.ones((4, 8), np.complex64)), [], 5, "x"),
    "text": (changed(x=np.array(["a", "b"])), [], 5, "x"),
    "another size": (changed(x=np.ones((4, 9), np.float32)), [], 5, "x"),
    "a dimension more": (changed(x=np.ones((4, 8, 1), np.float32)), [], 5, "x"),
    "a dimension less": (changed(x=np.ones(8, np.float32)), [], 5, "x"),
    "a scalar": (changed(x=np.float32(1)), [], 5, "x"),
    "different numbers of rows": (changed(ids=np.zeros(5, np.int64)), [], 5, "ids"),
    "no rows": ({"x": np.zeros((0, 8), np.float32), "ids": np.zeros(0, np.int64)}, [], 5, "samples are empty arrays"),
    "no columns": (changed(x=np.zeros((4, 0), np.float32)), [], 5, "x"),
}


def calibrate(data: pathlib.Path, flags: list[str], status: int, words: str, what: str) -> None:
    output = folder / "out"
    output.unlink(missing_ok=True)
    command = ["qcc", "calibrate", folder / "m.onnx", f"--calib={data}", "-o", output, "--progress=none", *flags]
    done = subprocess.run(list(map(str, command)), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert done.returncode == status, f"{what}: expected {status}, but got {done.returncode}: {done.stderr}"
    assert words in done.stderr, f"{what}: {done.stderr}"
    if status == 0:
        for tensor in statistics_file.read(output)["tensors"]:
            assert tensor["count"] > 0 and np.isfinite([tensor["min"], tensor["max"], *tensor["sums"]]).all(), what
        return
    assert "[QCC-E" in done.stderr and done.stderr.count("\n") == 1, f"{what}: {done.stderr}"
    assert not output.exists(), what


for name, (arrays, flags, status, words) in CASES.items():
    np.savez(folder / "data.npz", **arrays)
    calibrate(folder / "data.npz", flags, status, words, name)

# What is no archive, and folders.
npy = folder / "data.npy"
np.save(npy, good()["x"])
calibrate(npy, [], 5, "data.npy", "an .npy")
(folder / "data.csv").write_text("1,2,3\n")
calibrate(folder / "data.csv", [], 5, "data.csv", "a .csv")
empty = folder / "empty"
empty.mkdir()
calibrate(empty, [], 5, "expected .npz files or test data sets, but got none", "an empty folder")
(empty / "readme.txt").write_text("nothing")
calibrate(empty, [], 5, "expected .npz files or test data sets, but got none", "a folder of something else")
mixed = folder / "mixed"
mixed.mkdir()
np.savez(mixed / "a.npz", **good())
calibrate(mixed, [], 0, "", "a folder")
(mixed / "b.npz").write_bytes(b"PK")
calibrate(mixed, [], 5, "b.npz", "a folder with a broken archive")
np.savez(mixed / "b.npz", **changed(ids=None))
calibrate(mixed, [], 5, f"m.onnx: {mixed / 'b.npz'}: there is no array for input 'ids'", "a folder with an archive that does not fit")
shutil.rmtree(mixed)
sets = folder / "sets" / "test_data_set_0"
sets.mkdir(parents=True)
(sets / "input_0.pb").write_bytes(numpy_helper.from_array(good()["x"]).SerializeToString())
calibrate(sets.parent, [], 5, "no array for input 'ids'", "a test data set with an input missing")
(sets / "input_1.pb").write_bytes(numpy_helper.from_array(good()["ids"]).SerializeToString())
calibrate(sets.parent, [], 0, "", "a test data set")
calibrate(sets, [], 0, "", "a test data set itself")
(sets / "input_1.pb").write_bytes(b"\xff\xff")
calibrate(sets.parent, [], 5, "input_1.pb", "a test data set that is broken")
