#!/usr/bin/env python3
# Speed of products and convolutions whose weights have zero points against ONNX Runtime.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""usage: bench_zero_points.py [--pairs=N] [--before=QCC]

One thread. Random codes of 8 bits with zero point 117, and of 7 bits with zero point 60, in one QLinear or Integer
operation or one between conversions. `--before` is another compiler, whose artifacts take turns with those of this one. Writes
docs/benchmarks/DATE-zero-points-LEVEL.md.
"""

from __future__ import annotations

import argparse
import datetime
import os
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "test" / "Support"))
import harness
import numpy as np
import onnx
import onnxruntime
import qcc
from onnx import TensorProto, helper, numpy_helper

# Name, shapes of input and weight, attributes.
SHAPES = [
    ("convolution 64 to 64, 3 x 3, 28 x 28", (1, 64, 28, 28), (64, 64, 3, 3), {"pads": [1] * 4}),
    ("convolution 64 to 256, 1 x 1, 28 x 28", (1, 64, 28, 28), (256, 64, 1, 1), {}),
    ("convolution in 4 groups, 64 to 64, 3 x 3, 28 x 28", (1, 64, 28, 28), (64, 16, 3, 3), {"pads": [1] * 4, "group": 4}),
    ("depthwise 64, 3 x 3, 28 x 28", (1, 64, 28, 28), (64, 1, 3, 3), {"pads": [1] * 4, "group": 64}),
    ("product of 64 rows, 256 by 256", (64, 256), (256, 256), None),
    ("product of 1 row, 1024 by 1024", (1, 1024), (1024, 1024), None),
]


def save(path: pathlib.Path, form: str, shape: tuple[int, ...], codes: np.ndarray, zero: int, attributes: dict | None) -> None:
    op, attributes = "MatMul" if attributes is None else "Conv", attributes or {}
    arrays = {"xs": np.float32(0.02), "xz": np.uint8(120), "w": codes, "ws": np.float32(0.01), "wz": np.uint8(zero), "ys": np.float32(0.3), "yz": np.uint8(128)}
    if form == "Integer":
        nodes = [helper.make_node(f"{op}Integer", ["x", "w", "xz", "wz"], ["y"], "layer", **attributes)]
    elif form == "QLinear":
        nodes = [helper.make_node(f"QLinear{op}", ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz"], ["y"], "layer", **attributes)]
    else:
        nodes = [
            helper.make_node("DequantizeLinear", ["x", "xs", "xz"], ["xf"]), helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wf"]),
            helper.make_node(op, ["xf", "wf"], ["yf"], "layer", **attributes), helper.make_node("QuantizeLinear", ["yf", "ys", "yz"], ["y"]),
        ]  # fmt: skip
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("y", TensorProto.INT32 if form == "Integer" else TensorProto.UINT8, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items() if name in used],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)


def load_peer(path: pathlib.Path) -> Callable[[np.ndarray], object]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"x": x})


def load(compiler: pathlib.Path, path: pathlib.Path, artifact: pathlib.Path) -> Callable[[np.ndarray], object]:
    harness.run(compiler, path, "-o", artifact, "-q", timeout=600)
    model = qcc.load(artifact, threads=1)
    return lambda x: model({"x": x})


def milliseconds(functions: list[Callable], x: np.ndarray, pairs: int) -> list[float]:
    """Medians of the process's time of a call, in turns; a sample is some calls, of 10 ms and more together."""
    calls = []
    for function in functions:
        function(x)
        start = time.process_time()
        function(x)
        calls.append(max(1, round(0.01 / max(time.process_time() - start, 1e-6))))
    samples = [[] for _ in functions]
    for _ in range(pairs):
        for function, count, taken in zip(functions, calls, samples):
            start = time.process_time()
            for _ in range(count):
                function(x)
            taken.append((time.process_time() - start) / count * 1e3)
    return [statistics.median(taken) for taken in samples]


def measure(folder: pathlib.Path, compilers: list[pathlib.Path], pairs: int) -> list[str]:
    rng, lines = np.random.default_rng(0), []
    for bits, zero in ((8, 117), (7, 60)):
        for name, shape, weight, attributes in SHAPES:
            codes = rng.integers(0, 1 << bits, weight).astype(np.uint8)
            x = rng.integers(0, 256, shape).astype(np.uint8)
            for form in ("QLinear", "Integer", "between conversions"):
                path = folder / "model.onnx"
                save(path, form, shape, codes, zero, attributes)
                functions = [load(compiler, path, folder / f"{len(lines)}-{i}") for i, compiler in enumerate(compilers)]
                times = milliseconds([*functions, load_peer(path)], x, pairs)
                ratios = " | ".join(f"{times[-1] / t:.2f}x" for t in times[:-1])
                lines.append(f"| {name} | {form} | {bits} | " + " | ".join(f"{t:.3f}" for t in times) + f" | {ratios} |")
                print(lines[-1], flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description="weights with zero points")
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--before", type=pathlib.Path, help="another compiler")
    options = parser.parse_args()
    names = (["before"] if options.before else []) + ["qcc"]
    columns = ["operation", "form", "bits", *(f"{name}, ms" for name in names), "ONNX Runtime, ms", *(f"speed of {name}" for name in names)]
    day = datetime.date.today().isoformat()
    head = [
        f"# Weights with zero points, {day}",
        "",
        f"`./dev bench zero_points --pairs={options.pairs}{' --before=QCC' if options.before else ''}` at commit {harness.commit()} on {harness.cpu_name()}, load "
        f"{os.getloadavg()[0]:.1f} at the start, ONNX Runtime",
        f"{onnxruntime.__version__}, one thread, medians of {options.pairs} samples in turns (time of the process). Speed: ONNX Runtime's time over ours.",
        "",
        "| " + " | ".join(columns) + " |",
        "|" + "---|" * len(columns),
    ]
    print("\n".join(head), flush=True)
    with tempfile.TemporaryDirectory(prefix="qcc-bench-") as name:
        compilers = ([options.before] if options.before else []) + [harness.QCC]
        lines = measure(pathlib.Path(name), compilers, options.pairs)
    harness.write_page("zero-points", head + lines)


if __name__ == "__main__":
    main()
