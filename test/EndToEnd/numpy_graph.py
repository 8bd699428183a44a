# Evaluates a graph with numpy: the operators of the qonnx domain by their published definitions, and the few of ONNX's
# that such graphs have. Elementwise work is done in f32 as written, sums of products in f64.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

Array = np.ndarray


def half_away(x: Array) -> Array:
    return np.sign(x) * np.floor(np.abs(x) + np.float32(0.5))


def half_to_zero(x: Array) -> Array:
    return np.sign(x) * np.ceil(np.abs(x) - np.float32(0.5))


# By the table of IntQuant's definition.
ROUNDINGS = {
    "ROUND": np.round, "CEIL": np.ceil, "FLOOR": np.floor, "UP": lambda x: np.sign(x) * np.ceil(np.abs(x)),
    "DOWN": np.trunc, "HALF_UP": half_away, "HALF_DOWN": half_to_zero,
}  # fmt: skip


def bounds(bits: float, signed: int, narrow: int) -> tuple[np.float32, np.float32]:
    """The range of an integer of so many bits."""
    if signed:
        return np.float32(-(2 ** (bits - 1)) + narrow), np.float32(2 ** (bits - 1) - 1)
    return np.float32(0), np.float32(2**bits - 1 - narrow)


def int_quant(x: Array, scale: Array, zero: Array, bits: Array, signed=1, narrow=0, rounding_mode="ROUND") -> Array:
    low, high = bounds(float(bits.flat[0]), signed, narrow)
    steps = np.clip(x / scale + zero, low, high)
    return (ROUNDINGS[rounding_mode.upper()](steps) - zero) * scale


def bipolar_quant(x: Array, scale: Array) -> Array:
    return np.where(x >= 0, np.float32(1), np.float32(-1)) * scale


def trunc(x: Array, scale: Array, zero: Array, before: Array, after: Array, rounding_mode="FLOOR") -> Array:
    steps = np.round(x / scale + zero) / np.float32(2.0 ** float(before.flat[0] - after.flat[0]))
    return (ROUNDINGS[rounding_mode.upper()](steps) - zero) * scale


def trunc2(
    x: Array, scale: Array, zero: Array, before: Array, out_scale: Array, after: Array,
    rounding_mode="FLOOR", signed=1, narrow=0,
) -> Array:  # fmt: skip
    factor = np.float32(2.0 ** np.round(np.log2(float(out_scale.flat[0]) / float(scale.flat[0]))))
    low, high = bounds(float(after.flat[0]), signed, narrow)
    steps = np.clip(np.round(x / scale + zero) / factor, low, high)
    return (ROUNDINGS[rounding_mode.upper()](steps) - zero / factor) * out_scale


def float_quant(
    x: Array, scale: Array, exponent: Array, mantissa: Array, bias: Array, largest: Array, rounding_mode="ROUND", **_
) -> Array:
    e, m, b = (float(v.flat[0]) for v in (exponent, mantissa, bias))
    high = min((2 - 2.0**-m) * 2.0 ** (2.0**e - 1 - b), float(largest.flat[0]))
    scaled = x / scale
    _, power = np.frexp(np.abs(scaled))
    unit = np.exp2(np.maximum(np.where(scaled == 0, -126, power - 1) - m, 1 - b - m)).astype(np.float32)
    rounded = unit * ROUNDINGS[rounding_mode.upper()](scaled / unit)
    return np.clip(rounded, np.float32(-high), np.float32(high)) * scale


def wide_matmul(a: Array, b: Array) -> Array:
    return (a.astype(np.float64) @ b.astype(np.float64)).astype(np.float32)


def conv(x: Array, w: Array, bias: Array | None = None, pads=(0, 0, 0, 0), strides=(1, 1), group=1, **_) -> Array:
    assert group == 1 and tuple(strides) == (1, 1), "not needed"
    padded = np.pad(x, ((0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])))
    padded, wide = padded.astype(np.float64), w.astype(np.float64)
    height, width = padded.shape[2] - w.shape[2] + 1, padded.shape[3] - w.shape[3] + 1
    y = np.zeros((x.shape[0], w.shape[0], height * width))
    for i, j in np.ndindex(*w.shape[2:]):
        y += wide[:, :, i, j] @ padded[:, :, i : i + height, j : j + width].reshape(*x.shape[:2], -1)
    y = y.reshape(*y.shape[:2], height, width).astype(np.float32)
    return y if bias is None else y + bias.reshape(1, -1, 1, 1)


def batch_norm(x: Array, gain: Array, shift: Array, mean: Array, variance: Array, epsilon=1e-5, **_) -> Array:
    shape = (1, -1) + (1,) * (x.ndim - 2)
    gain, shift, mean, variance = (v.astype(np.float64).reshape(shape) for v in (gain, shift, mean, variance))
    return ((x.astype(np.float64) - mean) * (gain / np.sqrt(variance + epsilon)) + shift).astype(np.float32)


def gemm(a: Array, b: Array, c: Array, alpha=1.0, beta=1.0, transA=0, transB=0) -> Array:  # noqa: N803
    assert alpha == 1 and beta == 1, "not needed"
    return wide_matmul(a.T if transA else a, b.T if transB else b) + c


def depth_to_space(x: Array, blocksize: int, mode: str) -> Array:
    n, c, h, w = x.shape
    assert mode == "CRD", "not needed"
    y = x.reshape(n, c // blocksize**2, blocksize, blocksize, h, w).transpose(0, 1, 4, 2, 5, 3)
    return y.reshape(n, c // blocksize**2, h * blocksize, w * blocksize)


QONNX = {"Quant": int_quant, "IntQuant": int_quant, "BipolarQuant": bipolar_quant, "FloatQuant": float_quant}
OPERATORS = {
    "Shape": lambda x: np.array(x.shape, np.int64), "Gather": lambda x, i, axis=0: np.take(x, i, axis),
    "Unsqueeze": lambda x, axes: np.expand_dims(x, tuple(axes)), "Concat": lambda *x, axis: np.concatenate(x, axis),
    "Reshape": lambda x, shape: x.reshape(shape), "Transpose": lambda x, perm: x.transpose(perm),
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide, "Relu": lambda x: np.maximum(x, 0),
    "Pow": np.power, "MatMul": wide_matmul, "Gemm": gemm, "Conv": conv, "BatchNormalization": batch_norm,
    "DepthToSpace": depth_to_space,
}  # fmt: skip


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    values = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    return {name: v.decode() if isinstance(v, bytes) else v for name, v in values.items()}


def evaluate(model: onnx.ModelProto, feed: dict[str, Array]) -> dict[str, Array]:
    """The outputs of a model whose nodes are in order."""
    values = {w.name: numpy_helper.to_array(w) for w in model.graph.initializer} | dict(feed)
    for node in model.graph.node:
        inputs = [values[name] for name in node.input]
        if node.op_type == "Trunc":
            function = trunc if len(inputs) == 5 else trunc2
        else:
            function = (QONNX if node.domain else OPERATORS)[node.op_type]
        values[node.output[0]] = np.asarray(function(*inputs, **attributes(node)))
    return {output.name: values[output.name] for output in model.graph.output}
