# Generators of random graphs that move elements: shapes, slices, gathers, scatters, and shapes computed with tensors.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

from __future__ import annotations

import numpy as np
from random_graph import Graph, Value
from random_ops import Generator, number, of_rank, single


def anything(value: Value) -> bool:
    return True


def ranked(low: int, high: int = 6, accept=anything):
    return of_rank(low, high, accept)


def transpose(g: Graph):
    x = g.pick(ranked(2))
    if x:
        g.node("Transpose", [x], perm=[int(i) for i in g.rng.permutation(x.rank)])


def reshape(g: Graph):
    """To a constant shape with 0 (as it was) and -1 in it."""
    x = g.pick(ranked(1))
    if not x:
        return
    kept = g.integer(0, x.rank)
    rest = [x.static(i) for i in range(kept, x.rank)]
    shape = [0] * kept
    if None in rest or g.chance(0.6):
        shape.append(-1)
        if rest and rest[-1] and g.chance(0.5):
            factor = g.one_of([d for d in range(1, rest[-1] + 1) if rest[-1] % d == 0])
            shape.insert(kept + g.integer(0, 1), factor)
    else:
        shape += rest[::-1]
    g.node("Reshape", [x, g.ints(*shape)])


def flatten(g: Graph):
    x = g.pick(ranked(1))
    if x:
        g.node("Flatten", [x], axis=g.integer(-x.rank, x.rank))


def squeeze(g: Graph):
    x = g.pick(ranked(0))
    if not x:
        return
    ones = [i for i in range(x.rank) if x.static(i) == 1]
    if ones and g.chance(0.6):
        g.node("Squeeze", [x, g.ints(*ones[: g.integer(1, len(ones))])])
    elif x.rank < 5:
        g.node("Unsqueeze", [x, g.ints(*sorted({g.integer(0, x.rank) for _ in range(g.integer(1, 2))}))])


def concat(g: Graph):
    x = g.pick(ranked(1))
    if not x:
        return
    axis = g.integer(0, x.rank - 1)

    def fits(v: Value) -> bool:
        return v.dtype == x.dtype and v.rank == x.rank and all(v.sizes(i) == x.sizes(i) for i in range(x.rank) if i != axis)

    others = [g.pick(fits) for _ in range(g.integer(1, 2))]
    shape = [x.static(i) for i in range(x.rank)]
    shape[axis] = g.integer(0, 3)
    if None not in shape and g.chance(0.4):
        others.append(g.constant(g.random_array(x.dtype, tuple(shape))))
    g.node("Concat", [x, *[v for v in others if v]], axis=axis - (x.rank if g.chance(0.3) else 0))


def split(g: Graph):
    x = g.pick(ranked(1))
    if not x:
        return
    axis = g.integer(0, x.rank - 1)
    size = x.static(axis)
    if size and size >= 2 and g.chance(0.6):
        first = g.integer(0, size)
        g.node("Split", [x, g.ints(first, size - first)], outputs=2, axis=axis)
    elif g.opset >= 18:
        g.node("Split", [x], outputs=2, axis=axis, num_outputs=2)
    else:
        g.node("Split", [x], outputs=2, axis=axis)


def bounds(g: Graph, x: Value, axis: int) -> tuple[int, int, int]:
    """Start, end and step of a slice, inside of the dim and beyond it. Bounds of 1 and -1 take a symbolic dim as not empty."""
    step = g.one_of([1, 1, 1, 2, 3, -1, -2])
    one = [] if x.static(axis) is None and 0 in x.sizes(axis) else [1, -1]
    if step > 0:
        return g.one_of([0, 0, 2, 4, -2, -3, *one]), g.one_of([3, 100, -2, -4, 2**31, 2**63 - 1, *one]), step
    return g.one_of([-1, -1, -3, 0, 2, 5, 2**31]), g.one_of([0, 1, 3, -3, -(2**31), -(2**63)]), step


def cut(g: Graph):
    """Slice with bounds that may lie outside, and negative steps."""
    x = g.pick(ranked(1))
    if not x:
        return
    axes = sorted({g.integer(0, x.rank - 1) for _ in range(g.integer(1, 2))})
    starts, ends, steps = zip(*[bounds(g, x, axis) for axis in axes])
    axes = [axis - (x.rank if g.chance(0.3) else 0) for axis in axes]
    g.node("Slice", [x, g.ints(*starts), g.ints(*ends), g.ints(*axes), g.ints(*steps)])


def pad(g: Graph):
    x = g.pick(ranked(1, 5, lambda v: v.dtype in ("float32", "int64", "float64", "int32")))
    if not x:
        return
    mode = g.one_of(["constant", "constant", "reflect", "edge"] + (["wrap"] if g.opset >= 19 else []))
    low = -1 if mode == "constant" else 0
    pads = [g.integer(low, 2) if g.chance(0.5) else 0 for _ in range(2 * x.rank)]
    inputs = [x, g.ints(*pads)]
    if mode == "constant" and g.chance(0.5):
        inputs.append(g.constant(np.array(1.5, x.dtype)))
    g.node("Pad", inputs, mode=mode)


def tile(g: Graph):
    x = g.pick(ranked(1))
    if x:
        g.node("Tile", [x, g.ints(*[g.one_of([1, 1, 2, 3]) for _ in range(x.rank)])])


def expand(g: Graph):
    x = g.pick(ranked(0, 5))
    if not x:
        return
    shape = [g.integer(1, 4) if x.static(i) == 1 else 1 for i in range(x.rank)]
    g.node("Expand", [x, g.ints(*[g.integer(1, 3)] * g.integer(0, 1), *shape)])


def gather(g: Graph):
    x = g.pick(ranked(1))
    if not x:
        return
    axis = g.integer(0, x.rank - 1)
    size = min(x.sizes(axis))
    if not size:
        return
    shape = g.one_of([(), (1,), (3,), (2, 2)])
    indices = g.rng.integers(-size, size, shape)
    if len(set(x.sizes(axis))) > 1:
        indices = np.abs(indices) % size
    g.node("Gather", [x, g.constant(indices.astype(g.one_of(["int64", "int32"])))], axis=axis)


def gather_elements(g: Graph):
    x = g.pick(ranked(1, 4))
    if not x:
        return
    axis = g.integer(0, x.rank - 1)
    size = min(x.sizes(axis))
    shape = [x.static(i) or 1 for i in range(x.rank)]
    if not size or None in [x.static(i) for i in range(x.rank) if i != axis]:
        return
    shape[axis] = g.integer(1, 4)
    g.node("GatherElements", [x, g.constant(g.rng.integers(0, size, shape))], axis=axis)


def gather_nd(g: Graph):
    x = g.pick(ranked(1, 4))
    if not x:
        return
    depth = g.integer(1, x.rank)
    sizes = [min(x.sizes(i)) for i in range(depth)]
    if all(sizes):
        indices = np.stack([g.rng.integers(0, size, (g.integer(1, 3), 2)[1:] if depth > 1 else (3,)) for size in sizes], -1)
        g.node("GatherND", [x, g.constant(indices)])


def scatter(g: Graph):
    x = g.pick(ranked(1, 4, lambda v: v.dtype in ("float32", "int64", "int32")))
    if not x:
        return
    reductions = ["none"] + (["add", "mul"] if g.opset >= 16 else []) + (["max", "min"] if g.opset >= 18 else [])
    reduction = g.one_of(reductions)
    given = {} if reduction == "none" else {"reduction": reduction}
    sizes = [x.static(i) for i in range(x.rank)]
    if None in sizes or 0 in sizes:
        return
    if g.chance(0.5):
        axis = g.integer(0, x.rank - 1)
        shape = [g.integer(1, size) for size in sizes]
        indices = g.rng.integers(0, sizes[axis], shape)
        if reduction == "none":  # no element twice: the order of updates is not defined
            indices = np.moveaxis(np.broadcast_to(g.rng.permutation(sizes[axis])[: shape[axis]],
                                                  np.moveaxis(indices, axis, -1).shape), -1, axis).copy()  # fmt: skip
        g.node("ScatterElements", [x, g.constant(indices), g.constant(g.random_array(x.dtype, tuple(shape)))], axis=axis, **given)
    else:
        rows = g.rng.permutation(sizes[0])[: g.integer(1, sizes[0])].reshape(-1, 1)
        updates = g.random_array(x.dtype, (len(rows), *sizes[1:]))
        g.node("ScatterND", [x, g.constant(rows), g.constant(updates)], **given)


def blocks(g: Graph):
    x = g.pick(ranked(4, 4, single))
    if x and g.chance(0.5):
        g.node("DepthToSpace", [x], blocksize=2, mode=g.one_of(["DCR", "CRD"]))
    elif x:
        g.node("SpaceToDepth", [x], blocksize=2)


def triangle(g: Graph):
    x = g.pick(ranked(2, 4, lambda v: v.dtype in ("float32", "int64", "bool")))
    if x and g.opset >= 14:
        g.node("Trilu", [x, g.constant(np.array(g.integer(-2, 2), "int64"))], upper=g.integer(0, 1))


def resize(g: Graph):
    x = g.pick(ranked(4, 4, single))
    if not x:
        return
    mode = g.one_of(["nearest", "linear", "cubic"])
    given = {"mode": mode, "coordinate_transformation_mode":
             g.one_of(["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"])}  # fmt: skip
    if mode == "nearest":
        given["nearest_mode"] = g.one_of(["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"])
    # Of a scaled size that is no integer, align_corners takes the whole in ONNX and its floor in ONNX Runtime.
    factors = [1.0, 2.0, 3.0] + ([0.5] if given["coordinate_transformation_mode"] != "align_corners" else [])
    scales = [1.0, 1.0, *[g.one_of(factors) for _ in range(2)]]
    sizes = [x.static(i) for i in range(4)]
    if None not in sizes and g.chance(0.4):
        g.node("Resize", [x, None, None, g.ints(*sizes[:2], g.integer(1, 9), g.integer(1, 9))], **given)
    else:
        g.node("Resize", [x, None, g.constant(np.array(scales, "float32"))], **given)


def one_hot(g: Graph):
    x = g.pick(lambda v: v.dtype in ("int64", "int32") and v.rank <= 3)
    if x:
        values = g.constant(g.random_array("float32", (2,)))
        g.node("OneHot", [x, g.constant(np.array(g.integer(1, 6), "int64")), values], axis=g.integer(-1, x.rank))


def reverse(g: Graph):
    x = g.pick(ranked(2, 4, single))
    batch = x.static(0) if x else None
    if batch and min(x.sizes(1)) >= 1:
        lengths = g.rng.integers(1, min(x.sizes(1)) + 1, batch)
        g.node("ReverseSequence", [x, g.constant(lengths)], batch_axis=0, time_axis=1)


# --- shapes computed with tensors ------------------------------------------------------------------------------------


def extent(g: Graph, x: Value, axis: int) -> Value | None:
    """One dim of a value as an int64[1], the way exporters write it."""
    shape = g.node("Shape", [x])
    if not shape:
        return None
    if g.chance(0.5):
        found = g.node("Gather", [shape[0], g.ints(axis)])
    elif g.chance(0.5):
        scalar = g.node("Gather", [shape[0], g.constant(np.array(axis, "int64"))])
        found = g.node("Unsqueeze", [scalar[0], g.ints(0)]) if scalar else None
    else:
        found = g.node("Slice", [shape[0], g.ints(axis), g.ints(axis + 1), g.ints(0)])
    return found[0] if found else None


def computed(g: Graph, item: Value) -> Value:
    """A size with some arithmetic that leaves it what it is for the purpose."""
    if g.chance(0.3):
        factor = g.ints(g.integer(1, 3))
        product = g.node("Mul", [item, factor])
        back = g.node("Div", [product[0], factor]) if product else None
        return back[0] if back else item
    if g.chance(0.2):
        as_float = g.node("Cast", [item], to=1)
        back = g.node("Cast", as_float, to=7) if as_float else None
        return back[0] if back else item
    return item


def shape_chain(g: Graph):
    """Shape -> Gather -> arithmetic -> Concat -> Reshape or Expand."""
    x = g.pick(ranked(1, 4))
    if not x:
        return
    extents = [extent(g, x, axis) for axis in range(x.rank)]
    if None in extents:
        return
    parts = [computed(g, item) for item in extents]
    kind = g.integer(0, 3)
    if kind == 0 and x.rank >= 2:  # two dims become one
        first = g.integer(0, x.rank - 2)
        if any(0 in x.sizes(axis) for axis in range(x.rank)):  # a size of 0 would stand for that of the input: refused
            return
        product = g.node("Mul", [parts[first], parts[first + 1]])
        if not product:
            return
        parts[first : first + 2] = product if g.chance(0.5) else [g.ints(-1)]
    elif kind == 1:  # one in front, the rest as it was
        parts = [g.ints(1), *parts]
    elif kind == 2:
        parts = [g.ints(-1), parts[-1]] if x.rank > 1 and 0 not in x.sizes(-1) else [g.ints(-1)]
    target = g.node("Concat", parts, axis=0)
    if target:
        g.node("Reshape" if kind < 3 else "Expand", [x, target[0]])


def filled(g: Graph):
    """ConstantOfShape, Expand or Range of a size of another value."""
    x = g.pick(ranked(1, 4))
    if not x:
        return
    size = extent(g, x, g.integer(0, x.rank - 1))
    if not size:
        return
    kind = g.integer(0, 2)
    if kind == 0:
        shape = g.node("Concat", [size, g.ints(g.integer(1, 3))], axis=0)
        if shape:
            g.node("ConstantOfShape", shape)
    elif kind == 1:
        shape = g.node("Concat", [g.ints(2), size], axis=0)
        other = g.pick(lambda v: v.rank >= 1 and v.static(-1) == 1 and v.rank <= 2)
        if shape and other:
            g.node("Expand", [other, shape[0]])
    else:
        limit = g.node("Squeeze", [size, g.ints(0)])
        if limit:
            step, start = (g.constant(np.array(n, "int64")) for n in (g.integer(1, 2), g.integer(-1, 1)))
            g.node("Range", [start, limit[0], step])


def shape_slice(g: Graph):
    """A slice whose bound is computed from the shape: N - k, which may be below 0, and N / k."""
    x = g.pick(ranked(1, 4))
    if not x:
        return
    axis = g.integer(0, x.rank - 1)
    op, amount = g.one_of(["Sub", "Sub", "Div"]), g.integer(1, 5)
    if op == "Sub" and amount == 1 and 0 in x.sizes(axis):  # as in `bounds`
        return
    size = extent(g, x, axis)
    bound = g.node(op, [size, g.ints(amount)]) if size else None
    if not bound:
        return
    if g.chance(0.7):
        g.node("Slice", [x, g.ints(0), bound[0], g.ints(axis)])
    else:
        g.node("Slice", [x, bound[0], g.ints(2**63 - 1), g.ints(axis), g.ints(g.integer(1, 2))])


MOVES: list[Generator] = [transpose, reshape, flatten, squeeze, concat, split, cut, pad, tile, expand, gather, gather_elements,
                          gather_nd, scatter, blocks, triangle, resize, one_hot, reverse]  # fmt: skip
SHAPES: list[Generator] = [shape_chain, shape_chain, filled, shape_slice]
