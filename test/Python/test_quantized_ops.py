# Operators on codes against ONNX Runtime, on random inputs.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import onnx.numpy_helper
import onnxruntime
import pytest
import qcc
from onnx import TensorProto, helper

NUMBERS = {
    np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.uint8): TensorProto.UINT8, np.dtype(np.int8): TensorProto.INT8,
    np.dtype(np.int32): TensorProto.INT32, np.dtype(np.int64): TensorProto.INT64, np.dtype(bool): TensorProto.BOOL,
    np.dtype(np.float16): TensorProto.FLOAT16, np.dtype(np.uint16): TensorProto.UINT16,
    np.dtype(np.int16): TensorProto.INT16,
}  # fmt: skip
RNG = np.random.default_rng(11)


def u8(*shape):
    return RNG.integers(0, 256, shape).astype(np.uint8)


def i8(*shape):
    return RNG.integers(-128, 128, shape).astype(np.int8)


def i7(*shape):
    """Weights of 7 bits: without VNNI ONNX Runtime adds pairs of products of u8 and i8 in 16 bits, which saturate."""
    return RNG.integers(-64, 64, shape).astype(np.int8)


def f32(*shape, scale=1.0):
    return (RNG.standard_normal(shape) * scale).astype(np.float32)


def number(value, dtype=np.float32):
    return np.array(value, dtype)


@dataclasses.dataclass
class Case:
    """A node; `given` are inputs at run time, `fixed` weights, by their position."""

    op: str
    given: dict[int, np.ndarray]
    fixed: dict[int, np.ndarray]
    outputs: list[type]
    attributes: dict = dataclasses.field(default_factory=dict)
    domain: str = "com.microsoft"
    # Scales here have no small quotients, whose ties would be many.
    # Part of the codes that may be one off: values next to the middle between two, which other orders of arithmetic
    # bring to the other side.
    off: float = 0.0
    # Of floats, of the largest magnitude.
    tolerance: float = 1e-6
    # Elements of the fixed inputs that files have packed in nibbles, by position.
    packed: dict[int, int] = dataclasses.field(default_factory=dict)


Z = np.uint8
PAIR = {1: number(0.02973), 2: number(120, Z), 4: number(0.02119), 5: number(131, Z), 6: number(0.05087), 7: number(117, Z)}
UNARY = {1: number(0.04), 2: number(125, Z), 3: number(0.0041), 4: number(3, Z)}


def packed_matmul(bits, zeros, n=24, k=72, block=32, group=False, bias=False):
    """MatMulNBits with blocks that do not fill K."""
    blocks = -(-k // block)
    fixed = {1: u8(n, blocks, block * bits // 8), 2: np.abs(f32(n, blocks, scale=0.1)) + np.float32(0.01)}
    if zeros == "packed":
        fixed[3] = u8(n, -(-blocks * bits // 8))
    elif zeros == "float":
        fixed[3] = (RNG.random((n, blocks)) * 2**bits).astype(np.float32)
    if group:
        fixed[4] = RNG.integers(0, blocks, k).astype(np.int32)
    if bias:
        fixed[5] = f32(n)
    return Case("MatMulNBits", {0: f32(5, k)}, fixed, [np.float32], {"K": k, "N": n, "bits": bits, "block_size": block},
                tolerance=2e-6)  # fmt: skip


def conv(**options):
    fixed = {1: number(0.02), 2: number(120, Z), 3: i7(6, 2, 3, 3), 4: (RNG.random(6) / 40 + 0.01).astype(np.float32),
             5: np.zeros(6, np.int8), 6: number(0.4), 7: number(110, Z)}  # fmt: skip
    return Case("QLinearConv", {0: u8(2, 4, 9, 10)}, fixed | {8: RNG.integers(-999, 999, 6).astype(np.int32)}, [Z],
                {"pads": [1, 0, 2, 1], "strides": [2, 1], "group": 2} | options, "", 0.002)  # fmt: skip


CASES = {
    "add": Case("QLinearAdd", {0: u8(3, 40), 3: u8(40)}, PAIR, [Z], off=0.01),
    "mul": Case("QLinearMul", {0: u8(3, 40), 3: u8(3, 1)}, PAIR, [Z], off=0.01),
    "sigmoid": Case("QLinearSigmoid", {0: u8(300)}, UNARY, [Z]),
    "leaky": Case("QLinearLeakyRelu", {0: u8(300)}, UNARY, [Z], {"alpha": 0.1}),
    "sigmoid-no-zero": Case("QLinearSigmoid", {0: u8(300)}, {1: number(0.04), 3: number(0.0041), 4: number(3, Z)}, [Z]),
    "leaky-no-zero": Case("QLinearLeakyRelu", {0: u8(300)}, {1: number(0.04), 3: number(0.0441), 4: number(3, Z)}, [Z], {"alpha": 0.1}, off=0.02),
    "softmax": Case("QLinearSoftmax", {0: u8(4, 5, 12)}, {1: number(0.05), 2: number(100, Z), 3: number(1 / 256), 4: number(0, Z)},
                    [Z], {"axis": -1, "opset": 13}, off=0.02),
    "softmax-12": Case("QLinearSoftmax", {0: u8(4, 3, 5)}, {1: number(0.05), 2: number(100, Z), 3: number(1 / 256), 4: number(0, Z)},
                       [Z], {"axis": 1, "opset": 12}, off=0.02),
    "concat": Case("QLinearConcat", {2: u8(2, 9), 5: u8(3, 9)},
                   {0: number(0.03), 1: number(128, Z), 3: number(0.02), 4: number(100, Z), 6: number(0.05), 7: number(140, Z)},
                   [Z], {"axis": 0}),
    "average-pool": Case("QLinearAveragePool", {0: u8(2, 3, 9, 8)}, {1: number(0.02973), 2: number(120, Z), 3: number(0.02031), 4: number(110, Z)},
                         [Z], {"kernel_shape": [3, 2], "pads": [1, 0, 1, 1], "strides": [2, 2]}, off=0.01),
    "average-pool-last": Case("QLinearAveragePool", {0: u8(2, 9, 8, 3)}, {1: number(0.02973), 2: number(120, Z), 3: number(0.02031), 4: number(110, Z)},
                              [Z], {"kernel_shape": [3, 2], "channels_last": 1}, off=0.01),
    "global-pool": Case("QLinearGlobalAveragePool", {0: u8(2, 5, 6, 7)}, {1: number(0.02973), 2: number(120, Z), 3: number(0.01017), 4: number(110, Z)},
                        [Z], off=0.05),
    "global-pool-last": Case("QLinearGlobalAveragePool", {0: u8(2, 6, 7, 5)}, {1: number(0.02973), 2: number(120, Z), 3: number(0.01017), 4: number(110, Z)},
                             [Z], {"channels_last": 1}, off=0.05),
    "where": Case("QLinearWhere", {0: RNG.random((3, 8)) < 0.5, 1: u8(3, 8), 4: u8(8)},
                  {2: number(0.03), 3: number(120, Z), 5: number(0.05), 6: number(99, Z), 7: number(0.06), 8: number(128, Z)}, [Z]),
    "gemm": Case("QGemm", {0: u8(4, 33)}, {1: number(0.02), 2: number(120, Z), 3: i7(9, 33), 4: number(0.01), 5: number(3, np.int8),
                 6: RNG.integers(-999, 999, 9).astype(np.int32), 7: number(0.3), 8: number(100, Z)}, [Z], {"transB": 1}, off=0.03),
    "gemm-float": Case("QGemm", {0: u8(4, 33)}, {1: number(0.02), 2: number(120, Z), 3: i7(33, 9), 4: (RNG.random(9) / 99).astype(np.float32),
                       5: np.zeros(9, np.int8)}, [np.float32], {"alpha": 0.5}),
    "dynamic": Case("DynamicQuantizeMatMul", {0: f32(3, 5, 40)}, {1: i7(40, 7), 2: (RNG.random(7) / 99).astype(np.float32), 3: i8(7) // 32,
                    4: f32(7)}, [np.float32], tolerance=1e-5),
    "to-float": Case("MatMulIntegerToFloat", {0: u8(5, 40)}, {1: i7(40, 7), 2: number(0.02), 3: (RNG.random(7) / 99).astype(np.float32),
                     4: number(120, Z), 5: i8(7) // 32, 6: f32(7)}, [np.float32], tolerance=1e-5),
    "dynamic-linear": Case("DynamicQuantizeLinear", {0: f32(6, 50)}, {}, [Z, np.float32, Z], domain=""),
    "dynamic-zeros": Case("DynamicQuantizeLinear", {0: np.zeros((2, 5), np.float32)}, {}, [Z, np.float32, Z], domain=""),
    "matmul-integer": Case("MatMulInteger", {0: u8(2, 6, 40), 1: i7(2, 40, 7)}, {2: number(77, Z), 3: number(-3, np.int8)}, [np.int32], domain=""),
    "conv-integer": Case("ConvInteger", {0: u8(2, 3, 9, 9), 1: u8(5, 3, 3, 3)}, {2: number(77, Z), 3: number(9, Z)}, [np.int32],
                         {"pads": [1, 1, 1, 1], "dilations": [2, 1]}, ""),
    "conv": conv(),
    "conv-plain": conv(group=2, strides=[1, 1], pads=[0, 0, 0, 0], dilations=[2, 2]),
    "matmul": Case("QLinearMatMul", {0: u8(2, 5, 40)}, {1: number(0.02), 2: number(120, Z), 3: i7(40, 7), 4: number(0.01), 5: number(3, np.int8),
                   6: number(0.2), 7: number(100, Z)}, [Z], domain="", off=0.01),
    "max-pool": Case("NhwcMaxPool", {0: i8(2, 9, 8, 3)}, {}, [np.int8], {"kernel_shape": [3, 2], "pads": [1, 0, 1, 1], "strides": [2, 1]}),
    "nbits-4": packed_matmul(4, None),
    "nbits-4-packed": packed_matmul(4, "packed", bias=True),
    "nbits-4-float": packed_matmul(4, "float"),
    "nbits-8": packed_matmul(8, "packed"),
    "nbits-2": packed_matmul(2, None, k=64),
    "nbits-2-packed": packed_matmul(2, "packed", k=96, block=16),
    "gather-8": Case("GatherBlockQuantized", {1: np.array([[0, 5], [9, 2]], np.int64)}, {0: u8(10, 64), 2: f32(10, 2), 3: u8(10, 2)}, [np.float32],
                     {"bits": 8, "block_size": 32, "quantize_axis": 1, "gather_axis": 0}),
    "gather-4": Case("GatherBlockQuantized", {1: np.array([3, 0, 9], np.int32)}, {0: u8(10, 32), 2: f32(10, 4)}, [np.float32],
                     {"bits": 4, "block_size": 16, "quantize_axis": 1, "gather_axis": 0}),
    "gather-4-odd": Case("GatherBlockQuantized", {1: np.array([3, -1, 9], np.int32)}, {0: u8(10, 24), 2: f32(10, 3), 3: u8(10, 2)}, [np.float32],
                         {"bits": 4, "block_size": 16, "quantize_axis": 1, "gather_axis": 0}),
    "fused-conv": Case("FusedConv", {0: f32(1, 3, 8, 9), 3: f32(1, 4, 6, 7)}, {1: f32(4, 3, 3, 3), 2: f32(4)}, [np.float32],
                       {"activation": "Relu"}, tolerance=1e-5),
    "fused-conv-clip": Case("FusedConv", {0: f32(1, 3, 8, 9)}, {1: f32(4, 3, 3, 3)}, [np.float32],
                            {"activation": "Clip", "activation_params": [-0.5, 2.0], "pads": [1, 1, 1, 1]}, tolerance=1e-5),
    "fused-gemm": Case("FusedGemm", {0: f32(5, 8)}, {1: f32(6, 8), 2: f32(6)}, [np.float32],
                       {"activation": "LeakyRelu", "activation_alpha": 0.3, "transB": 1, "alpha": 0.5, "beta": 2.0}, tolerance=1e-5),
    "attention": Case("QAttention", {0: u8(2, 6, 16), 5: np.array([4, 6], np.int32)},
                      {1: i7(16, 48), 2: f32(48), 3: number(0.01), 4: number(0.005), 6: number(120, Z), 7: number(3, np.int8)}, [np.float32],
                      {"num_heads": 4}, tolerance=1e-5),
    "attention-causal": Case("QAttention", {0: u8(2, 6, 16)}, {1: i7(16, 48), 2: f32(48), 3: number(0.01),
                             4: (RNG.random(48) / 99).astype(np.float32), 6: number(120, Z), 7: np.zeros(48, np.int8)}, [np.float32],
                             {"num_heads": 2, "unidirectional": 1}, tolerance=1e-5),
    "q-axis": Case("QuantizeLinear", {0: f32(2, 5, 7, scale=9)}, {1: (RNG.random(5) + 0.1).astype(np.float32), 2: i8(5)}, [np.int8],
                   {"axis": 1}, ""),
    "q-u16": Case("QuantizeLinear", {0: f32(50, scale=9000)}, {1: number(0.31), 2: number(30000, np.uint16)}, [np.uint16], domain=""),
    "q-blocked": Case("QuantizeLinear", {0: f32(3, 50, scale=90)}, {1: (RNG.random((3, 4)) + 0.1).astype(np.float32), 2: u8(3, 4)}, [Z],
                      {"axis": 1, "block_size": 16}, ""),
    "dq-blocked": Case("DequantizeLinear", {0: i8(3, 50, 2)}, {1: f32(3, 4, 2), 2: i8(3, 4, 2)}, [np.float32], {"axis": 1, "block_size": 16}, ""),
    "dq-i32": Case("DequantizeLinear", {0: RNG.integers(-(2**28), 2**28, (2, 3)).astype(np.int32)}, {1: f32(3)}, [np.float32], {"axis": -1}, ""),
    "dq-i16": Case("DequantizeLinear", {0: RNG.integers(-(2**15), 2**15, 99).astype(np.int16)}, {1: number(0.7), 2: number(-5, np.int16)},
                   [np.float32], domain=""),
}  # fmt: skip


def make(case: Case) -> onnx.ModelProto:
    """The model of a case, whose other inputs are left out."""
    last = max([*case.given, *case.fixed])
    names = [f"i{i}" if i in case.given or i in case.fixed else "" for i in range(last + 1)]
    outputs = [f"o{i}" for i in range(len(case.outputs))]
    node = helper.make_node(case.op, names, outputs, case.op, domain=case.domain, **case.attributes)
    graph = helper.make_graph(
        [node], "g",
        [helper.make_tensor_value_info(f"i{i}", NUMBERS[a.dtype], a.shape) for i, a in case.given.items()],
        [helper.make_tensor_value_info(name, NUMBERS[np.dtype(t)], None) for name, t in zip(outputs, case.outputs)],
        [onnx.numpy_helper.from_array(a, f"i{i}") for i, a in case.fixed.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


@pytest.mark.parametrize("name", CASES)
def test_operator(tmp_path, name):
    case, path = CASES[name], tmp_path / "m.onnx"
    model = make(case)
    onnx.save(model, str(path))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feed = {f"i{i}": a for i, a in case.given.items()}
    compiled = qcc.load(qcc.compile(path, tmp_path / "m.qcc"))(feed)
    for i, want in enumerate(session.run(None, feed)):
        got = compiled[f"o{i}"]
        assert got.dtype == want.dtype and got.shape == want.shape
        gap = np.abs(got.astype(np.float64) - want.astype(np.float64))
        if want.dtype == np.float32:
            assert gap.max() <= case.tolerance * np.abs(want).max(), f"{gap.max()} of {np.abs(want).max()}"
        else:
            assert gap.max() <= 1 and np.mean(gap != 0) <= case.off, f"{np.mean(gap != 0)} differ, up to {gap.max()}"


def test_groups_out_of_order(tmp_path):
    """g_idx, which ONNX Runtime has only on some devices: rows name their block."""
    case, path = packed_matmul(4, "packed", group=True), tmp_path / "m.onnx"
    onnx.save(make(case), str(path))
    a, bytes_, scales, zeros, groups = case.given[0], case.fixed[1], case.fixed[2], case.fixed[3], case.fixed[4]
    n, k = 24, 72
    flat = bytes_.reshape(n, -1)
    codes = np.stack([flat & 15, flat >> 4], -1).reshape(n, -1)[:, :k].astype(np.float64)
    nibbles = np.stack([zeros & 15, zeros >> 4], -1).reshape(n, -1)
    weight = (codes - nibbles[:, groups]) * scales[:, groups]
    got = qcc.load(qcc.compile(path, tmp_path / "m.qcc"))({"i0": a})["o0"]
    want = a.astype(np.float64) @ weight.T
    np.testing.assert_allclose(got, want, atol=2e-6 * np.abs(want).max())


def test_int4_rows(tmp_path):
    """GatherBlockQuantized of int4, whose blocks lie before the axis that is gathered."""
    codes = RNG.integers(-8, 8, (32, 6)).astype(np.int8)
    scales = f32(2, 6)
    graph = helper.make_graph(
        [helper.make_node("GatherBlockQuantized", ["w", "i", "s"], ["y"], "rows", domain="com.microsoft",
                          gather_axis=1, quantize_axis=0, block_size=16)], "g",
        [helper.make_tensor_value_info("i", TensorProto.INT64, [2, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [helper.make_tensor("w", TensorProto.INT4, codes.shape, codes.ravel()), onnx.numpy_helper.from_array(scales, "s")],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), str(path))
    index = np.array([[1, -2], [5, 0]])
    got = qcc.load(qcc.compile(path, tmp_path / "m.qcc"))({"i": index})["y"]
    want = (codes * scales.repeat(16, 0))[:, index]
    np.testing.assert_allclose(got, want, rtol=1e-6)
    # An index that names nothing gives zeros.
    far = qcc.load(tmp_path / "m.qcc")({"i": np.array([[6, -7], [0, 1]])})["y"]
    assert not far[:, 0].any() and far[:, 1].any()


def test_remedies(tmp_path):
    """A remedy is told once, and is true of operators that onnx.checker does not know."""
    pool = helper.make_node("MaxPool", ["x"], ["y"], "pool", kernel_shape=[1, 3], strides=[2, 2], ceil_mode=1)
    add = helper.make_node("QLinearAdd", ["x", "s", "", "x", "s", "", "s"], ["y"], "sum", domain="com.microsoft")
    messages = []
    for node in (pool, add):
        graph = helper.make_graph(
            [node], "g", [helper.make_tensor_value_info("x", TensorProto.UINT8, ["N", 3, "H", "W"])],
            [helper.make_tensor_value_info("y", TensorProto.UINT8, None)], [onnx.numpy_helper.from_array(number(0.1), "s")],
        )  # fmt: skip
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), str(tmp_path / "m.onnx"))
        with pytest.raises(qcc.CompileError) as caught:
            qcc.compile(tmp_path / "m.onnx", tmp_path / "m.qcc")
        messages.append(str(caught.value))
    assert messages[0].count("--dim=NAME=VALUE") == 1 and "QCC-E304" in messages[0]
    assert "left out" in messages[1] and "same fault" not in messages[1]
