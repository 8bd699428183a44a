# MatMulBnb4 of com.microsoft against ONNX Runtime and the definition in f64; weights of NF4 stay in their codes.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import json

import numpy as np
import onnx
import onnxruntime
import pytest
import qcc
from onnx import helper, numpy_helper
from operator_checks import normal

FP4, NF4 = 0, 1
NUMBERS = {
    FP4: np.float32(np.array([0, 0.0625, 8, 12, 4, 6, 2, 3, 0, -0.0625, -8, -12, -4, -6, -2, -3]) / 12),
    NF4: np.float32([-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
                     -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
                     0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0]),
}  # fmt: skip


def make(folder, kind, k, n, block, dtype=np.float32, trans=1, halves=False, change=None, **attributes):
    """A model of one product, and its weight [n, k] as it is defined; `change` spoils the tensors."""
    rng = np.random.default_rng(k * n + block)
    codes, absmax = rng.integers(0, 16, n * k), rng.uniform(0.01, 0.2, -(-n * k // block)).astype(dtype)
    if halves:
        absmax = absmax.astype(np.float16).astype(np.float32)
    weight = NUMBERS[kind][codes] * absmax.astype(np.float32).repeat(block)[: n * k]
    padded = np.append(codes, [0] * (n * k % 2)).astype(np.uint8)
    tensors = {"w": padded[::2] << 4 | padded[1::2], "s": absmax}
    tensors |= change(**tensors) if change else {}
    element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    attributes = {"K": k, "N": n, "block_size": block, "quant_type": kind, "transB": trans} | attributes
    node = helper.make_node("MatMulBnb4", ["x", "w", "s"], ["y"], "product", domain="com.microsoft", **attributes)
    columns = (k, n) if trans else (n, k)
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("x", element, ["rows", columns[0]])],
        [helper.make_tensor_value_info("y", element, ["rows", columns[1]])], [numpy_helper.from_array(a, name) for name, a in tensors.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)], ir_version=10)
    onnx.save(model, folder / "m.onnx")
    return model, weight.reshape(n, k).astype(np.float64)


def run(folder, x, **options):
    """The result and the report's line of the product."""
    artifact = qcc.compile(folder / "m.onnx", folder / "m.qcc", **options)
    report = json.loads((artifact / "report.json").read_text())
    lines = [op for op in report["ops"] if op["executed"] != "f32"] or [{"executed": "f32", "reason": ""}]
    return qcc.load(artifact)({"x": x})["y"], lines[-1]


def compare(got, x, weight, bound=2e-6):
    want = x.astype(np.float64) @ weight
    assert np.abs(got - want).max() <= bound * np.abs(want).max()


KEPT = {
    "groups": (128, 72, 32, {}, "nf4:g32:f32-scales"),
    "groups of the default": (192, 40, 64, {}, "nf4:f32-scales"),
    "scales that are halves": (128, 72, 64, {"halves": True}, "nf4"),
    "a half model": (128, 24, 16, {"dtype": np.float16}, "nf4:g16"),
    "a block per row": (128, 72, 128, {}, "nf4:channel"),
}


@pytest.mark.parametrize("rows", [1, 9])
@pytest.mark.parametrize("name", KEPT)
def test_codes_of_nf4_are_kept(tmp_path, name, rows):
    k, n, block, options, precision = KEPT[name]
    model, weight = make(tmp_path, NF4, k, n, block, **options)
    half = options.get("dtype") == np.float16
    x = normal(rows, k, dtype=np.float16 if half else np.float32)
    y, line = run(tmp_path, x)
    assert (line["executed"], line["reason"]) == (precision, "as in the model")
    compare(y, x, weight.T, 1e-3 if half else 2e-6)
    if not half:  # ONNX Runtime has no kernel for halves
        session = onnxruntime.InferenceSession(model.SerializeToString())
        np.testing.assert_allclose(y, session.run(None, {"x": x})[0], rtol=1e-4, atol=1e-5)


EXPANDED = {
    "blocks over rows": (NF4, 72, 40, 64), "a last block that is short": (NF4, 40, 3, 64), "an odd number of codes": (NF4, 17, 5, 16),
    "one code": (NF4, 1, 1, 16), "FP4": (FP4, 128, 72, 64), "FP4 over rows": (FP4, 71, 41, 256),
}  # fmt: skip


@pytest.mark.parametrize("name", EXPANDED)
def test_expanded(tmp_path, name):
    kind, k, n, block = EXPANDED[name]
    model, weight = make(tmp_path, kind, k, n, block)
    x = normal(3, k)
    y, line = run(tmp_path, x)
    assert line["executed"] == "f32"
    compare(y, x, weight.T)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    np.testing.assert_allclose(y, session.run(None, {"x": x})[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [FP4, NF4])
def test_not_transposed(tmp_path, kind):
    """ONNX Runtime multiplies by the transpose all the same: the definition is what its documentation says."""
    _, weight = make(tmp_path, kind, 128, 72, 32, trans=0)
    x = normal(3, 72)
    compare(run(tmp_path, x)[0], x, weight)


@pytest.mark.parametrize("precision,executed", [("w4a16", "nf4:g32:f32-scales"), ("w8a16", "nf4:g32:f32-scales"), ("nf4", "nf4:g32:f32-scales"),
                                                ("fp8", "fp8"), ("w4a8", "w4a8"), ("int8", "int8"), ("w3a16", "w3a16")])  # fmt: skip
def test_other_precisions(tmp_path, precision, executed):
    _, weight = make(tmp_path, NF4, 128, 72, 32)
    x = normal(3, 128)
    y, line = run(tmp_path, x, precision=precision)
    assert line["executed"] == executed
    if executed.startswith("nf4"):
        compare(y, x, weight.T)


@pytest.mark.parametrize("target", ["reference", "avx2"])
def test_targets(tmp_path, target):
    _, weight = make(tmp_path, NF4, 128, 72, 64)
    x = normal(5, 128)
    compare(run(tmp_path, x, target=target)[0], x, weight.T)


def test_size(tmp_path):
    """The artifact has codes and scales, not floats."""
    make(tmp_path, NF4, 128, 64, 32)
    _, line = run(tmp_path, normal(1, 128))
    assert line["weight_bytes"] == 128 * 64 // 2 + 4 * 64 * 4


@pytest.mark.parametrize("scale", [0.0, -0.5])
def test_scales_of_any_sign(tmp_path, scale):
    def change(w, s):
        s[::3] = scale
        return {"s": s}

    model, _ = make(tmp_path, NF4, 128, 72, 32, change=change)
    x = normal(3, 128)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    np.testing.assert_allclose(run(tmp_path, x)[0], session.run(None, {"x": x})[0], rtol=1e-4, atol=1e-5)


REFUSED = {
    "expected quant_type 0 .FP4. or 1 .NF4., but got 2": {"quant_type": 2},
    "expected attributes 'K' and 'N' from 1 to 2.30, but got 0 and 72": {"K": 0},
    "but got 128 and 4611686018427387904": {"N": 1 << 62},
    "expected a block_size that is a power of two": {"block_size": 24},
    "product.*elements": {"change": lambda w, s: {"w": w[:-1]}},
    "product.*elements ": {"change": lambda w, s: {"s": s[:-1]}},
    "expected a weight of uint8": {"change": lambda w, s: {"w": w.astype(np.int8)}},
    "expected scales of the input's type": {"change": lambda w, s: {"s": s.astype(np.float16)}},
    "expected finite weights": {"change": lambda w, s: {"s": s * np.float32(np.inf)}},
}


@pytest.mark.parametrize("message", REFUSED)
def test_refused(tmp_path, message):
    make(tmp_path, NF4, 128, 72, 32, **REFUSED[message])
    with pytest.raises(qcc.CompileError, match=message.strip()):
        qcc.compile(tmp_path / "m.onnx", tmp_path / "m.qcc")
