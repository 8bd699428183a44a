# Generators of random graphs for what is only known when they run: branches, loops, recurrences, sizes that depend on data.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Bodies are grown like the graph itself and then taken out of it, so they read its values and constants from inside."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper
from random_graph import Graph, Value, element_type
from random_moves import MOVES
from random_ops import ELEMENTWISE, Generator, PRODUCTS, REDUCTIONS, number, of_rank, single

BODIES: list[Generator] = [*ELEMENTWISE, *ELEMENTWISE, *PRODUCTS, *REDUCTIONS, *MOVES]
# Where a result must have the shape that went in.
CARRYING: list[Generator] = [*ELEMENTWISE * 4, *PRODUCTS, *REDUCTIONS, *MOVES]


# --- sizes that depend on data ---------------------------------------------------------------------------------------


def ranked(low: int, high: int = 5, accept=lambda value: True):
    return of_rank(low, high, accept)


def nonzero(g: Graph):
    x = g.pick(lambda v: v.exact and v.dtype in ("bool", "float32", "int64", "int32") and 1 <= v.rank <= 4)
    if x:
        g.node("NonZero", [x])


def compress(g: Graph):
    x = g.pick(ranked(1, 4))
    if not x:
        return
    axis = g.integer(0, x.rank - 1)
    flags = g.feed([g.rng.integers(0, 2, size).astype(bool) for size in x.sizes(axis)])
    g.node("Compress", [x, flags], axis=axis)


def unique(g: Graph):
    x = g.pick(lambda v: v.exact and v.dtype in ("float32", "int64") and 1 <= v.rank <= 3 and all(a.size for a in v.arrays))
    if x:
        given = {"axis": g.integer(0, x.rank - 1)} if g.chance(0.4) else {}
        g.node("Unique", [x], outputs=g.integer(1, 4), sorted=g.integer(0, 1), **given)


def runtime_slice(g: Graph):
    x = g.pick(ranked(1))
    if not x:
        return
    axis = g.integer(0, x.rank - 1)
    starts = [np.array([g.integer(-3, 3)]) for _ in range(g.sets)]
    ends = [np.array([g.one_of([-1, 2, 3, 100])]) for _ in range(g.sets)]
    inputs = [x, g.feed(starts), g.feed(ends), g.ints(axis)]
    if g.chance(0.4):
        inputs.append(g.feed([np.array([g.one_of([1, 2, -1])]) for _ in range(g.sets)]) if g.chance(0.5) else g.ints(2))
    g.node("Slice", inputs)


def runtime_reshape(g: Graph):
    x = g.pick(ranked(1))
    if not x:
        return
    shapes = []
    for array in x.arrays:
        shape = [int(i) for i in g.rng.permutation(array.shape)]
        shape = [-1] if len(shape) == 1 else [shape[0] * shape[1], *shape[2:]]
        shapes.append(np.array(shape, np.int64))
    g.node("Reshape", [x, g.feed(shapes)])


def runtime_sizes(g: Graph):
    """Expand, Tile, ConstantOfShape, Range, OneHot with sizes that are inputs."""
    op = g.one_of(["Expand", "Tile", "ConstantOfShape", "Range", "OneHot", "Trilu"])
    scalars = [np.array(g.integer(0, 5), np.int64) for _ in range(g.sets)]
    if op == "Range":
        g.node(op, [g.constant(np.array(0, np.int64)), g.feed(scalars), g.constant(np.array(1, np.int64))])
        return
    if op == "ConstantOfShape":
        g.node(op, [g.feed([np.array([g.integer(0, 4), 2], np.int64) for _ in range(g.sets)])])
        return
    if op == "OneHot":
        x = g.pick(lambda v: v.dtype == "int64" and v.rank <= 2)
        if x:
            g.node(op, [x, g.feed([np.maximum(s, 1) for s in scalars]), g.constant(g.random_array("float32", (2,)))])
        return
    x = g.pick(ranked(1, 4, single))
    if x and op == "Trilu" and x.rank >= 2:
        g.node(op, [x, g.feed(scalars)], upper=g.integer(0, 1))
    elif x and op == "Tile":
        g.node(op, [x, g.feed([g.rng.integers(0, 3, x.rank) for _ in range(g.sets)])])
    elif x and op == "Expand":
        shapes = []
        for array in x.arrays:
            shape = [g.one_of([1, size]) if size != 1 else g.integer(0, 3) for size in array.shape]
            shapes.append(np.array([g.integer(0, 3), *shape]))
        g.node(op, [x, g.feed(shapes)])


def runtime_pad(g: Graph):
    x = g.pick(ranked(1, 4, single))
    if x:
        pads = [g.rng.integers(-1 if min(a.shape) > 2 else 0, 3, 2 * x.rank) for a in x.arrays]
        g.node("Pad", [x, g.feed(pads)], mode=g.one_of(["constant", "edge"]))


def runtime_gather(g: Graph):
    x = g.pick(ranked(1))
    if not x:
        return
    axis = g.integer(0, x.rank - 1)
    if min(x.sizes(axis)) == 0:
        return
    shape = g.one_of([(), (2,), (2, 3)])
    indices = g.feed([g.rng.integers(-size, size, shape) for size in x.sizes(axis)])
    g.node("Gather", [x, indices], axis=axis)


def runtime_scatter(g: Graph):
    x = g.pick(ranked(1, 3, single))
    if not x or min(x.sizes(0)) == 0:
        return
    rows = [g.rng.permutation(a.shape[0])[:1].reshape(1, 1) for a in x.arrays]
    updates = [g.random_array("float32", (1, *a.shape[1:])) for a in x.arrays]
    g.node("ScatterND", [x, g.feed(rows), g.feed(updates)])


def runtime_top(g: Graph):
    x = g.pick(lambda v: v.dtype == "float32" and v.rank >= 1 and v.exact)
    if x and min(x.sizes(-1)) > 0:
        count = g.feed([np.array([g.integer(1, size)]) for size in x.sizes(-1)])
        g.node("TopK", [x, count], outputs=2)


# --- recurrent layers ------------------------------------------------------------------------------------------------


def recurrent(g: Graph):
    x = g.pick(ranked(3, 3, lambda v: single(v) and v.magnitude() < 20))
    features = x.static(2) if x else None
    # Over 0 steps ONNX Runtime leaves the last state unwritten, over a batch of 0 its LSTM and GRU abort.
    if not features or not min(x.sizes(0) + x.sizes(1)):
        return
    op, gates = g.one_of([("LSTM", 4), ("GRU", 3), ("RNN", 1)])
    hidden, direction = g.integer(1, 6), g.one_of(["forward", "reverse", "bidirectional"])
    both = 2 if direction == "bidirectional" else 1
    inputs: list[Value | None] = [x, g.weight(both, gates * hidden, features), g.weight(both, gates * hidden, hidden)]
    inputs.append(g.weight(both, 2 * gates * hidden) if g.chance(0.7) else None)
    steps, batch = min(x.sizes(0)), x.sizes(1)
    if g.chance(0.4):
        inputs.append(g.feed([g.rng.integers(1, steps + 1, size).astype("int32") for size in batch]))
    else:
        inputs.append(None)
    if g.chance(0.5):
        inputs.append(g.feed([g.random_array("float32", (both, size, hidden)) for size in batch]))
    given = {"linear_before_reset": g.integer(0, 1)} if op == "GRU" else {}
    while inputs[-1] is None:
        inputs.pop()
    g.node(op, inputs, outputs=3 if op == "LSTM" else 2, hidden_size=hidden, direction=direction, **given)


# --- branches and loops ----------------------------------------------------------------------------------------------


def record(g: Graph, wanted: int, visible: list[Value], families: list[Generator] = BODIES) -> tuple[list[onnx.NodeProto], list[Value]]:
    """Grows some nodes over the graph's values and `visible`, and takes them out again."""
    nodes, values = len(g.nodes), len(g.values)
    g.values += visible * 3  # picked more often
    first = len(g.values)
    for _ in range(4 * wanted):
        if len(g.nodes) - nodes >= wanted:
            break
        g.one_of(families)(g)
    made = g.nodes[nodes:], g.values[first:]
    # Inputs that generators asked for stay inputs of the graph.
    inputs = [value for value in made[1] if any(value is given for given in g.inputs)]
    del g.nodes[nodes:], g.values[values:]
    g.values += inputs
    return made[0], [value for value in made[1] if value not in inputs]


def typed(name: str, dtype: str, rank: int | None = None) -> onnx.ValueInfoProto:
    """The type of a body's value; its rank where ONNX Runtime wants it, never its sizes."""
    return helper.make_tensor_value_info(name, element_type(dtype), None if rank is None else [None] * rank)


def captured(g: Graph, nodes: list[onnx.NodeProto]) -> list[Value]:
    """What nodes of a body read of the graph around it."""
    read = {name for node in nodes for name in node.input}
    constants = [Value(name, [array] * g.sets, True, True) for name, array in g.constants.items() if name in read]
    return [*constants, *{value.name: value for value in g.values if value.name in read}.values()]


def branches(g: Graph):
    condition = g.pick(lambda v: v.dtype == "bool" and v.rank == 0)
    if not condition or g.chance(0.7):
        condition = g.feed([np.array(g.chance(0.5)) for _ in range(g.sets)])
    yes, made = record(g, g.integer(1, 4), [])
    no, other = record(g, g.integer(1, 4), [])
    pairs = [(a, b) for a in made for b in other if a.dtype == b.dtype and a.rank == b.rank]
    if not pairs:
        return
    chosen = [g.one_of(pairs) for _ in range(g.integer(1, 2))]
    if len({a.name for a, _ in chosen}) < len(chosen) or len({b.name for _, b in chosen}) < len(chosen):
        chosen = chosen[:1]
    then_branch = helper.make_graph(yes, "yes", [], [typed(a.name, a.dtype) for a, _ in chosen])
    else_branch = helper.make_graph(no, "no", [], [typed(b.name, b.dtype) for _, b in chosen])
    exact = all(a.exact and b.exact for a, b in chosen)
    g.node("If", [condition], len(chosen), captured(g, yes + no), exact, then_branch=then_branch, else_branch=else_branch)


def state(g: Graph, x: Value) -> Value:
    """What a body sees of a carried value: floats are as inexact as the body makes them."""
    return Value(g.name(), x.arrays, x.exact and not x.is_float)


def follows(g: Graph, made: list[Value], x: Value) -> Value | None:
    """A value of a body that can be carried on in place of another."""
    same = [v for v in made if v.dtype == x.dtype and v.rank == x.rank and (g.chance(0.1) or
            all(v.sizes(i) == x.sizes(i) for i in range(x.rank)))]  # fmt: skip
    return g.one_of(same) if same else None


def loop(g: Graph):
    x = g.pick(lambda v: number(v) and v.dtype != "float16" and v.magnitude() < 100)
    if not x:
        return
    stacked = g.chance(0.5)
    trips = g.feed([np.array(g.integer(int(stacked), 4)) for _ in range(g.sets)])
    carried, count, going = state(g, x), Value(g.name(), [np.array(0)] * g.sets, True), g.name()
    nodes, made = record(g, g.integer(1, 5), [carried, count], CARRYING)
    following = follows(g, made, carried)
    if not following:
        return
    stop = g.name()
    if g.chance(0.3):
        last = g.constant(np.array(g.integer(0, 3)))
        nodes.append(helper.make_node("Less", [count.name, last.name], [stop]))
    else:
        nodes.append(helper.make_node("Identity", [going], [stop]))
    others = [v for v in made if v.name != following.name] if stacked else []
    extra = [g.one_of(others)] if others else []
    body = helper.make_graph(
        nodes, "body", [typed(count.name, "int64", 0), typed(going, "bool", 0), typed(carried.name, x.dtype, x.rank)],
        [typed(stop, "bool", 0), *[typed(v.name, v.dtype, v.rank) for v in (following, *extra)]],
    )  # fmt: skip
    exact = x.exact and all(v.exact for v in (following, *extra)) and not x.is_float
    g.node("Loop", [trips, None, x], 1 + len(extra), captured(g, nodes), exact, body=body)


def scan(g: Graph):
    items = g.pick(lambda v: v.dtype in ("float32", "int64") and 1 <= v.rank <= 4 and min(v.sizes(0)) > 0)
    x = g.pick(lambda v: v.dtype in ("float32", "int64") and v.magnitude() < 100)
    if not items or not x:
        return
    axis = g.integer(0, items.rank - 1) if min(min(items.sizes(i)) for i in range(items.rank)) > 0 else 0
    item = Value(g.name(), [np.take(a, 0, axis) for a in items.arrays], items.exact)
    carried = state(g, x)
    nodes, made = record(g, g.integer(1, 5), [item, carried], CARRYING)
    following = follows(g, made, carried)
    others = [v for v in made if following and v.name != following.name]
    if not following or not others:
        return
    extra = g.one_of(others)
    body = helper.make_graph(nodes, "body", [typed(carried.name, x.dtype, x.rank), typed(item.name, items.dtype, item.rank)],
                             [typed(v.name, v.dtype, v.rank) for v in (following, extra)])  # fmt: skip
    exact = items.exact and x.exact and following.exact and extra.exact and not x.is_float
    g.node("Scan", [x, items], 2, captured(g, nodes), exact, body=body, num_scan_inputs=1, scan_input_axes=[axis],
           scan_input_directions=[g.integer(0, 1)])  # fmt: skip


FLOW: list[Generator] = [branches, branches, loop, loop, scan, recurrent, recurrent]
DATA: list[Generator] = [runtime_slice, runtime_reshape, runtime_sizes, runtime_pad, runtime_gather,
                         runtime_scatter, runtime_top, nonzero, compress, unique]  # fmt: skip
