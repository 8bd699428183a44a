# Mixtures of experts as frameworks export them, for tests and benchmarks.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

NODE = helper.make_node


def save(folder, nodes, constants, inputs, outputs, opset=18):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(*value) for value in inputs],
        [helper.make_tensor_value_info(*value) for value in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    path = folder / "m.onnx"
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


class Mixture:
    """Experts of SwiGLU: `chosen` of `experts` for each token, `inner` wide inside."""

    def __init__(self, experts, hidden, inner, chosen, dtype=np.float32, seed=0):
        rng = np.random.default_rng(seed)
        self.chosen, self.dtype, self.hidden = chosen, dtype, hidden
        self.router = (rng.standard_normal((hidden, experts)) / hidden**0.5).astype(dtype)
        self.up = (rng.standard_normal((experts, 2 * inner, hidden), np.float32) / hidden**0.5).astype(dtype)
        self.down = (rng.standard_normal((experts, hidden, inner), np.float32) / inner**0.5).astype(dtype)

    def compute(self, x):
        """What it means, in f64."""
        x = x.astype(np.float64)
        scores = x @ self.router
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        scores /= scores.sum(-1, keepdims=True)
        result = np.zeros_like(x)
        for row, picks in enumerate(np.argsort(-scores, axis=-1, kind="stable")[:, : self.chosen]):
            for pick in picks:
                gates, ups = np.split(self.up[pick].astype(np.float64) @ x[row], 2)
                inner = gates / (1 + np.exp(-gates)) * ups
                result[row] += scores[row, pick] * (self.down[pick].astype(np.float64) @ inner)
        return result

    def save(self, folder, tokens="t", form="gather", output="columns"):
        """As torch's exporters write it: rows repeated for each chosen expert, weights picked by Gather or GatherND, products
        of one column or, with transposed weights, of one row."""
        ints = {"k": [self.chosen], "one": [1], "last": [-1], "middle": [1], "flat": [-1], "repeat": [1, self.chosen, 1]}
        ints |= {"rows": [-1, self.hidden], "grouped": [-1, self.chosen, self.hidden], "column": [-1, 1]}
        constants = {"router": self.router, "up": self.up, "down": self.down}
        constants |= {name: np.array(value, np.int64) for name, value in ints.items()}
        nodes = [
            NODE("MatMul", ["x", "router"], ["logits"], name="gate"),
            NODE("Softmax", ["logits"], ["scores"], axis=-1),
            NODE("TopK", ["scores", "k"], ["values", "numbers"], axis=-1),
            NODE("Unsqueeze", ["x", "one"], ["x3"]),
            NODE("Expand", ["x3", "repeat"], ["repeated"]),
            NODE("Reshape", ["repeated", "rows"], ["r"]),
            NODE("Reshape", ["numbers", "flat"], ["picks"]),
            *self.multiply("r", "up", "gates_up", form, output),
            NODE("Split", ["gates_up"], ["gates", "ups"], axis=-1, num_outputs=2),
            NODE("Sigmoid", ["gates"], ["s"]),
            NODE("Mul", ["gates", "s"], ["silu"]),
            NODE("Mul", ["silu", "ups"], ["inner"]),
            *self.multiply("inner", "down", "out", form, output),
            NODE("Reshape", ["values", "column"], ["weights"]),
            NODE("Mul", ["out", "weights"], ["weighted"]),
            NODE("Reshape", ["weighted", "grouped"], ["parts"]),
            NODE("ReduceSum", ["parts", "one"], ["y"], keepdims=0),
        ]
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype))
        value = [kind, [tokens, self.hidden]]
        used = {name for node in nodes for name in node.input}
        constants = {name: constant for name, constant in constants.items() if name in used}
        return save(folder, nodes, constants, [("x", *value)], [("y", *value)])

    @staticmethod
    def multiply(rows, weight, result, form, output):
        """The nodes of a product of rows by the weights that they picked."""
        nodes = []
        if form == "gathernd":
            nodes.append(NODE("Unsqueeze", ["picks", "last"], [result + "_at"]))
            nodes.append(NODE("GatherND", [weight, result + "_at"], [result + "_w"]))
        else:
            nodes.append(NODE("Gather", [weight, "picks"], [result + "_w"], axis=0))
        if output == "columns":
            operands, axis = [result + "_w", result + "_c"], "last"
        else:
            nodes.append(NODE("Transpose", [result + "_w"], [result + "_t"], perm=[0, 2, 1]))
            operands, axis = [result + "_c", result + "_t"], "middle"
        nodes.append(NODE("Unsqueeze", [rows, axis], [result + "_c"]))
        nodes.append(NODE("MatMul", operands, [result + "_p"], name=result))
        nodes.append(NODE("Squeeze", [result + "_p", axis], [result]))
        return nodes

    def save_operator(self, folder):
        """As one node of ONNX Runtime's MoE."""
        # Its SwiGLU has gates and values in turn.
        up = self.up.reshape(len(self.up), 2, -1, self.hidden).swapaxes(1, 2).reshape(self.up.shape)
        constants = {"router": self.router, "up": up, "down": self.down}
        nodes = [
            NODE("MatMul", ["x", "router"], ["logits"], name="gate"),
            NODE("MoE", ["x", "logits", "up", "", "down"], ["y"], domain="com.microsoft", k=self.chosen, name="moe",
                 activation_type="swiglu", swiglu_fusion=1, activation_alpha=1.0, activation_beta=0.0),
        ]  # fmt: skip
        value = [TensorProto.FLOAT, ["t", self.hidden]]
        return save(folder, nodes, constants, [("x", *value)], [("y", *value)])
