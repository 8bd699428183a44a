# Transposed convolutions and those over depth, which become others, against ONNX Runtime.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import json
import subprocess

import numpy as np
import onnx
import onnxruntime
import pytest
import qcc
from operator_checks import check, compile_text, normal

LETTERS = "hwd"

# Kernel and other attributes.
TRANSPOSED = [
    ([2, 2], "strides=[2, 2]"), ([4, 4], "strides=[2, 2], pads=[1, 1, 1, 1]"),
    ([3, 3], "strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1]"), ([3, 3], "strides=[2, 2], pads=[1, 1, 1, 1]"),
    ([5, 4], "strides=[3, 2], pads=[0, 2, 1, 1]"), ([3, 3], ""), ([3, 3], "pads=[1, 1, 1, 1]"),
    ([3, 3], "strides=[2, 3], dilations=[2, 1]"), ([2, 3], "strides=[4, 1], pads=[0, 1, 0, 0]"),
    ([1, 1], "strides=[2, 2], output_padding=[1, 1]"), ([3, 3], "strides=[2, 2], pads=[2, 2, 2, 2]"),
    ([2, 2], "pads=[1, 0, 1, 0]"), ([3, 3], 'strides=[2, 2], auto_pad="SAME_UPPER"'),
    ([4, 4], 'strides=[2, 2], auto_pad="SAME_LOWER"'), ([3, 5], 'strides=[2, 3], dilations=[2, 1], auto_pad="SAME_LOWER"'),
    ([3], 'auto_pad="SAME_UPPER"'), ([3, 4], 'strides=[2, 3], auto_pad="SAME_UPPER", output_padding=[1, 2]'), ([16], "strides=[8], pads=[4, 4]"), ([3], "strides=[4]"),
    ([5], "strides=[2], pads=[3, 0]"), ([2, 2], "strides=[5, 7]"), ([1], "strides=[100000]"), ([2, 2, 2], "strides=[2, 2, 2]"),
    ([3, 4, 2], "strides=[2, 2, 1], pads=[1, 1, 0, 1, 1, 0]"),
]  # fmt: skip
DEEP = [
    ([3, 3, 3], "pads=[1, 1, 1, 1, 1, 1]"), ([1, 3, 3], "pads=[0, 1, 1, 0, 1, 1], strides=[1, 2, 2]"), ([3, 1, 1], ""),
    ([2, 3, 3], "strides=[2, 1, 1], dilations=[2, 1, 2]"), ([3, 3, 3], "pads=[2, 0, 1, 0, 1, 2], strides=[3, 2, 1]"),
    ([7, 3, 3], "pads=[3, 1, 1, 3, 1, 1]"),
]  # fmt: skip


def make(op, inputs, outputs, kernel, attributes, size, groups=1, free=True, bias=True):
    """The text of one node and its arrays; spatial sizes are free or `size`."""
    spatial = len(kernel)
    dims = ",".join(LETTERS[i] if free else str(size + i) for i in range(spatial))
    out = ",".join("uvz"[:spatial])
    shape = [inputs, outputs // groups] if op == "ConvTranspose" else [outputs, inputs // groups]
    weight = normal(*shape, *kernel, seed=1)
    attributes = ", ".join(a for a in (attributes, f"group={groups}" if groups > 1 else "") if a)
    constant = ",".join(map(str, weight.shape))
    text = f"""g (float[n,{inputs},{dims}] x) => (float[n,{outputs},{out}] y)
    <float[{constant}] w = {{{", ".join(map(repr, weight.ravel().tolist()))}}}, float[{outputs}] c = {{{", ".join(map(repr, normal(outputs, seed=2).tolist()))}}}>
    {{ y = {op}<{attributes}>(x, w{", c" if bias else ""}) }}""".replace("<>", "")
    return text, {"x": normal(2, inputs, *(size + i for i in range(spatial)))}


@pytest.mark.parametrize("free", [True, False])
@pytest.mark.parametrize("kernel,attributes", TRANSPOSED)
def test_transposed(tmp_path, kernel, attributes, free):
    text, inputs = make("ConvTranspose", 5, 3, kernel, attributes, 6, free=free)
    check(tmp_path, text, inputs)


@pytest.mark.parametrize("groups,outputs", [(2, 6), (4, 4)])
def test_transposed_in_groups(tmp_path, groups, outputs):
    text, inputs = make("ConvTranspose", 4, outputs, [4, 4], "strides=[2, 2], pads=[1, 1, 1, 1]", 6, groups=groups)
    check(tmp_path, text, inputs)


@pytest.mark.parametrize("strides", [1, 2])
def test_transposed_of_one_element(tmp_path, strides):
    text, inputs = make("ConvTranspose", 6, 5, [4, 4], f"strides=[{strides}, {strides}]", 1, free=False)
    check(tmp_path, text.replace("n,6,1,2", "n,6,1,1"), {"x": inputs["x"][..., :1]})


def test_transposed_to_a_shape(tmp_path):
    for i, shape in enumerate(([13, 15], [11, 13], [12, 14])):
        (tmp_path / str(i)).mkdir()
        text, inputs = make("ConvTranspose", 5, 3, [3, 3], f"strides=[2, 2], output_shape={shape}", 6, free=False)
        check(tmp_path / str(i), text, inputs)


def test_transposed_with_weights_that_are_inputs(tmp_path):
    text = """g (float[n,3,h,w] x, float[3,4,4,4] k, float[4] c) => (float[n,4,u,v] y)
    { y = ConvTranspose<strides=[2, 2], pads=[1, 1, 1, 1]>(x, k, c) }"""
    check(tmp_path, text, {"x": normal(2, 3, 5, 6), "k": normal(3, 4, 4, 4), "c": normal(4)})


@pytest.mark.parametrize("free", [True, False])
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("kernel,attributes", DEEP)
def test_over_depth(tmp_path, kernel, attributes, groups, free):
    text, inputs = make("Conv", 4, 8, kernel, attributes, 9, groups=groups, free=free)
    check(tmp_path, text, inputs)


def test_over_depth_of_doubles(tmp_path):
    def expected(x, w):
        windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3, 3), axis=(2, 3, 4))
        return np.einsum("ncdhwijk,ocijk->nodhw", windows, w)

    text = "g (double[1,2,4,5,6] x, double[3,2,3,3,3] w) => (double[1,3,2,3,4] y) { y = Conv(x, w) }"
    arrays = {"x": normal(1, 2, 4, 5, 6).astype(np.float64), "w": normal(3, 2, 3, 3, 3).astype(np.float64)}
    check(tmp_path, text, arrays, expected=expected, rtol=1e-12, atol=1e-12)


LARGE = [("ConvTranspose", [4, 4], "strides=[2, 2], pads=[1, 1, 1, 1]", 16), ("Conv", [3, 3, 3], "pads=[1, 1, 1, 1, 1, 1]", 9)]


def save_large(folder, case):
    op, kernel, attributes, size = case
    text, inputs = make(op, 32, 24, kernel, attributes, size, free=False)
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]>\n{text}')
    model.graph.node[0].name = "layer"
    onnx.save(model, folder / "m.onnx")
    np.savez(folder / "c.npz", **inputs)
    return inputs, onnxruntime.InferenceSession(model.SerializeToString()).run(None, inputs)[0]


def executed(artifact):
    return {op["executed"] for op in json.loads((artifact / "report.json").read_text())["ops"] if op["node"] == "layer"}


@pytest.mark.parametrize("case", LARGE, ids=["transposed", "depth"])
def test_they_have_int8(tmp_path, case):
    """Under the node's own name, with an error like that of other convolutions; `--keep` finds them."""
    inputs, want = save_large(tmp_path, case)
    subprocess.run(["qcc", "calibrate", tmp_path / "m.onnx", f"--calib={tmp_path / 'c.npz'}", "-o", tmp_path / "m.stats", "-q"], check=True)
    ways = {"calib": tmp_path / "c.npz"}, {"stats": tmp_path / "m.stats"}
    for given, kind in (({}, "int8"), (ways[0], "int8"), (ways[1], "int8"), ({"keep": "^layer$"}, "f32")):
        artifact = qcc.compile(tmp_path / "m.onnx", tmp_path / "q.qcc", precision="int8", **given)
        assert ("int8" in executed(tmp_path / "q.qcc")) == (kind == "int8"), given
        got = qcc.load(artifact)(inputs)["y"]
        noise = np.square(got - want).mean() / np.square(want).mean()
        assert noise < (1e-3 if kind == "int8" else 1e-11)


@pytest.mark.parametrize("case", LARGE, ids=["transposed", "depth"])
@pytest.mark.parametrize("way", ["calib", "stats"])
def test_they_are_written_as_onnx_in_float(tmp_path, case, way):
    inputs, want = save_large(tmp_path, case)
    given = tmp_path / "c.npz"
    if way == "stats":
        given = tmp_path / "m.stats"
        subprocess.run(["qcc", "calibrate", tmp_path / "m.onnx", f"--calib={tmp_path / 'c.npz'}", "-o", given, "-q"], check=True)
    qcc.compile(tmp_path / "m.onnx", tmp_path / "q.onnx", precision="int8", emit="qdq-onnx", **{way: given})
    got = onnxruntime.InferenceSession(tmp_path / "q.onnx").run(None, inputs)[0]
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
