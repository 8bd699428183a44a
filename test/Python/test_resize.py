# Resizes: what an axis reads of the input is in tables, and axes are resized in the order that takes least.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
from __future__ import annotations

import re
import subprocess

import numpy as np
import onnx
import onnx.parser
import onnxruntime as ort
import pytest
import qcc
from onnx.reference import ReferenceEvaluator
from operator_checks import compile_text, normal

FACTORS = [(2, 2), (2.5, 1.75), (0.5, 0.75), (0.375, 3), (3, 0.375), (1, 2), (1.5, 1)]
COORDINATES = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric"]


def graph(attributes, dims="2, 5, 12, 16", factors=FACTORS, region=""):
    """An output for each pair of factors."""
    outputs = ", ".join(f"float[b{i}, c{i}, d{i}, e{i}] y{i}" for i in range(len(factors)))
    nodes = [f"r = Constant <value_floats = [{region}]> ()"] if region else []
    for i, (rows, columns) in enumerate(factors):
        nodes.append(f"s{i} = Constant <value_floats = [1.0, 1.0, {float(rows)}, {float(columns)}]> ()")
        nodes.append(f"y{i} = Resize <{attributes}> (x, {'r' if region else ''}, s{i})")
    return f"g (float[{dims}] x) => ({outputs}) {{ {' '.join(nodes)} }}"


def compare(folder, text, *shapes):
    """With ONNX's own evaluation, which has what runtimes lack."""
    model, compiled = compile_text(folder, text, opset=19)
    for shape in shapes:
        x = normal(*shape, seed=1)
        for wanted, (name, got) in zip(ReferenceEvaluator(model).run(None, {"x": x}), compiled({"x": x}).items(), strict=True):
            assert got.shape == wanted.shape, name
            np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=2e-5, err_msg=name)


@pytest.mark.parametrize("dims", ["2, 5, 12, 16", "a, 5, h, w"])
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("coordinates", COORDINATES)
def test_modes_and_coordinates(tmp_path, mode, coordinates, dims):
    compare(tmp_path, graph(f'mode = "{mode}", coordinate_transformation_mode = "{coordinates}"', dims), (2, 5, 12, 16))


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("outside, antialias", [(1, 0), (0, 1), (1, 1)])
def test_weights_that_are_divided(tmp_path, mode, outside, antialias):
    """0.375 of a cubic has more taps than tables are made for."""
    compare(tmp_path, graph(f'mode = "{mode}", exclude_outside = {outside}, antialias = {antialias}'), (2, 5, 12, 16))


@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_regions(tmp_path, mode):
    attributes = f'mode = "{mode}", coordinate_transformation_mode = "tf_crop_and_resize", extrapolation_value = 3.5'
    compare(tmp_path, graph(attributes, factors=[(2, 2), (0.5, 0.75), (3, 0.5)], region="0.0, 0.0, 0.2, -0.1, 1.0, 1.0, 0.7, 1.2"), (2, 5, 12, 16))


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("scale", [0.1, 0.3, 0.7, 1.1, 1.3333334, 1.7])
def test_scales_whose_sizes_are_rounded(tmp_path, scale, mode):
    """No binary fractions, and sizes that are known when it runs: sizes are ONNX Runtime's, which multiplies in f32."""
    model, compiled = compile_text(tmp_path, graph(f'mode = "{mode}"', "1, 1, h, w", factors=[(scale, scale)]), opset=19)
    runtime = ort.InferenceSession(model.SerializeToString())
    for size in [(10, 10), (17, 30), (29, 100), (64, 43)]:
        x = normal(1, 1, *size, seed=2)
        (wanted,) = runtime.run(None, {"x": x})
        got = compiled({"x": x})["y0"]
        assert got.shape == wanted.shape
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("scale", [0.0, -1.5, float("inf"), float("nan")])
def test_scales_that_are_none(tmp_path, scale):
    text = graph('mode = "nearest"', "1, 1, h, w", factors=[(1, 1)])
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 19]> {text}')
    for node in model.graph.node:
        if node.op_type == "Constant":
            node.attribute[0].floats[3] = scale
    onnx.save(model, tmp_path / "m.onnx")
    done = subprocess.run([qcc._driver._find_driver(), tmp_path / "m.onnx", "-o", tmp_path / "m.qcc"], capture_output=True, text=True)
    assert done.returncode == 3 and "expected finite scales above 0" in done.stderr, done.stderr


@pytest.mark.parametrize("factors, heights", [((2, 2), [12, 24]), ((0.5, 2), [6, 6]), ((0.5, 0.5), [6, 6])])
def test_rows_that_grow_come_last(tmp_path, factors, heights):
    compile_text(tmp_path, graph('mode = "linear"', factors=[factors]))
    command = [qcc._driver._find_driver(), tmp_path / "m.onnx", "--emit=import", "-q", "-o", tmp_path / "m.mlir"]
    assert subprocess.run(command).returncode == 0
    found = re.findall(r"^    \} -> tensor<2x5x(\d+)x\d+xf32>", (tmp_path / "m.mlir").read_text(), re.MULTILINE)
    assert [int(height) for height in found] == heights


@pytest.mark.parametrize("dims, factors, told", [
    ("1, 1, 1, 7", (1, 1.5), "axis 3: 10.5 of 10 elements"),
    ("1, 1, h, 8", (1.5, 1.5), "axis 2: a size times 1.5"),
    ("1, 1, h, 8", (2, 1.5), None),
])  # fmt: skip
def test_corners_that_onnx_runtime_puts_elsewhere(tmp_path, dims, factors, told):
    """Torch's legacy export of Upsample(scale_factor=1.5, align_corners=True) is such a node."""
    text = graph('mode = "linear", coordinate_transformation_mode = "align_corners"', dims, factors=[factors])
    onnx.save(onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 19]> {text}'), tmp_path / "m.onnx")
    for command in (["-o", tmp_path / "m.qcc"], None):
        words = [tmp_path / "m.onnx", *command] if command else ["inspect", tmp_path / "m.onnx"]
        done = subprocess.run([qcc._driver._find_driver(), *words], capture_output=True, text=True)
        lines = [line for line in done.stderr.splitlines() if "align_corners" in line]
        assert done.returncode == 0 and len(lines) == (told is not None), done.stderr
        if told:
            assert "warning: node '" in lines[0] and told in lines[0] and "give `sizes` in place of `scales`" in lines[0]
