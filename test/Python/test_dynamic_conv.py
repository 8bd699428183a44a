# int8 convolutions without calibration data: scales of samples, exact sums, the same results in any batch and on any number of threads.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
from __future__ import annotations

import json
import pathlib

import numpy as np
import onnx
import pytest
import qcc
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

RNG = np.random.default_rng(7)
F = np.float32
# name: input, weight, what the convolution is given, whether a Relu stands before
CASES = {
    "padded": ((3, 24, 9, 11), (40, 24, 3, 3), {"pads": [1, 1, 1, 1]}, False),
    "padded-after-relu": ((3, 24, 9, 11), (40, 24, 3, 3), {"pads": [1, 1, 1, 1]}, True),
    "padded-unevenly": ((2, 19, 10, 7), (21, 19, 3, 2), {"pads": [0, 2, 1, 1], "strides": [2, 1]}, False),
    "pointwise": ((3, 32, 8, 8), (64, 32, 1, 1), {}, False),
    "pointwise-after-relu": ((3, 33, 8, 8), (63, 33, 1, 1), {}, True),
    "first-layer": ((2, 3, 17, 19), (32, 3, 3, 3), {"pads": [1, 1, 1, 1], "strides": [2, 2]}, False),
    "dilated": ((2, 16, 12, 12), (16, 16, 3, 3), {"pads": [2, 2, 2, 2], "dilations": [2, 2]}, False),
    "grouped": ((2, 32, 9, 9), (48, 8, 3, 3), {"pads": [1, 1, 1, 1], "group": 4}, False),
    "depthwise": ((2, 40, 9, 9), (40, 1, 3, 3), {"pads": [1, 1, 1, 1], "group": 40}, False),
    "depthwise-after-relu": ((2, 40, 9, 9), (40, 1, 5, 5), {"pads": [2, 2, 2, 2], "strides": [2, 2], "group": 40}, True),
    "one-dimension": ((3, 20, 31), (24, 20, 5), {"pads": [2, 2]}, False),
    "one-dimension-after-relu": ((3, 20, 31), (24, 20, 5), {"strides": [3]}, True),
}  # fmt: skip


def save(path, name, given="N", relu_after=True):
    """x -> [Relu] -> Conv with a bias -> Relu; returns weight and bias."""
    shape, window, attributes, relu = CASES[name]
    weight = (RNG.standard_normal(window) / np.sqrt(np.prod(window[1:]))).astype(F)
    weight[0] = 0  # a channel whose scale is the least
    bias = RNG.standard_normal(window[0]).astype(F)
    nodes = [helper.make_node("Relu", ["x"], ["a"])] if relu else []
    nodes.append(helper.make_node("Conv", ["a" if relu else "x", "w", "b"], ["c"], "layer", **attributes))
    nodes.append(helper.make_node("Relu" if relu_after else "Identity", ["c"], ["y"]))
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [given, *shape[1:]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9), path)
    return weight, bias


def convolve(codes, weight, attributes):
    """Exact: sums of integers in f64."""
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], **attributes)]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.DOUBLE, None), helper.make_tensor_value_info("w", TensorProto.DOUBLE, None)],
        [helper.make_tensor_value_info("y", TensorProto.DOUBLE, None)],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    return ReferenceEvaluator(model).run(None, {"x": codes.astype(np.float64), "w": weight.astype(np.float64)})[0]


def largest_pair(weight):
    """Scales with which codes of one sign fit in pairs of rows, counted tap by tap (docs/int8.md)."""
    rows = np.moveaxis(weight.reshape(*weight.shape[:2], -1), 1, 2).reshape(len(weight), -1)
    pairs = rows[:, : rows.shape[1] // 2 * 2].reshape(len(rows), -1, 2) * F(0.5)
    sums = [np.maximum(sign * pairs, F(0)).sum(axis=2, dtype=F).max(axis=1) for sign in (F(1), F(-1))]
    return np.maximum(*sums) / F(63.995)


def expected(name, x, weight, bias, relu_after=True):
    """As docs/int8.md defines it, each operation rounded once in f32."""
    _, window, attributes, relu = CASES[name]
    x = np.maximum(x, F(0)) if relu else x
    tall = (-1,) + (1,) * (len(window) - 1)
    steps = np.maximum(np.abs(weight).max(axis=tuple(range(1, len(window)))), F(127 * 2.0**-126)) / F(127)
    if window[1] > 1:  # all targets of this file lack VNNI
        steps = np.maximum(steps, largest_pair(weight))
    codes = np.clip(np.rint(weight / steps.reshape(tall)), -127, 127)
    inner = tuple(range(1, x.ndim))
    high, low = np.maximum(x.max(axis=inner), F(0)), np.minimum(x.min(axis=inner), F(0))
    scale = np.maximum(high / F(255) - low / F(255), F(2.0**-126)).astype(F)
    inverse = F(1) / scale
    zero = np.clip(np.rint(-low * inverse), 0, 255).astype(F)
    rounded = np.clip(np.rint(x * inverse.reshape(tall)), -zero.reshape(tall), 255 - zero.reshape(tall))
    sums = convolve(rounded, codes, attributes)
    assert np.abs(sums).max() < 2**31
    wide = (1, -1) + (1,) * (len(window) - 2)
    with np.errstate(over="ignore"):
        y = sums.astype(F) * (steps.reshape(wide) * scale.reshape(tall)) + bias.reshape(wide)
    return np.maximum(y, F(0)) if relu_after else y


def build(path, artifact, **options):
    return qcc.load(qcc.compile(path, artifact, **{"precision": "int8", "target": "avx2", **options}))


def executed(artifact, node="layer"):
    ops = json.loads((artifact / "report.json").read_text())["ops"]
    return {op["node"]: (op["executed"], op["reason"]) for op in ops}[node]


def sample(name, scale=3, shift=1):
    return (RNG.standard_normal(CASES[name][0]) * scale + shift).astype(F)


@pytest.mark.parametrize("name", CASES)
def test_codes(tmp_path, name):
    """To the last bit what numpy says, alone and in a batch of any size."""
    for given in ("N", 1):
        weight, bias = save(tmp_path / "m.onnx", name, given)
        x = sample(name)
        x[1:] *= F(0.01)  # samples have scales of their own
        model = build(tmp_path / "m.onnx", tmp_path / f"{given}.qcc", target="reference")
        want = expected(name, x, weight, bias)
        alone = np.concatenate([model({"x": x[i : i + 1]})["y"] for i in range(len(x))])
        np.testing.assert_array_equal(alone, want)
        if given == "N":
            np.testing.assert_array_equal(model({"x": x})["y"], want)


def save_chain(path, name, given, between):
    """Two large convolutions around the layer, so that figures are for integers; returns the weights of all, in order."""
    shape, window, attributes, _ = CASES[name]
    channels = window[0]
    sizes = list(shape[2:])
    if window[1] == 1 or name == "padded-unevenly":  # of known sizes f32 is as fast
        sizes[0] = "H"
    names = ["before", "layer", "after"]
    layers = [((window[1] * attributes.get("group", 1), 96, 3, 3), {"pads": [1, 1, 1, 1]}), (window, attributes), ((160, channels, 3, 3), {"pads": [1, 1, 1, 1]})]
    fixed, nodes, value = {}, [], "x"
    for node, (size, given_attributes) in zip(names, layers):
        fixed[f"{node}/w"] = (RNG.standard_normal(size) / np.sqrt(np.prod(size[1:]))).astype(F)
        fixed[f"{node}/b"] = RNG.standard_normal(size[0]).astype(F)
        nodes.append(helper.make_node("Conv", [value, f"{node}/w", f"{node}/b"], [f"{node}/c"], node, **given_attributes))
        nodes.append(helper.make_node(between, [f"{node}/c"], [f"{node}/y"], f"{node}/{between}"))
        value = f"{node}/y"
    nodes[-1].output[0] = "y"
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [given, 96, *sizes])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, key) for key, array in fixed.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9), path)
    return fixed


CHAINS = [(name, "N", "LeakyRelu") for name in ("padded", "pointwise", "grouped", "depthwise", "dilated", "padded-unevenly")]
CHAINS += [("padded", "N", "Relu"), ("depthwise", "N", "Relu"), ("padded", 1, "LeakyRelu"), ("depthwise", 1, "LeakyRelu")]


@pytest.mark.parametrize(("name", "given", "between"), CHAINS)
def test_kernels(tmp_path, name, given, between):
    """The vector kernels give the bits of the reference: between layers are floats that no sum of floats has made, with zero points and
    without, whatever the batch and the number of threads."""
    x = (RNG.standard_normal((3, 96, *CASES[name][0][2:])) + 0.3).astype(F)
    save_chain(tmp_path / "m.onnx", name, given, between)
    fast = build(tmp_path / "m.onnx", tmp_path / "fast.qcc")
    exact = build(tmp_path / "m.onnx", tmp_path / "exact.qcc", target="reference")
    assert [executed(tmp_path / "fast.qcc", node)[0] for node in ("before", "layer", "after")] == ["int8"] * 3
    alone = np.concatenate([fast({"x": x[i : i + 1]})["y"] for i in range(len(x))])
    np.testing.assert_array_equal(alone, np.concatenate([exact({"x": x[i : i + 1]})["y"] for i in range(len(x))]))
    for threads in (1, 2, 4):
        model = qcc.load(tmp_path / "fast.qcc", threads=threads)
        pieces = [x] if given == "N" else [x[i : i + 1] for i in range(len(x))]
        np.testing.assert_array_equal(np.concatenate([model({"x": piece})["y"] for piece in pieces]), alone)


SPECIAL = {
    "zeros": np.zeros, "ones": np.ones, "below": lambda shape: -np.ones(shape), "tiny": lambda shape: np.full(shape, 1e-42),
    "huge": lambda shape: np.where(RNG.random(shape) < 0.5, -3e38, 3e38),
}  # fmt: skip


@pytest.mark.parametrize("name", ["padded", "padded-after-relu", "pointwise", "depthwise"])
def test_special(tmp_path, name):
    """Constant, denormal and huge samples are what the definition says; NaN and infinities stay in their sample, which is not finite."""
    weight, bias = save(tmp_path / "m.onnx", name, relu_after=False)
    for target in ("reference", "avx2"):
        model = build(tmp_path / "m.onnx", tmp_path / "m.qcc", target=target)
        for kind, make in SPECIAL.items():
            x = np.asarray(make(CASES[name][0]), F)
            got = model({"x": x})["y"]
            if executed(tmp_path / "m.qcc")[1] != "kept: not faster":
                want = expected(name, x, weight, bias, relu_after=False)
                np.testing.assert_array_equal(got, want, err_msg=f"{kind} {target}")
        x = sample(name)
        clean = model({"x": x})["y"]
        for bad in (np.nan, -np.nan, np.inf):
            other = x.copy()
            other[1, 2, 3, 4] = bad
            got = model({"x": other})["y"]
            np.testing.assert_array_equal(got[0], clean[0])
            np.testing.assert_array_equal(got[2:], clean[2:])
            # Channel 0 has a weight of zeros, and a zero times NaN is NaN too.
            if executed(tmp_path / "m.qcc")[0] == "int8":
                assert not np.isfinite(got[1]).any(), (bad, target)


def test_empty(tmp_path):
    """No samples, and samples that are padding only."""
    shape, window, attributes, _ = CASES["padded"]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], "layer", **attributes)], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", shape[1], "H", "W"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.ones(window, F), "w")],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9), tmp_path / "m.onnx")
    for target in ("reference", "avx2"):
        model = build(tmp_path / "m.onnx", tmp_path / "m.qcc", target=target)
        assert model({"x": np.zeros((0, 24, 5, 5), F)})["y"].shape == (0, 40, 5, 5)
        got = model({"x": np.zeros((2, 24, 1, 1), F)})["y"]
        np.testing.assert_array_equal(got, np.zeros((2, 40, 1, 1), F))


def test_said(tmp_path):
    """What is not faster says so, `--keep` and `--require-fused` hold, and a transposed convolution with dilations is refused by name."""
    save(tmp_path / "m.onnx", "first-layer")
    build(tmp_path / "m.onnx", tmp_path / "m.qcc", require_fused=True)
    assert executed(tmp_path / "m.qcc") == ("f32", "kept: not faster")
    save(tmp_path / "m.onnx", "padded")
    build(tmp_path / "m.onnx", tmp_path / "m.qcc", require_fused=True)
    assert executed(tmp_path / "m.qcc") == ("int8", "as asked")
    x = sample("padded")
    want = qcc.load(tmp_path / "m.qcc")({"x": x})["y"]
    np.savez(tmp_path / "calib.npz", x=x)
    # 4 bits are for samples to choose, and algorithms choose those of products.
    for more in ({}, {"algo": "gptq", "calib": tmp_path / "calib.npz"}, {"algo": "awq,gptq", "calib": tmp_path / "calib.npz"}):
        model = build(tmp_path / "m.onnx", tmp_path / "w.qcc", precision="w4a8", require_fused=True, **more)
        assert executed(tmp_path / "w.qcc") == ("int8", "kept in int8: 4 bits take calibration data and no --algo")
        np.testing.assert_array_equal(model({"x": x})["y"], want)
    build(tmp_path / "m.onnx", tmp_path / "m.qcc", keep="layer")
    assert executed(tmp_path / "m.qcc") == ("f32", "kept: matches --keep=layer")
    model = onnx.load(tmp_path / "m.onnx")
    model.graph.node[0].op_type = "ConvTranspose"
    model.graph.node[0].attribute.append(helper.make_attribute("dilations", [2, 2]))
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.ones((24, 40, 3, 3), F), "w"))
    onnx.save(model, tmp_path / "t.onnx")
    with pytest.raises(qcc.CompileError, match="'layer'.*transposed convolutions have no kernel"):
        build(tmp_path / "t.onnx", tmp_path / "t.qcc", require_fused=True)


def test_codes_of_the_model_stay(tmp_path):
    """Convolutions between the model's own codes run in integers as they are, at any precision; others beside them get codes."""
    constants = {
        "xs": F(0.05), "xz": np.uint8(120), "w": RNG.integers(-127, 128, (40, 24, 3, 3)).astype(np.int8), "ws": F(0.02), "wz": np.int8(0),
        "f": RNG.standard_normal((40, 40, 3, 3)).astype(F) / F(20),
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["q"]), helper.make_node("DequantizeLinear", ["q", "xs", "xz"], ["a"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["b"]), helper.make_node("Conv", ["a", "b"], ["c"], "own", pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["c", "f"], ["d"], "other", pads=[1, 1, 1, 1]),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 24, 9, 11])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("c", "d")],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9), tmp_path / "m.onnx")
    x = sample("padded")[:2]
    np.savez(tmp_path / "calib.npz", x=x)
    want = build(tmp_path / "m.onnx", tmp_path / "f32.qcc", precision="f32")({"x": x})
    for options in ({"precision": "int8"}, {"precision": "w4a8"}, {"precision": "w4a8", "algo": "gptq", "calib": tmp_path / "calib.npz"}):
        got = build(tmp_path / "m.onnx", tmp_path / "m.qcc", **options)({"x": x})
        ops = json.loads((tmp_path / "m.qcc" / "report.json").read_text())["ops"]
        said = {op["node"]: (op["executed"], op["reason"]) for op in ops if op["op"] == "qcc.int_conv"}
        assert said["own"] == ("int8", "as in the model") and said["other"][0] == "int8"
        np.testing.assert_array_equal(got["c"], want["c"])
        assert np.abs(got["d"] - want["d"]).max() < 0.02 * np.abs(want["d"]).max()
