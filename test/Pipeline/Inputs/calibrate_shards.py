# Calibrates a network with symbolic sizes in several ways and compares the files: calibrate_shards.py FOLDER
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import statistics_file

folder = pathlib.Path(sys.argv[1])
rng = np.random.default_rng(7)


def weight(name: str, *shape: int) -> onnx.TensorProto:
    return numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)


def make_model() -> onnx.ModelProto:
    """Convolutions with a residual, concatenation, pooling, two products on one input and a loop-free tail."""
    nodes = [
        ("Conv", ["image", "w1"], ["c1"], {"pads": [1, 1, 1, 1]}),
        ("Relu", ["c1"], ["r1"], {}),
        ("Conv", ["r1", "w2", "b2"], ["c2"], {"pads": [1, 1, 1, 1]}),
        ("Add", ["c2", "r1"], ["sum"], {}),
        ("Concat", ["sum", "r1"], ["cat"], {"axis": 1}),
        ("MaxPool", ["cat"], ["pool"], {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("GlobalAveragePool", ["pool"], ["mean"], {}),
        ("Flatten", ["mean"], ["flat"], {}),
        ("MatMul", ["flat", "w3"], ["left"], {}),
        ("MatMul", ["flat", "w4"], ["right"], {}),
        ("Mul", ["left", "right"], ["y"], {}),
    ]
    graph = helper.make_graph(
        [helper.make_node(op, ins, outs, name=f"n_{outs[0]}", **attrs) for op, ins, outs, attrs in nodes],
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, "height", "width"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 5])],
        [weight("w1", 4, 3, 3, 3), weight("w2", 4, 4, 3, 3), weight("b2", 4), weight("w3", 8, 5), weight("w4", 8, 5)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def qcc(*words: str, status: int = 0) -> str:
    done = subprocess.run(["qcc", *map(str, words)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    assert done.returncode == status, f"{words}: {done.stderr}"
    return done.stderr


model = make_model()
onnx.save(model, folder / "m.onnx")
data = folder / "data"
data.mkdir()
samples = []
for i in range(7):
    # Sizes and magnitudes differ, so that the bins of a shard are not those of the whole.
    image = rng.standard_normal((1 + i % 3, 3, 4 + 2 * (i % 2), 6)).astype(np.float32) * np.float32(2.0 ** (2 * i - 5))
    samples.append(image)
    np.savez(data / f"{i}.npz", image=image)

# Threads.
files = []
for threads in (1, 2, 4):
    files.append(folder / f"threads{threads}")
    qcc("calibrate", folder / "m.onnx", f"--calib={data}", f"--jobs={threads}", "-o", files[-1])
whole = files[0].read_bytes()
for file in files[1:]:
    assert file.read_bytes() == whole, file

# Shards, joined in another order; one of them is empty where there are more shards than samples.
for count in (3, 8):
    parts = []
    for number in range(1, count + 1):
        parts.append(folder / f"part{number}of{count}")
        qcc("calibrate", folder / "m.onnx", f"--calib={data}", f"--shard={number}/{count}", "-o", parts[-1])
    qcc("merge-stats", *reversed(parts), "-o", folder / "joined")
    assert (folder / "joined").read_bytes() == whole, count
assert "2/3 is missing" in qcc("merge-stats", folder / "part1of3", folder / "part3of3", "-o", folder / "x", status=5)
assert "1/3 is in" in qcc("merge-stats", folder / "part1of3", folder / "part1of3", "-o", folder / "x", status=5)
assert "shards out of" in qcc("merge-stats", folder / "part1of3", folder / "part2of8", "-o", folder / "x", status=5)
assert "expected a shard" in qcc("merge-stats", files[0], "-o", folder / "x", status=5)
assert "merge-stats" in qcc(folder / "m.onnx", f"--stats={folder / 'part1of3'}", "-o", folder / "x", status=5)
qcc("merge-stats", "-o", folder / "x", status=2)
qcc("merge-stats", folder / "none", "-o", folder / "x", status=5)
os.mkfifo(folder / "pipe")  # which must not be waited for
qcc("merge-stats", folder / "pipe", "-o", folder / "x", status=5)
qcc(folder / "m.onnx", f"--stats={folder / 'pipe'}", "-o", folder / "x", status=5)
for shard in ("0/3", "4/3", "1", "/", "1/0", "a/b", "-1/2"):
    qcc("calibrate", folder / "m.onnx", f"--calib={data}", f"--shard={shard}", "-o", folder / "x", status=2)
assert not (folder / "x").exists()
# Names of values are gone before equal kernels are shared.
counts = []
for flags in ([], [f"--stats={files[0]}"]):
    command = ["qcc", folder / "m.onnx", "-o", folder / "m.qcc", "--json", "-q", *flags]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True, timeout=120)
    result = json.loads(done.stdout)
    counts.append((result["kernels"], result["launches"]))
assert counts[0] == counts[1], counts
shutil.rmtree(folder / "m.qcc")
# Data that differs in one element is not the same calibration.
samples[6][0, 0, 0, 0] += 1
np.savez(data / "6.npz", image=samples[6])
qcc("calibrate", folder / "m.onnx", f"--calib={data}", "--shard=3/3", "-o", folder / "other")
assert "the data" in qcc("merge-stats", folder / "part1of3", folder / "part2of3", folder / "other", "-o", folder / "x", status=5)
samples[6][0, 0, 0, 0] -= 1

# What they say, against the values that ONNX Runtime computes.
root = statistics_file.read(files[0])
tensors = {t["name"]: t for t in root["tensors"]}
assert root["samples"] == 7
expected = {
    "image.input": ("image", 3),
    "n_c1.output": ("c1", 0),
    "n_r1.output": ("r1", 4),
    "n_sum.output": ("sum", 0),
    "n_cat.output": ("cat", 0),
    "n_pool.output": ("pool", 0),
    "n_left.output": ("left", 0),
    "n_right.output": ("right", 0),
}
assert set(expected) <= set(tensors), sorted(tensors)
for name in ("c1", "r1", "sum", "cat", "pool", "left", "right", "flat"):
    model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
session = onnxruntime.InferenceSession(model.SerializeToString())
names = [o.name for o in session.get_outputs()]
values: dict[str, list] = {"image": samples}
for image in samples:
    for name, value in zip(names, session.run(None, {"image": image})):
        values.setdefault(name, []).append(value)


def close(a, b, what):
    np.testing.assert_allclose(a, b, rtol=2e-5, atol=0, err_msg=what)


def check(tensor: dict, arrays: list, channels: int, what: str) -> None:
    flat = np.concatenate([a.ravel() for a in arrays]).astype(np.float64)
    assert tensor["count"] == flat.size and tensor["non_finite"] == 0, what
    close([tensor["min"], tensor["max"]], [flat.min(), flat.max()], what)
    moments = lambda x: [np.maximum(x, 0).sum(), np.maximum(-x, 0).sum(), (x * x).sum()]
    close(tensor["sums"], moments(flat), what)
    histogram = tensor["histogram"]
    exponent = int(np.frexp(np.abs(flat).max())[1])
    assert histogram["exponent"] == exponent, what
    counted = histogram["positive"].sum() + histogram["negative"].sum() + histogram["zeros"]
    assert counted == flat.size and histogram["zeros"] == (flat == 0).sum(), what
    # A value beside a bin's end may be in the next one.
    bins = np.minimum(np.floor(np.abs(flat) * 2.0 ** (11 - exponent)), 2047).astype(int)
    wanted = np.bincount(bins[flat > 0], minlength=2048)
    assert np.abs(np.cumsum(histogram["positive"]) - np.cumsum(wanted)).max() <= 3, what
    assert tensor.get("channels", {}).get("size", 0) == channels, what
    if not channels:
        return
    for c in range(channels):
        x = np.concatenate([a[:, c].ravel() for a in arrays]).astype(np.float64)
        assert tensor["channels"]["counts"][c] == x.size
        close([tensor["channels"]["min"][c], tensor["channels"]["max"][c]], [x.min(), x.max()], what)
        close(tensor["channels"]["sums"][:, c], moments(x), what)


for name, (value, channels) in expected.items():
    check(tensors[name], values[value], channels, name)
# The input of both products, under one name, with its last axis as channels.
flat = [t for t in root["tensors"] if t.get("channels", {}).get("size") == 8]
assert len(flat) == 1
check(flat[0], values["flat"], 8, flat[0]["name"])
