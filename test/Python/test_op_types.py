# The element types that the table of operators claims: nodes of these are compiled, nodes of others are refused by name.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import subprocess

import numpy as np
import onnx
import pytest
import qcc
from onnx import TensorProto, helper

FLOATS = ["float16", "bfloat16", "float", "double"]
SIGNED, UNSIGNED = ["int8", "int16", "int32", "int64"], ["uint8", "uint16", "uint32", "uint64"]
CLASSES = {
    "floats": FLOATS, "signed integers": SIGNED, "unsigned integers": UNSIGNED, "integers": SIGNED + UNSIGNED,
    "integers of 2 and 4 bits": ["int4", "uint4", "int2", "uint2"],
    "floats of 8 bits": ["float8e4m3fn", "float8e5m2", "float8e4m3fnuz", "float8e5m2fnuz", "float8e8m0"],
}  # fmt: skip
CLASSES["floats of 4 and 8 bits"] = [*CLASSES["floats of 8 bits"], "float4e2m1"]
# Of floats of 4 and 8 bits one is enough: all of them are refused in the same words, which are printed once.
TYPES = [*FLOATS, *SIGNED, *UNSIGNED, "bool", "int4", "uint4", "float8e4m3fn"]

UNARY = """Abs Acos Acosh Asin Asinh Atan Atanh BitwiseNot Ceil Celu Cos Cosh Elu Erf Exp Flatten Floor Gelu GlobalMaxPool
HardSigmoid HardSwish Hardmax Identity IsInf IsNaN LeakyRelu Log LogSoftmax Mish Neg NonZero Not Reciprocal ReduceL1 ReduceL2
ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Round Selu Shape Shrink Sigmoid Sign Sin
Sinh Size Softmax Softplus Softsign Sqrt Squeeze Tan Tanh ThresholdedRelu Transpose Trilu ArgMax Clip Unique MaxPool AveragePool
DepthToSpace SpaceToDepth""".split()
BINARY = """Add And BitwiseAnd BitwiseOr Concat Div Equal Greater Less Max Mean Min Mod Mul Or PRelu Sub Sum Xor MatMul""".split()
ATTRIBUTES = {"Concat": {"axis": 0}, "MaxPool": {"kernel_shape": [2, 2]}, "AveragePool": {"kernel_shape": [1, 2]},
              "DepthToSpace": {"blocksize": 2}, "SpaceToDepth": {"blocksize": 2}}  # fmt: skip
FLAT = {"Trilu": [2, 3], "MatMul": [3, 3], "Squeeze": [1, 2]}


@pytest.fixture(scope="module")
def claims():
    """The types of each operator of ONNX's own domain."""
    text = subprocess.run(["qcc", "check", "--list-ops"], capture_output=True, text=True, check=True).stdout
    found = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) == 7 and cells[1] == "ai.onnx":
            named = [part.strip() for part in cells[4].split(",")]
            found[cells[2]] = [t for part in named for t in (TYPES if part == "any" else CLASSES.get(part, [part]))]
    return found


def make_model(op, names):
    """A node of the operator for each type."""
    mod = {"Mod": {"fmod": 1}}
    nodes, inputs, outputs = [], [], []
    for name in names:
        kind = getattr(TensorProto, name.upper())
        shape = FLAT.get(op, [1, 4, 2, 2])
        given = [f"{name}_{i}" for i in range(2 if op in BINARY else 1)]
        attributes = ATTRIBUTES.get(op, {}) | (mod.get(op, {}) if name in FLOATS else {})
        nodes.append(helper.make_node(op, given, [f"y_{name}"], name=f"of_{name}", **attributes))
        inputs += [helper.make_tensor_value_info(x, kind, shape) for x in given]
        outputs.append(onnx.ValueInfoProto(name=f"y_{name}"))  # of a type that the importer infers
    graph = helper.make_graph(nodes, "g", inputs, outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)


@pytest.mark.parametrize("op", UNARY + BINARY)
def test_claims_are_what_the_importer_does(tmp_path, claims, op):
    onnx.save(make_model(op, TYPES), tmp_path / "m.onnx")
    result = subprocess.run(["qcc", "check", tmp_path / "m.onnx"], capture_output=True, text=True)
    refused = [name for name in TYPES if f"node 'of_{name}'" in result.stderr + result.stdout]
    assert set(refused) == set(TYPES) - set(claims[op]), result.stderr
    assert result.returncode == (4 if refused else 0)
    taken = [name for name in TYPES if name in claims[op]]
    onnx.save(make_model(op, taken), tmp_path / "taken.onnx")
    qcc.compile(tmp_path / "taken.onnx", tmp_path / "out.qcc")


RUN = {"Abs": np.abs, "Sign": np.sign, "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Max": np.maximum, "Min": np.minimum,
       "Less": np.less, "Equal": np.equal, "ReduceMax": np.max, "ReduceMin": np.min}  # fmt: skip


@pytest.mark.parametrize("op", RUN)
def test_claimed_types_compute(tmp_path, claims, op):
    numpy = {"float": "float32", "double": "float64"}
    taken = [name for name in TYPES if name in claims[op] and hasattr(np, numpy.get(name, name))]
    onnx.save(make_model(op, taken), tmp_path / "m.onnx")
    model = qcc.load(qcc.compile(tmp_path / "m.onnx", tmp_path / "out.qcc"), threads=1)
    feed = {}
    for name in taken:
        kind = np.dtype(numpy.get(name, name))
        low, high = (0, 2) if name == "bool" else (0, 12) if kind.kind == "u" else (-11, 12)
        for i in range(2 if op in BINARY else 1):
            feed[f"{name}_{i}"] = np.random.default_rng(i).integers(low, high, (1, 4, 2, 2)).astype(kind)
    got = model(feed)
    for name in taken:
        want = RUN[op](*[feed[f"{name}_{i}"] for i in range(2 if op in BINARY else 1)])
        np.testing.assert_array_equal(got[f"y_{name}"].reshape(np.shape(want)), want, err_msg=name)
