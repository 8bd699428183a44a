# GroupQueryAttention of com.microsoft, with each of its options, against ONNX Runtime.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import numpy as np
import onnx
import onnxruntime
import pytest
import qcc
from operator_checks import compile_text, normal

HEADS, GROUPS, WIDTH = 4, 2, 32
KINDS = {np.dtype(t): n for t, n in ((np.float32, "float"), (np.float16, "float16"), (np.int8, "int8"), (np.uint8, "uint8"),
                                     (np.int32, "int32"), (np.int64, "int64"))}  # fmt: skip
SIZES = {
    "q": "[b,s,{q}]", "k": "[b,s,64]", "v": "[b,s,64]", "pk": "[b,2,{p},{w}]", "pv": "[b,2,{p},{w}]", "lens": "[b]",
    "total": "[1]", "cos": "[64,{half}]", "sin": "[64,{half}]", "pos": "[b,s]", "bias": "[{bias}]", "sink": "[4]",
    "ks": "[{scales}]", "vs": "[{scales}]",
}  # fmt: skip


def make_inputs(batch, new, past, lengths=None, packed=False, rotary=0, positions=None, bias=None, sink=False, codes=None,
                dtype=np.float32, seed=0):  # fmt: skip
    """Inputs by name: `new` tokens behind `past` ones, or as many as `lengths` has."""
    columns = (HEADS + 2 * GROUPS) * WIDTH if packed else HEADS * WIDTH
    arrays = {"q": normal(batch, new, columns, seed=seed, dtype=dtype)}
    if not packed:
        arrays |= {n: normal(batch, new, GROUPS * WIDTH, seed=seed + i, dtype=dtype) for i, n in ((1, "k"), (2, "v"))}
    for i, name in ((3, "pk"), (4, "pv")):
        arrays[name] = normal(batch, GROUPS, past, WIDTH, seed=seed + i, dtype=dtype)
        if codes:
            bits, per_channel = codes
            shape = (1, GROUPS, 1, WIDTH) if per_channel else (1,)
            arrays[{"pk": "ks", "pv": "vs"}[name]] = (np.abs(normal(*shape, seed=seed + i)) + 0.5) * np.float32(4 / 2**bits)
            rng = np.random.default_rng(seed)
            arrays[name] = (rng.integers(0, 256, (batch, GROUPS, past, WIDTH // 2)).astype(np.uint8) if bits == 4
                            else rng.integers(-128, 128, (batch, GROUPS, past, WIDTH)).astype(np.int8))  # fmt: skip
    arrays["lens"] = np.array([past + new - 1] * batch if lengths is None else lengths, np.int32)
    arrays["total"] = arrays["lens"].max(keepdims=True) + 1
    if rotary:
        angles = np.outer(np.arange(64), 100.0 ** (-np.arange(rotary) / rotary))
        arrays |= {"cos": np.cos(angles).astype(dtype), "sin": np.sin(angles).astype(dtype)}
    if positions is not None:
        arrays["pos"] = np.asarray(positions, np.int64)
    if bias:
        arrays["bias"] = normal(*(size or int(arrays["total"][0]) for size in bias), seed=seed + 5, dtype=dtype)
    if sink:
        arrays["sink"] = normal(HEADS, seed=seed + 6, dtype=dtype)
    return arrays


def make_text(arrays, attributes, past="p", scores=False):
    """The graph of one node with these inputs; sizes are free where they may be."""
    bias = ",".join(["1" if n == 1 else s for n, s in zip(arrays["bias"].shape, ("b", "4", "s", "t"), strict=True)]) if "bias" in arrays else ""
    sizes = {"q": arrays["q"].shape[2], "p": past, "w": arrays["pk"].shape[3], "bias": bias,
             "half": arrays["cos"].shape[1] if "cos" in arrays else 0,
             "scales": ",".join(map(str, arrays["ks"].shape)) if "ks" in arrays else ""}  # fmt: skip
    inputs = ", ".join(KINDS[a.dtype] + SIZES[n].format(**sizes) + f" {n}" for n, a in arrays.items())
    kind, cache = KINDS[arrays["q"].dtype], KINDS[arrays["pk"].dtype]
    present = past if past != "p" else "t"
    outputs = f"{kind}[b,s,128] y, {cache}[b,2,{present},{sizes['w']}] nk, {cache}[b,2,{present},{sizes['w']}] nv"
    operands = ", ".join(n if n in arrays else "" for n in SIZES).rstrip(", ")
    return f"""g ({inputs}) => ({outputs}{f", {kind}[b,4,s,t] scores" if scores else ""})
    {{ y, nk, nv{", scores" if scores else ""} = com.microsoft.GroupQueryAttention<num_heads=4, kv_num_heads=2{attributes}>({operands}) }}"""


def compare(folder, *calls, attributes="", past="p", scores=False, atol=1e-5, cache_atol=1e-6):
    """Calls whose arrays have one form, compared where results are defined: in tokens that are there."""
    model, compiled = compile_text(folder, make_text(calls[0], attributes, past, scores), opset=21, domain="com.microsoft")
    session = onnxruntime.InferenceSession(model.SerializeToString())
    for arrays in calls:
        got, wanted = compiled(arrays), session.run(None, arrays)
        new, ends, total = arrays["q"].shape[1], arrays["lens"] + 1, int(arrays["total"][0])
        begins = np.where(new == total, 0, ends - new)
        assert [x.shape for x in got.values()] == [x.shape for x in wanted]
        assert [x.dtype for x in got.values()] == [x.dtype for x in wanted]
        for b, end in enumerate(ends):
            count = min(new, int(end - begins[b]))
            np.testing.assert_allclose(got["y"][b, :count], wanted[0][b, :count], rtol=1e-4, atol=atol)
            for name, want in (("nk", wanted[1]), ("nv", wanted[2])):
                np.testing.assert_allclose(got[name][b, :, :end], want[b, :, :end], rtol=1e-3, atol=cache_atol)
            if scores:
                np.testing.assert_allclose(got["scores"][b, :, :count], wanted[3][b, :, :count], rtol=1e-4, atol=atol)


CALLS = {
    "prompt": make_inputs(2, 5, 0), "prompt with padding": make_inputs(2, 5, 0, lengths=[4, 2]),
    "token": make_inputs(2, 1, 6), "tokens of batches at their own places": make_inputs(2, 1, 6, lengths=[6, 3]),
    "tokens": make_inputs(1, 3, 6), "one of one": make_inputs(1, 1, 0),
}  # fmt: skip


def test_prompts_and_tokens(tmp_path):
    compare(tmp_path, *CALLS.values())


def test_a_past_of_fixed_length_is_a_buffer(tmp_path):
    calls = [make_inputs(2, 1, 12, lengths=lengths) for lengths in ([6, 6], [6, 4], [11, 0])]
    calls += [make_inputs(2, 5, 12, lengths=[4, 4]), make_inputs(1, 3, 12, lengths=[9])]
    compare(tmp_path, *calls, past="12")


@pytest.mark.parametrize("window", [-1, 20])
def test_blocks_of_keys_that_nothing_sees(tmp_path, window):
    calls = [make_inputs(1, 3, 400, [200]), make_inputs(2, 1, 400, [10, 390]), make_inputs(1, 200, 400, [199])]
    compare(tmp_path, *calls, past="400", attributes=f", local_window_size={window}")


def test_a_buffer_keeps_what_is_behind(tmp_path):
    arrays = make_inputs(1, 2, 12, lengths=[6])
    _, compiled = compile_text(tmp_path, make_text(arrays, "", "12"), opset=21, domain="com.microsoft")
    present = compiled(arrays)["nk"]
    np.testing.assert_array_equal(present[:, :, 7:], arrays["pk"][:, :, 7:])
    np.testing.assert_array_equal(present[:, :, :5], arrays["pk"][:, :, :5])


@pytest.mark.parametrize("past,total,says", [("p", 5, "12 or more, but got 5"), ("12", 13, "13 or more, but got 12")])
def test_more_tokens_than_fit(tmp_path, past, total, says):
    arrays = make_inputs(1, 1, 12, lengths=[total - 1])
    _, compiled = compile_text(tmp_path, make_text(arrays, "", past), opset=21, domain="com.microsoft")
    with pytest.raises(qcc.QccError, match=rf"^node 'GroupQueryAttention_0': its inputs do not fit each other: expected {says}$"):
        compiled(arrays)


@pytest.mark.parametrize("lengths", [[-1000], [100000], [-(2**31)], [2**31 - 1]])
def test_lengths_out_of_range_read_nothing_else(tmp_path, lengths):
    arrays = make_inputs(1, 2, 6, rotary=16)
    text = make_text(arrays, ", do_rotary=1, local_window_size=2")
    _, compiled = compile_text(tmp_path, text, opset=21, domain="com.microsoft")
    outputs = compiled(arrays | {"lens": np.array(lengths, np.int32)})
    assert all(np.isfinite(x).all() for x in outputs.values())
    np.testing.assert_array_equal(outputs["nk"][:, :, :6], arrays["pk"])


def test_all_in_one_query(tmp_path):
    compare(tmp_path, *(make_inputs(*sizes, packed=True, rotary=16) for sizes in ((2, 5, 0), (1, 3, 6))), attributes=", do_rotary=1")


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("half", [8, 16])
def test_rotary(tmp_path, interleaved, half):
    calls = [make_inputs(*sizes, rotary=half) for sizes in ((2, 5, 0), (1, 3, 6))] + [make_inputs(2, 1, 6, [6, 3], rotary=half)]
    compare(tmp_path, *calls, attributes=f", do_rotary=1, rotary_interleaved={interleaved}", cache_atol=1e-5)


def test_positions(tmp_path):
    calls = [
        make_inputs(1, 3, 6, rotary=16, positions=[[2, 9, 4]]),
        make_inputs(2, 1, 6, [6, 3], rotary=16, positions=[[5], [2]]),
        make_inputs(2, 5, 0, rotary=16, positions=[[2, 7, 1, 9, 6], [7, 1, 2, 3, 4]]),
    ]
    compare(tmp_path, *calls, attributes=", do_rotary=1", cache_atol=1e-5)


@pytest.mark.parametrize("attributes", [", local_window_size=2", ", local_window_size=9223372036854775807", ", softcap=0.7", ", scale=0.1", ", smooth_softmax=1",
                                        ", local_window_size=3, softcap=2.0", ", causal=0"])  # fmt: skip
def test_options(tmp_path, attributes):
    compare(tmp_path, *CALLS.values(), attributes=attributes)


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (2, 1), (2, 4)])
@pytest.mark.parametrize("attributes", ["", ", softcap=0.7"])
def test_bias(tmp_path, shape, attributes):
    batch = shape[0]
    compare(tmp_path, make_inputs(batch, 5, 0, bias=(*shape, 5, 0)), make_inputs(batch, 1, 6, bias=(*shape, 1, 0)), attributes=attributes)


@pytest.mark.parametrize("attributes", ["", ", local_window_size=2", ", softcap=0.7"])
def test_sink(tmp_path, attributes):
    compare(tmp_path, make_inputs(2, 5, 0, sink=True), make_inputs(1, 3, 6, sink=True), attributes=attributes)


@pytest.mark.parametrize("mode", [1, 2])
@pytest.mark.parametrize("attributes", ["", ", local_window_size=2", ", softcap=0.7"])
def test_scores(tmp_path, mode, attributes):
    compare(tmp_path, CALLS["prompt"], CALLS["tokens"], attributes=f"{attributes}, qk_output={mode}", scores=True)


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("bits", [8, 4])
def test_caches_of_codes(tmp_path, bits, per_channel):
    kind = "PER_CHANNEL" if per_channel else "PER_TENSOR"
    calls = [make_inputs(*sizes, codes=(bits, per_channel)) for sizes in ((2, 5, 0), (2, 1, 6), (1, 3, 6))]
    attributes = f', kv_cache_bit_width={bits}, k_quant_type="{kind}", v_quant_type="{kind}"'
    compare(tmp_path, *calls, attributes=attributes, atol=1e-4)


@pytest.mark.parametrize("capacity", [4, 5, 7])
@pytest.mark.parametrize("bias", [False, True])
def test_caches_of_windows(tmp_path, capacity, bias):
    """What is kept of 17 tokens in steps of some, then one by one, in a cache of few rows."""
    attributes = ", local_window_size=4, sliding_window_cache=1, do_rotary=1"
    total, caches, session = 0, {}, None
    for i, new in enumerate((3, 1, 2, 6, 1, 1, 1, 9, 1)):
        total += new
        arrays = make_inputs(1, new, capacity, [total - 1], rotary=16, bias=(1, 4, new, 0) if bias else None, seed=i) | caches
        if session is None:
            model, compiled = compile_text(tmp_path, make_text(arrays, attributes, "c"), opset=21, domain="com.microsoft")
            session = onnxruntime.InferenceSession(model.SerializeToString())
        got, wanted = compiled(arrays), session.run(None, arrays)
        evicting = capacity - 4 + 1
        resident = total - evicting * max(0, -(-(total - capacity) // evicting))
        np.testing.assert_allclose(got["y"], wanted[0], rtol=1e-4, atol=1e-5)
        for name, want in (("nk", wanted[1]), ("nv", wanted[2])):
            assert got[name].shape == want.shape
            np.testing.assert_allclose(got[name][:, :, :resident], want[:, :, :resident], rtol=1e-4, atol=1e-5)
        caches = {"pk": got["nk"], "pv": got["nv"]}


def test_caches_of_windows_of_each_batch(tmp_path):
    calls = [make_inputs(2, 1, 6, lengths) for lengths in ([3, 9], [20, 5], [6, 6])]
    attributes = ", local_window_size=4, sliding_window_cache=1"
    model, compiled = compile_text(tmp_path, make_text(calls[0], attributes, "6"), opset=21, domain="com.microsoft")
    session = onnxruntime.InferenceSession(model.SerializeToString())
    for arrays in calls:
        np.testing.assert_allclose(compiled(arrays)["y"], session.run(None, arrays)[0], rtol=1e-4, atol=1e-5)


def test_halves(tmp_path):
    compare(tmp_path, *(make_inputs(*sizes, rotary=16, dtype=np.float16) for sizes in ((2, 5, 0), (1, 3, 6))),
            attributes=", do_rotary=1", atol=4e-3, cache_atol=4e-3)  # fmt: skip


def test_norms_of_heads(tmp_path):
    """ONNX Runtime has them on GPUs only: as nodes before the attention they are the same."""
    arrays = make_inputs(1, 3, 6, rotary=16) | {"qn": normal(WIDTH, seed=7), "kn": normal(WIDTH, seed=8)}
    inputs = """float[b,s,128] q, float[b,s,64] k, float[b,s,64] v, float[b,2,p,32] pk, float[b,2,p,32] pv, int32[b] lens,
    int32[1] total, float[64,16] cos, float[64,16] sin, float[32] qn, float[32] kn"""
    node = "y, nk, nv = com.microsoft.GroupQueryAttention<num_heads=4, kv_num_heads=2, do_rotary=1, qk_norm_epsilon=1e-3>"
    fused = f"{node}(q, k, v, pk, pv, lens, total, cos, sin, , , , , , qn, kn)"
    split = """split = Constant<value_ints=[0, 0, -1, 32]>() flat = Constant<value_ints=[0, 0, -1]>()
    q4 = Reshape(q, split) qm = RMSNormalization<axis=-1, epsilon=1e-3>(q4, qn) q3 = Reshape(qm, flat)
    k4 = Reshape(k, split) km = RMSNormalization<axis=-1, epsilon=1e-3>(k4, kn) k3 = Reshape(km, flat)"""
    results = []
    for i, nodes in enumerate((fused, f"{split} {node}(q3, k3, v, pk, pv, lens, total, cos, sin)")):
        folder = tmp_path / str(i)
        folder.mkdir()
        text = f"g ({inputs}) => (float[b,s,128] y, float[b,2,t,32] nk, float[b,2,t,32] nv) {{ {nodes} }}"
        results.append(compile_text(folder, text, opset=23, domain="com.microsoft")[1](arrays))
    for name, value in results[0].items():
        np.testing.assert_allclose(value, results[1][name], rtol=1e-5, atol=1e-6)


REFUSED = {
    "kv_num_heads that divides": (make_inputs(1, 1, 6), ", num_heads=3", "num_heads=4, "),
    "sliding_window_cache with a past, a local_window_size": (make_inputs(1, 1, 6), ", sliding_window_cache=1", ""),
    "a past of the query's type": (make_inputs(1, 1, 6, codes=(8, False)), ', k_quant_type="PER_TENSOR"', ""),
    "caches of rank 2": (make_inputs(1, 1, 6), ", do_rotary=1", ""),
    "seqlens_k and total_sequence_length": (make_inputs(1, 1, 6), "", "lens, total)"),
    "but got 2 and 4611686018427387904": (make_inputs(1, 1, 6), ", num_heads=4611686018427387904", "num_heads=4, "),
    "num_heads, but got": (make_inputs(1, 1, 6), ", num_heads=-4", "num_heads=4, "),
}


@pytest.mark.parametrize("message", REFUSED)
def test_refused(tmp_path, message):
    arrays, attributes, less = REFUSED[message]
    with pytest.raises(qcc.CompileError, match=message):
        compile_text(tmp_path, make_text(arrays, attributes).replace(less, ")" if less.endswith(")") else ""), opset=21, domain="com.microsoft")


@pytest.mark.parametrize("softcap", [np.inf, np.nan])
def test_a_cap_that_is_no_number(tmp_path, softcap):
    model, _ = compile_text(tmp_path, make_text(make_inputs(1, 1, 6), ", softcap=0.5"), opset=21, domain="com.microsoft")
    next(a for node in model.graph.node for a in node.attribute if a.name == "softcap").f = softcap
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(qcc.CompileError, match="expected a finite softcap"):
        qcc.compile(tmp_path / "m.onnx", tmp_path / "m.qcc")
