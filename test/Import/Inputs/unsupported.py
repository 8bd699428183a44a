# Writes a model with operators that are not supported in all places where nodes can stand: unsupported.py PATH.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import sys

import onnx
from onnx import TensorProto, helper


def node(op, name, inputs, outputs, **attributes):
    return helper.make_node(op, inputs, outputs, name, domain="custom", **attributes)


def value(name, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, [4])


inner = helper.make_graph([node("InBranch", "inner", ["x"], ["b"]), helper.make_node("Relu", ["b"], ["c"])], "g", [], [value("c")])
opsets = [helper.make_opsetid("", 17), helper.make_opsetid("custom", 1), helper.make_opsetid("local", 1)]
function = helper.make_function("local", "F", ["a"], ["b"], [node("InFunction", "inside", ["a"], ["b"])], opsets)
nodes = [node("Many", f"many{i}", ["x"], [f"m{i}"]) for i in range(40)]
nodes.append(node("Outer", "outer", ["x"], ["o"], body=inner))
# Called with what could not be made.
nodes.append(helper.make_node("F", ["o"], ["p"], "call", domain="local"))
nodes.append(helper.make_node("Relu", ["p"], ["y"], "relu"))
inputs = [value("x"), value("s", TensorProto.STRING)]
graph = helper.make_graph(nodes, "unsupported", inputs, [value("y")])
onnx.save(helper.make_model(graph, opset_imports=opsets, functions=[function]), sys.argv[1])
