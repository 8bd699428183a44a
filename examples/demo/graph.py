# Builds an ONNX model node by node.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Graph:
    """An ONNX graph under construction; each value has the name of the node that makes it."""

    def __init__(self, name: str, opset: int = 17):
        self.name, self.opset = name, opset
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, shape: list[int | str], dtype: int = TensorProto.FLOAT) -> str:
        """Declares an input; a dimension given by a name is symbolic."""
        self.inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def output(self, name: str, value: str, shape: list[int | str], dtype: int = TensorProto.FLOAT) -> None:
        """Declares `value` as the output `name`."""
        for node in self.nodes:
            node.output[:] = [name if output == value else output for output in node.output]
            node.input[:] = [name if input == value else input for input in node.input]
        self.outputs.append(helper.make_tensor_value_info(name, dtype, shape))

    def initializer(self, name: str, value: np.ndarray) -> str:
        """Adds a weight; the same name again is the same weight."""
        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(np.array(value, order="C"), name)
        return name

    def scalar(self, value: float) -> str:
        """A float constant, shared by all that use the same value."""
        value = np.float32(value)
        return self.initializer(f"constant_{value:.9g}", np.array(value))

    def node(self, op: str, inputs: list[str], name: str, **attributes) -> str:
        """Adds a node with one output and returns the output's name."""
        output = f"{name}_output_0"
        self.nodes.append(helper.make_node(op, inputs, [output], name=name, **attributes))
        return output

    def model(self) -> onnx.ModelProto:
        """The finished model, checked."""
        graph = helper.make_graph(self.nodes, self.name, self.inputs, self.outputs, list(self.initializers.values()))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)
        onnx.checker.check_model(model)
        return model
