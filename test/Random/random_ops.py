# What random graphs are made of: each generator adds a node, or a few that belong together, to a graph.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A generator picks operands and attributes; it may pick what does not fit: then the graph does not keep the node."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from random_graph import Graph, Value, element_type

Generator = Callable[[Graph], object]


def number(value: Value) -> bool:
    return value.dtype in ("float32", "float64", "int32", "int64", "float16")


def floating(value: Value) -> bool:
    return value.is_float


def single(value: Value) -> bool:
    return value.dtype == "float32"


def of_rank(low: int, high: int = 6, accept=single):
    """Values of a rank in [low, high]."""
    return lambda value: accept(value) and low <= value.rank <= high


def inside(low: float, high: float):
    """Float values whose elements are in [low, high]."""
    return lambda v: v.is_float and v.least() >= low and v.magnitude() <= max(abs(low), abs(high)) and v.magnitude() <= high


# --- elementwise -----------------------------------------------------------------------------------------------------

SMOOTH = {  # the domain in which results keep their digits
    "Tanh": (-9, 9), "Sigmoid": (-20, 20), "Erf": (-5, 5), "Exp": (-8, 8), "Sin": (-20, 20), "Cos": (-20, 20),
    "Atan": (-50, 50), "Softplus": (-20, 20), "Softsign": (-50, 50), "Sqrt": (0.05, 1e4), "Log": (1.5, 1e4),
    "Reciprocal": (0.1, 1e3), "Asinh": (-30, 30), "Sinh": (-5, 5), "Cosh": (-5, 5), "Acos": (-0.9, 0.9),
    "Asin": (-0.9, 0.9), "Atanh": (-0.9, 0.9), "Acosh": (1.5, 100), "Tan": (-1.3, 1.3), "HardSwish": (-50, 50),
}  # fmt: skip


def smooth(g: Graph):
    op = g.one_of(list(SMOOTH))
    if op == "HardSwish" and g.opset < 14:
        return
    value = g.pick(inside(*SMOOTH[op]))
    if value:
        g.node(op, [value])


def activation(g: Graph):
    x = g.pick(floating)
    if not x:
        return
    kinds = [("LeakyRelu", {"alpha": 0.25}), ("Elu", {"alpha": 0.5}), ("Selu", {}), ("HardSigmoid", {"alpha": 0.25}),
             ("ThresholdedRelu", {"alpha": 0.5}), ("Celu", {"alpha": 0.5}), ("Shrink", {"lambd": 0.5, "bias": 0.25})]  # fmt: skip
    kinds += [("Mish", {})] if g.opset >= 18 else []
    kinds += [("Gelu", {"approximate": g.one_of(["none", "tanh"])})] if g.opset >= 20 else []
    op, attributes = g.one_of(kinds)
    if op in ("Shrink", "ThresholdedRelu") and not x.exact:
        return
    g.node(op, [x], **attributes)


def plain(g: Graph):
    """Unary ops that are exact, or that need exact operands."""
    x = g.pick(number)
    ops = ["Neg", "Abs", "Relu", "Identity"]
    if x and x.is_float and x.exact:
        ops += ["Floor", "Ceil", "Round", "Sign", "IsNaN", "IsInf"]
    if x:
        g.node(g.one_of(ops), [x])


def clip(g: Graph):
    x = g.pick(number)
    if x:
        low = g.constant(np.array(-1.5, x.dtype)) if g.chance(0.8) else None
        high = g.constant(np.array(2, x.dtype)) if g.chance(0.8) else None
        g.node("Clip", [x, low, high])


def partner(g: Graph, x: Value) -> Value | None:
    """A value or a constant that may broadcast with one."""
    if g.chance(0.5):
        other = g.pick(lambda v: v.dtype == x.dtype and (not v.rank or not x.rank or v.sizes(-1) == x.sizes(-1)
                                                        or v.static(-1) == 1 or x.static(-1) == 1))  # fmt: skip
        if other:
            return other
    rank = g.integer(0, x.rank + (1 if g.chance(0.1) else 0))
    shape = []
    for axis in range(-rank, 0):
        size = x.static(axis) if -axis <= x.rank else g.integer(1, 3)
        shape.append(1 if size is None or g.chance(0.3) else size)
    return g.constant(g.random_array(x.dtype, tuple(shape)))


def binary(g: Graph):
    x = g.pick(number)
    if not x:
        return
    y = partner(g, x)
    if g.chance(0.5):
        x, y = y, x
    op = g.one_of(["Add", "Sub", "Mul", "Add", "Mul", "Min", "Max", "Sum", "Mean"])
    if op in ("Sum", "Mean") and not x.is_float:
        return
    many = [x, y, partner(g, x)] if op in ("Min", "Max", "Sum", "Mean") and g.chance(0.3) else [x, y]
    g.node(op, many)


def divide(g: Graph):
    x = g.pick(number)
    if not x:
        return
    y = g.pick(lambda v: v.dtype == x.dtype and not v.constant and v.least() > 0.1)
    if not y or g.chance(0.5):
        y = g.constant((np.abs(g.random_array(x.dtype, (x.static(-1) or 1,) if x.rank else ())) + 1).astype(x.dtype))
    op = "Div" if x.is_float or g.chance(0.5) else "Mod"
    g.node(op, [x, y])


def power(g: Graph):
    x = g.pick(lambda v: v.dtype in ("float32", "float64") and v.least() > 0.05 and v.magnitude() < 20)
    if x:
        exponent = g.one_of([2, 3, 0.5, -1, 1.5])
        g.node("Pow", [x, g.constant(np.array(exponent, x.dtype))])


def compare(g: Graph):
    x = g.pick(lambda v: number(v) and v.exact and v.dtype != "float16")
    if x:
        y = partner(g, x)
        g.node(g.one_of(["Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual"]), [x, y])


def logic(g: Graph):
    x = g.pick(lambda v: v.dtype == "bool")
    if x:
        y = partner(g, x)
        g.node("Not", [x]) if g.chance(0.3) else g.node(g.one_of(["And", "Or", "Xor"]), [x, y])


def bits(g: Graph):
    x = g.pick(lambda v: v.dtype in ("int32", "int64"))
    if x and g.opset >= 18:
        y = partner(g, x)
        g.node("BitwiseNot", [x]) if g.chance(0.2) else g.node(g.one_of(["BitwiseAnd", "BitwiseOr", "BitwiseXor"]), [x, y])


def where(g: Graph):
    x = g.pick(number)
    if not x:
        return
    condition = g.pick(lambda v: v.dtype == "bool")
    if not condition or g.chance(0.3):
        condition = g.constant(g.random_array("bool", tuple(x.static(i) or 1 for i in range(x.rank))))
    g.node("Where", [condition, x, partner(g, x)])


def cast(g: Graph):
    x = g.pick(lambda v: number(v) or v.dtype == "bool")
    if not x:
        return
    kinds = ["float32", "float32", "float64"] + (["float16"] if x.magnitude() < 1000 else [])
    if x.exact and x.dtype != "float16":
        kinds += ["int64", "int32", "bool"]
    kind = g.one_of(kinds)
    if kind != x.dtype:
        g.node("Cast", [x], to=element_type(kind))


def prelu(g: Graph):
    x = g.pick(of_rank(1, 5))
    if x:
        size = x.static(1 if x.rank > 1 else 0)
        slope = g.random_array("float32", (size or 1, *[1] * max(0, x.rank - 2)))
        g.node("PRelu", [x, g.constant(slope)])


# --- products --------------------------------------------------------------------------------------------------------


def matmul(g: Graph):
    x = g.pick(lambda v: v.dtype in ("float32", "float64", "float16") and v.rank >= 1)
    if not x:
        return
    inner = x.static(-1)
    if inner and g.chance(0.7):
        shape = [inner, g.integer(1, 9)] if g.chance(0.8) else [inner]
        if len(shape) == 2 and x.rank >= 3 and g.chance(0.2):
            shape = [x.static(-3) or 1, *shape]
        weight = g.constant((g.rng.standard_normal(shape) / np.sqrt(inner)).astype(x.dtype))
        g.node("MatMul", [x, weight])
    elif x.rank >= 2:
        turned = g.node("Transpose", [x], perm=[*range(x.rank - 2), x.rank - 1, x.rank - 2])
        if turned:
            g.node("MatMul", [x, turned[0]] if g.chance(0.5) else [turned[0], x])


def gemm(g: Graph):
    x = g.pick(of_rank(2, 2))
    if not x:
        return
    turned = int(g.chance(0.4))
    inner = x.static(0 if turned else 1)
    if not inner:
        return
    columns, other = g.integer(1, 9), int(g.chance(0.5))
    weight = g.weight(*((columns, inner) if other else (inner, columns)))
    rows = x.static(1 if turned else 0)
    shapes = [(columns,), (1, columns), (1, 1), (), (rows or 1, 1)]
    bias = g.constant(g.random_array("float32", g.one_of(shapes))) if g.chance(0.7) else None
    g.node("Gemm", [x, weight, bias] if bias else [x, weight], transA=turned, transB=other,
           alpha=g.one_of([1.0, 0.5]), beta=g.one_of([1.0, 2.0]))  # fmt: skip


def einsum(g: Graph):
    x = g.pick(of_rank(2, 4))
    if not x:
        return
    letters = "abcd"[: x.rank]
    kept = [c for c in letters if g.chance(0.7)]
    g.rng.shuffle(kept)
    inner = x.static(-1)
    if inner and g.chance(0.5):
        g.node("Einsum", [x, g.weight(inner, 3)], equation=f"{letters},{letters[-1]}z->{letters[:-1]}z")
    else:
        g.node("Einsum", [x], equation=f"{letters}->{''.join(kept)}")


def window(g: Graph, x: Value) -> dict:
    """Attributes of a convolution or pooling whose kernel fits in its input: larger ones are refused as contradictions."""
    rank = x.rank - 2
    kernel = [g.integer(1, max(1, min(3, (min(x.sizes(i + 2)) + 1) // 2))) for i in range(rank)]
    attributes = {"kernel_shape": kernel}
    if g.chance(0.5):
        attributes["strides"] = [g.integer(1, 3) for _ in range(rank)]
    if g.chance(0.2):
        attributes["auto_pad"] = g.one_of(["SAME_UPPER", "SAME_LOWER", "VALID"])
    elif g.chance(0.6):
        attributes["pads"] = [g.integer(0, (k - 1)) for k in kernel * 2]
    return attributes


def avoid_gaps(attributes: dict):
    """Takes automatic padding off windows that do not touch each other."""
    kernel = attributes["kernel_shape"]
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, attributes.get("dilations", [1] * len(kernel)))]
    if attributes.get("auto_pad", "").startswith("SAME") and any(s > r for s, r in zip(attributes.get("strides", reach), reach)):
        del attributes["auto_pad"]


def conv(g: Graph):
    x = g.pick(of_rank(3, 5))
    channels = x.static(1) if x else None
    if not channels:
        return
    attributes = window(g, x)
    if g.chance(0.3):
        attributes["dilations"] = [g.integer(1, 2) for _ in range(x.rank - 2)]
    group = g.one_of([d for d in range(1, channels + 1) if channels % d == 0])
    out = group * g.integer(1, 3)
    kernel = attributes["kernel_shape"]
    if g.chance(0.7):
        inputs = [x, g.weight(out, channels // group, *kernel)]
    else:
        inputs = [x, g.weight(channels, out // group, *kernel)]
    if g.chance(0.5):
        inputs.append(g.constant(g.random_array("float32", (out,))))
    if inputs[1].arrays[0].shape[0] == out and inputs[1].arrays[0].shape[1] == channels // group:
        g.node("Conv", inputs, group=group, **attributes)
    else:
        # ONNX has an output of input times stride there; ONNX Runtime makes a smaller one.
        avoid_gaps(attributes)
        g.node("ConvTranspose", inputs, group=group, **attributes)


def pool(g: Graph):
    x = g.pick(of_rank(3, 5, lambda v: v.dtype == "float32"))
    if not x:
        return
    op = g.one_of(["MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "LpPool"])
    if op.startswith("Global"):
        g.node(op, [x])
        return
    attributes = window(g, x)
    if op != "LpPool" and g.chance(0.3):
        attributes["ceil_mode"] = 1
    if op == "AveragePool" and g.chance(0.5):
        attributes["count_include_pad"] = 1
    if op == "MaxPool" and g.chance(0.2):
        attributes["dilations"] = [g.integer(1, 2) for _ in range(x.rank - 2)]
    # ONNX Runtime refuses MaxPool there and begins others inside the input, but convolutions at its border.
    avoid_gaps(attributes)
    g.node(op, [x], **attributes)


# --- reductions and norms --------------------------------------------------------------------------------------------


def reduce(g: Graph):
    x = g.pick(lambda v: v.dtype in ("float32", "float64", "int32") and v.rank >= 1)
    if not x:
        return
    op = g.one_of(["Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSumExp"])
    if op in ("Mean", "L2", "LogSumExp") and not x.is_float:
        return
    # Of nothing, ONNX Runtime's results have another shape than ONNX says.
    if not all(array.size for array in x.arrays):
        return
    axes = sorted({g.integer(0, x.rank - 1) for _ in range(g.integer(1, 2))})
    axes = [axis - (x.rank if g.chance(0.3) else 0) for axis in axes]
    given: dict = {} if g.chance(0.5) else {"keepdims": 0}
    inputs = [x]
    if g.chance(0.9):
        if g.opset >= 18 or op == "Sum":
            inputs.append(g.ints(*axes))
        else:
            given["axes"] = axes
    g.node(f"Reduce{op}", inputs, **given)


def arg(g: Graph):
    x = g.pick(lambda v: v.dtype in ("float32", "int32") and v.rank >= 1 and v.exact and all(a.size for a in v.arrays))
    if x:
        g.node(g.one_of(["ArgMax", "ArgMin"]), [x], axis=g.integer(-x.rank, x.rank - 1), keepdims=g.integer(0, 1),
               select_last_index=g.integer(0, 1))  # fmt: skip


def top(g: Graph):
    x = g.pick(lambda v: v.dtype == "float32" and v.rank >= 1 and v.exact)
    if not x:
        return
    axis = g.integer(0, x.rank - 1)
    size = min(x.sizes(axis))
    if size:
        g.node("TopK", [x, g.ints(g.integer(1, size))], outputs=2, axis=axis, largest=g.integer(0, 1))


def cumulate(g: Graph):
    x = g.pick(lambda v: v.dtype in ("float32", "int32", "int64") and v.rank >= 1)
    if x:
        axis = g.constant(np.array(g.integer(-x.rank, x.rank - 1), "int64"))
        g.node("CumSum", [x, axis], exclusive=g.integer(0, 1), reverse=g.integer(0, 1))


def softmax(g: Graph):
    x = g.pick(lambda v: v.dtype in ("float32", "float16", "float64") and v.rank >= 1 and v.magnitude() < 50)
    if x:
        op = g.one_of(["Softmax", "Softmax", "LogSoftmax"] + (["Hardmax"] if x.exact else []))
        g.node(op, [x], axis=g.integer(-x.rank, x.rank - 1))


def norm(g: Graph):
    # Of nothing, ONNX Runtime divides by zero.
    x = g.pick(lambda v: single(v) and v.rank >= 2 and v.exact and all(a.size for a in v.arrays))
    if not x:
        return
    channels, last = x.static(1), x.static(-1)
    kinds = []
    if last and g.opset >= 17:
        kinds.append("LayerNormalization")
    if channels and x.rank >= 3:
        kinds += ["InstanceNormalization", "BatchNormalization"]
        kinds += ["GroupNormalization"] if g.opset >= 21 else []
    if x.rank == 4:
        kinds += ["LRN", "MeanVarianceNormalization"]
    kinds.append("LpNormalization")
    op = g.one_of(kinds)
    if op == "LayerNormalization":
        g.node(op, [x, g.weight(last), g.weight(last)][: g.integer(2, 3)], axis=-1, epsilon=0.01)
    elif op == "BatchNormalization":
        variance = g.constant(g.rng.uniform(0.5, 2, channels).astype("float32"))
        g.node(op, [x, g.weight(channels), g.weight(channels), g.weight(channels), variance])
    elif op == "InstanceNormalization":
        g.node(op, [x, g.weight(channels), g.weight(channels)], epsilon=0.1)
    elif op == "GroupNormalization":
        groups = g.one_of([d for d in range(1, channels + 1) if channels % d == 0])
        g.node(op, [x, g.weight(channels), g.weight(channels)], num_groups=groups, epsilon=0.1)
    elif op == "LRN":
        g.node(op, [x], size=g.one_of([1, 3, 5]))
    elif op == "MeanVarianceNormalization":
        g.node(op, [x])
    else:
        g.node(op, [x], axis=g.integer(-x.rank, x.rank - 1), p=g.integer(1, 2))


ELEMENTWISE = [smooth, activation, plain, clip, binary, binary, binary, divide, power, compare, logic, bits, where, cast, prelu]
PRODUCTS = [matmul, matmul, gemm, einsum, conv, conv, pool]
REDUCTIONS = [reduce, reduce, arg, top, cumulate, softmax, norm]
# What says what it gives for not-a-number and infinities: no extremes over many, no order, no integers made of them.
SPECIAL = [plain, binary, binary, compare, logic, where]
