# Products with a constant weight for each batch: dense experts, projections of heads.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import json

import numpy as np
import onnxruntime
import pytest
import qcc
from mixtures import NODE, save
from onnx import TensorProto, helper

NUMBER, K, N = 3, 256, 264


def make_model(folder, shape, dtype=np.float32, weight=(NUMBER, K, N)):
    weight = (np.random.default_rng(0).standard_normal(weight) / weight[-2] ** 0.5).astype(dtype)
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    nodes = [NODE("MatMul", ["x", "w"], ["y"], name="heads")]
    return save(folder, nodes, {"w": weight}, [("x", kind, shape)], [("y", kind, None)])


def get_products(artifact):
    return [op for op in json.loads((artifact / "report.json").read_text())["ops"] if "matmul" in op["op"]]


def compare(path, artifact, shape, bound, dtype=np.float32, threads=1):
    arrays = {"x": np.random.default_rng(1).standard_normal(shape).astype(dtype)}
    want = onnxruntime.InferenceSession(path).run(None, arrays)[0]
    got = qcc.load(artifact, threads=threads)(arrays)["y"]
    assert got.shape == want.shape and got.dtype == want.dtype
    error = np.linalg.norm(got.astype(float) - want.astype(float))
    assert error <= bound * np.linalg.norm(want.astype(float))


SHAPES = {
    "batches": ([NUMBER, "t", K], [NUMBER, 7, K]),
    "more batches": (["b", NUMBER, "t", K], [2, NUMBER, 5, K]),
    "one for all": ([1, "t", K], [1, 7, K]),
    "one for all in batches": (["b", 1, "t", K], [2, 1, 5, K]),
    "a matrix": (["t", K], [7, K]),
    "known": ([2, NUMBER, 4, K], [2, NUMBER, 4, K]),
}


@pytest.mark.parametrize("case", SHAPES)
def test_shapes(tmp_path, case):
    stated, shape = SHAPES[case]
    path = make_model(tmp_path, stated)
    artifact = qcc.compile(path, tmp_path / "m.qcc")
    assert len(get_products(artifact)) == NUMBER
    compare(path, artifact, shape, 2e-6)
    if "t" in stated:
        compare(path, artifact, [0 if size == "t" else number for size, number in zip(stated, shape)], 2e-6, threads=2)


OTHERS = {
    "batches not known": (["e", "t", K], [NUMBER, 7, K], (NUMBER, K, N)),
    "small": ([NUMBER, "t", 64], [NUMBER, 7, 64], (NUMBER, 64, 64)),
    "one weight": ([2, "t", K], [2, 7, K], (1, K, N)),
    "more dimensions": ([2, NUMBER, "t", K], [2, NUMBER, 7, K], (2, NUMBER, K, N)),
    "a vector": ([K], [K], (NUMBER, K, N)),
}


@pytest.mark.parametrize("case", OTHERS)
def test_what_stays_as_it_is_written(tmp_path, case):
    stated, shape, weight = OTHERS[case]
    path = make_model(tmp_path, stated, weight=weight)
    artifact = qcc.compile(path, tmp_path / "m.qcc")
    assert len(get_products(artifact)) == 1
    compare(path, artifact, shape, 2e-6)


def test_halves(tmp_path):
    path = make_model(tmp_path, [NUMBER, "t", K], dtype=np.float16)
    artifact = qcc.compile(path, tmp_path / "m.qcc")
    assert len(get_products(artifact)) == NUMBER
    compare(path, artifact, [NUMBER, 7, K], 2e-3, dtype=np.float16)


@pytest.mark.parametrize("precision, bound", [("int8", 0.02), ("w4a16:g32", 0.12), ("w4a8:g32", 0.12)])
@pytest.mark.parametrize("samples", [False, True])
def test_codes(tmp_path, precision, bound, samples):
    path = make_model(tmp_path, [NUMBER, "t", K])
    options = {}
    if samples:
        np.savez(tmp_path / "s.npz", x=np.random.default_rng(3).standard_normal((NUMBER, 1200, K)).astype(np.float32))
        options = {"calib": [tmp_path / "s.npz"], **({} if precision == "int8" else {"algo": "gptq"})}
    artifact = qcc.compile(path, tmp_path / "m.qcc", precision=precision, **options)
    products = get_products(artifact)
    assert len(products) == NUMBER and all(op["executed"] == precision for op in products)
    compare(path, artifact, [NUMBER, 40, K], bound)
