# Inputs that become states: what they need, and qcc eval of artifacts that carry them.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
from __future__ import annotations

import json
import subprocess

import numpy as np
import onnx
import pytest
import qcc
from onnx import TensorProto, helper


QCC = qcc._driver._find_driver()


def run(*words) -> subprocess.CompletedProcess:
    return subprocess.run([QCC, *map(str, words)], capture_output=True, text=True, timeout=120)


@pytest.fixture
def running_sum(tmp_path):
    """A model that adds its input to a state, and data with arrays for both."""
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "old"], ["new"], "sum"), helper.make_node("Identity", ["new"], ["y"], "same")], "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "old")],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("y", "new")],
    )  # fmt: skip
    path = tmp_path / "sum.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "data.npz", **{name: rng.standard_normal((1, 4)).astype(np.float32) for name in ("x", "old")})
    return path


def evaluate(model, artifact, *flags):
    return run("eval", artifact, f"--reference={model}", f"--data={model.parent / 'data.npz'}", "--json", "-q", *flags)


@pytest.mark.parametrize("carries", [False, True])
def test_reference_has_the_same_inputs(running_sum, carries):
    """One side would read zeros where the other reads the data."""
    state = ["--state=old=new"]
    artifact = running_sum.parent / "m.qcc"
    assert run(running_sum, "-o", artifact, "-q", *(state if carries else [])).returncode == 0
    alike = evaluate(running_sum, artifact, *(state if carries else []))
    assert alike.returncode == 0, alike.stderr
    cosine = next(line for line in json.loads(alike.stdout)["results"] if line["metric"] == "cosine")
    assert cosine["value"] == pytest.approx(1)
    other = evaluate(running_sum, artifact, *([] if carries else state))
    assert other.returncode == 2 and "QCC-E401" in other.stderr
    assert "expected the reference's inputs" in other.stderr and "--state" in other.stderr


def test_names_of_inputs(running_sum):
    """The artifact loads as it was compiled."""
    artifact = qcc.compile(running_sum, running_sum.parent / "m.qcc", state={"old": "new"})
    assert [tensor.name for tensor in qcc.load(artifact).inputs] == ["x"]


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (["n", 4], ["m", 4], "but got f32 [n, 4] and f32 [m, 4]; try --dim=n=m"),
        (["n", 4], ["n", "m"], "but got f32 [n, 4] and f32 [n, m]"),
        (["past", 4], None, "but got f32 [past, 4] and f32 [(m + past), 4]; leave --state out: a cache that grows is an input and an output"),
    ],
)
def test_sizes_of_states(tmp_path, old, new, text):
    """A state keeps its size; the message names sizes as the model does, and a way out if there is one."""
    make = helper.make_node("Identity", ["x"], ["new"]) if new else helper.make_node("Concat", ["old", "x"], ["new"], axis=0)
    graph = helper.make_graph(
        [make], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, new or ["m", 4]), helper.make_tensor_value_info("old", TensorProto.FLOAT, old)],
        [helper.make_tensor_value_info("new", TensorProto.FLOAT, None)],
    )  # fmt: skip
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    done = run(path, "-o", tmp_path / "m.qcc", "-q", "--state=old=new")
    assert done.returncode == 2 and text in done.stderr.replace("(past + m)", "(m + past)"), done.stderr
    assert ("try --dim" in done.stderr) == ("try --dim" in text)


def test_sizes_that_no_input_gives(tmp_path):
    """A state is made before the first run: sizes of its own only would never be known."""
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])], "g",
        *([helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4])] for name in "xy"),
    )  # fmt: skip
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    done = run(path, "-o", tmp_path / "m.qcc", "-q", "--state=x=y")
    assert done.returncode == 2 and "'n' is a size of no other input; try --dim=n=2" in done.stderr and "QCC-E401" in done.stderr, done.stderr
    artifact = qcc.compile(path, tmp_path / "m.qcc", state={"x": "y"}, dim={"n": 2})
    assert qcc.load(artifact)({})["y"].shape == (2, 4)


def save_graph(path, nodes, inputs, outputs):
    values = [[helper.make_tensor_value_info(n, TensorProto.FLOAT, [4, 6]) for n in names] for names in (inputs, outputs)]
    graph = helper.make_graph([helper.make_node(op, i.split(), o.split(), **a) for op, i, o, a in nodes], "g", *values)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))


ADD = [("Add", "s x", "n", {}), ("Mul", "n n", "y", {})]
# Nodes, and what outputs and the next state are.
STEPS = {
    "own element": (ADD, lambda s, x: ((s + x) ** 2, s + x)),
    "read later": ([*ADD, ("Sub", "y s", "z", {})], lambda s, x: ((s + x) ** 2 - s, s + x)),
    "turned": ([("Transpose", "s", "t", {"perm": [1, 0]}), ("Transpose", "x", "u", {"perm": [1, 0]}), ("Add", "t u", "v", {}),
                ("Transpose", "v", "n", {"perm": [1, 0]}), ("Mul", "n n", "z", {})], lambda s, x: ((s + x) ** 2, s + x)),
    "all elements": ([("ReduceSum", "s", "r", {}), ("Add", "r x", "q", {}), ("Tanh", "q", "n", {}), ("Neg", "n", "z", {})],
                     lambda s, x: (-np.tanh(s.sum() + x), np.tanh(s.sum() + x))),
    "given out": ([("Add", "s x", "n", {}), ("Identity", "s", "z", {})], lambda s, x: (s, s + x)),
    "used twice": ([("Add", "s x", "a", {}), ("Mul", "a s", "n", {}), ("Add", "n a", "z", {})],
                   lambda s, x: ((s + x) * s + s + x, (s + x) * s)),
}  # fmt: skip


@pytest.mark.parametrize("target", ["native", "reference"])
@pytest.mark.parametrize("dropped", [False, True])
@pytest.mark.parametrize("case", STEPS)
def test_next_values_replace_the_current_ones(tmp_path, case, dropped, target):
    """In every order of reads, whether the output of the state is one of the artifact or not."""
    nodes, step = STEPS[case]
    output = "z" if any(o == "z" for _, _, o, _ in nodes) else "y"
    save_graph(tmp_path / "m.onnx", nodes, ["s", "x"], [output, "n"])
    options = {"drop_output": "^n$"} if dropped else {}
    artifact = qcc.compile(tmp_path / "m.onnx", tmp_path / "m.qcc", state={"s": "n"}, target=target, **options)
    context = qcc.load(artifact).context()
    state, rng = np.zeros((4, 6)), np.random.default_rng(0)
    for _ in range(4):
        x = rng.standard_normal((4, 6)).astype(np.float32) / 4
        outputs = context.run({"x": x})
        want, state = step(state, x.astype(np.float64))
        assert list(outputs) == ([output] if dropped else [output, "n"])
        np.testing.assert_allclose(outputs[output], want, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(context.state("s"), state, rtol=1e-5, atol=1e-6)


def test_states_that_are_others(tmp_path):
    """A line of delays, and two that change places: each reads what was there before the run."""
    nodes = [("Identity", "x", "a1", {}), ("Identity", "a", "b1", {}), ("Identity", "b", "c1", {}), ("Identity", "e", "d1", {}),
             ("Add", "d x", "e1", {}), ("Add", "a b", "y", {})]  # fmt: skip
    save_graph(tmp_path / "m.onnx", nodes, ["a", "b", "c", "d", "e", "x"], ["y", "a1", "b1", "c1", "d1", "e1"])
    model = qcc.compile(tmp_path / "m.onnx", tmp_path / "m.qcc", state={n: f"{n}1" for n in "abcde"}, drop_output="1$")
    context = qcc.load(model).context()
    a = b = c = d = e = np.zeros((4, 6), np.float32)
    for i in range(5):
        x = np.full((4, 6), i + 1, np.float32)
        np.testing.assert_array_equal(context.run({"x": x})["y"], a + b)
        a, b, c, d, e = x, a, b, e, d + x
        for name, want in zip("abcde", (a, b, c, d, e), strict=True):
            np.testing.assert_array_equal(context.state(name), want)


@pytest.mark.parametrize(("pattern", "text"), [
    ("^z$", "--drop-output: expected a regular expression of an output (y, n), but got '^z$'"),
    (".", "--drop-output: expected an output to be left of y, n"), ("(", "--drop-output: expected a regular expression, but got '('"),
])  # fmt: skip
def test_outputs_that_cannot_be_dropped(tmp_path, pattern, text):
    save_graph(tmp_path / "m.onnx", ADD, ["s", "x"], ["y", "n"])
    done = run(tmp_path / "m.onnx", "-o", tmp_path / "m.qcc", "-q", f"--drop-output={pattern}")
    assert done.returncode == 2 and text in done.stderr and "QCC-E401" in done.stderr, done.stderr


def test_dropped_outputs_are_in_the_recipe(tmp_path):
    save_graph(tmp_path / "m.onnx", ADD, ["s", "x"], ["y", "n"])
    qcc.compile(tmp_path / "m.onnx", tmp_path / "a.qcc", drop_output="^n$")
    qcc.compile(tmp_path / "m.onnx", tmp_path / "b.qcc", recipe=tmp_path / "a.qcc" / "recipe.yaml")
    assert [t.name for t in qcc.load(tmp_path / "b.qcc").outputs] == ["y"]
