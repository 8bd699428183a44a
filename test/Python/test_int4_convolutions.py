# Convolutions of models that others have given int4 weights: sums are exact, each result the code that f64 rounds to.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
from __future__ import annotations

import json

import numpy as np
import pytest
import qcc
from numpy.lib.stride_tricks import sliding_window_view
from onnx import TensorProto, helper, numpy_helper, save

OUTPUTS, INPUTS, SIZE, OUT_SCALE, OUT_ZERO = 20, 24, 12, 0.25, 128


def model(path, seed):
    """x -> u8 -> convolution with int4 weights and a scale per output -> u8 -> floats; what is known of it."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(-8, 8, (OUTPUTS, INPUTS, 3, 3)).astype(np.int8)
    # Multiples of powers of two: many results lie half-way between two codes.
    scales = np.exp2(rng.integers(-5, -2, OUTPUTS)).astype(np.float32)
    packed = (codes.reshape(-1, 2).astype(np.uint8) & 15) @ np.array([1, 16], np.uint8)
    weight = TensorProto(name="w", data_type=TensorProto.INT4, dims=codes.shape, raw_data=packed.astype(np.uint8).tobytes())
    arrays = {"xs": np.float32(1 / 64), "xz": np.uint8(10), "ws": scales, "ys": np.float32(OUT_SCALE), "yz": np.uint8(OUT_ZERO)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["xq"]), helper.make_node("DequantizeLinear", ["xq", "xs", "xz"], ["xf"]),
        helper.make_node("DequantizeLinear", ["w", "ws"], ["wf"], axis=0), helper.make_node("Conv", ["xf", "wf"], ["c"], "layer"),
        helper.make_node("QuantizeLinear", ["c", "ys", "yz"], ["yq"]), helper.make_node("DequantizeLinear", ["yq", "ys", "yz"], ["y"]),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", INPUTS, SIZE, SIZE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [weight] + [numpy_helper.from_array(np.asarray(value), name) for name, value in arrays.items()],
    )  # fmt: skip
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    return codes, scales


def expected(x, codes, scales):
    inputs = np.clip(np.rint(x * np.float32(64)) + 10, 0, 255) - 10
    windows = sliding_window_view(inputs.astype(np.float64), (3, 3), axis=(2, 3))
    sums = np.einsum("ncijhw,ochw->noij", windows, codes.astype(np.float64)) / 64 * scales[:, None, None]
    return (np.clip(np.rint(sums / OUT_SCALE) + OUT_ZERO, 0, 255) - OUT_ZERO) * OUT_SCALE


@pytest.mark.parametrize("target", ["reference", "avx2"])
def test_results_are_those_of_f64(tmp_path, target):
    codes, scales = model(tmp_path / "m.onnx", 1)
    x = np.random.default_rng(2).standard_normal((3, INPUTS, SIZE, SIZE)).astype(np.float32)
    artifact = qcc.compile(tmp_path / "m.onnx", tmp_path / "m.qcc", target=target)
    (got,) = qcc.load(artifact)({"x": x}).values()
    want = expected(x, codes, scales)
    assert len(np.unique(want)) > 100
    assert np.array_equal(got, want.astype(np.float32))


def test_sums_are_integers(tmp_path):
    model(tmp_path / "m.onnx", 1)
    artifact = qcc.compile(tmp_path / "m.onnx", tmp_path / "m.qcc", target="avx2")
    kinds = {op["op"] for op in json.loads((artifact / "report.json").read_text())["ops"]}
    assert "qcc.int_conv" in kinds and "qcc.conv" not in kinds
