# Products whose weights data picks, as frameworks export experts: a matrix of a constant for each row.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import json

import numpy as np
import onnxruntime
import pytest
import qcc
from mixtures import NODE, Mixture, save
from onnx import TensorProto
from test_poor_data import driver

EXPERTS, HIDDEN, INNER, CHOSEN = 5, 48, 32, 2


def make_mixture(folder, dtype=np.float32, **options):
    return Mixture(EXPERTS, HIDDEN, INNER, CHOSEN, dtype).save(folder, **options)


def get_report(artifact):
    return json.loads((artifact / "report.json").read_text())["ops"]


def compare(path, arrays, artifact, bound, **options):
    want = onnxruntime.InferenceSession(path).run(None, arrays)[0]
    got = qcc.load(artifact, **options)(arrays)["y"]
    assert got.shape == want.shape and got.dtype == want.dtype
    error = np.linalg.norm(got.astype(float) - want.astype(float))
    assert error <= bound * np.linalg.norm(want.astype(float))


def call(tokens, seed=1, dtype=np.float32):
    return {"x": np.random.default_rng(seed).standard_normal((tokens, HIDDEN)).astype(dtype)}


@pytest.mark.parametrize("output", ["columns", "rows"])
@pytest.mark.parametrize("form", ["gather", "gathernd"])
def test_mixture(tmp_path, form, output):
    path = make_mixture(tmp_path, form=form, output=output)
    artifact = qcc.compile(path, tmp_path / "m.qcc")
    for node in ("gates_up", "out"):
        assert sum(op["op"] == "qcc.matmul" and op["node"] == node for op in get_report(artifact)) == EXPERTS
    for tokens in (0, 1, 2, 33):
        compare(path, call(tokens), artifact, 2e-6)
    # One and two threads give the same bytes.
    arrays = call(40)
    one, two = (qcc.load(artifact, threads=threads)(arrays)["y"] for threads in (1, 2))
    assert one.tobytes() == two.tobytes()


def test_known_sizes(tmp_path):
    path = make_mixture(tmp_path, tokens=7)
    compare(path, call(7), qcc.compile(path, tmp_path / "m.qcc"), 2e-6)


def test_halves(tmp_path):
    path = make_mixture(tmp_path, dtype=np.float16)
    artifact = qcc.compile(path, tmp_path / "m.qcc")
    assert sum(op["op"] == "qcc.matmul" and op["node"] == "out" for op in get_report(artifact)) == EXPERTS
    compare(path, call(9, dtype=np.float16), artifact, 4e-3)


def make_plain(folder, picks, vectors, order, shape, dims, table=(4, 16, 24)):
    """A product of picked matrices, their indices an input."""
    table = np.random.default_rng(5).standard_normal(table).astype(np.float32)
    nodes = [NODE("Gather", ["table", "picks"], ["w"], axis=0), NODE("MatMul", order, ["y"], name="product")]
    inputs = [("picks", TensorProto.INT64, picks), ("x", TensorProto.FLOAT, vectors)]
    return save(folder, nodes, {"table": table}, inputs, [("y", TensorProto.FLOAT, dims)], opset=17)


@pytest.mark.parametrize("seed", range(3))
def test_negative_indices_and_batches(tmp_path, seed):
    path = make_plain(tmp_path, ["a", 3], ["a", 3, 1, 16], ["x", "w"], None, ["a", 3, 1, 24])
    artifact = qcc.compile(path, tmp_path / "m.qcc")
    assert sum(op["op"] == "qcc.matmul" for op in get_report(artifact)) == 4
    rng = np.random.default_rng(seed)
    arrays = {"picks": rng.integers(-4, 4, (5, 3)), "x": rng.standard_normal((5, 3, 1, 16)).astype(np.float32)}
    compare(path, arrays, artifact, 2e-6)


def test_vectors_that_several_matrices_share(tmp_path):
    path = make_plain(tmp_path, ["a", 3], ["a", 1, 24, 1], ["w", "x"], None, ["a", 3, 16, 1])
    artifact = qcc.compile(path, tmp_path / "m.qcc")
    assert sum(op["op"] == "qcc.matmul" for op in get_report(artifact)) == 4
    rng = np.random.default_rng(3)
    arrays = {"picks": rng.integers(0, 4, (6, 3)), "x": rng.standard_normal((6, 1, 24, 1)).astype(np.float32)}
    compare(path, arrays, artifact, 2e-6)


OTHERS = {
    # Several vectors per matrix, matrices that several vectors share, a batch
    # that the vectors alone have, tables of small and of many matrices.
    "several": (["a"], ["a", 2, 16], ["x", "w"], ["a", 2, 24], (4, 16, 24)),
    "shared": ([1], ["a", 1, 16], ["x", "w"], ["a", 1, 24], (4, 16, 24)),
    "batch": (["a"], [2, "a", 1, 16], ["x", "w"], [2, "a", 1, 24], (4, 16, 24)),
    "small": (["a"], ["a", 1, 8], ["x", "w"], ["a", 1, 24], (4, 8, 24)),
    "many": (["a"], ["a", 1, 16], ["x", "w"], ["a", 1, 16], (600, 16, 16)),
    "alone": (["a"], ["a", 1, 16], ["x", "w"], ["a", 1, 24], (1, 16, 24)),
}


@pytest.mark.parametrize("case", OTHERS)
def test_what_stays_as_it_is_written(tmp_path, case):
    picks, vectors, order, dims, table = OTHERS[case]
    path = make_plain(tmp_path, picks, vectors, order, None, dims, table)
    artifact = qcc.compile(path, tmp_path / "m.qcc")
    assert sum(op["op"] == "qcc.matmul" for op in get_report(artifact)) == 1
    rng = np.random.default_rng(2)
    known = [6 if size == "a" else size for size in vectors]
    number = [6 if size == "a" else size for size in picks]
    arrays = {"picks": rng.integers(0, table[0], number), "x": rng.standard_normal(known).astype(np.float32)}
    compare(path, arrays, artifact, 2e-6)


def make_chain(folder, products, number):
    """Products one behind another by one input of indices, of a table of `number` matrices."""
    nodes, last = [], "x"
    for i in range(products):
        nodes += [NODE("Gather", ["table", "picks"], [f"w{i}"], axis=0), NODE("MatMul", [last, f"w{i}"], [f"y{i}"])]
        last = f"y{i}"
    table = np.random.default_rng(7).standard_normal((number, 16, 16)).astype(np.float32) / 4
    inputs = [("x", TensorProto.FLOAT, ["a", 1, 16]), ("picks", TensorProto.INT64, ["a"])]
    return save(folder, nodes, {"table": table}, inputs, [(last, TensorProto.FLOAT, ["a", 1, 16])])


def test_products_that_pick_alike(tmp_path):
    path = make_chain(tmp_path, 3, 4)
    artifact = qcc.compile(path, tmp_path / "m.qcc")
    # Rows are sorted once.
    assert sum(op["op"] == "qcc.program" for op in get_report(artifact)) == 1
    rng = np.random.default_rng(0)
    arrays = {"x": rng.standard_normal((9, 1, 16)).astype(np.float32), "picks": rng.integers(0, 4, 9)}
    want = onnxruntime.InferenceSession(path).run(None, arrays)[0]
    np.testing.assert_allclose(qcc.load(artifact)(arrays)["y2"], want, atol=1e-5)


def test_more_products_than_a_model_may_have(tmp_path):
    """32,768 in all: a node that would give more stays as it is written, however few bytes it has."""
    path = make_chain(tmp_path, 70, 512)
    code, said, _ = driver(path, "--emit=import", "-o", tmp_path / "m.mlir")
    assert code == 0, said
    assert (tmp_path / "m.mlir").read_text().count("= qcc.matmul ") == 64 * 512 + 6


PRECISIONS = {
    "int8": (dict(precision="int8"), 0.02),
    "samples": (dict(precision="int8", calib=True), 0.1),
    "smoothquant": (dict(precision="int8", calib=True, algo="smoothquant"), 0.03),
    "w4a16": (dict(precision="w4a16:g16"), 0.15),
    "gptq": (dict(precision="w4a16:g16", calib=True, algo="awq,gptq"), 0.15),
    "w4a8": (dict(precision="w4a8:g16"), 0.15),
    "w8a16": (dict(precision="w8a16"), 0.02),
}  # fmt: skip


@pytest.mark.parametrize("case", PRECISIONS)
def test_experts_are_quantized(tmp_path, case):
    options, bound = PRECISIONS[case]
    path = make_mixture(tmp_path)
    options = dict(options)
    if options.get("calib"):
        np.savez(tmp_path / "samples.npz", x=np.random.default_rng(9).standard_normal((512, HIDDEN)).astype(np.float32))
        options["calib"] = [tmp_path / "samples.npz"]
    artifact = qcc.compile(path, tmp_path / "m.qcc", **options)
    ops = [op for op in get_report(artifact) if "matmul" in op["op"]]
    experts = [op for op in ops if op["node"] in ("gates_up", "out")]
    assert len(experts) == 2 * EXPERTS and all(op["executed"] == options["precision"] for op in experts)
    (gate,) = [op for op in ops if op["node"] == "gate"]
    assert gate["executed"] == "f32" and gate["reason"] == "kept: routes between experts"
    compare(path, call(64), artifact, bound)


@pytest.mark.parametrize("algo", ["gptq", "awq", "smoothquant", ""])
def test_experts_that_no_sample_picks(tmp_path, algo):
    path = make_mixture(tmp_path)
    # One token, repeated: two experts see it, the others nothing.
    np.savez(tmp_path / "samples.npz", x=np.repeat(call(1)["x"], 128, axis=0))
    precision = "int8" if algo in ("smoothquant", "") else "w4a16:g16"
    options = {"algo": algo} if algo else {}
    artifact = qcc.compile(path, tmp_path / "m.qcc", precision=precision, calib=[tmp_path / "samples.npz"], **options)
    ops = [op for op in get_report(artifact) if "matmul" in op["op"] and op["node"] != "gate"]
    assert len(ops) == 2 * EXPERTS and all(op["executed"] == precision for op in ops)
    if not algo:
        # Where no range is known a scale is found for each row.
        assert sum(op["op"] == "qcc.qmatmul" for op in ops) == 2 * (EXPERTS - CHOSEN)
    compare(path, call(1), artifact, 0.1)
    got = qcc.load(artifact)(call(64))["y"]
    assert np.isfinite(got).all()


def test_written_as_onnx(tmp_path):
    path = make_mixture(tmp_path)
    np.savez(tmp_path / "samples.npz", x=call(256, seed=9)["x"])
    written = tmp_path / "q.onnx"
    with pytest.warns(qcc.CompileWarning, match="leaves node 'out' in float: it has 5 weights"):
        qcc.compile(path, written, precision="int8", calib=[tmp_path / "samples.npz"], emit="qdq-onnx")
    compare(written, call(20), qcc.compile(path, tmp_path / "m.qcc"), 1e-5)
