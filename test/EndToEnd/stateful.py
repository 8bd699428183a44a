# Graphs with state: what a run leaves is what the next one starts from, per context.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

from __future__ import annotations

import pathlib
import tempfile

import cases
import harness
import numpy as np
import onnxruntime
import qcc


def load(graph: str, state: str, folder: str, **options) -> tuple[qcc.Model, pathlib.Path]:
    """Compiles a graph of test/Models/make_graphs.py with an output fed back to an input; the model and its ONNX file."""
    model, artifact = pathlib.Path(folder) / "model.onnx", pathlib.Path(folder) / "artifact"
    cases.make_graphs.make(graph, model, **options)
    harness.run(harness.QCC, model, "-o", artifact, f"--state={state}", "-q")
    return qcc.load(artifact, threads=1), model


def expect_equal(got: np.ndarray, want: np.ndarray, what: str, bound: float = 0) -> None:
    """A Failure when arrays differ by more than a bound."""
    error = float(np.abs(got - want).max())
    if not error <= bound:
        raise harness.Failure(f"{what}: expected a difference of at most {bound:g}, but got {error:.3g}")


def counter() -> str:
    """Two contexts count apart; a reset one starts again."""
    with tempfile.TemporaryDirectory(prefix="qcc-state-") as folder:
        model, _ = load("counter", "count=count_out", folder)
        x = np.array([1, 2, 3, 4], np.float32)
        first, second = model.context(), model.context()
        for step in range(1, 11):
            expect_equal(first.run({"x": x})["seen"], 2 * step * x, f"step {step}")
        expect_equal(second.run({"x": x})["seen"], 2 * x, "another context")
        first.reset()
        expect_equal(first.run({"x": x})["seen"], 2 * x, "after a reset")
    return "10 steps, two contexts, a reset"


def recurrent_cell(steps: int = 100) -> str:
    """A recurrent cell over many steps against ONNX Runtime, which is handed the state at each."""
    with tempfile.TemporaryDirectory(prefix="qcc-state-") as folder:
        model, path = load("cell", "h=h_out", folder, batch=1)
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        context, h = model.context(), np.zeros((1, 32), np.float32)
        rng = np.random.default_rng(3)
        for step in range(steps):
            x = rng.standard_normal((1, 16), np.float32)
            y, h = session.run(["y", "h_out"], {"x": x, "h": h})
            expect_equal(context.run({"x": x})["y"], y, f"step {step}", 1e-4 * float(np.abs(y).max()))
    return f"{steps} steps"


def all_stateful() -> list:
    """The cases of this file."""
    return [("state/counter", counter), ("state/recurrent-cell", recurrent_cell)]
