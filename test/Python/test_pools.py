# Pools of pictures of any width.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Widths are known at run time only, from narrower than a vector to several runs of a row; against numpy in f64, NaN among the elements."""
import numpy as np
import onnx.helper
import pytest
import qcc

WIDTHS = [*range(5, 40), 63, 64, 65, 1030, 2100]


def pool(x, kind, kernel, stride, pad, dilation, include_pad):
    """The windows of `x`, [N, C, H, W], as numpy has them."""
    last = (kernel - 1) * dilation
    height, width = ((size + 2 * pad - last - 1) // stride + 1 for size in x.shape[2:])

    def taps(values, outside):
        padded = np.pad(values, ((0, 0), (0, 0), (pad, pad), (pad, pad)), constant_values=outside)
        ends = (height - 1) * stride + 1, (width - 1) * stride + 1
        starts = range(0, last + 1, dilation)
        return [padded[:, :, i : i + ends[0] : stride, j : j + ends[1] : stride] for i in starts for j in starts]

    if kind == "MaxPool":
        return np.maximum.reduce(taps(x, -np.inf))
    counts = sum(taps(np.ones(x.shape), 1 if include_pad else 0))
    return sum(taps(x.astype(np.float64), 0)) / counts


@pytest.mark.parametrize("kind", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize(("kernel", "stride", "pad", "dilation"), [(3, 2, 1, 1), (2, 2, 0, 1), (3, 1, 1, 1), (5, 3, 2, 1), (3, 2, 1, 2)])
def test_any_width(tmp_path, kind, kernel, stride, pad, dilation):
    include_pad = kernel % 2
    attributes = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [pad] * 4, "dilations": [dilation] * 2}
    if kind == "AveragePool":
        attributes["count_include_pad"] = include_pad
    x, y = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 3, *sizes]) for name, sizes in (("x", "hw"), ("y", "ab")))
    graph = onnx.helper.make_graph([onnx.helper.make_node(kind, ["x"], ["y"], **attributes)], "g", [x], [y])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=9), tmp_path / "m.onnx")
    model = qcc.load(qcc.compile(tmp_path / "m.onnx", tmp_path / "m.qcc"), threads=1)
    rng = np.random.default_rng(kernel)
    for width in WIDTHS:
        x = rng.standard_normal((2, 3, 7, width), np.float32)
        if width % 3 == 0:
            x.ravel()[::17] = np.nan
        want = pool(x, kind, kernel, stride, pad, dilation, include_pad)
        np.testing.assert_allclose(model({"x": x})["y"], want, rtol=0, atol=0 if kind == "MaxPool" else 1e-6, err_msg=f"width {width}")
