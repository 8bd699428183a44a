# Operators on shapes and settings that the ONNX node tests have not, against ONNX Runtime or numpy.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import numpy as np
import pytest
from operator_checks import check, compile_text, normal

# Fourier transforms


def as_parts(spectrum, dtype=np.float32):
    return np.stack([spectrum.real, spectrum.imag], -1).astype(dtype)


@pytest.mark.parametrize("length", [1, 2, 3, 7, 16, 30, 97, 400])
@pytest.mark.parametrize("onesided", [0, 1])
def test_dft_of_real_signals(tmp_path, length, onesided):
    def expected(x):
        spectrum = np.fft.rfft(x[..., 0], axis=1) if onesided else np.fft.fft(x[..., 0], axis=1)
        return as_parts(spectrum)

    text = f"g (float[2,{length},3,1] x) => (float[a,b,c,d] y) {{ y = DFT<axis=1, onesided={onesided}>(x) }}"
    check(tmp_path, text, {"x": normal(2, length, 3, 1)}, expected=expected, atol=1e-4)


@pytest.mark.parametrize("inverse", [0, 1])
@pytest.mark.parametrize("wanted", [5, 8, 12])
def test_dft_cuts_and_pads(tmp_path, inverse, wanted):
    transform = np.fft.ifft if inverse else np.fft.fft

    def expected(x):
        return as_parts(transform(x[..., 0].astype(complex) + 1j * x[..., 1], n=wanted, axis=-1), np.float64)

    text = f"""g (double[3,8,2] x) => (double[a,b,c] y) <int64 n = {{{wanted}}}>
    {{ y = DFT<inverse={inverse}>(x, n) }}"""
    check(tmp_path, text, {"x": normal(3, 8, 2, dtype=np.float64)}, expected=expected, opset=20, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("length", [None, 9, 10, 6, 20])
def test_dft_back_to_real_signals(tmp_path, length):
    def expected(x):
        return np.fft.irfft(x[..., 0] + 1j * x[..., 1], n=length, axis=-1)[..., None].astype(np.float32)

    given = f"<int64 n = {{{length}}}>" if length else ""
    text = f"""g (float[2,6,2] x) => (float[a,b,c] y) {given}
    {{ y = DFT<inverse=1, onesided=1>(x{", n" if length else ""}) }}"""
    check(tmp_path, text, {"x": normal(2, 6, 2)}, expected=expected, opset=20)


def test_dft_of_a_symbolic_length(tmp_path):
    text = "g (float[batch,n,1] x) => (float[batch,m,2] y) { y = DFT<onesided=1>(x) }"
    inputs = [{"x": normal(b, n, 1, seed=n)} for b, n in ((1, 1), (2, 15), (3, 64))]
    check(tmp_path, text, *inputs, expected=lambda x: as_parts(np.fft.rfft(x[..., 0], axis=1)), opset=20, atol=1e-4)


def test_dft_longer_than_its_matrix_may_be(tmp_path):
    def expected(x):
        return as_parts(np.fft.fft(x[..., 0], axis=1))

    text = "g (float[1,2500,1] x) => (float[a,b,c] y) { y = DFT(x) }"
    check(tmp_path, text, {"x": normal(1, 2500, 1)}, expected=expected, opset=20, atol=2e-3)


@pytest.mark.parametrize("axis", [-2, -3, 0, 1, 2])
def test_dft_along_an_axis_that_is_data(tmp_path, axis):
    def expected(x, axis):
        return as_parts(np.fft.fft(x[..., 0], axis=int(axis) % 4))

    text = "g (float[4,4,4,1] x, int64 axis) => (float[a,b,c,d] y) { y = DFT(x, , axis) }"
    inputs = {"x": normal(4, 4, 4, 1), "axis": np.array(axis, np.int64)}
    check(tmp_path, text, inputs, expected=expected, opset=20, atol=1e-4)


@pytest.mark.parametrize("onesided", [0, 1])
@pytest.mark.parametrize("step,length", [(3, 8), (5, 7), (16, 16)])
def test_stft(tmp_path, onesided, step, length):
    text = f"""g (float[batch,time,1] x) => (float[batch,f,b,p] y)
    <int64 step = {{{step}}}, float[{length}] window = {{{",".join(f"{0.1 * i:.1f}" for i in range(length))}}}>
    {{ y = STFT<onesided={onesided}>(x, step, window) }}"""
    check(tmp_path, text, {"x": normal(2, 40, 1)}, {"x": normal(1, length, 1)}, atol=1e-4)


def test_mel_weights(tmp_path):
    text = """g () => (double[a,b] y)
    <int64 bands = {20}, int64 length = {256}, int64 rate = {8000}, float low = {20.0}, float high = {3800.0}>
    { y = MelWeightMatrix<output_datatype=11>(bands, length, rate, low, high) }"""
    check(tmp_path, text, {}, rtol=1e-6)


# Regions


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("shift", ["half_pixel", "output_half_pixel"])
@pytest.mark.parametrize("sampling", [0, 2])
def test_roi_align(tmp_path, mode, shift, sampling):
    text = f"""g (float[n,3,13,17] x, float[r,4] regions, int64[r] which) => (float[r,3,5,4] y)
    {{ y = RoiAlign<mode="{mode}", coordinate_transformation_mode="{shift}", output_height=5, output_width=4,
                   sampling_ratio={sampling}, spatial_scale=0.5>(x, regions, which) }}"""
    regions = np.array([[0, 0, 33, 25], [-9, 3, 50, 11.5], [8, 8, 8, 8], [4, 20, 3, 2], [2, 2.5, 7, 9]], np.float32)
    inputs = {"x": normal(2, 3, 13, 17), "regions": regions, "which": np.array([0, 1, 1, 0, 1])}
    none = {"x": normal(2, 3, 13, 17), "regions": regions[:0], "which": np.zeros(0, np.int64)}
    check(tmp_path, text, inputs, none)


def test_max_roi_pool(tmp_path):
    text = """g (float[2,3,13,17] x, float[r,5] regions) => (float[r,3,3,2] y)
    { y = MaxRoiPool<pooled_shape=[3, 2], spatial_scale=0.5>(x, regions) }"""
    regions = np.array([[0, 0, 0, 33, 25], [1, 5, 3, 60, 11.5], [1, 8, 8, 8, 8], [0, 1, 1, 3, 3]], np.float32)
    check(tmp_path, text, {"x": normal(2, 3, 13, 17), "regions": regions})


@pytest.mark.parametrize("groups,offset_groups,masked", [(1, 1, True), (2, 2, False), (2, 4, True)])
def test_deform_conv(tmp_path, groups, offset_groups, masked):
    text = f"""g (float[n,4,9,8] x, float[6,{4 // groups},3,2] w, float[n,{offset_groups * 12},5,7] offset, float[6] b,
    float[n,{offset_groups * 6},5,7] mask) => (float[n,6,5,7] y)
    {{ y = DeformConv<group={groups}, offset_group={offset_groups}, strides=[2, 1], pads=[1, 0, 1, 1], dilations=[1, 2]>
          (x, w, offset, b{", mask" if masked else ""}) }}"""
    inputs = {
        "x": normal(2, 4, 9, 8), "w": normal(6, 4 // groups, 3, 2, seed=1), "b": normal(6, seed=2),
        "offset": 2 * normal(2, offset_groups * 12, 5, 7, seed=3), "mask": normal(2, offset_groups * 6, 5, 7, seed=4),
    }  # fmt: skip
    _, compiled = compile_text(tmp_path, text, opset=19)
    (got,) = compiled(inputs).values()
    np.testing.assert_allclose(got, deform(groups, offset_groups, masked, **inputs), rtol=1e-4, atol=1e-4)


def deform(groups, offset_groups, masked, x, w, offset, b, mask):
    """The operator's definition for strides 2 and 1, pads 1 0 1 1, dilations 1 and 2, element by element."""
    n, c, h, width = x.shape
    o, per, kh, kw = w.shape
    oh, ow = offset.shape[2:]
    offset = offset.reshape(n, offset_groups, kh, kw, 2, oh, ow).astype(np.float64)
    mask = mask.reshape(n, offset_groups, kh, kw, oh, ow) if masked else np.ones((n, offset_groups, kh, kw, oh, ow))

    def at(image, row, column):
        value = 0.0
        for r in (np.floor(row), np.floor(row) + 1):
            for q in (np.floor(column), np.floor(column) + 1):
                if 0 <= r < h and 0 <= q < width:
                    value += (1 - abs(row - r)) * (1 - abs(column - q)) * image[int(r), int(q)]
        return value

    y = np.zeros((n, o, oh, ow)) + b[:, None, None]
    for i, ch, u, v, r, q in np.ndindex(n, c, kh, kw, oh, ow):
        g = ch // (c // offset_groups)
        row = 2 * r - 1 + u + offset[i, g, u, v, 0, r, q]
        column = q + 2 * v + offset[i, g, u, v, 1, r, q]
        value = at(x[i, ch], row, column) * mask[i, g, u, v, r, q]
        first = ch // per * (o // groups)
        y[i, first : first + o // groups, r, q] += w[first : first + o // groups, ch % per, u, v] * value
    return y


# Pooling and its inverses


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize(
    "shape,kernel,strides,dilations,pads,ceil",
    [
        ((2, 3, 11), [3], [2], [1], [1, 1], 1),
        ((2, 3, 9, 8), [3, 2], [2, 1], [2, 1], [1, 0, 2, 1], 0),
        ((1, 2, 7, 8), [2, 3], [3, 2], [1, 2], [0, 1, 1, 2], 1),
        ((1, 2, 5, 6, 7), [2, 3, 2], [2, 1, 2], [1, 1, 2], [0, 1, 0, 1, 1, 1], 0),
    ],
)
def test_max_pool_indices(tmp_path, order, shape, kernel, strides, dilations, pads, ceil):
    dims = ",".join(["n"] + [str(s) for s in shape[1:]])
    text = f"""g (float[{dims}] x) => (float[{",".join("abcde"[: len(shape)])}] y, int64[{",".join("abcde"[: len(shape)])}] i)
    {{ y, i = MaxPool<kernel_shape={kernel}, strides={strides}, dilations={dilations}, pads={pads}, ceil_mode={ceil},
                     storage_order={order}>(x) }}"""
    check(tmp_path, text, {"x": normal(*shape)}, {"x": np.zeros(shape, np.float32)})


def test_max_pool_indices_of_bytes(tmp_path):
    text = """g (uint8[1,2,6,6] x) => (uint8[a,b,c,d] y, int64[a,b,c,d] i)
    { y, i = MaxPool<kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]>(x) }"""
    check(tmp_path, text, {"x": np.random.default_rng(0).integers(0, 256, (1, 2, 6, 6)).astype(np.uint8)})


@pytest.mark.parametrize("given", ["constant", "data"])
def test_col2im(tmp_path, given):
    block, image = [2, 3], [7, 9]
    blocks = ((7 + 1 + 2 - 3) // 2 + 1) * ((9 + 3 - 3) // 3 + 1)
    sizes = "int64[2] image, int64[2] block"
    text = f"""g (float[2,12,{blocks}] x{", " + sizes if given == "data" else ""}) => (float[2,2,7,9] y)
    {"<int64[2] image = {7, 9}, int64[2] block = {2, 3}>" if given == "constant" else ""}
    {{ y = Col2Im<strides=[2, 3], dilations=[2, 1], pads=[1, 2, 2, 1]>(x, image, block) }}"""
    inputs = {"x": normal(2, 12, blocks)}
    if given == "data":
        inputs |= {"image": np.array(image), "block": np.array(block)}
    check(tmp_path, text, inputs, opset=18)


# Matrices


@pytest.mark.parametrize("size", [0, 1, 2, 3, 8, 20])
def test_det(tmp_path, size):
    text = f"g (double[n,2,{size},{size}] x) => (double[n,2] y) {{ y = Det(x) }}"
    singular = normal(1, 2, size, size, seed=2, dtype=np.float64)
    singular[:, :, :, :1] = 0
    inputs = [{"x": normal(3, 2, size, size, dtype=np.float64)}, {"x": singular}]
    check(tmp_path, text, *inputs, expected=lambda x: np.linalg.det(x), rtol=1e-9, atol=1e-12)


def test_inverse(tmp_path):
    text = "g (float[n,7,7] x) => (float[n,7,7] y) { y = com.microsoft.Inverse(x) }"
    check(tmp_path, text, {"x": normal(3, 7, 7)}, rtol=1e-3, atol=1e-4, domain="com.microsoft")


# Recurrences


def linear_attention(rule, q_heads, heads, query, key, value, past=None, decay=None, beta=None):
    """The recurrence as the operator's text gives it, in f64."""
    batch, steps, _ = query.shape
    width, depth = query.shape[2] // q_heads, value.shape[2] // heads
    state = np.zeros((batch, heads, width, depth)) if past is None else past.astype(np.float64)
    out = np.zeros((batch, steps, q_heads, depth))
    for t in range(steps):
        q, k, v = (x[:, t].reshape(batch, -1, n) for x, n in ((query, width), (key, width), (value, depth)))
        if decay is not None:
            state = state * np.exp(decay[:, t].reshape(batch, heads, -1))[..., None]
        if beta is not None:
            v = beta[:, t][..., None] * (v - np.einsum("bhde,bhd->bhe", state, k))
        state = state + k[..., None] * v[:, :, None]
        out[:, t] = np.einsum("bhd,bhde->bhe", q, np.repeat(state, q_heads // heads, 1)) / np.sqrt(width)
    return out.reshape(batch, steps, -1).astype(np.float32), state.astype(np.float32)


@pytest.mark.parametrize("rule", ["linear", "gated", "delta", "gated_delta"])
@pytest.mark.parametrize("steps", [1, 5, "t"])
def test_linear_attention(tmp_path, rule, steps):
    names = ["query", "key", "value", "past"]
    shapes = [[steps, 24], [steps, 12], [steps, 10], [2, 6, 5]]
    if "gated" in rule:
        names, shapes = [*names, "decay"], [*shapes, [steps, 2]]
    if "delta" in rule:
        names, shapes = [*names, "beta"], [*shapes, [steps, 1]]
    inputs = ", ".join(f"float[b,{','.join(map(str, s))}] {n}" for n, s in zip(names, shapes, strict=True))
    decay = "decay" if "decay" in names else ""
    text = f"""g ({inputs}) => (float[b,{steps},20] y, float[b,2,6,5] s)
    {{ y, s = LinearAttention<q_num_heads=4, kv_num_heads=2, update_rule="{rule}">
              (query, key, value, past, {decay}{", beta" if "beta" in names else ""}) }}"""
    runs = [
        {n: normal(3, *(c if d == "t" else d for d in s), seed=i) / 2 for i, (n, s) in enumerate(zip(names, shapes, strict=True))}
        for c in ((1, 40) if steps == "t" else (steps,))
    ]
    check(tmp_path, text, *runs, expected=lambda **x: linear_attention(rule, 4, 2, **x), opset=27, atol=1e-4)


def test_causal_conv_in_two_calls(tmp_path):
    text = """g (float[b,5,l] x, float[5,1,4] w, float[b,5,3] s) => (float[b,5,l] y, float[b,5,3] t)
    { y, t = CausalConvWithState<activation="silu">(x, w, , s) }"""
    _, compiled = compile_text(tmp_path, text, opset=27)
    x, w = normal(2, 5, 9), normal(5, 1, 4, seed=1)
    state, parts = np.zeros((2, 5, 3), np.float32), []
    for begin, end in ((0, 2), (2, 3), (3, 9)):
        y, state = compiled({"x": x[..., begin:end], "w": w, "s": state}).values()
        parts.append(y)
    padded = np.concatenate([np.zeros((2, 5, 3)), x], -1)
    whole = sum(padded[..., k : k + 9] * w[:, 0, k, None] for k in range(4))
    np.testing.assert_allclose(np.concatenate(parts, -1), whole / (1 + np.exp(-whole)), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(state, padded[..., -3:].astype(np.float32))


@pytest.mark.parametrize("mode", ["linear", "circular"])
def test_tensor_scatter(tmp_path, mode):
    def expected(cache, update, at):
        cache = cache.copy()
        for b in range(len(cache)):
            for i in range(update.shape[1]):
                cache[b, (at[b] + i) % cache.shape[1]] = update[b, i]
        return cache

    text = f"""g (float16[b,n,3] cache, float16[b,u,3] update, int64[b] at) => (float16[b,n,3] y)
    {{ y = TensorScatter<mode="{mode}">(cache, update, at) }}"""
    at = np.array([0, 3, 5]) if mode == "linear" else np.array([0, 6, 7])
    inputs = {"cache": normal(3, 8, 3, dtype=np.float16), "update": normal(3, 3, 3, seed=1, dtype=np.float16), "at": at}
    none = inputs | {"update": inputs["update"][:, :0]}
    check(tmp_path, text, inputs, none, expected=expected, opset=24)
