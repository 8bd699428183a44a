# Attacks and broken files, one function each: it writes what the model refers to into a folder and gives the model, or its
# bytes. `@attack(STATUS, CODE)` says how `qcc check` must end. Written by hand; what mutants found is in regressions.py.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
from __future__ import annotations

import hashlib
import os
import pathlib
import socket
import stat

from onnx import TensorProto, helper

ATTACKS = []  # (name, exit status, code, function), in the order of this file


def attack(status, code):
    """Declares an attack and how it is refused; status 0 and no code: it is no attack, but must not be taken for one."""

    def declare(function):
        ATTACKS.append((function.__name__, status, code, function))
        return function

    return declare


def value(name, shape, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def model(nodes, inputs, outputs, initializers=(), opset=17, functions=()):
    graph = helper.make_graph(nodes, "attack", inputs, outputs, list(initializers))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], functions=list(functions))


def with_weight(tensor):
    """x + w for a weight that is given."""
    return model([helper.make_node("Add", ["x", "w"], ["y"], "add")], [value("x", [4])], [value("y", [4])], [tensor])


def external_tensor(location, **keys):
    """A weight of 4 floats in a file."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, text in {"location": location, **keys}.items():
        tensor.external_data.add(key=key, value=str(text))
    return tensor


def external(location, **keys):
    return with_weight(external_tensor(location, **keys))


def raw(dims, size, kind=TensorProto.FLOAT):
    tensor = TensorProto(name="w", data_type=kind, raw_data=bytes(size))
    tensor.dims.extend(dims)
    return with_weight(tensor)


def relu(inputs, outputs, **options):
    return model([helper.make_node("Relu", ["x"], ["y"], "relu")], inputs, outputs, **options)


def field(number, payload):
    """A length-delimited field of protobuf."""
    size, varint = len(payload), bytearray()
    while size >= 0x80:
        varint.append(size & 0x7F | 0x80)
        size >>= 7
    varint.append(size)
    return bytes([number << 3 | 2]) + bytes(varint) + payload


#
# External data
#


@attack(3, "E104")
def external_escape(folder):
    (folder.parent / "secret.bin").write_bytes(bytes(16))
    return external("../secret.bin")


@attack(3, "E104")
def external_escape_inside(folder):
    (folder / "sub").mkdir(exist_ok=True)
    (folder.parent / "secret.bin").write_bytes(bytes(16))
    return external("sub/../../secret.bin")


@attack(3, "E104")
def external_absolute(folder):
    return external("/etc/passwd")


@attack(3, "E104")
def external_link(folder):
    (folder / "real.bin").write_bytes(bytes(16))
    (folder / "link.bin").unlink(missing_ok=True)
    (folder / "link.bin").symlink_to("real.bin")
    return external("link.bin")


@attack(3, "E104")
def external_linked_folder(folder):
    (folder / "out").unlink(missing_ok=True)
    (folder / "out").symlink_to("/etc")
    return external("out/passwd")


@attack(3, "E104")
def external_pipe(folder):
    pipe = folder / "pipe"
    if not pipe.exists():
        os.mkfifo(pipe)
    return external("pipe")


@attack(3, "E104")
def external_short(folder):
    (folder / "w.bin").write_bytes(bytes(8))
    return external("w.bin")


@attack(3, "E104")
def external_offset_wraps(folder):
    (folder / "w.bin").write_bytes(bytes(16))
    return external("w.bin", offset=2**64 - 8)


@attack(3, "E104")
def external_offset_negative(folder):
    (folder / "w.bin").write_bytes(bytes(16))
    return external("w.bin", offset=-16)


@attack(3, "E104")
def external_length_lies(folder):
    (folder / "w.bin").write_bytes(bytes(64))
    return external("w.bin", length=1 << 40)


@attack(3, "E104")
def external_unknown_key(folder):
    (folder / "w.bin").write_bytes(bytes(16))
    return external("w.bin", __class__="x")


@attack(3, "E104")
def external_missing(folder):
    return external("not-there.bin")


@attack(3, "E104")
def external_dots_inside(folder):
    """Stays inside, but only if every step is followed."""
    (folder / "sub").mkdir(exist_ok=True)
    (folder / "w.bin").write_bytes(bytes(16))
    return external("sub/../w.bin")


@attack(3, "E104")
def external_hard_link(folder):
    """A second name of a file that lies elsewhere."""
    secret = folder.parent / "secret.bin"
    secret.write_bytes(bytes(16))
    os.link(secret, folder / "w.bin")
    return external("w.bin")


@attack(3, "E104")
def external_link_out(folder):
    (folder.parent / "secret.bin").write_bytes(bytes(16))
    (folder / "w.bin").symlink_to("../secret.bin")
    return external("w.bin")


@attack(3, "E104")
def external_link_proc(folder):
    (folder / "w.bin").symlink_to("/proc/self/environ")
    return external("w.bin")


@attack(3, "E104")
def external_folder(folder):
    (folder / "w.bin").mkdir()
    return external("w.bin")


@attack(3, "E104")
def external_itself(folder):
    return external(".")


@attack(3, "E104")
def external_device(folder):
    """A device in the folder, where one can be made: reading /dev/zero never ends."""
    try:
        os.mknod(folder / "w.bin", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    except PermissionError:
        os.mkfifo(folder / "w.bin")
    return external("w.bin")


@attack(3, "E104")
def external_socket(folder):
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(folder)  # the path of a socket is short
        listener.bind("w.bin")
        os.chdir(here)
    return external("w.bin")


@attack(3, "E104")
def external_nul(folder):
    (folder / "w.bin").write_bytes(bytes(16))
    return external("w.bin\0/../../secret.bin")


@attack(3, "E104")
def external_empty(folder):
    return external("")


@attack(3, "E104")
def external_long(folder):
    return external("d/" * 4000 + "w.bin")


@attack(3, "E104")
def external_number_trailing(folder):
    (folder / "w.bin").write_bytes(bytes(16))
    return external("w.bin", offset="0x0")


@attack(3, "E104")
def external_length_of_next(folder):
    """The right length, where the file has no more bytes."""
    (folder / "w.bin").write_bytes(bytes(16))
    return external("w.bin", offset=8, length=16)


@attack(3, "E104")
def external_key_twice(folder):
    (folder / "w.bin").write_bytes(bytes(16))
    made = external("w.bin")
    made.graph.initializer[0].external_data.add(key="location", value="../secret.bin")
    return made


@attack(3, "E104")
def external_checksum_wrong(folder):
    (folder / "w.bin").write_bytes(bytes(16))
    return external("w.bin", checksum=hashlib.sha1(bytes(15)).hexdigest())


@attack(0, "")
def external_checksum_right(folder):
    (folder / "w.bin").write_bytes(bytes(16))
    return external("w.bin", checksum=hashlib.sha1(bytes(16)).hexdigest())


@attack(0, "")
def external_below(folder):
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "b" / "w.bin").write_bytes(bytes(24))
    return external("./a//b/w.bin", offset=8, length=16, basepath="/etc")


@attack(3, "E105")
def external_beside_raw(folder):
    (folder / "w.bin").write_bytes(bytes(16))
    made = external("w.bin")
    made.graph.initializer[0].raw_data = bytes(16)
    return made


@attack(3, "E104")
def external_in_attribute(folder):
    """The value of a Constant is read in the same way."""
    (folder.parent / "secret.bin").write_bytes(bytes(16))
    constant = helper.make_node("Constant", [], ["w"], "constant", value=external_tensor("../secret.bin"))
    add = helper.make_node("Add", ["x", "w"], ["y"], "add")
    return model([constant, add], [value("x", [4])], [value("y", [4])])


@attack(3, "E104")
def external_in_branch(folder):
    """And the initializer of a branch."""
    (folder.parent / "secret.bin").write_bytes(bytes(16))
    node = helper.make_node("Identity", ["w"], ["b"], "identity")
    branch = helper.make_graph([node], "branch", [], [value("b", [4])], [external_tensor("../secret.bin")])
    select = helper.make_node("If", ["c"], ["y"], "if", then_branch=branch, else_branch=branch)
    condition = helper.make_tensor("c", TensorProto.BOOL, [], [True])
    return model([select], [value("x", [4])], [value("y", [4])], [condition])


def sparse(tensor, indices, dims=(4,)):
    made = model([helper.make_node("Add", ["x", "w"], ["y"], "add")], [value("x", [4])], [value("y", [4])])
    made.graph.sparse_initializer.add(values=tensor, indices=indices, dims=dims)
    return made


def ones(count):
    return helper.make_tensor("w", TensorProto.FLOAT, [count], [1.0] * count)


@attack(3, "E104")
def sparse_values_outside(folder):
    (folder.parent / "secret.bin").write_bytes(bytes(16))
    indices = helper.make_tensor("i", TensorProto.INT64, [4], [0, 1, 2, 3])
    return sparse(external_tensor("../secret.bin"), indices)


@attack(3, "E105")
def sparse_index_outside(folder):
    return sparse(ones(1), helper.make_tensor("i", TensorProto.INT64, [1], [1 << 40]))


@attack(3, "E105")
def sparse_index_negative(folder):
    return sparse(ones(2), helper.make_tensor("i", TensorProto.INT64, [2, 2], [0, 1, 1, -1]), [2, 2])


@attack(3, "E105")
def sparse_index_twice(folder):
    return sparse(ones(2), helper.make_tensor("i", TensorProto.INT64, [2], [1, 1]))


@attack(3, "E105")
def sparse_without_indices(folder):
    return sparse(ones(2), helper.make_tensor("i", TensorProto.INT64, [1], [0]))


@attack(4, "E303")
def tensor_in_segments(folder):
    tensor = helper.make_tensor("w", TensorProto.FLOAT, [4], [1.0] * 4)
    tensor.segment.begin, tensor.segment.end = 0, 4
    return model([helper.make_node("Add", ["x", "w"], ["y"], "add")], [value("x", [4])], [value("y", [4])], [tensor])


@attack(7, "E501")
def sparse_bomb(folder):
    """One element that asks for a tebibyte."""
    return sparse(ones(1), helper.make_tensor("i", TensorProto.INT64, [1], [0]), [1 << 38])


@attack(0, "")
def sparse_default(folder):
    """An input whose default is a sparse tensor."""
    values, indices = helper.make_tensor("x", TensorProto.FLOAT, [1], [1.0]), helper.make_tensor("i", TensorProto.INT64, [1], [2])
    result = relu([value("x", [4])], [value("y", [4])])
    result.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [4]))
    return result


#
# Tensors
#


@attack(3, "E105")
def raw_short(folder):
    return raw([4], 12)


@attack(3, "E105")
def raw_wraps(folder):
    return raw([2**62, 4], 16)


@attack(3, "E105")
def raw_wraps_twice(folder):
    return raw([2**31, 2**31, 8], 16)


@attack(3, "E105")
def raw_negative(folder):
    return raw([-1, 4], 16)


@attack(3, "E105")
def raw_huge(folder):
    return raw([2**40], 16)


@attack(7, "E501")
def raw_rank(folder):
    return raw([1] * 40, 4)


@attack(4, "E302")
def type_unknown(folder):
    return raw([4], 16, kind=99)


@attack(3, "E105")
def type_undefined(folder):
    """Of a weight that no node reads."""
    result = raw([4], 16)
    result.graph.initializer.add(name="unused", data_type=-100, dims=[1])
    return result


@attack(3, "E105")
def typed_short(folder):
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], float_data=[1.0, 2.0])
    return with_weight(tensor)


@attack(3, "E105")
def typed_as_another(folder):
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], int64_data=[1, 2, 3, 4])
    return with_weight(tensor)


#
# Graphs
#


@attack(3, "E102")
def cycle(folder):
    nodes = [helper.make_node("Add", ["x", "b"], ["a"], "first"), helper.make_node("Relu", ["a"], ["b"], "second")]
    return model(nodes, [value("x", [4])], [value("b", [4])])


@attack(3, "E102")
def missing_input(folder):
    return model([helper.make_node("Relu", ["nowhere"], ["y"], "relu")], [value("x", [4])], [value("y", [4])])


@attack(3, "E102")
def missing_output(folder):
    return model([helper.make_node("Relu", ["x"], ["z"], "relu")], [value("x", [4])], [value("y", [4])])


@attack(3, "E102")
def duplicate_value(folder):
    nodes = [helper.make_node("Relu", ["x"], ["y"], "first"), helper.make_node("Tanh", ["x"], ["y"], "second")]
    return model(nodes, [value("x", [4])], [value("y", [4])])


@attack(3, "E102")
def duplicate_initializer(folder):
    weight = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    return model([helper.make_node("Add", ["x", "w"], ["y"], "add")], [value("x", [4])], [value("y", [4])], [weight, weight])


@attack(3, "E102")
def too_many_inputs(folder):
    return model([helper.make_node("Relu", ["x", "x"], ["y"], "relu")], [value("x", [4])], [value("y", [4])])


@attack(3, "E103")
def shapes_contradict(folder):
    return model([helper.make_node("Add", ["x", "z"], ["y"], "add")], [value("x", [4]), value("z", [3])], [value("y", [4])])


@attack(3, "E103")
def types_contradict(folder):
    inputs = [value("x", [4]), value("z", [4], TensorProto.INT32)]
    return model([helper.make_node("Add", ["x", "z"], ["y"], "add")], inputs, [value("y", [4])])


@attack(3, "E106")
def attribute_type(folder):
    return model([helper.make_node("Flatten", ["x"], ["y"], "flatten", axis="one")], [value("x", [4, 4])], [value("y", [4, 4])])


@attack(3, "E106")
def attribute_range(folder):
    node = helper.make_node("MaxPool", ["x"], ["y"], "pool", kernel_shape=[2**62, 2**62], strides=[-1, 0])
    return model([node], [value("x", [1, 1, 4, 4])], [value("y", [1, 1, 1, 1])])


@attack(7, "E501")
def dimension_huge(folder):
    return model([helper.make_node("Relu", ["x"], ["y"], "relu")], [value("x", [2**62, 2**62])], [value("y", [1])])


@attack(3, "E103")
def dimension_negative(folder):
    return model([helper.make_node("Relu", ["x"], ["y"], "relu")], [value("x", [-5])], [value("y", [1])])


@attack(4, "E305")
def opset_future(folder):
    return model([helper.make_node("Relu", ["x"], ["y"], "relu")], [value("x", [4])], [value("y", [4])], opset=999)


@attack(7, "E501")
def recursive_function(folder):
    node = helper.make_node("Loopy", ["a"], ["b"], domain="local")
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    function = helper.make_function("local", "Loopy", ["a"], ["b"], [node], opsets)
    call = helper.make_node("Loopy", ["x"], ["y"], "call", domain="local")
    result = model([call], [value("x", [4])], [value("y", [4])], functions=[function])
    result.opset_import.append(helper.make_opsetid("local", 1))
    return result


@attack(7, "E501")
def function_bomb(folder):
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


@attack(7, "E501")
def deep_graphs(folder):
    """Messages in messages, deeper than protobuf parses: written by hand, since protobuf would not."""

    graph = b""
    for _ in range(200):
        graph = field(1, field(5, field(6, graph)))
    return b"\x08\x08" + field(7, graph)


@attack(3, "E101")
def truncated(folder):
    return with_weight(helper.make_tensor("w", TensorProto.FLOAT, [4], [1, 2, 3, 4])).SerializeToString()[:-7]


@attack(3, "E101")
def empty(folder):
    return b""


@attack(3, "E101")
def no_graph(folder):
    return b"\x08\x08"


@attack(0, "")
def chain_long(folder):
    """2^17 nodes, each of which reads the last."""
    count = 1 << 17
    nodes = [helper.make_node("Relu", [f"v{i}" if i else "x"], [f"v{i + 1}" if i < count - 1 else "y"]) for i in range(count)]
    return model(nodes, [value("x", [4])], [value("y", [4])])


@attack(3, "E101")
def text_of_mlir(folder):
    """Text of MLIR is not parsed: only ONNX is read from strangers."""
    return b"module { func.func @main() { return } }\n"


@attack(3, "E101")
def length_beyond_end(folder):
    return b"\x08\x08" + bytes([7 << 3 | 2]) + b"\xff\xff\xff\xff\x7f" + bytes(8)


@attack(3, "E101")
def group_of_protobuf(folder):
    return b"\x08\x08" + bytes([7 << 3 | 3]) + bytes(8)


@attack(3, "E101")
def varint_without_end(folder):
    return b"\x08" + b"\x80" * 64


@attack(3, "E102")
def self_cycle(folder):
    return model([helper.make_node("Add", ["x", "y"], ["y"], "add")], [value("x", [4])], [value("y", [4])])


@attack(3, "E102")
def input_twice(folder):
    return relu([value("x", [4]), value("x", [4])], [value("y", [4])])


@attack(3, "E102")
def no_outputs(folder):
    return relu([value("x", [4])], [])


@attack(3, "E106")
def attribute_twice(folder):
    made = model([helper.make_node("Flatten", ["x"], ["y"], "flatten", axis=1)], [value("x", [4, 4])], [value("y", [4, 4])])
    made.graph.node[0].attribute.append(helper.make_attribute("axis", 0))
    return made


@attack(7, "E501")
def attributes_many(folder):
    made = relu([value("x", [4])], [value("y", [4])])
    for i in range(5000):
        made.graph.node[0].attribute.append(helper.make_attribute(f"a{i}", i))
    return made


@attack(7, "E501")
def name_long(folder):
    name = "x" * 70000
    return model([helper.make_node("Relu", [name], ["y"], "relu")], [value(name, [4])], [value("y", [4])])


@attack(7, "E501")
def inputs_many(folder):
    return relu([value("x", [4])] + [value(f"x{i}", [1]) for i in range(5000)], [value("y", [4])])


@attack(7, "E501")
def symbols_many(folder):
    return relu([value("x", [f"d{i}" for i in range(20)])] + [value(f"x{j}", [f"e{j}_{i}" for i in range(20)])
                for j in range(4)], [value("y", None)])  # fmt: skip


@attack(7, "E501")
def rank_of_input(folder):
    return relu([value("x", [1] * 33)], [value("y", [1] * 33)])


@attack(7, "E501")
def empty_messages(folder):
    """Two bytes of the file for each node: protobuf would take hundreds of bytes for one."""
    return b"\x08\x08" + field(7, field(1, b"") * 4_000_000)


@attack(7, "E501")
def empty_dimensions(folder):
    """The same inside of a type."""
    shape = field(2, field(1, b"") * 16_000_000)
    return b"\x08\x08" + field(7, field(11, field(1, b"x") + field(2, field(1, b"\x08\x01" + shape))))


@attack(7, "E501")
def branches_deep(folder):
    """33 branches in one another, which is more than 100 messages: written by hand, since protobuf would not."""
    branch = relu([], [value("y", [4])]).graph.SerializeToString()
    for _ in range(33):
        attribute = field(1, b"then_branch") + b"\xa0\x01\x05" + field(6, branch)
        node = field(1, b"c") + field(2, b"y") + field(4, b"If") + field(5, attribute)
        branch = field(1, node) + field(12, value("y", [4]).SerializeToString())
    return b"\x08\x08" + field(7, branch)


@attack(7, "E501")
def file_too_large(folder):
    """A hole of 3 GB: nothing is on the disk."""
    with (folder / "model.onnx").open("wb") as file:
        file.truncate(3 << 30)
    return None


@attack(3, "E101")
def model_is_a_pipe(folder):
    os.mkfifo(folder / "model.onnx")
    return None


@attack(3, "E101")
def model_is_a_folder(folder):
    (folder / "model.onnx").mkdir()
    return None


@attack(3, "E102")
def opset_missing(folder):
    result = raw([4], 16)
    del result.opset_import[:]
    return result


@attack(3, "E103")
def statistics_contradict(folder):
    """5 statistics for 1 channel, which broadcasting would take."""
    statistics = [value(name, [5]) for name in ("scale", "shift", "mean", "variance")]
    node = helper.make_node("BatchNormalization", ["x", "scale", "shift", "mean", "variance"], ["y"], "norm")
    return model([node], [value("x", [2, 1, 5]), *statistics], [value("y", [2, 1, 5])])


@attack(0, "")
def index_beyond_end(folder):
    """A Gather of a shape beyond its end: indices are kept inside where they are used."""
    nodes = [helper.make_node("Shape", ["x"], ["s"], "shape"), helper.make_node("Gather", ["s", "i"], ["y"], "gather")]
    index = helper.make_tensor("i", TensorProto.INT64, [1], [1 << 62])
    return model(nodes, [value("x", [4])], [value("y", [1], TensorProto.INT64)], [index])


@attack(3, "E102")
def function_without_output(folder):
    opsets = [helper.make_opsetid("", 17)]
    function = helper.make_function("local", "F", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["c"])], opsets)
    made = model([helper.make_node("F", ["x"], ["y"], "call", domain="local")], [value("x", [4])], [value("y", [4])], functions=[function])
    made.opset_import.append(helper.make_opsetid("local", 1))
    return made
