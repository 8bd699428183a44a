# A random graph as it grows: each node is run in ONNX Runtime, alone and at every set of sizes, before it is kept.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""So a graph is valid by construction, and the values in it are known: generators choose operands by them, and what
would make a comparison meaningless (overflow, cancellation, a step of an inexact operand) is not kept."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import oracle
from onnx import TensorProto, helper, numpy_helper

# A graph is run at each of these sizes of its symbols; `None` stands for a size that the seed chooses.
SYMBOLS = ("N", "M")
MOST_ELEMENTS = 20000
LARGEST = 1e4
# A result that is so much smaller than an inexact operand has lost its digits.
CANCELLED = 1e-2
FLOATS = ("float32", "float16", "float64")
# Which results equal numpy's in every bit if the operands do; of those of floats only f32 and f64 count.
EXACT = frozenset(
    "Neg Abs Relu Identity Clip Add Sub Mul Min Max Where Not And Or Xor Transpose Reshape Flatten Squeeze Unsqueeze "
    "Concat Split Slice Pad Tile Expand Gather GatherElements GatherND DepthToSpace SpaceToDepth Trilu Cast CastLike "
    "Shape Size ConstantOfShape Range Equal Less Greater LessOrEqual GreaterOrEqual Floor Ceil Round Sign IsNaN IsInf "
    "ArgMax ArgMin TopK ReduceMax ReduceMin MaxPool GlobalMaxPool OneHot EyeLike ReverseSequence Hardmax BitwiseAnd "
    "BitwiseOr BitwiseXor BitwiseNot BitShift Mod ThresholdedRelu NonZero Compress Unique".split()
)


@dataclasses.dataclass
class Value:
    """A value of the graph: what it holds at each set of sizes."""

    name: str
    arrays: list[np.ndarray]
    exact: bool
    constant: bool = False

    @property
    def rank(self) -> int:
        return self.arrays[0].ndim

    @property
    def dtype(self) -> str:
        return self.arrays[0].dtype.name

    @property
    def is_float(self) -> bool:
        return self.dtype in FLOATS

    def sizes(self, axis: int) -> tuple[int, ...]:
        """A dimension at each set."""
        return tuple(array.shape[axis] for array in self.arrays)

    def static(self, axis: int) -> int | None:
        """A dimension that is the same at each set, else None."""
        sizes = set(self.sizes(axis))
        return sizes.pop() if len(sizes) == 1 else None

    def magnitude(self) -> float:
        """The largest absolute value at any set."""
        if self.dtype == "bool":
            return 1
        return max(float(np.abs(array.astype(np.float64)).max(initial=0)) for array in self.arrays)

    def least(self) -> float:
        """The smallest value at any set."""
        return min(float(array.astype(np.float64).min(initial=np.inf)) for array in self.arrays)


def element_type(dtype: str) -> int:
    """ONNX's number of a numpy type."""
    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


class Graph:
    """Inputs, constants and nodes so far. `sets` is how many sizes it is run at."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)
        self.seed = seed
        self.opset = int(self.rng.choice([13, 17, 18, 19, 20, 21, 22]))
        # With not-a-number, infinities and denormals among the inputs: then only ops that say what they give for those.
        self.special = self.rng.random() < 0.1
        self.sizes = self._choose_sizes()
        self.sets = len(next(iter(self.sizes.values())))
        self.inputs: list[Value] = []
        self.constants: dict[str, np.ndarray] = {}
        self.nodes: list[onnx.NodeProto] = []
        self.values: list[Value] = []
        self.count = 0

    def _choose_sizes(self) -> dict[str, tuple[int, ...]]:
        """Two symbols at three sets: two plain sizes, a 1, and now and then a 0."""
        first = [int(x) for x in self.rng.choice([2, 3, 4, 5, 6, 7, 8, 9, 17], 2, replace=False)]
        other = [int(x) for x in self.rng.choice([2, 3, 5, 7, 11, 16], 2, replace=False)]
        other[int(self.rng.integers(2))] = 1
        third = [int(x) for x in self.rng.choice([1, 2, 3, 4, 33], 2)]
        if self.rng.random() < 0.25:
            third[int(self.rng.integers(2))] = 0
        if self.rng.random() < 0.15:  # sizes that broadcast with each other when they are 1
            first[1], third[1] = 1, third[0]
            other = [1, max(other)]
        return {name: (first[i], other[i], third[i]) for i, name in enumerate(SYMBOLS)}

    # Choices.
    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def one_of(self, items):
        return items[int(self.rng.integers(len(items)))]

    def integer(self, low: int, high: int) -> int:
        """In [low, high]."""
        return int(self.rng.integers(low, high + 1))

    def pick(self, accept=lambda value: True) -> Value | None:
        """A value that is accepted; late ones more often."""
        found = [value for value in self.values if accept(value)]
        if not found:
            return None
        return found[max(self.integer(0, len(found) - 1), self.integer(0, len(found) - 1))]

    # Parts.
    def name(self) -> str:
        self.count += 1
        return f"v{self.count}"

    def random_array(self, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
        """Small numbers whose sums and products are exact for a while."""
        if dtype == "bool":
            return self.rng.integers(0, 2, shape).astype(bool)
        if dtype in FLOATS:
            array = (np.clip(self.rng.standard_normal(shape), -3, 3) * 16).round().astype(dtype) / np.array(16, dtype)
            if self.special and dtype == "float32":
                odd = self.rng.choice(np.array([np.nan, np.inf, -np.inf, -0.0, 1e-42, 3e38], np.float32), shape)
                array = np.where(self.rng.random(shape) < 0.3, odd, array).astype(np.float32)
            return array
        return self.rng.integers(0 if dtype[0] == "u" else -6, 9, shape).astype(dtype)

    def add_input(self, dtype: str, dims: list[int | str]) -> Value:
        """An input whose dims are numbers or symbols."""
        shapes = [tuple(self.sizes[d][i] if isinstance(d, str) else d for d in dims) for i in range(self.sets)]
        return self.feed([self.random_array(dtype, shape) for shape in shapes])

    def feed(self, arrays: list[np.ndarray]) -> Value:
        """An input that holds these at the sets."""
        value = Value(f"x{len(self.inputs)}", [np.asarray(array) for array in arrays], True)
        self.inputs.append(value)
        self.values.append(value)
        return value

    def constant(self, array: np.ndarray) -> Value:
        """An initializer."""
        name = self.name()
        self.constants[name] = np.asarray(array)
        return Value(name, [self.constants[name]] * self.sets, True, True)

    def ints(self, *items: int, dtype: str = "int64") -> Value:
        return self.constant(np.array(items, dtype))

    def weight(self, *shape: int, dtype: str = "float32") -> Value:
        """A constant that keeps the magnitude of what it is multiplied with."""
        scale = np.sqrt(max(1, int(np.prod(shape[1:]))))
        return self.constant((self.rng.standard_normal(shape) / scale).astype(dtype))

    def node(
        self, op: str, inputs: list[Value | None], outputs: int = 1, captured: list[Value] = [], exact: bool | None = None,
        **attributes,
    ) -> list[Value] | None:  # fmt: skip
        """Adds a node if ONNX Runtime runs it at all sets and what it gives can be compared; its outputs.

        `captured` are the values that its bodies read; `exact` says whether its results are.
        """
        names = [value.name if value else "" for value in inputs]
        node = helper.make_node(op, names, [self.name() for _ in range(outputs)], **attributes)
        given = [*(value for value in inputs if value), *captured]
        arrays = self._run(node, given)
        if arrays is None:
            return None
        if exact is None:
            exact = op in EXACT and all(value.exact for value in given)
        results = []
        for i, name in enumerate(node.output):
            value = Value(name, [found[i] for found in arrays], exact)
            value.exact &= value.dtype != "float16"
            if value.dtype == "int64" and not value.exact and op in ("Shape", "Size"):
                value.exact = True
            results.append(value)
        if not all(self._is_fine(value, given) for value in results):
            return None
        self.nodes.append(node)
        self.values += results
        return results

    def _run(self, node: onnx.NodeProto, given: list[Value]) -> list[list[np.ndarray]] | None:
        constants = [numpy_helper.from_array(v.arrays[0], v.name) for v in {v.name: v for v in given if v.constant}.values()]
        fed = {value.name: value for value in given if not value.constant}
        inputs = [helper.make_tensor_value_info(v.name, element_type(v.dtype), None) for v in fed.values()]
        outputs = [onnx.ValueInfoProto(name=name) for name in node.output]
        graph = helper.make_graph([node], "one", inputs, outputs, constants)
        try:
            session = oracle.load(make_model(graph, self.opset).SerializeToString())
            return [session.run(None, {name: v.arrays[i] for name, v in fed.items()}) for i in range(self.sets)]
        except Exception:  # whatever ONNX Runtime does not like about a node, it is not used
            return None

    def _is_fine(self, value: Value, given: list[Value]) -> bool:
        if any(array.size > MOST_ELEMENTS for array in value.arrays) or value.rank > 6:
            return False
        if not value.is_float:
            return value.exact and value.magnitude() <= 2**20
        if self.special:
            return value.exact
        if not all(np.isfinite(array).all() for array in value.arrays) or value.magnitude() > LARGEST:
            return False
        inexact = [v.magnitude() for v in given if v.is_float and not v.exact]
        return value.exact or not inexact or value.magnitude() >= CANCELLED * max(inexact) or not value.magnitude()


def make_model(graph: onnx.GraphProto, opset: int) -> onnx.ModelProto:
    """A model of one graph, of an IR version that ONNX Runtime reads."""
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8 if opset < 19 else 10)


def dims_of(value: Value, known: dict[tuple[int, ...], str]) -> list[int | str]:
    """The dims of an input: sizes that are the same at all sets are numbers, others symbols by what they are."""
    dims: list[int | str] = []
    for axis in range(value.rank):
        sizes = value.sizes(axis)
        dims.append(sizes[0] if len(set(sizes)) == 1 else known.setdefault(sizes, f"s{len(known)}"))
    return dims


def reads(node: onnx.NodeProto) -> set[str]:
    """The names that a node reads, those of its bodies among them."""
    names = set(node.input)
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            body = attribute.g
            inside = {value.name for value in body.input} | {name for inner in body.node for name in inner.output}
            names |= {name for inner in body.node for name in reads(inner)} - inside
    return names - {""}


@dataclasses.dataclass
class Case:
    """A whole graph that can be compiled: nodes, what it is fed, and what is compared."""

    seed: int
    opset: int
    nodes: list[onnx.NodeProto]
    inputs: list[Value]
    constants: dict[str, np.ndarray]
    outputs: list[str]
    symbols: dict[tuple[int, ...], str]

    def model(self) -> onnx.ModelProto:
        """The model, with nothing that is not needed."""
        used = self.used()
        inputs = [
            helper.make_tensor_value_info(v.name, element_type(v.dtype), dims_of(v, self.symbols))
            for v in self.inputs if v.name in used
        ]  # fmt: skip
        constants = [numpy_helper.from_array(a, name) for name, a in self.constants.items() if name in used]
        outputs = [onnx.ValueInfoProto(name=name) for name in self.outputs]
        model = make_model(helper.make_graph(self.nodes, f"seed{self.seed}", inputs, outputs, constants), self.opset)
        # ONNX asks for the types of outputs, which inference knows.
        inferred = onnx.shape_inference.infer_shapes(model)
        types = {v.name: v.type.tensor_type.elem_type for v in [*inferred.graph.value_info, *inferred.graph.output, *inputs]}
        for output in model.graph.output:
            output.CopyFrom(helper.make_tensor_value_info(output.name, types.get(output.name) or TensorProto.FLOAT, None))
        return model

    def used(self) -> set[str]:
        """The names that anything reads."""
        return {name for node in self.nodes for name in reads(node)} | set(self.outputs)

    def feeds(self) -> list[dict[str, np.ndarray]]:
        """The inputs at each set."""
        used = self.used()
        kept = [value for value in self.inputs if value.name in used]
        sets = len(self.inputs[0].arrays) if self.inputs else 1
        return [{value.name: value.arrays[i] for value in kept} for i in range(sets)]


def finish(graph: Graph) -> Case:
    """All values that no node reads are outputs, and some that are read."""
    read = {name for node in graph.nodes for name in reads(node)}
    made = [value.name for value in graph.values if value not in graph.inputs]
    outputs = [name for name in made if name not in read or graph.chance(0.1)]
    symbols = {sizes: name for name, sizes in graph.sizes.items()}
    return Case(graph.seed, graph.opset, graph.nodes, graph.inputs, graph.constants, outputs, symbols)
