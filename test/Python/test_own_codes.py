# Weights that a model has in codes of few bits stay in them: results against the definition in f64, what the report says,
# what the artifact weighs.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
from __future__ import annotations

import dataclasses
import json
import pathlib
import subprocess

import numpy as np
import onnx
import pytest
import qcc
from onnx import TensorProto, helper, numpy_helper

QCC = pathlib.Path(__file__).resolve().parents[2] / "build" / "bin" / "qcc"
CODES = {
    TensorProto.INT4: (-8, 7), TensorProto.UINT4: (0, 15), TensorProto.INT8: (-128, 127), TensorProto.UINT8: (0, 255),
}  # fmt: skip
K, N = 200, 72  # K is not filled by blocks, N not by vectors


@dataclasses.dataclass
class Model:
    """A product with a weight in codes, and what it means."""

    proto: onnx.ModelProto
    codes: np.ndarray  # [K, N], without zero points
    scales: np.ndarray  # [K, N], one for each code
    block: int  # rows; 0: all

    @property
    def half(self) -> bool:
        return self.proto.graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT16

    def save(self, folder: pathlib.Path) -> pathlib.Path:
        path = folder / "m.onnx"
        onnx.save(self.proto, str(path))
        return path

    def multiply(self, x: np.ndarray) -> np.ndarray:
        return x.astype(np.float64) @ (self.codes * self.scales)

    def multiply_bytes(self, x: np.ndarray) -> np.ndarray:
        """With a scale and bytes for each row and group of the input (qcc.quantize_rows)."""
        result, block = np.zeros((len(x), self.codes.shape[1])), self.block or len(self.codes)
        for first in range(0, len(self.codes), block):
            part = slice(first, first + block)
            rows = x[:, part].astype(np.float32)
            scale = np.abs(rows).max(axis=1, keepdims=True) / np.float32(127)
            bytes_ = np.rint(rows / scale)
            result += (bytes_.astype(np.float64) @ self.codes[part]) * self.scales[first] * scale
        return result


def finish(nodes: list, tensors: list, half: bool) -> onnx.ModelProto:
    element = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", element, ["rows", K])],
        [helper.make_tensor_value_info("y", element, ["rows", N])], tensors,
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def pack(codes: np.ndarray, bits: int) -> np.ndarray:
    """Codes of the last dimension in bytes, the first in the low bits."""
    per = 8 // bits
    rows = np.pad(codes, [(0, 0)] * (codes.ndim - 1) + [(0, -codes.shape[-1] % per)])
    rows = rows.reshape(*rows.shape[:-1], -1, per).astype(np.uint32)
    return (rows << (np.arange(per) * bits)).sum(-1).astype(np.uint8)


def make_scales(rng: np.random.Generator, shape: tuple[int, ...], half: bool) -> np.ndarray:
    return np.asarray(rng.uniform(0.001, 0.02, shape)).astype(np.float16 if half else np.float32)


def nbits(
    bits: int, block: int, zeros: bool = False, half: bool = False, floats: bool = False, was_half: bool = False, middle: bool = False
) -> Model:
    """MatMulNBits; `was_half`: scales in f32 that are halves, `middle`: zero points that say what none says."""
    rng = np.random.default_rng(bits * block)
    blocks, half_range = -(-K // block), 1 << (bits - 1)
    codes = rng.integers(0, 2 * half_range, (N, blocks, block))
    scales = make_scales(rng, (N, blocks), half)
    if was_half:
        scales = scales.astype(np.float16).astype(np.float32)
    zero = rng.integers(0, 2 * half_range, (N, blocks)) if zeros and not middle else np.full((N, blocks), half_range)
    tensors = [numpy_helper.from_array(pack(codes, bits), "w"), numpy_helper.from_array(scales, "s")]
    if zeros:
        stored = zero.astype(np.float32) if floats else pack(zero, bits)
        tensors.append(numpy_helper.from_array(stored, "z"))
    node = helper.make_node("MatMulNBits", ["x", "w", "s", "z"][: 4 if zeros else 3], ["y"], "product",
                            domain="com.microsoft", K=K, N=N, bits=bits, block_size=block)  # fmt: skip
    whole = (codes - zero[..., None]).reshape(N, -1)[:, :K].T
    spread = scales.astype(np.float64).repeat(block, axis=1)[:, :K].T
    return Model(finish([node], tensors, half), whole, spread, block if block < K else 0)


def linear(
    element: int, axis: int | None, block: int = 0, zeros: bool = False, half: bool = False, turn: bool = False
) -> Model:
    """DequantizeLinear in front of MatMul; `turn`: of the weight [N, K] with Transpose between. `axis` is of [K, N]."""
    low, high = CODES[element]
    rng = np.random.default_rng(block + element)
    codes = rng.integers(low, high + 1, (K, N))
    shape: tuple[int, ...] = () if axis is None else (codes.shape[axis],)
    if block:
        shape = tuple(-(-size // block) if i == axis else size for i, size in enumerate(codes.shape))
    scales = make_scales(rng, shape, half)
    zero = rng.integers(low, high + 1, shape) if zeros else np.zeros(shape, np.int64)

    def spread(table: np.ndarray) -> np.ndarray:
        if block:
            return table.repeat(block, axis=axis)[:K, :N]
        return np.broadcast_to(table[:, None] if axis == 0 else table, codes.shape)

    def turned(array: np.ndarray) -> np.ndarray:
        return array.T if turn and array.ndim == 2 else array

    def store(name: str, array: np.ndarray) -> onnx.TensorProto:
        array = turned(array)
        return helper.make_tensor(name, element, array.shape, array.ravel())

    tensors = [store("w", codes), numpy_helper.from_array(np.ascontiguousarray(turned(scales)), "s")]
    if zeros:
        tensors.append(store("z", zero))
    attributes = {} if axis is None else {"axis": 1 - axis if turn else axis}
    if block:
        attributes["block_size"] = block
    nodes = [helper.make_node("DequantizeLinear", ["w", "s", "z"][: 3 if zeros else 2], ["r"], "weight", **attributes)]
    if turn:
        nodes.append(helper.make_node("Transpose", ["r"], ["t"], "turn", perm=[1, 0]))
    nodes.append(helper.make_node("MatMul", ["x", "t" if turn else "r"], ["y"], "product"))
    whole, table = codes - spread(zero), spread(scales.astype(np.float64))
    return Model(finish(nodes, tensors, half), whole, table, block if block < K else 0)


I4, U4, I8, U8 = TensorProto.INT4, TensorProto.UINT4, TensorProto.INT8, TensorProto.UINT8
KEPT = {
    "nbits-4": (nbits(4, 32), "w4a16:g32:sym:f32-scales"),
    "nbits-4-zeros": (nbits(4, 32, zeros=True), "w4a16:g32:f32-scales"),
    "nbits-4-halves": (nbits(4, 128, zeros=True, half=True), "w4a16"),
    "nbits-4-was-half": (nbits(4, 32, zeros=True, was_half=True), "w4a16:g32"),
    "nbits-4-middle": (nbits(4, 32, zeros=True, middle=True), "w4a16:g32:sym:f32-scales"),
    "nbits-4-one-block": (nbits(4, 256, zeros=True), "w4a16:channel"),
    "nbits-8": (nbits(8, 64), "w8a16:g64:sym:f32-scales"),
    "nbits-8-zeros": (nbits(8, 16, zeros=True), "w8a16:g16:asym:f32-scales"),
    "nbits-2-zeros": (nbits(2, 16, zeros=True), "w2a16:g16:f32-scales"),
    "blocks": (linear(I4, 0, 32), "w4a16:g32:sym:f32-scales"),
    "blocks-zeros": (linear(I4, 0, 32, zeros=True), "w4a16:g32:f32-scales"),
    "blocks-halves": (linear(I4, 0, 32, half=True), "w4a16:g32:sym"),
    "blocks-turned": (linear(I4, 0, 32, zeros=True, turn=True), "w4a16:g32:f32-scales"),
    "unsigned": (linear(U4, 0, 32), "w4a16:g32:f32-scales"),
    "unsigned-zeros": (linear(U4, 0, 32, zeros=True), "w4a16:g32:f32-scales"),
    "channels": (linear(I4, 1), "w4a16:channel:sym"),
    "channels-turned": (linear(I4, 1, turn=True), "w4a16:channel:sym"),
    "one-scale": (linear(I4, None), "w4a16:channel:sym"),
    "bytes": (linear(I8, 1, zeros=True), "w8a16:asym"),
    "bytes-unsigned": (linear(U8, 1, zeros=True), "w8a16:asym"),
}
EXPANDED = {
    "nbits-float-zeros": (nbits(4, 32, zeros=True, floats=True), "zero points are floats"),
    "rows": (linear(I4, 0), "codes have a scale per row"),
    "columns": (linear(I4, 1, 8), "codes have a scale per block of columns"),
    "short-blocks": (linear(I4, 0, 4), "codes have a scale per 4 rows, expected a multiple of 8"),
}


def compile_and_run(model: Model, folder: pathlib.Path, precision: str, rows: int, **options) -> tuple[np.ndarray, np.ndarray, dict]:
    """The input, the result and the report's line of the product."""
    artifact = qcc.compile(model.save(folder), folder / "m.qcc", precision=precision, **options)
    x = np.random.default_rng(rows).standard_normal((rows, K)).astype(np.float16 if model.half else np.float32)
    report = json.loads((artifact / "report.json").read_text())
    lines = [op for op in report["ops"] if op["executed"] != "f32"] or [op for op in report["ops"] if op["reason"]]
    return x, qcc.load(artifact)({"x": x})["y"], lines[-1]


def check(got: np.ndarray, want: np.ndarray, half: bool) -> None:
    bound = 2e-3 if half else 2e-6
    gap = np.abs(got.astype(np.float64) - want).max()
    assert gap <= bound * np.abs(want).max(), f"{gap} of {np.abs(want).max()}"


@pytest.mark.parametrize("rows", [1, 9])
@pytest.mark.parametrize("name", KEPT)
def test_kept(tmp_path, name, rows):
    model, precision = KEPT[name]
    x, y, line = compile_and_run(model, tmp_path, "f32", rows)
    check(y, model.multiply(x), model.half)
    assert (line["executed"], line["reason"]) == (precision, "as in the model")


@pytest.mark.parametrize("name", EXPANDED)
def test_expanded(tmp_path, name):
    model, why = EXPANDED[name]
    x, y, line = compile_and_run(model, tmp_path, "f32", 3)
    check(y, model.multiply(x), model.half)
    assert (line["executed"], line["reason"]) == ("f32", f"not supported: {why}")


@pytest.mark.parametrize("name", ["nbits-4", "nbits-4-zeros", "nbits-4-one-block", "blocks-zeros", "blocks-halves", "unsigned", "channels"])
def test_bytes_of_activations(tmp_path, name):
    """w4a8 rounds the activations and takes the weight as it is."""
    model, precision = KEPT[name]
    x, y, line = compile_and_run(model, tmp_path, "w4a8", 5)
    check(y, model.multiply_bytes(x), model.half)
    assert line["reason"] == "as in the model" and line["executed"].startswith("w4a8")
    assert ("asym" in line["executed"]) == (":sym" not in precision)


@pytest.mark.parametrize(
    ("precision", "executed"),
    [("w4a16", "w4a16:g32:sym:f32-scales"), ("w8a16", "w4a16:g32:sym:f32-scales"), ("w4a16:g64:clip", "w4a16:g32:sym:f32-scales"),
     ("w3a16", "w3a16"), ("int8", "int8"), ("nf4", "nf4"), ("fp8", "fp8"), ("bf16", "bf16")],
)  # fmt: skip
def test_other_precisions(tmp_path, precision, executed):
    """Fewer bits, or another kind of numbers, is what was asked for; as many bits or more would only lose."""
    model = KEPT["nbits-4"][0]
    x, y, line = compile_and_run(model, tmp_path, precision, 3)
    assert line["executed"] == executed and line["requested"] == precision
    if executed.endswith("f32-scales"):
        check(y, model.multiply(x), model.half)


def test_keep(tmp_path):
    """What is not to be done in w4a8 has f32 activations, and its codes all the same."""
    model, precision = KEPT["nbits-4"]
    x, y, line = compile_and_run(model, tmp_path, "w4a8", 3, keep=["product"])
    check(y, model.multiply(x), model.half)
    assert (line["executed"], line["reason"]) == (precision, "kept: matches --keep=product")


def test_algorithm(tmp_path):
    """An algorithm that is asked for chooses the codes."""
    model = KEPT["nbits-4"][0]
    np.savez(tmp_path / "calib.npz", x=np.random.default_rng(3).standard_normal((64, K)).astype(np.float32))
    _, _, line = compile_and_run(model, tmp_path, "w4a16:g32", 3, algo="gptq", calib=tmp_path / "calib.npz")
    assert (line["executed"], line["algorithm"]) == ("w4a16:g32", "gptq")


def test_size(tmp_path):
    """The artifact has codes and scales, not floats."""
    _, _, line = compile_and_run(KEPT["nbits-4"][0], tmp_path, "f32", 1)
    groups, blocks = -(-K // 32), -(-N // 16)  # what is stored is padded to whole ones
    assert line["weight_bytes"] == groups * blocks * (32 * 16 // 2 + 16 * 4)


@pytest.mark.parametrize("target", ["reference", "avx2"])
def test_targets(tmp_path, target):
    model = KEPT["nbits-4-zeros"][0]
    x, y, _ = compile_and_run(model, tmp_path, "f32", 5, target=target)
    check(y, model.multiply(x), model.half)


def test_scales_that_are_none(tmp_path):
    """A scale that is infinite is refused by name."""
    model = nbits(4, 32)
    scales = numpy_helper.to_array(model.proto.graph.initializer[1]).copy()
    scales[3, 2] = np.inf
    model.proto.graph.initializer[1].CopyFrom(numpy_helper.from_array(scales, "s"))
    with pytest.raises(qcc.CompileError, match="product.*expected finite weights"):
        qcc.compile(model.save(tmp_path), tmp_path / "m.qcc")


def test_note_of_accuracy_level(tmp_path):
    """A model that allows activations of int8 is told how to have them, where it is not asked for."""
    model = nbits(4, 32)
    noted = {}
    for level, precision in ((4, "f32"), (4, "w4a8"), (0, "f32")):
        del model.proto.graph.node[0].attribute[4:]
        model.proto.graph.node[0].attribute.append(helper.make_attribute("accuracy_level", level))
        command = [QCC, model.save(tmp_path), "-o", tmp_path / "m.qcc", f"--precision={precision}"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        noted[level, precision] = "--precision=w4a8 multiplies its codes so" in done.stderr
    assert noted == {(4, "f32"): True, (4, "w4a8"): False, (0, "f32"): False}
