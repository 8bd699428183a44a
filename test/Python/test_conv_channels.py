# Convolutions of images whose channels only their weights tell.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
from __future__ import annotations

import json
import subprocess

import numpy as np
import onnx
import onnx.numpy_helper
import onnx.parser
import onnxruntime
import pytest
import qcc
from operator_checks import normal

# As torch traces a reshape of tokens to images: n * (16 // n) channels, which is right for one image.
TRACED = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[n, 16, h, w] x) => (float[n, o, p, q] y) {
  sixteen = Constant <value_ints = [16]> ()
  rows = Shape <start = 0, end = 1> (x)
  image = Shape <start = 2> (x)
  channels = Div (sixteen, rows)
  shape = Concat <axis = 0> (rows, channels, image)
  a = Reshape (x, shape)
  [layer] c = Conv <pads = [1, 1, 1, 1], group = GROUPS> (a, weight, bias)
  y = Relu (c)
}
"""
KERNELS = {1: (24, 16, 3, 3), 2: (24, 8, 3, 3), 16: (16, 1, 3, 3)}


@pytest.fixture(params=KERNELS)
def model(request, tmp_path):
    model = onnx.parser.parse_model(TRACED.replace("GROUPS", str(request.param)))
    kernel = KERNELS[request.param]
    for name, array in (("weight", normal(*kernel, seed=1) / 8), ("bias", normal(kernel[0], seed=2))):
        model.graph.initializer.append(onnx.numpy_helper.from_array(array.astype(np.float32), name))
    onnx.save(model, tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def check(model, compiled, error):
    session = onnxruntime.InferenceSession(model)
    for height, width in ((9, 11), (32, 20)):
        x = normal(1, 16, height, width, seed=height)
        (wanted,) = session.run(None, {"x": x})
        got = compiled({"x": x})["y"]
        assert got.shape == wanted.shape
        assert np.abs(got - wanted).max() <= error * np.abs(wanted).max()
    with pytest.raises(qcc.QccError):
        compiled({"x": normal(2, 16, 9, 11)})


def test_the_weight_tells_the_channels(model, tmp_path):
    done = subprocess.run([qcc._driver._find_driver(), model, "--emit=import", "-q", "-o", tmp_path / "a.mlir"])
    assert done.returncode == 0
    (line,) = [line for line in (tmp_path / "a.mlir").read_text().splitlines() if "qcc.conv" in line]
    assert "(tensor<?x16x?x?xf32" in line, line
    check(model, qcc.load(qcc.compile(model, tmp_path / "m.qcc")), 1e-5)


@pytest.mark.parametrize("model", [1], indirect=True)
def test_it_gets_int8(model, tmp_path):
    (tmp_path / "data").mkdir()
    for i in range(4):
        np.savez(tmp_path / "data" / f"{i}.npz", x=normal(1, 16, 12, 12, seed=3 + i))
    artifact = qcc.compile(model, tmp_path / "m.qcc", precision="int8", calib=tmp_path / "data", min_cos=0)
    ops = json.loads((artifact / "report.json").read_text())["ops"]
    assert ("qcc.int_conv", "int8") in {(op["op"], op["executed"]) for op in ops}, ops
    check(model, qcc.load(artifact), 0.05)
