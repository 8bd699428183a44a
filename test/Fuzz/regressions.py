# The smallest models of faults that mutants have found, one function each: what was wrong is in its docstring.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
from __future__ import annotations

import pathlib

import onnx
from onnx import TensorProto, helper

FLOAT, INT64, UINT8 = TensorProto.FLOAT, TensorProto.INT64, TensorProto.UINT8


def value(name, shape, kind=FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def model(nodes, inputs, outputs, initializers=(), opset=17):
    graph = helper.make_graph(nodes, "regression", inputs, outputs, list(initializers))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def variadic_input_left_out():
    """Sum read an input that is not there."""
    return model([helper.make_node("Sum", ["x", "", "x"], ["y"])], [value("x", [4])], [value("y", [4])])


def pad_without_padding():
    """Pad of opset 11 and later took the missing padding for one that is known at run time."""
    return model([helper.make_node("Pad", ["x"], ["y"])], [value("x", [4])], [value("y", [4])])


def zero_point_of_high_rank():
    """The maps of an integer product had as many results as the zero point has dimensions."""
    node = helper.make_node("MatMulInteger", ["a", "b", "", "z"], ["y"])
    inputs = [value("a", [7, 2], UINT8), value("b", [2, 3], UINT8), value("z", [3, 4, 5], UINT8)]
    return model([node], inputs, [value("y", [7, 3], TensorProto.INT32)])


def attribute_type_of_recurrent():
    """A layer went on with an input that was null since its attribute had a wrong type."""
    node = helper.make_node("LSTM", ["x", "w", "r"], ["y"], direction=7)
    inputs = [value("x", [3, 1, 2]), value("w", [1, 28, 2]), value("r", [1, 28, 7])]
    return model([node], inputs, [value("y", [3, 1, 1, 7])])


def keepdims_negative():
    """The rank of a reduced shape was `keepdims`."""
    shape = helper.make_node("Shape", ["x"], ["s"])
    node = helper.make_node("ReduceSum", ["s"], ["y"], keepdims=-1)
    return model([shape, node], [value("x", [4, 4])], [value("y", [1], INT64)], opset=12)


def clip_of_integers():
    """The default bounds of Clip before opset 11, of floats only, became integers: a conversion without a value."""
    return model([helper.make_node("Clip", ["x"], ["y"])], [value("x", [3], TensorProto.INT8)],
                 [value("y", [3], TensorProto.INT8)], opset=6)


def constant_of_no_elements():
    """Bytes of an empty constant were copied from a null pointer."""
    empty = helper.make_tensor("e", FLOAT, [0, 3], [])
    nodes = [helper.make_node("Concat", ["e", "e"], ["c"], axis=0), helper.make_node("Neg", ["c"], ["y"])]
    return model(nodes, [], [value("y", [0, 3])], [empty])


def axis_of_dft_with_two_elements():
    """The axis of a DFT, not a scalar and not known, was refused and then read."""
    node = helper.make_node("DFT", ["x", "", "a"], ["y"])
    return model([node], [value("x", [4, 4, 4, 1]), value("a", [2], INT64)], [value("y", None)], opset=20)


def write_all(folder: pathlib.Path) -> list[pathlib.Path]:
    """Writes every model into a folder; their paths."""
    paths = []
    for name, make in sorted(globals().items()):
        if callable(make) and make.__doc__ and getattr(make, "__module__", "") == __name__ and name != "write_all":
            made = make()
            paths.append(folder / f"{name}.onnx")
            paths[-1].write_bytes(made if isinstance(made, bytes) else made.SerializeToString())
    return paths
