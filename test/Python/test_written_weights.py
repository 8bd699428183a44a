# What --emit=qdq-onnx makes of weights of short floats and of those behind Transpose, Reshape and Cast.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
from __future__ import annotations

import json

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
import qcc
from onnx import TensorProto, helper, numpy_helper

RNG = np.random.default_rng(12)
LAYERS = ("conv", "gemm", "transposed", "chain", "cast")
DTYPES = {TensorProto.FLOAT: np.float32, TensorProto.FLOAT16: np.float16, TensorProto.BFLOAT16: ml_dtypes.bfloat16}


def save(path, kind):
    """Layers as exporters write them: a Gemm with transB, weights that operators move, and one that is cast to float."""
    weights = {"w": RNG.standard_normal((48, 16, 3, 3)) / 12, "wb": RNG.standard_normal(48), "k": RNG.standard_normal((80, 48)) / 7,
               "kb": RNG.standard_normal(80), "t": RNG.standard_normal((64, 80)) / 9, "c": RNG.standard_normal((2, 64, 36)) / 8}  # fmt: skip
    constants = [numpy_helper.from_array(a.astype(DTYPES[kind]), n) for n, a in weights.items()]
    half = TensorProto.FLOAT16 if kind == TensorProto.FLOAT else kind
    constants += [numpy_helper.from_array((RNG.standard_normal((40, 72)) / 8).astype(DTYPES[half]), "h"),
                  numpy_helper.from_array(np.int64([64, 72]), "shape"),
                  numpy_helper.from_array(np.int64([2, 3]), "axes")]  # fmt: skip
    def node(op, inputs, output, name=None, **flags):
        return helper.make_node(op, inputs.split(), [output], name or output, **flags)

    # Files of samples have no bfloat16.
    given = TensorProto.FLOAT if kind == TensorProto.BFLOAT16 else kind
    nodes = [node("Cast", "x", "xk", to=kind)] if kind != given else []
    nodes += [
        node("Conv", f"{'xk' if nodes else 'x'} w wb", "a", "conv", pads=[1, 1, 1, 1]), node("Relu", "a", "b"), node("ReduceMean", "b axes", "e", keepdims=0),
        node("Gemm", "e k kb", "f", "gemm", transB=1), node("Relu", "f", "g"),
        node("Transpose", "t", "tt", perm=[1, 0]), node("Identity", "tt", "ti"), node("MatMul", "g ti", "i", "transposed"), node("Relu", "i", "j"),
        node("Transpose", "c", "ct", perm=[1, 0, 2]), node("Reshape", "ct shape", "cr"), node("MatMul", "j cr", "l", "chain"),
        node("Cast", "l", "lf", to=TensorProto.FLOAT), node("Cast", "h", "hf", to=TensorProto.FLOAT), node("Transpose", "hf", "ht"),
        node("MatMul", "lf ht", "y", "cast"),
    ]  # fmt: skip
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", given, ["N", 16, 12, 12])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 40])], constants)  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9), path)


def run_peer(path, feed):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"]).run(None, feed)[0]


@pytest.mark.parametrize(("kind", "flags"), [(TensorProto.FLOAT, {}), (TensorProto.FLOAT16, {}), (TensorProto.FLOAT16, {"no_correct_bias": True}),
                         (TensorProto.BFLOAT16, {})], ids=["f32", "f16", "f16 without corrections", "bf16"])  # fmt: skip
def test_weights_of_exporters(tmp_path, kind, flags):
    save(tmp_path / "m.onnx", kind)
    x = RNG.random((24, 16, 12, 12), np.float32).astype(np.float16 if kind == TensorProto.FLOAT16 else np.float32)
    np.savez(tmp_path / "c.npz", x=x[:16])
    low = qcc.compile(tmp_path / "m.onnx", tmp_path / "low", precision="int8", calib=tmp_path / "c.npz", min_cos=0, **flags)
    executed = {op["node"]: op["executed"] for op in json.loads((low / "report.json").read_text())["ops"]}
    assert [executed[name] for name in LAYERS] == ["int8"] * len(LAYERS)
    path = qcc.compile(tmp_path / "m.onnx", tmp_path / "q.onnx", emit="qdq-onnx", precision="int8", calib=tmp_path / "c.npz", min_cos=0, **flags)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert not {"Transpose", "Reshape"} & {node.op_type for node in model.graph.node}
    assert {t.data_type for t in model.graph.initializer if len(t.dims) > 1} == {TensorProto.INT8}
    feed = {"x": x[16:]}
    got, again = (qcc.load(artifact)(feed)["y"] for artifact in (low, qcc.compile(path, tmp_path / "again")))
    np.testing.assert_allclose(got, again, atol=1e-5 * np.abs(got).max())
    # ONNX Runtime has no bfloat16 on CPUs.
    if kind != TensorProto.BFLOAT16:
        assert np.abs(got - run_peer(path, feed)).max() < 0.02 * np.abs(got).max()
