# Operators of the qonnx domain against their published definitions (test/EndToEnd/numpy_graph.py).
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import pathlib
import sys

import numpy as np
import onnx
import onnx.numpy_helper
import pytest
import qcc
from onnx import TensorProto, helper

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "EndToEnd"))
import numpy_graph

DOMAIN = "qonnx.custom_op.general"


def number(value):
    return np.array(value, np.float32)


def build(nodes, version=1):
    """Every node reads x and writes an output of its own; the other inputs are constants."""
    weights, made, outputs = [], [], []
    for i, (op, inputs, attributes) in enumerate(nodes):
        names = [f"c{i}_{k}" for k in range(len(inputs))]
        weights += [onnx.numpy_helper.from_array(np.asarray(a, np.float32), n) for a, n in zip(inputs, names)]
        made.append(helper.make_node(op, ["x", *names], [f"y{i}"], f"{op}{i}", domain=DOMAIN, **attributes))
        outputs.append(helper.make_tensor_value_info(f"y{i}", TensorProto.FLOAT, ["n", 4]))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, version)]
    return helper.make_model(helper.make_graph(made, "g", [x], outputs, weights), opset_imports=opsets, ir_version=8)


def check(folder, model):
    folder.mkdir(exist_ok=True)
    onnx.save(model, str(folder / "m.onnx"))
    compiled = qcc.load(qcc.compile(folder / "m.onnx", folder / "m.qcc"))
    rng = np.random.default_rng(5)
    halves = np.arange(-40, 40, dtype=np.float32).reshape(-1, 4) / 4
    wide = (rng.standard_normal((400, 4)) * 2.0 ** rng.integers(-12, 10, (400, 4))).astype(np.float32)
    x = np.concatenate([halves, wide])
    got, want = compiled({"x": x}), numpy_graph.evaluate(model, {"x": x})
    for name, value in want.items():
        np.testing.assert_array_equal(got[name], value, name)


def test_int_quant(tmp_path):
    channel = number([0.25, 0.5, 1, 2])
    nodes = [
        ("IntQuant", [number(0.5), number(zero), number(bits)], {"signed": signed, "narrow": narrow, "rounding_mode": mode})
        for bits, zero in ((8, 0), (4, 3), (2, 0))
        for signed in (0, 1)
        for narrow in (0, 1)
        for mode in ("ROUND", "CEIL", "FLOOR", "UP", "DOWN", "HALF_UP", "half_down")
    ]
    nodes += [("Quant", [channel, number(0), number(4)], {}), ("BipolarQuant", [channel], {})]
    check(tmp_path, build(nodes))


def test_trunc(tmp_path):
    modes = ("ROUND", "CEIL", "floor")
    first = [("Trunc", [number(0.5), number(0), number(10), number(8)], {"rounding_mode": m}) for m in modes]
    check(tmp_path / "first", build(first))
    second = [
        ("Trunc", [number(0.5), number(0), number(10), number(2), number(4)], {"rounding_mode": m, "signed": s, "narrow": n})
        for m in modes
        for s, n in ((1, 0), (1, 1), (0, 0))
    ]
    check(tmp_path / "second", build(second, version=2))


def test_float_quant(tmp_path):
    # OCP's E4M3 and E5M2, E2M1, and one with a scale per channel.
    forms = [(4, 3, 7, 448), (5, 2, 15, 57344), (2, 1, 1, 6), (3, 2, 3, 28), (8, 7, 127 - 60, 1e30)]
    nodes = [
        ("FloatQuant", [number(s), number(e), number(m), number(b), number(top)], {"rounding_mode": mode})
        for e, m, b, top in forms
        for s in (1, [0.5, 1, 3, 0.1])
        for mode in ("ROUND", "CEIL", "FLOOR")
    ]
    check(tmp_path, build(nodes))


@pytest.mark.parametrize("mode", ["NEAREST", ""])
def test_unknown_rounding(tmp_path, mode):
    onnx.save(build([("Quant", [number(1), number(0), number(4)], {"rounding_mode": mode})]), str(tmp_path / "m.onnx"))
    with pytest.raises(qcc.CompileError, match="Quant0.*rounding_mode"):
        qcc.compile(tmp_path / "m.onnx", tmp_path / "m.qcc")
