# Runs models in ONNX Runtime on random inputs, and compares what a compiled model computes with it.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

from __future__ import annotations

import itertools
import pathlib
import re
import zlib

import harness
import numpy as np
import onnx
import onnx.reference
import onnxruntime
from onnx.reference.op_run import OpRun

Arrays = dict[str, np.ndarray]

# Bounds on a difference, relative to the output's largest magnitude, by the element type of the output.
BOUNDS = {"float64": 1e-4, "float32": 1e-4, "float16": 1e-2, "bfloat16": 1e-2}
# The element types that ONNX Runtime and this compiler may round in between.
NARROW = {onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
# Of the values for symbolic dimensions these are tried in turn: by order of the symbols, or one for all.
DIMS: list[int | None] = [None, 1, 2, 4, 3, 8, 16, 7]


def load(model: pathlib.Path | bytes, optimized: bool = False) -> onnxruntime.InferenceSession:
    """A session on one thread, by default as the graph is written."""
    onnxruntime.set_default_logger_severity(4)
    options = onnxruntime.SessionOptions()
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimized else levels.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    source = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def is_narrow(model: pathlib.Path) -> bool:
    """Whether anything in a model is f16 or bf16: what is computed from it is as coarse."""
    pending = [onnx.load(model, load_external_data=False).graph]
    while pending:
        graph = pending.pop()
        values = [*graph.input, *graph.output, *graph.value_info]
        if any(tensor.data_type in NARROW for tensor in graph.initializer):
            return True
        if any(value.type.tensor_type.elem_type in NARROW for value in values):
            return True
        for attribute in itertools.chain.from_iterable(node.attribute for node in graph.node):
            if attribute.t.data_type in NARROW or (attribute.name in ("to", "dtype") and attribute.i in NARROW):
                return True
            pending += [attribute.g] if attribute.HasField("g") else attribute.graphs
    return False


def run_reference(model: pathlib.Path, inputs: Arrays) -> Arrays:
    """The outputs that onnx's own evaluator in Python computes: the second opinion where ONNX Runtime is in doubt."""
    evaluator = onnx.reference.ReferenceEvaluator(str(model))
    return dict(zip(evaluator.output_names, evaluator.run(None, inputs)))


class _QuantizeLinear(OpRun):
    """To bytes without a sign, one scale for all, in f64."""

    def _run(self, x, scale, zero, **_):
        return (np.clip(np.rint(x / scale) + zero.astype(np.float64), 0, 255).astype(np.uint8),)


class _DequantizeLinear(OpRun):
    """Codes with one scale and zero point, in f64."""

    def _run(self, codes, scale, zero, **_):
        return ((codes.astype(np.float64) - zero.astype(np.float64)) * scale,)


def run_exact(model: pathlib.Path, inputs: Arrays) -> Arrays:
    """The outputs of a graph of bytes with one scale for each tensor, its nodes computed in f64: what is right where
    f32 sums bring a code to the other side of a middle."""
    graph = onnx.load(model)
    for tensor in graph.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor).astype(np.float64), tensor.name))
    for node in graph.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            node.domain = ""  # what ONNX Runtime has them in otherwise
    kinds = [type(kind.__name__[1:], (kind,), {"op_domain": ""}) for kind in (_QuantizeLinear, _DequantizeLinear)]
    evaluator = onnx.reference.ReferenceEvaluator(graph, new_ops=kinds)
    wide = {name: array.astype(np.float64) if array.dtype == np.float32 else array for name, array in inputs.items()}
    return dict(zip(evaluator.output_names, evaluator.run(None, wide)))


def run(session: onnxruntime.InferenceSession, inputs: Arrays) -> Arrays:
    """The outputs by name."""
    return dict(zip([output.name for output in session.get_outputs()], session.run(None, inputs)))


def _integers(rng: np.random.Generator, name: str, shape: list[int], attempt: int) -> np.ndarray:
    """Integers of an input, by what its name says of their meaning; other attempts other ranges."""
    if "mask" in name and attempt < 2:
        kept = rng.integers(1, shape[-1] + 1, [*shape[:-1], 1]) if shape and shape[-1] else 0
        return np.broadcast_to(np.arange(shape[-1] if shape else 1) < kept, shape).astype(np.int64)
    if "position" in name and shape and attempt < 2:
        return np.broadcast_to(np.arange(shape[-1]), shape)
    low, high = [(0, 2), (0, 1), (1, 2), (1, 4), (2, 3), (0, 9), (4, 5)][attempt % 7]
    return rng.integers(low, high, shape)


def _value(rng: np.random.Generator, name: str, kind: str, shape: list[int], attempt: int) -> np.ndarray:
    """Random elements for an input of ONNX Runtime's type `kind`."""
    element = re.fullmatch(r"tensor\((\w+)\)", kind)
    if not element:
        raise harness.Skip(f"input '{name}' is a {kind}")
    name, word = name.lower(), element.group(1)
    if word in ("float", "double", "float16"):
        values = rng.random(shape) if attempt % 2 else rng.standard_normal(shape)
        if "weight" in name and len(shape) > 1:  # outputs keep the magnitude of inputs
            values = values / np.sqrt(max(1, shape[0]))
        return np.asarray(values).astype({"float": np.float32, "double": np.float64, "float16": np.float16}[word])
    if word == "bool":
        return np.asarray(rng.integers(0, 2, shape)).astype(bool)
    if word in ("int8", "uint8", "int16", "uint16") and "mask" not in name:
        # ONNX Runtime multiplies u8 with i8 by vpmaddubsw where a CPU lacks VNNI: sums of two products saturate at 16 bits
        # (its quantization guide says so) unless the i8 operand has 7 bits.
        low, high = (-64, 63) if word == "int8" else (np.iinfo(word).min, np.iinfo(word).max)
        return np.asarray(rng.integers(low, high, shape, endpoint=True)).astype(word)
    if word in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"):
        return np.asarray(_integers(rng, name, shape, attempt)).astype(word)
    raise harness.Skip(f"input '{name}' is a {kind}")


def make_inputs(session: onnxruntime.InferenceSession, dim: int | None, attempt: int, seed: str) -> tuple[tuple, Arrays]:
    """Random inputs of a session and the sizes that its symbols got; `dim` for every symbol, or each its own."""
    rng = np.random.default_rng(zlib.crc32(f"{seed} {dim} {attempt}".encode()))
    sizes: dict[object, int] = {}
    inputs = {}
    for i, given in enumerate(session.get_inputs()):
        shape = []
        for k, size in enumerate(given.shape):
            if not isinstance(size, int):
                size = sizes.setdefault(size or (i, k), dim or 2 + len(sizes))
            shape.append(size)
        if np.prod(shape, dtype=np.float64) > 2**24:
            raise harness.Skip(f"input '{given.name}' has more than 16 million elements")
        inputs[given.name] = _value(rng, given.name, given.type, shape, attempt)
    return tuple(sizes.values()), inputs


def find_runs(session: onnxruntime.InferenceSession, seed: str, wanted: int = 3, attempts: int = 7) -> list[tuple[Arrays, Arrays]]:
    """Up to `wanted` (inputs, outputs) at different sizes; raises what ONNX Runtime said when none of the tried runs."""
    runs: dict[tuple, tuple[Arrays, Arrays]] = {}
    problem: Exception | None = None
    working: int | None = None  # values that ran at one size are the first ones tried at another
    for dim in DIMS:
        order = range(attempts) if working is None else [working, *range(2)]
        for attempt in order:
            sizes, inputs = make_inputs(session, dim, attempt, seed)
            if sizes in runs:
                break
            try:
                runs[sizes] = (inputs, run(session, inputs))
            except Exception as error:
                problem = problem or error
                continue
            working = attempt
            break
        if len(runs) >= wanted or () in runs:
            break
    if not runs:
        raise problem or harness.Skip("nothing was run")
    return list(runs.values())


def difference(got: np.ndarray, want: np.ndarray) -> np.ndarray:
    """Differences relative to the largest finite magnitude; infinite where one alone is not finite.

    Magnitudes below the smallest normal number of the type count as that: what is smaller has few digits.
    """
    # numpy knows the limits of its own types only; bfloat16 has those of float32.
    tiny = np.finfo(want.dtype if want.dtype.kind == "f" else np.float32).smallest_normal
    got, want = got.astype(np.float64), want.astype(np.float64)
    finite = np.isfinite(want)
    scale = max(float(np.abs(want[finite]).max(initial=0)), float(tiny))
    same = (got == want) | (np.isnan(got) & np.isnan(want))
    with np.errstate(invalid="ignore"):
        error = np.where(same, 0, np.where(finite & np.isfinite(got), np.abs(got - want) / scale, np.inf))
    return error


def mismatch(got: Arrays, want: Arrays, bound: float | None = None, share: float = 0, most: float = 0) -> str:
    """What differs between the outputs of a compiled model and the expected ones; empty when they agree.

    `bound` replaces that of the element type; a `share` of the elements may differ by up to `most`.
    """
    for name, expected in want.items():
        if name not in got:
            return f"expected an output '{name}', but got {sorted(got)}"
        actual = got[name]
        if actual.shape != expected.shape or actual.dtype != expected.dtype:
            return (f"output '{name}': expected {expected.dtype}{list(expected.shape)}, "
                    f"but got {actual.dtype}{list(actual.shape)}")  # fmt: skip
        if not expected.size:
            continue
        if expected.dtype.kind in "biu":
            if not np.array_equal(actual, expected):
                return f"output '{name}': {np.count_nonzero(actual != expected)} of {expected.size} elements differ"
            continue
        limit = BOUNDS[expected.dtype.name] if bound is None else bound
        error = difference(actual, expected)
        if np.count_nonzero(error > limit) > share * error.size or error.max() > max(limit, most):
            return (f"output '{name}': expected a difference of at most {limit:g}, but got {error.max():.3g}, "
                    f"{np.count_nonzero(error > limit)} of {error.size} above")  # fmt: skip
    return ""


def pairs(inputs: Arrays) -> str:
    """Shapes of inputs for a message."""
    return ", ".join(f"{name}{list(value.shape)}" for name, value in itertools.islice(inputs.items(), 6))
