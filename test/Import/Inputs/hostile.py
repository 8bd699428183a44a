# Writes models that no exporter makes, for the tests of what the importer refuses: hostile.py KIND FOLDER makes
# FOLDER/model.onnx and what it refers to.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import os
import pathlib
import sys

import onnx
from onnx import TensorProto, helper

FOLDER = pathlib.Path(sys.argv[2])


def value(name, shape, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def model(nodes, inputs, outputs, initializers=(), opset=17, functions=()):
    graph = helper.make_graph(nodes, "hostile", inputs, outputs, list(initializers))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], functions=list(functions))


def with_weight(tensor):
    """x + w for a weight that is given."""
    return model([helper.make_node("Add", ["x", "w"], ["y"], "add")], [value("x", [4])], [value("y", [4])], [tensor])


def external(location, **keys):
    """A weight of 4 floats in a file."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, text in {"location": location, **keys}.items():
        tensor.external_data.add(key=key, value=str(text))
    return with_weight(tensor)


def raw(dims, size, kind=TensorProto.FLOAT):
    tensor = TensorProto(name="w", data_type=kind, raw_data=bytes(size))
    tensor.dims.extend(dims)
    return with_weight(tensor)


def external_escape():
    (FOLDER.parent / "secret.bin").write_bytes(bytes(16))
    return external("../secret.bin")


def external_escape_inside():
    (FOLDER / "sub").mkdir(exist_ok=True)
    (FOLDER.parent / "secret.bin").write_bytes(bytes(16))
    return external("sub/../../secret.bin")


def external_absolute():
    return external("/etc/passwd")


def external_link():
    (FOLDER / "real.bin").write_bytes(bytes(16))
    (FOLDER / "link.bin").unlink(missing_ok=True)
    (FOLDER / "link.bin").symlink_to("real.bin")
    return external("link.bin")


def external_linked_folder():
    (FOLDER / "out").unlink(missing_ok=True)
    (FOLDER / "out").symlink_to("/etc")
    return external("out/passwd")


def external_pipe():
    pipe = FOLDER / "pipe"
    if not pipe.exists():
        os.mkfifo(pipe)
    return external("pipe")


def external_short():
    (FOLDER / "w.bin").write_bytes(bytes(8))
    return external("w.bin")


def external_offset_wraps():
    (FOLDER / "w.bin").write_bytes(bytes(16))
    return external("w.bin", offset=2**64 - 8)


def external_offset_negative():
    (FOLDER / "w.bin").write_bytes(bytes(16))
    return external("w.bin", offset=-16)


def external_length_lies():
    (FOLDER / "w.bin").write_bytes(bytes(64))
    return external("w.bin", length=1 << 40)


def external_unknown_key():
    (FOLDER / "w.bin").write_bytes(bytes(16))
    return external("w.bin", __class__="x")


def external_missing():
    return external("not-there.bin")


def raw_short():
    return raw([4], 12)


def raw_wraps():
    return raw([2**62, 4], 16)


def raw_wraps_twice():
    return raw([2**31, 2**31, 8], 16)


def raw_negative():
    return raw([-1, 4], 16)


def raw_huge():
    return raw([2**40], 16)


def raw_rank():
    return raw([1] * 40, 4)


def type_unknown():
    return raw([4], 16, kind=99)


def type_undefined():
    """Of a weight that no node reads."""
    result = raw([4], 16)
    result.graph.initializer.add(name="unused", data_type=-100, dims=[1])
    return result


def opset_missing():
    result = raw([4], 16)
    del result.opset_import[:]
    return result


def sparse_default():
    """An input whose default is a sparse tensor."""
    values, indices = helper.make_tensor("x", TensorProto.FLOAT, [1], [1.0]), helper.make_tensor("i", TensorProto.INT64, [1], [2])
    result = model([helper.make_node("Relu", ["x"], ["y"], "relu")], [value("x", [4])], [value("y", [4])])
    result.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [4]))
    return result


def statistics_contradict():
    """5 statistics for 1 channel, which broadcasting would take."""
    statistics = [value(name, [5]) for name in ("scale", "shift", "mean", "variance")]
    node = helper.make_node("BatchNormalization", ["x", "scale", "shift", "mean", "variance"], ["y"], "norm")
    return model([node], [value("x", [2, 1, 5]), *statistics], [value("y", [2, 1, 5])])


def cycle():
    nodes = [helper.make_node("Add", ["x", "b"], ["a"], "first"), helper.make_node("Relu", ["a"], ["b"], "second")]
    return model(nodes, [value("x", [4])], [value("b", [4])])


def missing_input():
    return model([helper.make_node("Relu", ["nowhere"], ["y"], "relu")], [value("x", [4])], [value("y", [4])])


def missing_output():
    return model([helper.make_node("Relu", ["x"], ["z"], "relu")], [value("x", [4])], [value("y", [4])])


def duplicate_value():
    nodes = [helper.make_node("Relu", ["x"], ["y"], "first"), helper.make_node("Tanh", ["x"], ["y"], "second")]
    return model(nodes, [value("x", [4])], [value("y", [4])])


def duplicate_initializer():
    weight = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    return model([helper.make_node("Add", ["x", "w"], ["y"], "add")], [value("x", [4])], [value("y", [4])], [weight, weight])


def too_many_inputs():
    return model([helper.make_node("Relu", ["x", "x"], ["y"], "relu")], [value("x", [4])], [value("y", [4])])


def shapes_contradict():
    return model([helper.make_node("Add", ["x", "z"], ["y"], "add")], [value("x", [4]), value("z", [3])], [value("y", [4])])


def types_contradict():
    inputs = [value("x", [4]), value("z", [4], TensorProto.INT32)]
    return model([helper.make_node("Add", ["x", "z"], ["y"], "add")], inputs, [value("y", [4])])


def attribute_type():
    return model([helper.make_node("Flatten", ["x"], ["y"], "flatten", axis="one")], [value("x", [4, 4])], [value("y", [4, 4])])


def attribute_range():
    node = helper.make_node("MaxPool", ["x"], ["y"], "pool", kernel_shape=[2**62, 2**62], strides=[-1, 0])
    return model([node], [value("x", [1, 1, 4, 4])], [value("y", [1, 1, 1, 1])])


def dimension_huge():
    return model([helper.make_node("Relu", ["x"], ["y"], "relu")], [value("x", [2**62, 2**62])], [value("y", [1])])


def dimension_negative():
    return model([helper.make_node("Relu", ["x"], ["y"], "relu")], [value("x", [-5])], [value("y", [1])])


def opset_future():
    return model([helper.make_node("Relu", ["x"], ["y"], "relu")], [value("x", [4])], [value("y", [4])], opset=999)


def recursive_function():
    node = helper.make_node("Loopy", ["a"], ["b"], domain="local")
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    function = helper.make_function("local", "Loopy", ["a"], ["b"], [node], opsets)
    call = helper.make_node("Loopy", ["x"], ["y"], "call", domain="local")
    result = model([call], [value("x", [4])], [value("y", [4])], functions=[function])
    result.opset_import.append(helper.make_opsetid("local", 1))
    return result


def function_bomb():
    """Functions that each call the next ten times: 10^9 nodes of a few kilobytes."""
    functions = []
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    for level in range(9):
        name = f"F{level + 1}" if level < 8 else "Relu"
        domain = "local" if level < 8 else ""
        names = ["a"] + [f"v{i}" for i in range(9)] + ["b"]
        nodes = [helper.make_node(name, [names[i]], [names[i + 1]], domain=domain) for i in range(10)]
        functions.append(helper.make_function("local", f"F{level}", ["a"], ["b"], nodes, opsets))
    call = helper.make_node("F0", ["x"], ["y"], "call", domain="local")
    result = model([call], [value("x", [4])], [value("y", [4])], functions=functions)
    result.opset_import.append(helper.make_opsetid("local", 1))
    return result


def deep_graphs():
    """Messages in messages, deeper than protobuf parses: written by hand, since protobuf would not."""

    def field(number, payload):
        size = len(payload)
        varint = bytearray()
        while size >= 0x80:
            varint.append(size & 0x7F | 0x80)
            size >>= 7
        varint.append(size)
        return bytes([number << 3 | 2]) + bytes(varint) + payload

    graph = b""
    for _ in range(200):
        graph = field(1, field(5, field(6, graph)))
    return b"\x08\x08" + field(7, graph)


def truncated():
    return with_weight(helper.make_tensor("w", TensorProto.FLOAT, [4], [1, 2, 3, 4])).SerializeToString()[:-7]


def empty():
    return b""


def no_graph():
    return b"\x08\x08"


FOLDER.mkdir(parents=True, exist_ok=True)
made = globals()[sys.argv[1]]()
(FOLDER / "model.onnx").write_bytes(made if isinstance(made, bytes) else made.SerializeToString())
