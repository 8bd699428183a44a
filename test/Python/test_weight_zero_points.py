# Constant weights of bytes with zero points of any value: the integer kernels, and exact sums.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
from __future__ import annotations

import json
import pathlib
import re
import subprocess

import numpy as np
import onnx
import onnxruntime
import pytest
import qcc
from numpy.lib.stride_tricks import sliding_window_view
from onnx import TensorProto, helper, numpy_helper

QCC = pathlib.Path(__file__).resolve().parents[2] / "build" / "bin" / "qcc"
# Powers of two: what an exact sum is rounded to is known.
X_SCALE, W_SCALE, Y_SCALE, X_ZERO, Y_ZERO = 2.0**-6, 2.0**-5, 2.0**-1, 7, 121
CONVOLUTIONS = {"plain": (1, 12, 20, 3), "pointwise": (1, 12, 20, 1), "groups": (4, 12, 20, 3), "depthwise": (12, 12, 12, 3)}


def random_weight(dtype, shape, outputs, per_output, seed=1):
    """Codes of all 8 bits and their zero points: neither 128 nor, of signed ones, 0."""
    rng, low = np.random.default_rng(seed), -128 if dtype == np.int8 else 0
    codes = rng.integers(low, low + 256, shape).astype(dtype)
    zeros = (low + rng.integers(150, 256, outputs if per_output else ())).astype(dtype)
    return codes, zeros


def convolve(x, w, groups):
    """With one pixel of padding for a window of three, in i64."""
    pad = w.shape[2] // 2
    windows = sliding_window_view(np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad))), w.shape[2:], axis=(2, 3))
    parts = zip(np.split(windows, groups, 1), np.split(w, groups, 0))
    return np.concatenate([np.einsum("ncyxij,ocij->noyx", a, b) for a, b in parts], 1)


def save(path, form, op, x, codes, zeros, **attributes):
    """The operation in one of three forms: on integers, on codes, between conversions."""
    arrays = {"xs": np.float32(X_SCALE), "xz": np.uint8(X_ZERO), "w": codes, "wz": zeros, "ys": np.float32(Y_SCALE), "yz": np.uint8(Y_ZERO),
              "ws": np.full(zeros.shape, W_SCALE, np.float32)}  # fmt: skip
    if form == "integer":
        nodes = [helper.make_node(f"{op}Integer", ["x", "w", "xz", "wz"], ["y"], "layer", **attributes)]
    elif form == "codes":
        nodes = [helper.make_node(f"QLinear{op}", ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz"], ["y"], "layer", **attributes)]
    else:
        axis = {"axis": 0 if op == "Conv" else 1} if zeros.ndim else {}
        nodes = [
            helper.make_node("DequantizeLinear", ["x", "xs", "xz"], ["xf"]), helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wf"], **axis),
            helper.make_node(op, ["xf", "wf"], ["yf"], "layer", **attributes), helper.make_node("QuantizeLinear", ["yf", "ys", "yz"], ["y"]),
        ]  # fmt: skip
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.UINT8, ["N", *x.shape[1:]])],
        [helper.make_tensor_value_info("y", TensorProto.INT32 if form == "integer" else TensorProto.UINT8, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items() if name in used],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)


def to_codes(sums):
    return np.clip(np.rint(sums * (X_SCALE * W_SCALE / Y_SCALE)) + Y_ZERO, 0, 255).astype(np.uint8)


def case(name, dtype, per_output):
    """Operation, attributes, input, codes, zero points and the exact sums."""
    rng = np.random.default_rng(2)
    if name == "product":
        x = rng.integers(0, 256, (9, 50)).astype(np.uint8)
        codes, zeros = random_weight(dtype, (50, 37), 37, per_output)
        return "MatMul", {}, x, codes, zeros, (x.astype(np.int64) - X_ZERO) @ (codes.astype(np.int64) - zeros)
    groups, inputs, outputs, window = CONVOLUTIONS[name]
    x = rng.integers(0, 256, (2, inputs, 7, 8)).astype(np.uint8)
    codes, zeros = random_weight(dtype, (outputs, inputs // groups, window, window), outputs, per_output)
    weight = codes.astype(np.int64) - (zeros[:, None, None, None] if per_output else zeros)
    return "Conv", {"group": groups, "pads": [window // 2] * 4}, x, codes, zeros, convolve(x.astype(np.int64) - X_ZERO, weight, groups)


def compile_and_run(path, target, x):
    artifact = qcc.compile(path, path.with_suffix(f".{target}"), target=target)
    return qcc.load(artifact)({"x": x})["y"], json.loads((artifact / "report.json").read_text())["ops"]


@pytest.mark.parametrize("per_output", [False, True])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("form", ["integer", "codes", "float"])
@pytest.mark.parametrize("name", ["product", *CONVOLUTIONS])
def test_exact_on_integer_kernels(tmp_path, name, form, dtype, per_output):
    op, attributes, x, codes, zeros, sums = case(name, dtype, per_output)
    path = tmp_path / "m.onnx"
    save(path, form, op, x, codes, zeros, **attributes)
    want = sums if form == "integer" else to_codes(sums)
    got, rows = compile_and_run(path, "avx2", x)
    assert np.array_equal(got, want)
    products = [row for row in rows if row["op"] in ("qcc.int_conv", "qcc.int_matmul")]
    # A depthwise kernel takes words.
    sums_inputs = name != "depthwise"
    assert len(products) == 1 + sums_inputs and all(row["compute"] == "int8" for row in products)
    assert [row["reason"] for row in products].count("sums codes: the weight has a zero point") == sums_inputs
    # What is left only moves bytes.
    assert all(row["flops_at_sizes"] <= x.size * 2 + got.size * 2 for row in rows if row not in products)
    if form == "integer" and per_output:
        assert np.array_equal(compile_and_run(path, "reference", x)[0], want)


@pytest.mark.parametrize("form", ["integer", "float"])
@pytest.mark.parametrize("name", ["product", "plain", "depthwise"])
def test_differences_of_seven_bits(tmp_path, name, form):
    """They fit signed bytes (reduce_range): no sums of inputs, and kernels that add pairs."""
    op, attributes, x, codes, zeros, sums = case(name, np.uint8, True)
    codes, zeros = codes // np.uint8(2), zeros % np.uint8(2) + np.uint8(63)
    weight = codes.astype(np.int64) - (zeros if op == "MatMul" else zeros[:, None, None, None])
    inputs = x.astype(np.int64) - X_ZERO
    sums = inputs @ weight if op == "MatMul" else convolve(inputs, weight, attributes["group"])
    save(tmp_path / "m.onnx", form, op, x, codes, zeros, **attributes)
    got, rows = compile_and_run(tmp_path / "m.onnx", "avx2", x)
    assert np.array_equal(got, sums if form == "integer" else to_codes(sums))
    assert [row["compute"] for row in rows if row["op"] in ("qcc.int_conv", "qcc.int_matmul")] == ["int8"]
    subprocess.run([QCC, tmp_path / "m.onnx", "-q", "--target=avx2", "--emit=schedule", "-o", tmp_path / "m.mlir"], check=True)
    assert ('"tap"' if name == "depthwise" else '"quad') in (tmp_path / "m.mlir").read_text()


@pytest.mark.parametrize("name", ["product", "plain"])
def test_no_zero_point_of_unsigned_codes(tmp_path, name):
    """It is 0 then, as far from the middle as it can be."""
    op, attributes, x, codes, zeros, _ = case(name, np.uint8, False)
    save(tmp_path / "m.onnx", "integer", op, x, codes, zeros, **attributes)
    model = onnx.load(tmp_path / "m.onnx")
    del model.graph.node[0].input[3]
    del model.graph.initializer[:]
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(a), n) for n, a in {"xz": np.uint8(X_ZERO), "w": codes}.items())
    onnx.save(model, tmp_path / "m.onnx")
    (want,) = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"]).run(None, {"x": x})
    got, rows = compile_and_run(tmp_path / "m.onnx", "avx2", x)
    assert np.array_equal(got, want) and {row["compute"] for row in rows} >= {"int8"}


def test_other_levels(tmp_path):
    """Kernels for VNNI and AMX keep bytes, but for depthwise ones, which have words."""
    for name in ("product", "plain", "groups", "depthwise"):
        op, attributes, x, codes, zeros, _ = case(name, np.uint8, True)
        save(tmp_path / "m.onnx", "codes", op, x, codes, zeros, **attributes)
        for target in ("avx512-vnni", "amx", "avx2+avx512-vnni+amx"):
            out = tmp_path / "m.mlir"
            subprocess.run([QCC, tmp_path / "m.onnx", "-q", f"--target={target}", "--emit=schedule", "-o", out], check=True)
            layouts = re.findall(r'qcc\.pack %\w+ "(tap|dot|dotfit)[:"]', out.read_text())
            assert layouts == ["tap"] if name == "depthwise" else len(layouts) == 2 and "tap" not in layouts, (name, target)
        subprocess.run([QCC, tmp_path / "m.onnx", "-q", "--target=avx512-vnni+amx", "-o", tmp_path / "artifact"], check=True)


def test_shared_sums(tmp_path):
    """Products of one input share the sums of its rows."""
    x = np.random.default_rng(3).integers(0, 256, (4, 32)).astype(np.uint8)
    weights = [random_weight(np.uint8, (32, 24), 24, False, seed) for seed in range(3)]
    nodes = [helper.make_node("MatMulInteger", ["x", f"w{i}", "xz", f"z{i}"], [f"y{i}"], f"layer{i}") for i in range(3)]
    arrays = {"xz": np.uint8(X_ZERO)} | {f"{key}{i}": pair[j] for i, pair in enumerate(weights) for j, key in enumerate("wz")}
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.UINT8, ["N", 32])],
        [helper.make_tensor_value_info(f"y{i}", TensorProto.INT32, None) for i in range(3)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), tmp_path / "m.onnx")
    artifact = qcc.compile(tmp_path / "m.onnx", tmp_path / "artifact", target="avx2")
    outputs = qcc.load(artifact)({"x": x})
    for i, (codes, zero) in enumerate(weights):
        assert np.array_equal(outputs[f"y{i}"], (x.astype(np.int64) - X_ZERO) @ (codes.astype(np.int64) - zero))
    rows = json.loads((artifact / "report.json").read_text())["ops"]
    assert [row["reason"] for row in rows].count("sums codes: the weight has a zero point") == 1


def reasons(tmp_path, nodes, arrays, x, dtype):
    """Reason and compute of the operations of a model that reads x."""
    given = helper.np_dtype_to_tensor_dtype(x.dtype)
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", given, x.shape)], [helper.make_tensor_value_info("y", dtype, None)],
        [array if isinstance(array, TensorProto) else numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), tmp_path / "m.onnx")
    artifact = qcc.compile(tmp_path / "m.onnx", tmp_path / "artifact", target="avx2")
    return [row["reason"] for row in json.loads((artifact / "report.json").read_text())["ops"]]


@pytest.mark.parametrize("kind", ["int16", "uint4"])
def test_codes_of_other_widths_say_so(tmp_path, kind):
    x = np.random.default_rng(1).standard_normal((8, 32)).astype(np.float32)
    weight = np.random.default_rng(2).integers(0, 8, (32, 16)).astype(np.int8)
    arrays = {"s": np.float32(0.05), "z": np.int16(0) if kind == "int16" else np.int8(0), "w": weight, "ws": np.float32(0.01)}
    if kind == "uint4":
        arrays["w"] = helper.make_tensor("w", TensorProto.UINT4, weight.shape, weight.ravel())
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]), helper.make_node("DequantizeLinear", ["q", "s", "z"], ["xf"]),
        helper.make_node("DequantizeLinear", ["w", "ws"], ["wf"]), helper.make_node("MatMul", ["xf", "wf"], ["y"], "layer"),
    ]  # fmt: skip
    why = "codes of more than 8 bits" if kind == "int16" else "codes of 4 bits between conversions"
    assert f"not supported: {why}" in reasons(tmp_path, nodes, arrays, x, TensorProto.FLOAT)


def test_integers_without_a_kernel_say_so(tmp_path):
    rng = np.random.default_rng(1)
    x = rng.integers(0, 255, (1, 4, 5, 5)).astype(np.uint8)
    node = helper.make_node("ConvInteger", ["x", "x", "z"], ["y"], "layer")
    got = reasons(tmp_path, [node], {"z": np.uint8(3)}, x, TensorProto.INT32)
    assert got == ["no kernel: the weight is not constant"]


def test_integers_of_a_model_stay(tmp_path):
    """--precision=int8 without data finds no scales where the model has them."""
    op, attributes, x, codes, zeros, sums = case("plain", np.int8, True)
    save(tmp_path / "m.onnx", "float", op, x, codes, zeros, **attributes)
    artifact = qcc.compile(tmp_path / "m.onnx", tmp_path / "artifact", target="avx2", precision="int8")
    assert np.array_equal(qcc.load(artifact)({"x": x})["y"], to_codes(sums))
    rows = json.loads((artifact / "report.json").read_text())["ops"]
    assert "as in the model" in [row["reason"] for row in rows if row["op"] == "qcc.int_conv"]


def save_wide(path, op, wide):
    """Two layers between conversions, of which the input, the weight or both have 16 bits."""
    rng, shape = np.random.default_rng(3), (32, 32) if op == "MatMul" else (32, 32, 3, 3)
    types = {"a": np.uint16 if "a" in wide else np.uint8, "w": np.int16 if "w" in wide else np.int8}
    last = np.iinfo(types["a"]).max
    arrays = {"as": np.float32(8 / last), "az": types["a"](last // 2), "ws": np.float32(0.2 / np.iinfo(types["w"]).max)}
    nodes, name = [], "x"
    for i in range(2):
        arrays[f"w{i}"] = rng.integers(-100, 100, shape).astype(types["w"]) * types["w"](200 if "w" in wide else 1)
        nodes += [
            helper.make_node("QuantizeLinear", [name, "as", "az"], [f"q{i}"]), helper.make_node("DequantizeLinear", [f"q{i}", "as", "az"], [f"x{i}"]),
            helper.make_node("DequantizeLinear", [f"w{i}", "ws"], [f"f{i}"]), helper.make_node(op, [f"x{i}", f"f{i}"], [f"y{i}"], f"layer{i}"),
        ]  # fmt: skip
        name = f"y{i}"
    x = rng.standard_normal((16, 32) if op == "MatMul" else (16, 32, 12, 12)).astype(np.float32)
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *x.shape[1:]])], [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, key) for key, array in arrays.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    np.savez(path.with_suffix(".npz"), x=x)
    return x


@pytest.mark.parametrize("op", ["MatMul", "Conv"])
@pytest.mark.parametrize("wide", ["a", "w", "aw"])
def test_wide_codes_are_not_rounded_again(tmp_path, op, wide):
    x = save_wide(tmp_path / "m.onnx", op, wide)
    expected = qcc.load(qcc.compile(tmp_path / "m.onnx", tmp_path / "f32"))({"x": x})["y1"]
    for name, flags in {"data": {"calib": tmp_path / "m.npz"}, "none": {}}.items():
        artifact = qcc.compile(tmp_path / "m.onnx", tmp_path / name, precision="int8", **flags)
        assert np.array_equal(qcc.load(artifact)({"x": x})["y1"], expected), name
        rows = json.loads((artifact / "report.json").read_text())["ops"]
        layers = [(row.get("executed", "f32"), row["reason"]) for row in rows if row["node"].startswith("layer")]
        assert layers == [("f32", "not supported: codes of more than 8 bits")] * 2


@pytest.mark.parametrize("wide", ["", "aw"])
def test_codes_of_a_model_are_written_as_they_are(tmp_path, wide):
    save_wide(tmp_path / "m.onnx", "Conv", wide)
    command = [QCC, tmp_path / "m.onnx", "--precision=int8", f"--calib={tmp_path / 'm.npz'}", "--emit=qdq-onnx", "-o", tmp_path / "w.onnx"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "--emit=qdq-onnx adds nothing to the codes that the model has already" in done.stderr, done.stderr
    before, after = (onnx.load(tmp_path / name).graph for name in ("m.onnx", "w.onnx"))
    assert [(n.op_type, n.input, n.output) for n in before.node] == [(n.op_type, n.input, n.output) for n in after.node]
    assert list(before.initializer) == list(after.initializer)


def test_float_layers_behind_codes_are_written(tmp_path):
    """The pairs of the model stay, and those that int8 adds stand behind them."""
    x = save_wide(tmp_path / "m.onnx", "Conv", "")
    model = onnx.load(tmp_path / "m.onnx")
    weight = np.random.default_rng(4).standard_normal((128, 32, 3, 3)).astype(np.float32)
    model.graph.node.extend([helper.make_node("Relu", ["y1"], ["r"], "relu"), helper.make_node("Conv", ["r", "v"], ["y"], "plain")])
    model.graph.initializer.append(numpy_helper.from_array(weight, "v"))
    model.graph.output[0].name = "y"
    onnx.save(model, tmp_path / "m.onnx")
    qcc.compile(tmp_path / "m.onnx", tmp_path / "w.onnx", precision="int8", calib=tmp_path / "m.npz", emit="qdq-onnx")
    nodes = [node.op_type for node in onnx.load(tmp_path / "w.onnx").graph.node]
    assert nodes.count("QuantizeLinear") == 3 and nodes.count("DequantizeLinear") == 6
    expected = qcc.load(qcc.compile(tmp_path / "m.onnx", tmp_path / "int8", precision="int8", calib=tmp_path / "m.npz"))({"x": x})["y"]
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # its sums of pairs saturate
    got = onnxruntime.InferenceSession(tmp_path / "w.onnx", options).run(None, {"x": x})[0]
    cosine = (got * expected).sum() / np.linalg.norm(got) / np.linalg.norm(expected)
    assert cosine > 0.9999
