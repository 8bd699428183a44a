# From ONNX to results in Python: compile with the driver, load, run.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import threading

import numpy as np
import onnx
import onnx.numpy_helper
import pytest
import qcc
from onnx import TensorProto, helper


def save(path, nodes, inputs, outputs, weights=()):
    def value(name, shape):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    graph = helper.make_graph(
        nodes, "g", [value(*i) for i in inputs], [value(*o) for o in outputs],
        [onnx.numpy_helper.from_array(array, name) for name, array in weights],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))
    return path


@pytest.fixture(scope="module")
def perceptron(tmp_path_factory):
    """An artifact with a dynamic batch, and what it computes."""
    random = np.random.default_rng(0)
    w1, w2 = (random.standard_normal(shape).astype(np.float32) / 8 for shape in ((64, 48), (48, 10)))
    b1 = random.standard_normal(48).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["h1"], "first"),
        helper.make_node("Add", ["h1", "b1"], ["h2"], "bias"),
        helper.make_node("Relu", ["h2"], ["h3"], "relu"),
        helper.make_node("MatMul", ["h3", "w2"], ["y"], "second"),
    ]
    folder = tmp_path_factory.mktemp("perceptron")
    model = save(folder / "p.onnx", nodes, [("x", ["batch", 64])], [("y", ["batch", 10])], [("w1", w1), ("b1", b1), ("w2", w2)])
    artifact = qcc.compile(model, folder / "p.qcc")

    def expected(x):
        return np.maximum(x.astype(np.float64) @ w1 + b1, 0) @ w2

    return artifact, expected


def rows(batch, seed=0):
    return np.random.default_rng(seed).standard_normal((batch, 64)).astype(np.float32)


def test_any_batch(perceptron):
    artifact, expected = perceptron
    model = qcc.load(artifact)
    assert model.inputs == (qcc.Tensor("x", "float32", ("batch", 64)),)
    for batch in (1, 7, 128, 2, 33):
        x = rows(batch)
        np.testing.assert_allclose(model({"x": x})["y"], expected(x), rtol=1e-5, atol=1e-5)


def test_threads_and_other_rows_change_no_bit(perceptron):
    artifact, _ = perceptron
    x = rows(100)
    one = qcc.load(artifact, threads=1)
    whole = one([x])["y"]
    np.testing.assert_array_equal(whole, qcc.load(artifact, threads=3)([x])["y"])
    for row in (0, 41, 99):
        np.testing.assert_array_equal(one([x[row : row + 1]])["y"], whole[row : row + 1])


def test_many_threads_share_a_model(perceptron):
    artifact, _ = perceptron
    model = qcc.load(artifact, threads=2)
    inputs = [rows(5 + 3 * i, i) for i in range(4)]
    wanted = [model([x])["y"] for x in inputs]
    wrong = []

    def work(number):
        for _ in range(50):
            if not np.array_equal(model([inputs[number]])["y"], wanted[number]):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_states_of_a_compiled_model(tmp_path):
    nodes = [helper.make_node("Add", ["x", "sum"], ["next"], "add"), helper.make_node("Mul", ["next", "x"], ["y"], "scale")]
    save(tmp_path / "s.onnx", nodes, [("x", [2]), ("sum", [2])], [("y", [2]), ("next", [2])])
    model = qcc.load(qcc.compile(tmp_path / "s.onnx", state={"sum": "next"}))
    assert [state.name for state in model.states] == ["sum"]
    assert [tensor.name for tensor in model.inputs] == ["x"]
    context = model.context()
    x = np.array([2, 3], np.float32)
    for step in range(1, 101):
        np.testing.assert_array_equal(context.run([x])["y"], step * x * x)
    context.reset()
    np.testing.assert_array_equal(context.run([x])["y"], x * x)


def make_sparse(name, shape, positions, tuples, dtype=np.float32):
    """A sparse tensor and the same as an array; indices are positions or tuples."""
    dense = np.zeros(int(np.prod(shape)), dtype)
    dense[positions] = np.arange(1, len(positions) + 1)
    indices = np.stack(np.unravel_index(positions, shape), -1) if tuples else np.array(positions)
    values = onnx.numpy_helper.from_array(dense[positions], name)
    return helper.make_sparse_tensor(values, onnx.numpy_helper.from_array(indices.astype(np.int64), "i"), shape), dense.reshape(shape)


def test_sparse_tensors_are_dense_ones(tmp_path):
    wide, a = make_sparse("a", [64, 3], [0, 5, 70, 191], True)
    flat, b = make_sparse("b", [64, 3], [1, 2, 100], False)
    path, none, c = tmp_path / "m.onnx", *make_sparse("c", [3], [], False)
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["xa"]),
        helper.make_node("Constant", [], ["b"], sparse_value=flat),
        helper.make_node("MatMul", ["x", "b"], ["xb"]),
        helper.make_node("Sum", ["xa", "xb", "c"], ["y"]),
    ]
    save(path, nodes, [("x", ["n", 64])], [("y", ["n", 3])])
    model = onnx.load(path)
    model.graph.sparse_initializer.extend([wide, none])
    onnx.save(model, path)
    x = rows(2)
    got = qcc.load(qcc.compile(path, tmp_path / "m.qcc"), threads=1)({"x": x})["y"]
    np.testing.assert_allclose(got, x @ (a + b) + c, rtol=1e-4, atol=1e-4)


def test_an_artifact_that_was_replaced_is_loaded_anew(tmp_path):
    x, models = rows(2), []
    for op, function in (("Neg", np.negative), ("Abs", np.abs), ("Neg", np.negative)):
        save(tmp_path / "m.onnx", [helper.make_node(op, ["x"], ["y"])], [("x", ["n", 64])], [("y", ["n", 64])])
        models.append((qcc.load(qcc.compile(tmp_path / "m.onnx", tmp_path / "m.qcc"), threads=1), function))
    for model, function in models:
        np.testing.assert_array_equal(model({"x": x})["y"], function(x))


def test_bad_models_are_refused_with_their_code(tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(qcc.CompileError, match="QCC-E") as error:
        qcc.compile(tmp_path / "bad.onnx")
    assert error.value.exit_code == 3
    assert error.value.code.startswith("QCC-E")
    assert not (tmp_path / "bad.qcc").exists()
