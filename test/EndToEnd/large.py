# A model whose weights lie in an external file of some gigabytes, written here with random numbers.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Its compile takes anonymous memory of at most half of the weights and 700 MB, and its results are right.

QCC_LARGE_MB sets the size of the weights: 192 in `./dev test`, 3072 in `./dev soak`, which needs 2.2 times as much disk.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import tempfile

import harness
import numpy as np
from onnx import TensorProto, helper

WIDTH = 4096  # a weight is 64 MiB
MEMORY_MB = 700


def weight(layer: int) -> np.ndarray:
    """The weight of a layer, the same each time, so that it does not have to be kept."""
    random = np.random.default_rng(layer)
    return random.standard_normal((WIDTH, WIDTH), np.float32) * np.float32(WIDTH**-0.5)


def write(folder: pathlib.Path, layers: int) -> pathlib.Path:
    """Writes a chain of products with a residual each; its model's path."""
    nodes, weights, value = [], [], "x"
    size = WIDTH * WIDTH * 4
    with (folder / "weights.bin").open("wb") as file:
        for layer in range(layers):
            weight(layer).tofile(file)
            tensor = TensorProto(name=f"w{layer}", data_type=TensorProto.FLOAT, dims=[WIDTH, WIDTH])
            tensor.data_location = TensorProto.EXTERNAL
            for key, text in (("location", "weights.bin"), ("offset", layer * size), ("length", size)):
                tensor.external_data.add(key=key, value=str(text))
            weights.append(tensor)
            nodes.append(helper.make_node("MatMul", [value, f"w{layer}"], [f"p{layer}"], f"product{layer}"))
            nodes.append(helper.make_node("Tanh", [f"p{layer}"], [f"t{layer}"], f"tanh{layer}"))
            value = f"t{layer}"
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, WIDTH])]
    outputs = [helper.make_tensor_value_info(value, TensorProto.FLOAT, [2, WIDTH])]
    graph = helper.make_graph(nodes, "large", inputs, outputs, weights)
    path = folder / "model.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString())
    return path


def compile_large(megabytes: int) -> str:
    """Compiles it, checks the memory that it took, and runs it."""
    layers = max(1, megabytes // (WIDTH * WIDTH * 4 >> 20))
    real = layers * (WIDTH * WIDTH * 4 >> 20)
    place = os.environ.get("QCC_LARGE_DIR") or tempfile.gettempdir()
    if shutil.disk_usage(place).free >> 20 < 2.2 * real + 500:
        raise harness.Skip(f"too little space in {place} for {real} MB of weights (QCC_LARGE_DIR names another folder)")
    with tempfile.TemporaryDirectory(prefix="qcc-large-", dir=place) as scratch:
        folder = pathlib.Path(scratch)
        model, artifact = write(folder, layers), folder / "artifact"
        memory, seconds = harness.run_measured(harness.QCC, model, "-o", artifact, "-q", "--target=avx2", timeout=3600)
        limit = 0.5 * real + MEMORY_MB
        if memory > limit:
            raise harness.Failure(f"expected at most {limit:.0f} MB of anonymous memory, but got {memory:.0f} MB")
        x = np.random.default_rng(99).standard_normal((2, WIDTH), np.float32)
        np.savez(folder / "in.npz", x=x)
        harness.run(harness.QCC_RUN, artifact, f"--inputs={folder}/in.npz", f"--outputs={folder}/out.npz")
        for layer in range(layers):
            x = np.tanh(x @ weight(layer))
        with np.load(folder / "out.npz") as got:
            (result,) = got.values()
        error = float(np.abs(result - x).max() / np.abs(x).max())
        if not error <= 1e-4:
            raise harness.Failure(f"expected a difference of at most 1e-4 from NumPy, but got {error:.3g}")
    return f"{real} MB of weights, compiled in {seconds:.0f} s with {memory:.0f} MB, error {error:.1e}"


def all_large(soak: bool) -> list[tuple[str, object]]:
    """The cases of this file."""
    megabytes = int(os.environ.get("QCC_LARGE_MB") or (3072 if soak else 192))
    return [("large/external-data", lambda: compile_large(megabytes))]
