# Sorting, selection, scatters and sums of any length, and results whose size the data decides.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import numpy as np
import pytest
from operator_checks import check, compile_text, normal


def numbers(*shape, high=7, seed=0, dtype=np.float32):
    """Random whole numbers, so that many are equal."""
    return np.random.default_rng(seed).integers(0, high, shape).astype(dtype)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("largest", [0, 1])
def test_top_k_of_any_length(tmp_path, axis, largest):
    text = f"""g (float[a,b,c] x, int64[1] k) => (float[d,e,f] y, int64[d,e,f] i)
    {{ y, i = TopK<axis={axis}, largest={largest}>(x, k) }}"""
    runs = [((2, 5, 3), 2), ((3, 40, 4), 3), ((4, 1, 4), 1), ((2, 6, 5000), 2), ((3, 0, 3), 0)]
    check(tmp_path, text, *({"x": numbers(*s, high=50), "k": np.array([k])} for s, k in runs if s[axis] >= k))


@pytest.mark.parametrize("dtype", ["int64", "uint8", "float16"])
def test_top_k_of_other_types(tmp_path, dtype):
    text = f"g ({dtype}[a,300] x) => ({dtype}[a,7] y, int64[a,7] i) <int64[1] k = {{7}}> {{ y, i = TopK(x, k) }}"
    x = numbers(3, 300, high=250, dtype=dtype)

    def expected(x):
        order = np.argsort(-x.astype(np.float64), axis=-1, kind="stable")[:, :7]
        return [np.take_along_axis(x, order, -1), order]

    check(tmp_path, text, {"x": x}, expected=expected)


def unique(x, is_sorted, axis):
    """numpy's unique values, in their first order unless they are to be sorted."""
    y, first, inverse, counts = np.unique(x, True, True, True, axis=axis)
    order = np.arange(len(first)) if is_sorted else np.argsort(first, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    y = np.take(y, order, 0 if axis is None else axis)
    return [y, first[order], place[inverse.reshape(-1)], counts[order]]


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
@pytest.mark.parametrize("is_sorted", [0, 1])
def test_unique(tmp_path, axis, is_sorted):
    where = f", axis={axis}" if axis is not None else ""
    dims = "u" if axis is None else "u,v,w"
    text = f"""g (float[a,b,c] x) => (float[{dims}] y, int64[n] first, int64[m] inverse, int64[n] counts)
    {{ y, first, inverse, counts = Unique<sorted={is_sorted}{where}>(x) }}"""
    runs = [{"x": numbers(*s, high=h)} for s, h in (((3, 4, 5), 6), ((2, 2, 2), 2), ((1, 1, 1), 2), ((40, 3, 2), 2), ((9, 11, 3), 1))]
    check(tmp_path, text, *runs, expected=lambda x: unique(x, is_sorted, axis))


def test_unique_of_integers(tmp_path):
    text = "g (int64[n] x) => (int64[u] y) { y = Unique(x) }"
    check(tmp_path, text, *({"x": numbers(n, high=9, dtype=np.int64) - 4} for n in (1, 3, 200)))


@pytest.mark.parametrize("dtype", ["float", "int32", "bool"])
def test_non_zero(tmp_path, dtype):
    text = f"g ({dtype}[a,b,c] x) => (int64[r,n] y) {{ y = NonZero(x) }}"
    kind = {"float": np.float32, "int32": np.int32, "bool": bool}[dtype]
    check(tmp_path, text, *({"x": numbers(*s, high=2, dtype=kind)} for s in ((2, 3, 4), (1, 1, 1), (5, 1, 7))),
          {"x": np.zeros((2, 2, 2), kind)}, {"x": np.zeros((2, 0, 2), kind)})  # fmt: skip


def test_non_zero_feeds_what_follows(tmp_path):
    text = """g (float[n,4] x) => (float[m,4] y)
    { high = ReduceMax<axes=[1], keepdims=0>(x) zero = Constant<value_float=1.0>() kept = Greater(high, zero)
      found = NonZero(kept) at = Squeeze<axes=[0]>(found) rows = Gather(x, at) y = Relu(rows) }"""
    check(tmp_path, text, {"x": normal(9, 4)}, {"x": normal(2, 4) - 9}, {"x": normal(100, 4, seed=1)}, opset=11)


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_compress(tmp_path, axis):
    where = f"<axis={axis}>" if axis is not None else ""
    text = f"""g (float[a,b] x, bool[c] keep) => (float[{"n" if axis is None else "n,m"}] y)
    {{ y = Compress{where}(x, keep) }}"""
    rng = np.random.default_rng(0)
    check(tmp_path, text, *({"x": normal(4, 5), "keep": rng.integers(0, 2, n).astype(bool)} for n in (4, 3, 1)))


@pytest.mark.parametrize("centred", [0, 1])
def test_non_max_suppression(tmp_path, centred):
    text = f"""g (float[b,n,4] boxes, float[b,c,n] scores, int64[1] most, float[1] iou, float[1] least) => (int64[k,3] y)
    {{ y = NonMaxSuppression<center_point_box={centred}>(boxes, scores, most, iou, least) }}"""
    rng = np.random.default_rng(3)

    def make(b, c, n, most, iou, least):
        corners = rng.random((b, n, 2, 2)) * 4
        boxes = np.concatenate([corners[:, :, 0], corners[:, :, 1] + (0 if centred else corners[:, :, 0])], -1)
        scores = np.round(rng.random((b, c, n)), 2)
        return {
            "boxes": boxes.astype(np.float32), "scores": scores.astype(np.float32), "most": np.array([most]),
            "iou": np.array([iou], np.float32), "least": np.array([least], np.float32),
        }  # fmt: skip

    check(tmp_path, text, make(1, 1, 6, 3, 0.5, 0.0), make(2, 3, 300, 20, 0.3, 0.4), make(1, 2, 50, 0, 0.5, 0.1),
          make(1, 1, 40, 1000, 0.0, 0.2), make(2, 2, 9, 5, 0.5, 2.0))  # fmt: skip


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "max", "min"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_scatter_elements_of_any_number(tmp_path, reduction, axis):
    text = f"""g (float[a,b,c] x, int64[d,e,f] i, float[d,e,f] u) => (float[a,b,c] y)
    {{ y = ScatterElements<axis={axis}, reduction="{reduction}">(x, i, u) }}"""
    rng = np.random.default_rng(0)
    runs = []
    for data, updates in (((9, 12, 11), (7, 9, 10)), ((60, 3, 2), (50, 3, 2)), ((4, 4, 4), (0, 4, 4)), ((2, 2, 300), (2, 1, 290))):
        indices = rng.integers(-data[axis], data[axis], updates)
        if reduction == "none":  # what one of several updates of an element remains is not defined
            whole = list(updates)
            whole[axis] = data[axis]
            indices = np.take(np.argsort(rng.random(whole), axis), range(updates[axis]), axis)
        runs.append({"x": normal(*data), "i": indices, "u": normal(*updates, seed=1)})
    check(tmp_path, text, *runs, opset=18)


@pytest.mark.parametrize("reduction", ["none", "add", "max"])
def test_scatter_nd_of_any_number(tmp_path, reduction):
    text = f"""g (float16[a,b,5] x, int64[n,2] i, float16[n,5] u) => (float16[a,b,5] y)
    {{ y = ScatterND<reduction="{reduction}">(x, i, u) }}"""

    def expected(x, i, u):
        y = x.copy()
        for (a, b), value in zip(i, u, strict=True):
            y[a, b] = {"none": value, "add": y[a, b] + value, "max": np.maximum(y[a, b], value)}[reduction]
        return y

    rng = np.random.default_rng(0)
    runs = [
        {"x": normal(6, 7, 5, dtype=np.float16), "i": rng.integers(-6, 6, (n, 2)), "u": normal(n, 5, dtype=np.float16)}
        for n in (1, 40, 0)
    ]
    check(tmp_path, text, *runs, expected=expected, opset=18, atol=1e-2)


@pytest.mark.parametrize("options", ["", "exclusive=1", "reverse=1", "exclusive=1, reverse=1"])
@pytest.mark.parametrize("known", [True, False])
def test_sums_along_any_axis(tmp_path, options, known):
    inputs, given = ("", "<int64 axis = {1}>") if known else (", int64 axis", "")
    text = f"""g (float[a,b,c] x{inputs}) => (float[a,b,c] y) {given}
    {{ y = CumSum{f"<{options}>" if options else ""}(x, axis) }}"""
    runs = []
    for axis in (1,) if known else (0, 1, 2, -1, -3):
        for shape in ((2, 3, 4), (3, 5000, 1), (0, 4, 4)):
            runs.append({"x": numbers(*shape)} | ({} if known else {"axis": np.array(axis)}))
    check(tmp_path, text, *runs)


@pytest.mark.parametrize("op", ["Sum", "Mean", "Prod", "Max", "Min", "L1", "L2", "SumSquare", "LogSumExp"])
@pytest.mark.parametrize("keep", [0, 1])
def test_reductions_over_axes_that_are_data(tmp_path, op, keep):
    dims = "i,j,k" if keep else "i"
    text = f"""g (float[a,b,c] x, int64[2] axes) => (float[{dims}] y)
    {{ z = Mul(x, x) w = Sub(x, z) r = Reduce{op}<keepdims={keep}>(w, axes) y = Identity(r) }}"""
    runs = [{"x": normal(3, 4, 5), "axes": np.array(axes)} for axes in ([0, 1], [2, 0], [-1, -2], [1, -1])]
    check(tmp_path, text, *runs, opset=18)


@pytest.mark.parametrize("op,dtype", [("Max", "int32"), ("Min", "int8"), ("Sum", "int32"), ("Prod", "int64")])
def test_integer_reductions_over_axes_that_are_data(tmp_path, op, dtype):
    reduce = {"Max": np.max, "Min": np.min, "Sum": np.sum, "Prod": np.prod}[op]
    text = f"""g ({dtype}[a,b] x, int64[1] axes) => ({dtype}[i] y) {{ y = Reduce{op}<keepdims=0>(x, axes) }}"""
    x = numbers(4, 5, high=9, dtype=dtype) - np.array(20, dtype)
    check(tmp_path, text, {"x": x, "axes": np.array([1])}, {"x": x, "axes": np.array([-2])}, opset=18,
          expected=lambda x, axes: reduce(x, axis=int(axes[0])).astype(dtype))  # fmt: skip


@pytest.mark.parametrize("given", [True, False])
def test_max_unpool(tmp_path, given):
    shape, extra = (", int64[4] size", ", size") if given else ("", "")
    text = f"""g (float[n,2,8,6] x{shape}) => (float[n,2,h,w] z)
    {{ y, i = MaxPool<kernel_shape=[2, 2], strides=[2, 2]>(x)
       z = MaxUnpool<kernel_shape=[2, 2], strides=[2, 2]>(y, i{extra}) }}"""

    def expected(x, size=None):
        blocks = x.reshape(x.shape[0], 2, 4, 2, 3, 2)
        kept = np.where(blocks == blocks.max((3, 5), keepdims=True), blocks, 0).reshape(x.shape)
        if size is None:
            return kept
        return np.pad(kept, [(0, wanted - have) for wanted, have in zip(size, x.shape, strict=True)])

    inputs = {"x": normal(3, 2, 8, 6)} | ({"size": np.array([3, 2, 9, 8])} if given else {})
    check(tmp_path, text, inputs, expected=expected)


def test_an_index_out_of_range_writes_nothing(tmp_path):
    text = "g (float[n] x, int64[m] i, float[m] u) => (float[n] y) { y = ScatterElements(x, i, u) }"
    _, compiled = compile_text(tmp_path, text)
    indices = np.array([1, 2**40, -(2**40), -1, 20, 20, 20, 20, 20, 20, 20])
    y = compiled({"x": np.zeros(20, np.float32), "i": indices, "u": np.arange(1, 12, dtype=np.float32)})["y"]
    assert np.flatnonzero(y).tolist() == [1, 19]
