# Artifacts for machines that this one need not be: their code must come to be; what it computes is shown by test/Targets.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
from __future__ import annotations

import pathlib

import numpy as np
import onnx
import pytest
import qcc
from onnx import TensorProto, helper, numpy_helper

TARGETS = ("avx512", "avx512-vnni", "amx", "avx2+avx512+avx512-vnni+amx")


def save(folder: pathlib.Path, op: str, weight: tuple[int, ...], dims: list) -> pathlib.Path:
    """One layer behind a Relu, and samples of its input."""
    rng = np.random.default_rng(3)
    nodes = [helper.make_node("Relu", ["x"], ["r"]), helper.make_node(op, ["r", "w"], ["y"], "layer")]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, dims)], [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(rng.standard_normal(weight).astype(np.float32), "w")],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9), folder / "m.onnx")
    np.savez(folder / "c.npz", x=rng.standard_normal([size if isinstance(size, int) else 4 for size in dims]).astype(np.float32))
    return folder / "m.onnx"


LAYERS = {
    # Rows of 2 to 16 tiles of inputs, with and without a rest; several tiles of rows and columns.
    **{f"product of {k} inputs": ("MatMul", (k, 250), ["N", 100, k]) for k in (16, 60, 64, 68, 127, 128, 140, 200, 1000)},
    "convolution": ("Conv", (24, 8, 3, 3), ["N", 8, 16, 16]),
    "convolution of whole tiles": ("Conv", (40, 64, 3, 3), ["N", 64, 16, 16]),
    "convolution of odd channels": ("Conv", (40, 35, 3, 3), ["N", 35, 16, 16]),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("precision", ["int8", "w4a8"])
def test_codes(tmp_path, name, precision):
    """Samples run on this machine, with codes that are for the other: what is made while the artifact is written is not looked at before."""
    model = save(tmp_path, *LAYERS[name])
    for i, target in enumerate(TARGETS):
        qcc.compile(model, tmp_path / str(i), precision=precision, calib=tmp_path / "c.npz", target=target)
