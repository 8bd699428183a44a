# Small models that ask for much time or memory of a compiler. `@bomb(STATUS, CODE)` says how `qcc` must end, within the limits
# of run_attacks.py.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
from __future__ import annotations

from attacks import model, value
from onnx import TensorProto, helper

BOMBS = []  # (name, exit status, code, function)

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def bomb(status, code=""):
    def declare(function):
        BOMBS.append((function.__name__, status, code, function))
        return function

    return declare


def ints(name, values):
    return helper.make_tensor(name, INT64, [len(values)], values)


def scalar(name):
    return helper.make_tensor(name, FLOAT, [], [1.0])


def reduced(nodes, initializers, opset=17):
    """x + sum(w) for a large w that the nodes make of constants."""
    nodes = [*nodes, helper.make_node("ReduceSum", ["w"], ["s"], "sum", keepdims=0),
             helper.make_node("Add", ["x", "s"], ["y"], "add")]  # fmt: skip
    return model(nodes, [value("x", [4])], [value("y", [4])], initializers, opset)


def indexed(nodes, initializers, opset=17):
    """w[x] for a large w that the nodes make of constants."""
    nodes = [*nodes, helper.make_node("Gather", ["w", "x"], ["y"], "gather")]
    return model(nodes, [value("x", [4], INT64)], [value("y", None)], initializers, opset)


@bomb(7, "E501")
def constant_of_shape(folder):
    return indexed([helper.make_node("ConstantOfShape", ["n"], ["w"], "fill")], [ints("n", [1 << 38])])


@bomb(7, "E501")
def constant_of_shape_summed(folder):
    return reduced([helper.make_node("ConstantOfShape", ["n"], ["w"], "fill")], [ints("n", [1 << 38])])


@bomb(7, "E501")
def constant_of_shape_overflows(folder):
    return reduced([helper.make_node("ConstantOfShape", ["n"], ["w"], "fill")], [ints("n", [1 << 40, 1 << 40])])


@bomb(7, "E501")
def expand(folder):
    return indexed([helper.make_node("Expand", ["c", "n"], ["w"], "expand")], [scalar("c"), ints("n", [1 << 20, 1 << 16])])


@bomb(7, "E501")
def tile(folder):
    weight = helper.make_tensor("c", FLOAT, [4], [1.0, 2.0, 3.0, 4.0])
    return indexed([helper.make_node("Tile", ["c", "n"], ["w"], "tile")], [weight, ints("n", [1 << 34])])


@bomb(7, "E501")
def tiles_of_tiles(folder):
    """Each of twenty nodes asks for eight times the last."""
    nodes = [helper.make_node("Tile", [f"w{i}", "n"], [f"w{i + 1}" if i < 19 else "w"], f"tile{i}") for i in range(20)]
    return indexed(nodes, [helper.make_tensor("w0", FLOAT, [4], [1.0, 2.0, 3.0, 4.0]), ints("n", [8])])


@bomb(7, "E501")
def pad(folder):
    weight = helper.make_tensor("c", FLOAT, [4], [1.0, 2.0, 3.0, 4.0])
    return indexed([helper.make_node("Pad", ["c", "n"], ["w"], "pad")], [weight, ints("n", [0, 1 << 35])])


@bomb(7, "E501")
def resize(folder):
    weight = helper.make_tensor("c", FLOAT, [1, 1, 2, 2], [1.0, 2.0, 3.0, 4.0])
    scales = helper.make_tensor("n", FLOAT, [4], [1.0, 1.0, 65536.0, 65536.0])
    return indexed([helper.make_node("Resize", ["c", "", "n"], ["w"], "resize")], [weight, scales])


@bomb(7, "E501")
def range_of_numbers(folder):
    limits = [helper.make_tensor(name, INT64, [], [number]) for name, number in (("a", 0), ("b", 1 << 35), ("c", 1))]
    made = indexed([helper.make_node("Range", ["a", "b", "c"], ["w"], "range")], limits)
    made.graph.output[0].type.tensor_type.elem_type = INT64
    return made


@bomb(7, "E501")
def outer_products(folder):
    """Products that square the number of elements."""
    weight = helper.make_tensor("w0", FLOAT, [64, 1], [0.5] * 64)
    row = helper.make_tensor("r", INT64, [2], [1, -1])
    column = helper.make_tensor("k", INT64, [2], [-1, 1])
    nodes = []
    for i in range(3):
        nodes += [helper.make_node("Reshape", [f"w{i}", "r"], [f"r{i}"]), helper.make_node("MatMul", [f"w{i}", f"r{i}"], [f"m{i}"]),
                  helper.make_node("Reshape", [f"m{i}", "k"], [f"w{i + 1}"])]  # fmt: skip
    return indexed([*nodes, helper.make_node("Identity", ["w3"], ["w"])], [weight, row, column])


@bomb(0)
def products_of_constants(folder):
    """2^33 multiplications of constants are the run's affair."""
    weight = helper.make_tensor("a", FLOAT, [2048, 1], [0.5] * 2048)
    shape = ints("n", [2048, 2048])
    nodes = [helper.make_node("Expand", ["a", "n"], ["b"]), helper.make_node("MatMul", ["b", "b"], ["w"])]
    return indexed(nodes, [weight, shape])


@bomb(0)
def sizes_of_results(folder):
    """A result of 2^40 elements is the run's affair: nothing of it is made here."""
    return model([helper.make_node("Expand", ["x", "n"], ["y"], "expand")], [value("x", [1])], [value("y", None)], [ints("n", [1 << 40])])


@bomb(7, "E501")
def sizes_overflow(folder):
    nodes = [helper.make_node("Expand", ["x", "n"], ["a"], "first"), helper.make_node("Tile", ["a", "n"], ["y"], "second")]
    return model(nodes, [value("x", [1])], [value("y", None)], [ints("n", [1 << 40])])


@bomb(0)
def one_hot_deep(folder):
    values = helper.make_tensor("v", FLOAT, [2], [0.0, 1.0])
    depth = helper.make_tensor("d", INT64, [], [1 << 36])
    return model([helper.make_node("OneHot", ["x", "d", "v"], ["y"], "hot")], [value("x", [2], INT64)], [value("y", None)], [values, depth])


@bomb(3, "E103")
def top_k(folder):
    nodes = [helper.make_node("TopK", ["x", "k"], ["y", "i"], "top")]
    return model(nodes, [value("x", [4])], [value("y", None)], [ints("k", [1 << 40])])


@bomb(7, "E501")
def split_many(folder):
    """A node with 2^20 outputs of one element."""
    names = [f"o{i}" for i in range(1 << 20)]
    nodes = [helper.make_node("Split", ["x"], names, "split", num_outputs=1 << 20), helper.make_node("Relu", ["o0"], ["y"], "relu")]
    return model(nodes, [value("x", [1 << 20])], [value("y", [1])], opset=18)


@bomb(0)
def chain_of_nodes(folder):
    """1,000 nodes, each of which reads the last."""
    return chain(1000)


@bomb(3, "E106")
def windows_of_constants(folder):
    """Each of four results would sum 2^38 elements of a window."""
    node = helper.make_node("LRN", ["c"], ["w"], "norm", size=(1 << 38) + 1)
    weight = helper.make_tensor("c", FLOAT, [1, 4, 1, 1], [1.0, 2.0, 3.0, 4.0])
    return indexed([node], [weight])


def chain(count):
    nodes = [helper.make_node("Relu", [f"v{i}" if i else "x"], [f"v{i + 1}" if i < count - 1 else "y"]) for i in range(count)]
    return model(nodes, [value("x", [4])], [value("y", [4])])


@bomb(7, "E501")
def constants_of_constants(folder):
    """200 results, each of a longer chain of constants than the last."""
    count = 200
    nodes = [helper.make_node("ConstantOfShape", ["n"], ["v0"])]
    nodes += [helper.make_node("Add", [f"v{i}", f"v{i}"], [f"v{i + 1}"]) for i in range(count)]
    nodes += [helper.make_node("Add", ["x" if i == 0 else f"y{i}", f"v{i}"], [f"y{i + 1}"]) for i in range(count)]
    return model(nodes, [value("x", [5000])], [value(f"y{count}", [5000])], [ints("n", [5000])])


@bomb(0)
def chain_of_constants(folder):
    """20,000 additions of constants."""
    count = 20_000
    nodes = [helper.make_node("Add", [f"v{i}", "v0"], [f"v{i + 1}"]) for i in range(count)]
    nodes.append(helper.make_node("Add", ["x", f"v{count}"], ["y"]))
    return model(nodes, [value("x", [4])], [value("y", [4])], [helper.make_tensor("v0", FLOAT, [4], [0.0] * 4)])


@bomb(0)
def doubling(folder):
    """v + v forty times: a tree of 2^40 additions, were it one."""
    nodes = [helper.make_node("Add", [f"v{i}" if i else "x"] * 2, [f"v{i + 1}" if i < 39 else "y"]) for i in range(40)]
    return model(nodes, [value("x", [4])], [value("y", [4])])


@bomb(0)
def doubling_of_shapes(folder):
    """The same with a symbolic size."""
    nodes = [helper.make_node("Shape", ["x"], ["v0"])]
    nodes += [helper.make_node("Mul", [f"v{i}"] * 2, [f"v{i + 1}"]) for i in range(5)]
    nodes += [helper.make_node("Cast", ["v5"], ["c"], to=1), helper.make_node("Add", ["x", "c"], ["y"])]
    return model(nodes, [value("x", ["n"])], [value("y", ["n"])])
