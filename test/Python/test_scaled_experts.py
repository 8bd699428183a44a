# AWQ and SmoothQuant where the products are experts: rows are handed to them, and one gain scales all and the router.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import json

import numpy as np
import onnx
import onnxruntime
import pytest
import qcc
from mixtures import NODE, Mixture, save
from onnx import numpy_helper

EXPERTS, HIDDEN, INNER, CHOSEN = 4, 64, 48, 2
LOUD, LOUD_INSIDE = [3, 17, 40], [1, 30]


def make(folder, form="gather", shared=False, watched=False):
    """A mixture behind a gain that makes three channels 60 times as loud and what reads them as much quieter, as two are
    between the products of each expert. `shared`: the gain is of a tensor that a product of its own reads too; `watched`: the repeated rows are an output of the model."""
    mixture = Mixture(EXPERTS, HIDDEN, INNER, CHOSEN)
    gain = np.ones(HIDDEN, np.float32)
    gain[LOUD] = 60
    mixture.router /= gain[:, None]
    mixture.up /= gain
    mixture.up[:, np.add(INNER, LOUD_INSIDE)] *= 60
    mixture.down[:, :, LOUD_INSIDE] /= 60
    path = mixture.save_operator(folder) if form == "operator" else mixture.save(folder, form=form)
    model = onnx.load(path)
    graph = model.graph
    for node in graph.node:
        node.input[:] = ["loud" if name == "x" else name for name in node.input]
    graph.node.insert(0, NODE("Mul", ["x", "gain"], ["loud"], name="gain"))
    graph.initializer.append(numpy_helper.from_array(gain, "gain"))
    if shared:
        weight = np.random.default_rng(5).standard_normal((HIDDEN, 24)).astype(np.float32) / 8 / gain[:, None]
        graph.initializer.append(numpy_helper.from_array(weight, "weight"))
        graph.node.append(NODE("MatMul", ["loud", "weight"], ["beside"], name="beside"))
        graph.output.append(onnx.helper.make_tensor_value_info("beside", onnx.TensorProto.FLOAT, ["t", 24]))
    if watched:
        graph.output.append(onnx.helper.make_tensor_value_info("repeated", onnx.TensorProto.FLOAT, ["t", CHOSEN, HIDDEN]))
    onnx.save(model, path)
    np.savez(folder / "samples.npz", **call(512, seed=9))
    return path


def call(tokens, seed=1):
    return {"x": np.random.default_rng(seed).standard_normal((tokens, HIDDEN)).astype(np.float32)}


def compile_with(path, precision, algo):
    """Relative errors of the outputs, and the report's products but the router, by node."""
    folder = path.parent
    options = {"algo": algo} if algo else {}
    artifact = qcc.compile(path, folder / f"{algo or 'plain'}.qcc", precision=precision, calib=[folder / "samples.npz"], **options)
    arrays = call(64)
    session = onnxruntime.InferenceSession(path)
    want = dict(zip([output.name for output in session.get_outputs()], session.run(None, arrays)))
    got = qcc.load(artifact)(arrays)
    errors = {name: float(np.linalg.norm(got[name] - want[name]) / np.linalg.norm(want[name])) for name in want}
    ops = json.loads((artifact / "report.json").read_text())["ops"]
    (router,) = [op for op in ops if op["node"] == "gate"]
    assert router["reason"] == "kept: routes between experts" and router["executed"] == "f32"
    return errors, [op for op in ops if "matmul" in op["op"] and op is not router]


PASSES = {"awq": ("w4a16:g16:sym", 0.85), "smoothquant": ("int8", 0.5)}


@pytest.mark.parametrize("algo", PASSES)
@pytest.mark.parametrize("form", ["gather", "gathernd", "operator"])
def test_experts_are_scaled(tmp_path, form, algo):
    """All of them, from what they read (one gain) and from what they compute inside."""
    precision, bound = PASSES[algo]
    path = make(tmp_path, form=form)
    errors, products = compile_with(path, precision, algo)
    assert len(products) == 2 * EXPERTS and all(op["executed"] == precision for op in products)
    notes = [op["transform"] for op in products]
    assert all(note.startswith(algo) and "not scaled" not in note for note in notes), notes
    # Scales are those of one activation for all experts.
    assert len(set(notes)) == (1 + EXPERTS if form == "operator" else 2)
    plain, _ = compile_with(path, precision, "clip" if algo == "awq" else "rtn")
    assert errors["y"] < bound * plain["y"], (errors, plain)


@pytest.mark.parametrize("algo", PASSES)
def test_what_experts_share_is_scaled_with_them(tmp_path, algo):
    precision, bound = PASSES[algo]
    path = make(tmp_path, shared=True)
    errors, products = compile_with(path, precision, algo)
    assert len(products) == 2 * EXPERTS + 1
    (beside,) = [op["transform"] for op in products if op["node"] == "beside"]
    assert "not scaled" not in beside
    assert all(op["transform"] == beside for op in products if op["node"] == "gates_up")
    plain, _ = compile_with(path, precision, "clip" if algo == "awq" else "rtn")
    assert errors["beside"] < bound * plain["beside"]


def test_products_that_read_columns(tmp_path):
    """A Gemm with transA reads the same activation, but other sums: neither it nor what reads rows is scaled."""
    rng = np.random.default_rng(0)
    gain, weight, other = (rng.standard_normal(shape).astype(np.float32) for shape in (HIDDEN, (HIDDEN, 32), (HIDDEN, 16)))
    nodes = [
        NODE("Mul", ["x", "gain"], ["loud"], name="gain"),
        NODE("MatMul", ["loud", "weight"], ["y"], name="rows"),
        NODE("Gemm", ["loud", "other"], ["z"], name="columns", transA=1),
    ]
    constants = {"gain": gain, "weight": weight, "other": other}
    ends = [("y", onnx.TensorProto.FLOAT, [HIDDEN, 32]), ("z", onnx.TensorProto.FLOAT, [HIDDEN, 16])]
    path = save(tmp_path, nodes, constants, [("x", onnx.TensorProto.FLOAT, [HIDDEN, HIDDEN])], ends)
    np.savez(tmp_path / "samples.npz", **call(HIDDEN))
    options = dict(precision="w4a16:g16", algo="awq", calib=[tmp_path / "samples.npz"])
    with pytest.warns(qcc.CompileWarning, match="scaled nothing: node 'rows': 'columns' reads it too"):
        artifact = qcc.compile(path, tmp_path / "m.qcc", **options)
    want = onnxruntime.InferenceSession(path).run(["z"], call(HIDDEN))[0]
    got = qcc.load(artifact)(call(HIDDEN))["z"]
    assert np.linalg.norm(got - want) < 1e-5 * np.linalg.norm(want)


@pytest.mark.parametrize("algo", PASSES)
def test_rows_that_something_else_reads(tmp_path, algo):
    """The repeated rows are an output, so nothing before them can be scaled; what experts compute inside still is."""
    precision, _ = PASSES[algo]
    errors, products = compile_with(make(tmp_path, watched=True), precision, algo)
    assert errors["repeated"] == 0
    outside = [op["transform"] for op in products if op["node"] == "gates_up"]
    assert len(outside) == EXPERTS and all("not scaled: " in note and "is read elsewhere" in note for note in outside), outside
    inside = [op["transform"] for op in products if op["node"] == "out"]
    assert len(inside) == EXPERTS and all("not scaled" not in note for note in inside), inside
