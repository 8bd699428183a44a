# Makes a model of two convolutions over sound of any length, and two samples: calibrated_sizes.py FOLDER LENGTH
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import pathlib
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

folder, length = pathlib.Path(sys.argv[1]), int(sys.argv[2])
rng = np.random.default_rng(5)


def weight(name: str, *shape: int) -> onnx.TensorProto:
    return numpy_helper.from_array((rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32), name)


graph = helper.make_graph(
    [
        helper.make_node("Conv", ["x", "first.w"], ["a"], name="first", strides=[128]),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Conv", ["b", "second.w"], ["y"], name="second", pads=[4, 4]),
    ],
    "g",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 16, "length"])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 128, "frames"])],
    [weight("first.w", 128, 16, 128), weight("second.w", 128, 128, 9)],
)
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "m.onnx")
np.savez(folder / "x.npz", x=rng.standard_normal((2, 16, length)).astype(np.float32))
