# Operators of com.microsoft that ONNX Runtime's tools and exporters write, against ONNX Runtime or numpy.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import numpy as np
import pytest
import qcc
from operator_checks import check, compile_text, normal

MASKS = {
    "none": (None, None),
    "lengths": ("int32[b]", np.array([4, 6], np.int32)),
    "bounds": ("int32[4]", np.array([4, 6, 1, 0], np.int32)),
    "keys": ("int32[b,t]", np.array([[1, 1, 0, 1, 0, 0], [0, 0, 0, 0, 0, 0]], np.int32)),
    "pairs": ("int32[b,s,t]", np.random.default_rng(0).integers(0, 2, (2, 6, 6)).astype(np.int32)),
}


@pytest.mark.parametrize("causal", [0, 1])
@pytest.mark.parametrize("kind", MASKS)
def test_attention_masks(tmp_path, kind, causal):
    text, mask = MASKS[kind]
    batch = "2" if kind == "bounds" else "b"
    text = f"""g (float[{batch},s,12] x, float[12,36] w, float[36] c{f", {text} m" if text else ""}) => (float[{batch},s,12] y)
    {{ y = com.microsoft.Attention<num_heads=3, unidirectional={causal}>(x, w, c{", m" if text else ""}) }}"""
    inputs = {"x": normal(2, 6, 12), "w": normal(12, 36, seed=1), "c": normal(36, seed=2)}
    check(tmp_path, text, inputs | ({"m": mask} if mask is not None else {}), domain="com.microsoft")


@pytest.mark.parametrize("size", ["k", "1"])
def test_attention_mask_of_one_key_hides_nothing(tmp_path, size):
    text = f"""g (float[b,s,8] x, float[8,24] w, float[24] c, int32[b,{size}] m) => (float[b,s,8] y)
    {{ y = com.microsoft.Attention<num_heads=2>(x, w, c, m) }}"""
    weights = {"w": normal(8, 24, seed=1), "c": normal(24, seed=2)}
    inputs = [weights | {"x": normal(2, s, 8), "m": np.zeros((2, 1), np.int32)} for s in (1, 3)]
    check(tmp_path, text, *inputs, domain="com.microsoft")


def test_attention_with_past(tmp_path):
    text = """g (float[b,s,8] x, float[8,24] w, float[24] c, float[2,b,2,p,4] past)
    => (float[b,s,8] y, float[2,b,2,t,4] present)
    { y, present = com.microsoft.Attention<num_heads=2, unidirectional=1, scale=0.3>(x, w, c, , past) }"""
    weights = {"w": normal(8, 24, seed=1), "c": normal(24, seed=2)}
    inputs = [weights | {"x": normal(2, s, 8), "past": normal(2, 2, 2, p, 4, seed=3)} for s, p in ((1, 5), (3, 2), (3, 0))]
    check(tmp_path, text, *inputs, domain="com.microsoft")


def test_attention_with_bias(tmp_path):
    text = """g (float[b,s,8] x, float[8,24] w, float[24] c, float[1,2,s,s] bias) => (float[b,s,8] y)
    { y = com.microsoft.Attention<num_heads=2>(x, w, c, , , bias) }"""
    inputs = {"x": normal(2, 5, 8), "w": normal(8, 24, seed=1), "c": normal(24, seed=2), "bias": normal(1, 2, 5, 5, seed=4)}
    check(tmp_path, text, inputs, domain="com.microsoft")


def test_attention_of_other_widths(tmp_path):
    text = """g (float[b,s,8] x, float[8,20] w, float[20] c) => (float[b,s,12] y)
    { y = com.microsoft.Attention<num_heads=2, qkv_hidden_sizes=[4, 4, 12]>(x, w, c) }"""
    check(tmp_path, text, {"x": normal(2, 5, 8), "w": normal(8, 20), "c": normal(20)}, domain="com.microsoft")


@pytest.mark.parametrize("masked", [False, True])
def test_multi_head_attention(tmp_path, masked):
    text = f"""g (float[b,s,12] q, float[b,t,12] k, float[b,t,18] v, float[42] c, int32[b,t] m) => (float[b,s,18] y)
    {{ y = com.microsoft.MultiHeadAttention<num_heads=3>(q, k, v, c{", m" if masked else ""}) }}"""
    inputs = {
        "q": normal(2, 4, 12), "k": normal(2, 7, 12, seed=1), "v": normal(2, 7, 18, seed=2), "c": normal(42, seed=3),
        "m": np.random.default_rng(0).integers(0, 2, (2, 7)).astype(np.int32),
    }  # fmt: skip
    check(tmp_path, text, inputs, domain="com.microsoft")


@pytest.mark.parametrize("causal", [0, 1])
def test_multi_head_attention_with_past(tmp_path, causal):
    text = f"""g (float[b,s,12] q, float[b,s,12] k, float[b,s,12] v, float[b,3,p,4] pk, float[b,3,p,4] pv)
    => (float[b,s,12] y, float[b,3,t,4] nk, float[b,3,t,4] nv)
    {{ y, nk, nv = com.microsoft.MultiHeadAttention<num_heads=3, unidirectional={causal}>(q, k, v, , , , pk, pv) }}"""
    def make(steps, past):
        names, shapes = ["q", "k", "v", "pk", "pv"], [(2, steps, 12)] * 3 + [(2, 3, past, 4)] * 2
        return {n: normal(*s, seed=i) for i, (n, s) in enumerate(zip(names, shapes, strict=True))}

    check(tmp_path, text, make(1, 6), make(4, 2), domain="com.microsoft")


def test_multi_head_attention_across(tmp_path):
    text = """g (float[b,s,12] q, float[b,3,t,4] k, float[b,3,t,4] v, float[36] c) => (float[b,s,12] y)
    { y = com.microsoft.MultiHeadAttention<num_heads=3>(q, k, v, c) }"""
    inputs = {"q": normal(2, 4, 12), "k": normal(2, 3, 7, 4, seed=1), "v": normal(2, 3, 7, 4, seed=2), "c": normal(36)}
    check(tmp_path, text, inputs, domain="com.microsoft")


@pytest.mark.parametrize("segments,positions", [(True, False), (False, True)])
def test_embed_layer_norm(tmp_path, segments, positions):
    rng = np.random.default_rng(0)
    tables = ("float[20,8] we, float[16,8] pe, float[8] g, float[8] c, int32[b,s] m"
              + (", int32[b,s] seg, float[2,8] se" if segments else "") + (", int32[b,s] at" if positions else ""))  # fmt: skip
    text = f"""g (int32[b,s] ids, {tables}) => (float[b,s,8] y, int32[b] n, float[b,s,8] sum)
    {{ y, n, sum = com.microsoft.EmbedLayerNormalization<epsilon=1e-5>
       (ids, {"seg" if segments else ""}, we, pe, {"se" if segments else ""}, g, c, m{", at" if positions else ""}) }}"""
    inputs = {"ids": rng.integers(0, 20, (3, 5)), "m": np.arange(5) < np.array([[5], [2], [0]])}
    if segments:
        inputs["seg"] = rng.integers(0, 2, (3, 5))
    if positions:
        inputs["at"] = rng.integers(0, 16, (3, 5))
    inputs = {name: value.astype(np.int32) for name, value in inputs.items()}
    inputs |= {"we": normal(20, 8), "pe": normal(16, 8), "g": normal(8, seed=1), "c": normal(8, seed=2)}
    if segments:
        inputs["se"] = normal(2, 8)
    check(tmp_path, text, inputs, domain="com.microsoft")


def coded_embedding(kind=np.uint8, segments=True, mask=True):
    """Inputs of QEmbedLayerNormalization by name, and its graph."""
    rng = np.random.default_rng(0)
    info, sizes = np.iinfo(kind), {"we": (20, 8), "pe": (16, 8), "se": (2, 8), "g": (8,), "c": (8,)}
    tables = [n for n in sizes if segments or n != "se"]
    arrays = {"ids": rng.integers(0, 20, (3, 5)).astype(np.int32)}
    if segments:
        arrays["seg"] = rng.integers(0, 2, (3, 5)).astype(np.int32)
    if mask:
        arrays["m"] = (np.arange(5) < np.array([[5], [2], [0]])).astype(np.int32)
    for name in tables:
        arrays[name] = rng.integers(info.min, info.max + 1, sizes[name]).astype(kind)
        arrays[name + "s"] = np.array(rng.uniform(0.01, 0.03), np.float32)
        arrays[name + "z"] = np.array([rng.integers(info.min, info.max + 1)], kind)
    ids = "".join(f", int32[b,s] {n}" for n in ("seg", "m") if n in arrays)
    codes = "".join(f", {np.dtype(kind)}[{','.join(map(str, sizes[n]))}] {n}, float {n}s, {np.dtype(kind)}[1] {n}z" for n in tables)
    operands = ["ids", "seg", *sizes, "m", *(n + "s" for n in sizes), *(n + "z" for n in sizes)]
    node = f"com.microsoft.QEmbedLayerNormalization<epsilon=1e-5>({', '.join(n if n in arrays else '' for n in operands)})"
    return arrays, f"g (int32[b,s] ids{ids}{codes}) => (float[b,s,8] y, int32[b] n) {{ y, n = {node} }}"


@pytest.mark.parametrize("kind", [np.uint8, np.int8])
@pytest.mark.parametrize("segments,mask", [(True, True), (False, False)])
def test_embed_layer_norm_of_codes(tmp_path, kind, segments, mask):
    arrays, text = coded_embedding(kind, segments, mask)
    check(tmp_path, text, arrays, domain="com.microsoft")


REFUSED_EMBEDDINGS = {
    "expected input 8, but it is left out": (", wes, ", ", , "),
    "expected input 17, but it is left out": (", gz, cz)", ", gz)"),
    "expected segment ids and a table of segments, or neither": ("(ids, seg,", "(ids, ,"),
    "expected ids .B, S. and tables of rank 2": ("uint8[16,8] pe", "uint8[16,8,1] pe"),
    "expected tensors of int8 or uint8 with zero points": ("uint8[1] gz", "int8[1] gz"),
    "expected tensors of int8 or uint8 with zero": ("uint8[20,8] we", "uint16[20,8] we"),
    "scales of float": ("float pes", "float16 pes"),
    "elements": ("float ses", "float[2] ses"),
    "expected input 0 of int32, but got int64": ("int32[b,s] ids", "int64[b,s] ids"),
}  # fmt: skip


@pytest.mark.parametrize("message", REFUSED_EMBEDDINGS)
def test_refused_embeddings_of_codes(tmp_path, message):
    _, text = coded_embedding()
    old, new = REFUSED_EMBEDDINGS[message]
    assert old in text
    with pytest.raises(qcc.CompileError, match=message):
        compile_text(tmp_path, text.replace(old, new), domain="com.microsoft")


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("first", [True, False])
def test_rotary(tmp_path, interleaved, first):
    at = "int64[1] at" if first else "int64[b,s] at"
    text = f"""g (float[b,s,24] x, {at}, float[16,4] c, float[16,4] d) => (float[b,s,24] y)
    {{ y = com.microsoft.RotaryEmbedding<interleaved={interleaved}>(x, at, c, d) }}"""
    places = np.array([3]) if first else np.random.default_rng(0).integers(0, 16, (2, 5))
    inputs = {"x": normal(2, 5, 24), "at": places, "c": normal(16, 4, seed=1), "d": normal(16, 4, seed=2)}
    check(tmp_path, text, inputs, domain="com.microsoft")


@pytest.mark.parametrize("activation", ["Relu", "Tanh", "Sigmoid", "LeakyRelu", "HardSigmoid"])
def test_fused_products(tmp_path, activation):
    parameters = ", activation_alpha=0.3, activation_beta=0.1" if activation in ("LeakyRelu", "HardSigmoid") else ""
    text = f"""g (float[m,5] x, float[5,4] w, float[4] c) => (float[m,4] y)
    {{ y = com.microsoft.FusedGemm<activation="{activation}", alpha=0.5{parameters}>(x, w, c) }}"""
    check(tmp_path, text, {"x": normal(3, 5), "w": normal(5, 4), "c": normal(4)}, domain="com.microsoft")


@pytest.mark.parametrize("added", [False, True])
@pytest.mark.parametrize("activation,parameters", [("Relu", ""), ("LeakyRelu", "[0.2]"), ("Clip", "[-0.5, 0.7]")])
def test_fused_conv(tmp_path, activation, parameters, added):
    parameters = f", activation_params={parameters}" if parameters else ""
    text = f"""g (float[n,3,6,6] x, float[4,3,3,3] w, float[4] c{", float[n,4,6,6] z" if added else ""}) => (float[n,4,6,6] y)
    {{ y = com.microsoft.FusedConv<activation="{activation}", pads=[1, 1, 1, 1]{parameters}>(x, w, c{", z" if added else ""}) }}"""
    inputs = {"x": normal(2, 3, 6, 6), "w": normal(4, 3, 3, 3), "c": normal(4)}
    check(tmp_path, text, inputs | ({"z": normal(2, 4, 6, 6)} if added else {}), domain="com.microsoft")


def test_gemm_fast_gelu(tmp_path):
    def expected(x, w, c):
        z = x @ w + c
        return (z / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)))).astype(np.float32)

    text = """g (float[b,m,5] x, float[5,4] w, float[4] c) => (float[b,m,4] y)
    { y = com.microsoft.GemmFastGelu(x, w, c) }"""
    check(tmp_path, text, {"x": normal(2, 3, 5), "w": normal(5, 4), "c": normal(4)}, expected=expected, domain="com.microsoft")


@pytest.mark.parametrize("last", [0, 1])
def test_group_norm(tmp_path, last):
    def expected(x, g, c):
        z = np.moveaxis(x, -1, 1) if last else x
        rows = z.reshape(2, 3, -1)
        rows = (rows - rows.mean(-1, keepdims=True)) / np.sqrt(rows.var(-1, keepdims=True) + 1e-5)
        z = rows.reshape(z.shape) * g[:, None, None] + c[:, None, None]
        z = z / (1 + np.exp(-z))
        return np.moveaxis(z, 1, -1) if last else z

    shape = (2, 4, 5, 6) if last else (2, 6, 4, 5)
    dims = ",".join(["n", *map(str, shape[1:])])
    text = f"""g (float[{dims}] x, float[6] g, float[6] c) => (float[{dims}] y)
    {{ y = com.microsoft.GroupNorm<groups=3, activation=1, channels_last={last}>(x, g, c) }}"""
    check(tmp_path, text, {"x": normal(*shape), "g": normal(6), "c": normal(6)}, expected=expected, domain="com.microsoft")
