# MoE and QMoE of com.microsoft against ONNX Runtime, and what its kernels leave out against the definition in numpy.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import json

import numpy as np
import onnx
import onnxruntime
import pytest
import qcc
from onnx import helper, numpy_helper
from operator_checks import normal

HIDDEN, INNER, EXPERTS = 32, 48, 5
MOE = ["x", "p", "w1", "b1", "w2", "b2", "w3", "b3"]
QMOE = ["x", "p", "w1", "s1", "b1", "w2", "s2", "b2", "w3", "s3", "b3", "z1", "z2", "z3", "rw"]


def pack(codes, bits):
    """Codes of the last dimension in bytes, the first in the low bits."""
    per = 8 // bits
    rows = np.pad(codes, [(0, 0)] * (codes.ndim - 1) + [(0, -codes.shape[-1] % per)])
    rows = rows.reshape(*rows.shape[:-1], -1, per).astype(np.uint32)
    return (rows << (np.arange(per) * bits)).sum(-1).astype(np.uint8)


def make_weights(activation="relu", bias=True, bits=0, block=0, zeros=False, dtype=np.float32, seed=0):
    """Constants by name, and the weights and biases that they mean."""
    rng = np.random.default_rng(seed)
    wide = INNER * (2 if activation == "swiglu" else 1)
    tensors, meant = {}, {}
    for i, n, k in ((1, wide, HIDDEN), (2, HIDDEN, INNER)):
        if bits:
            codes = rng.integers(0, 1 << bits, (EXPERTS, n, k))
            scales = rng.uniform(0.5, 2, (EXPERTS, n, k // block) if block else (EXPERTS, n)) / 2**bits / 4
            scales = scales.astype(dtype)
            zero = rng.integers(0, 1 << bits, scales.shape) if zeros else np.full(scales.shape, 1 << (bits - 1))
            spread = lambda a: a.repeat(block, 2) if block else a[..., None]  # noqa: E731
            meant[f"w{i}"] = (codes - spread(zero)) * spread(scales.astype(np.float64))
            tensors |= {f"w{i}": pack(codes, bits), f"s{i}": scales} | ({f"z{i}": pack(zero, bits)} if zeros else {})
        else:
            tensors[f"w{i}"] = (rng.standard_normal((EXPERTS, n, k)) / 4).astype(dtype)
            meant[f"w{i}"] = tensors[f"w{i}"].astype(np.float64)
        meant[f"b{i}"] = np.zeros((EXPERTS, n))
        if bias:
            tensors[f"b{i}"] = rng.standard_normal((EXPERTS, n)).astype(dtype)
            meant[f"b{i}"] = tensors[f"b{i}"].astype(np.float64)
    return tensors, meant


def make_model(folder, tensors, shape=("t", HIDDEN), dtype=np.float32, extra=(), **attributes):
    """A model of one node: codes make it QMoE. `extra`: names and shapes of further inputs."""
    coded = tensors["w1"].dtype == np.uint8
    inputs = {"x": shape, "p": ("n", EXPERTS)} | dict(extra)
    element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    names = [n if n in tensors or n in inputs else "" for n in (QMOE if coded else MOE)]
    while not names[-1]:
        names.pop()
    node = helper.make_node("QMoE" if coded else "MoE", names, ["y"], "experts", domain="com.microsoft", **attributes)
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info(n, element, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info("y", element, shape)], [numpy_helper.from_array(a, n) for n, a in tensors.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)], ir_version=8)
    onnx.save(model, folder / "m.onnx")
    return model


def softmax(x):
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def activate(z, kind, alpha=1.0, beta=0.0, limit=np.inf):
    if kind == "swiglu":
        gate, value = np.minimum(z[::2], limit), np.clip(z[1::2], -limit, limit)
        return gate / (1 + np.exp(-alpha * gate)) * (value + beta)
    functions = {"relu": lambda: np.maximum(z, 0), "silu": lambda: z / (1 + np.exp(-z)), "identity": lambda: z,
                 "gelu": lambda: z / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)))}  # fmt: skip
    return functions[kind]()


def expected(meant, x, p, rw=None, coded=False, k=1, activation_type="relu", normalize_routing_weights=0, swiglu_fusion=0, **options):
    """In f64. The last of equal experts goes first."""
    result = np.zeros((p.shape[0], HIDDEN))
    options = {n.split("_")[1]: v for n, v in options.items()}
    for t, (row, logits) in enumerate(zip(x.reshape(-1, HIDDEN).astype(np.float64), p.astype(np.float64), strict=True)):
        chosen = EXPERTS - 1 - np.argsort(-logits[::-1], kind="stable")[:k]
        weights = rw[t, chosen] if rw is not None else softmax(logits[chosen]) if coded else softmax(logits)[chosen]
        if normalize_routing_weights:
            weights = weights / weights.sum()
        for e, w in zip(chosen, weights, strict=True):
            if w > 1e-8:
                inner = activate(meant["w1"][e] @ row + meant["b1"][e], activation_type, **options)
                result[t] += w * (meant["w2"][e] @ inner + meant["b2"][e])
    return result.reshape(x.shape)


def compare(folder, tensors, meant, *calls, shape=("t", HIDDEN), dtype=np.float32, peer=True, bound=2e-6, extra=(), **attributes):
    model = make_model(folder, tensors, shape, dtype, extra, **attributes)
    compiled = qcc.load(qcc.compile(folder / "m.onnx", folder / "m.qcc"))
    session = onnxruntime.InferenceSession(model.SerializeToString()) if peer else None
    coded = tensors["w1"].dtype == np.uint8
    for arrays in calls:
        got = compiled(arrays)["y"]
        attributes.pop("expert_weight_bits", None), attributes.pop("block_size", None)
        wanted = [expected(meant, **arrays, coded=coded, **attributes)] + ([session.run(None, arrays)[0]] if peer else [])
        for want in wanted:
            assert got.shape == want.shape and got.dtype == dtype
            assert np.abs(got - want.astype(np.float64)).max() <= bound * max(1, np.abs(want).max())


def call(*shape, seed=0, dtype=np.float32):
    return {"x": normal(*shape, HIDDEN, seed=seed, dtype=dtype), "p": 2 * normal(int(np.prod(shape)), EXPERTS, seed=seed + 1, dtype=dtype)}


@pytest.mark.parametrize("normalize", [0, 1])
@pytest.mark.parametrize("k", [1, 2, EXPERTS])
@pytest.mark.parametrize("activation", ["relu", "gelu", "silu", "identity", "swiglu"])
def test_experts(tmp_path, activation, k, normalize):
    tensors, meant = make_weights(activation)
    attributes = {"swiglu_fusion": 1} if activation == "swiglu" else {}
    compare(tmp_path, tensors, meant, call(1), call(7, seed=5), k=k, activation_type=activation, normalize_routing_weights=normalize, **attributes)


def test_parameters_of_swiglu(tmp_path):
    tensors, meant = make_weights("swiglu", bias=False)
    compare(tmp_path, tensors, meant, call(7), k=2, activation_type="swiglu", swiglu_fusion=1, activation_alpha=1.702, activation_beta=1.0, swiglu_limit=0.5)


def test_batches(tmp_path):
    tensors, meant = make_weights()
    compare(tmp_path, tensors, meant, call(2, 3), call(1, 1), shape=("b", "s", HIDDEN), k=2)


def test_all_tokens_go_to_one_expert(tmp_path):
    arrays = call(9)
    arrays["p"][:] = [0, 0, 50, 0, 0]
    tensors, meant = make_weights()
    compare(tmp_path, tensors, meant, arrays, k=1)


@pytest.mark.parametrize("coded", [False, True])
def test_equal_experts(tmp_path, coded):
    arrays = call(4)
    arrays["p"] = np.array([[1, 1, 1, 1, 1], [0, 2, 2, 0, 2], [3, 0, 3, 3, 0], [0, 0, 0, 0, 1]], np.float32)
    tensors, meant = make_weights(bits=8 if coded else 0)
    compare(tmp_path, tensors, meant, arrays, k=2, **({"expert_weight_bits": 8} if coded else {}))


def test_no_tokens(tmp_path):
    tensors, meant = make_weights()
    make_model(tmp_path, tensors, k=2)
    compiled = qcc.load(qcc.compile(tmp_path / "m.onnx", tmp_path / "m.qcc"))
    assert compiled({"x": np.zeros((0, HIDDEN), np.float32), "p": np.zeros((0, EXPERTS), np.float32)})["y"].shape == (0, HIDDEN)


def test_halves(tmp_path):
    """ONNX Runtime's MoE has no kernel for halves."""
    tensors, meant = make_weights(dtype=np.float16)
    compare(tmp_path, tensors, meant, call(5, dtype=np.float16), dtype=np.float16, peer=False, bound=1e-3, k=2)


CODES = {
    f"{bits}{' blocks' if block else ''}{' zeros' if zeros else ''}": {"bits": bits, "block": block, "zeros": zeros}
    for bits in (2, 4, 8) for block in (0, 16) for zeros in (False, True)
}  # fmt: skip


@pytest.mark.parametrize("activation", ["silu", "swiglu"])
@pytest.mark.parametrize("form", CODES)
def test_codes(tmp_path, monkeypatch, form, activation):
    """With 2 and 8 bits in blocks ONNX Runtime rounds activations to bytes unless it is told not to; it has no other kernel for 2."""
    monkeypatch.setenv("ORT_QMOE_CPU_QNBIT_GEMM", "fp32")
    tensors, meant = make_weights(activation, **CODES[form])
    attributes = {"expert_weight_bits": CODES[form]["bits"], "activation_type": activation}
    attributes |= {"block_size": 16} if CODES[form]["block"] else {}
    attributes |= {"swiglu_fusion": 1} if activation == "swiglu" else {}
    compare(tmp_path, tensors, meant, call(1), call(7, seed=5), k=2, peer=not form.startswith("2 blocks"), **attributes)


def test_codes_of_a_model_in_halves(tmp_path, monkeypatch):
    monkeypatch.setenv("ORT_QMOE_CPU_QNBIT_GEMM", "fp32")
    tensors, meant = make_weights(bits=4, block=16, dtype=np.float16)
    compare(tmp_path, tensors, meant, call(5, dtype=np.float16), dtype=np.float16, bound=1e-3, k=2, expert_weight_bits=4, block_size=16)


@pytest.mark.parametrize("normalize", [0, 1])
def test_weights_of_another_router(tmp_path, normalize):
    """What is negative or hardly anything is left out."""
    tensors, meant = make_weights(bits=4)
    arrays = call(6)
    arrays["rw"] = normal(6, EXPERTS, seed=9)
    arrays["rw"][0] = 1e-9
    compare(tmp_path, tensors, meant, arrays, k=2, expert_weight_bits=4, extra=[("rw", ("n", EXPERTS))], normalize_routing_weights=normalize)


@pytest.mark.parametrize("bits,block,key", [(4, 0, "w4a16:channel:sym"), (4, 16, "w4a16:g16:sym:f32-scales"), (8, 16, "w8a16:g16:sym:f32-scales")])
def test_codes_are_kept(tmp_path, bits, block, key):
    """Each expert's weights are those of a product of its own."""
    tensors, _ = make_weights(bits=bits, block=block)
    make_model(tmp_path, tensors, k=2, expert_weight_bits=bits, **({"block_size": block} if block else {}))
    report = json.loads((qcc.compile(tmp_path / "m.onnx", tmp_path / "m.qcc") / "report.json").read_text())
    assert [op["executed"] for op in report["ops"] if op["executed"] != "f32"] == [key] * 2 * EXPERTS


@pytest.mark.parametrize("precision", ["int8", "w4a16:g16"])
def test_experts_are_quantized(tmp_path, precision):
    tensors, meant = make_weights()
    make_model(tmp_path, tensors, k=2)
    artifact = qcc.compile(tmp_path / "m.onnx", tmp_path / "m.qcc", precision=precision)
    report = json.loads((artifact / "report.json").read_text())
    assert sum(op["executed"] == precision for op in report["ops"]) >= 2 * EXPERTS
    arrays = call(6)
    got, want = qcc.load(artifact)(arrays)["y"], expected(meant, **arrays, k=2)
    assert np.linalg.norm(got - want) < (0.02 if precision == "int8" else 0.12) * np.linalg.norm(want)


ATTRIBUTES = {
    "'k' from 1 to it, but got 5 and 6": {"k": 6}, "'k' from 1 to it, but got 5 and 0": {"k": 0},
    "expected activation_type relu": {"activation_type": "tanh"}, "use_sparse_mixer is not supported": {"use_sparse_mixer": 1, "k": 2},
    "expected swiglu_fusion 1, gates and values in turn, but got 2": {"activation_type": "swiglu", "swiglu_fusion": 2},
    "expected swiglu_fusion 1, gates and values in turn, but got 0": {"activation_type": "swiglu"},
}  # fmt: skip
CODED_ATTRIBUTES = {
    "expected 2, 4 or 8 bits, but got 3": {"expert_weight_bits": 3}, "expected quant_type int": {"quant_type": "fp4"},
    "weights packed for one device": {"weights_prepacked": 1}, "but got 'fc2_expert_weight_bits'": {"fc2_expert_weight_bits": 8},
    "expected a block_size that is a power of two": {"block_size": 20}, "expected scales and zero points of rank 3, one per block": {"block_size": 16},
}  # fmt: skip
TENSORS = {
    "expected equal sizes of rows of the first weight": {"w1": (EXPERTS, INNER, HIDDEN + 1)},
    "expected equal sizes of columns of the second weight": {"w2": (EXPERTS, HIDDEN + 1, INNER)},
    "expected equal sizes of rows of the second weight": {"w2": (EXPERTS, HIDDEN, INNER - 1)},
    "expected equal sizes of experts": {"w1": (EXPERTS - 1, INNER, HIDDEN)}, "weights of rank 3": {"w1": (EXPERTS * INNER, HIDDEN)},
    "expected biases of rank 2": {"b1": (EXPERTS, INNER, 1)}, "expected equal sizes of biases and weights": {"b2": (EXPERTS, 1)},
    "a third weight of experts is not supported": {"w3": (EXPERTS, INNER, HIDDEN)},
}  # fmt: skip


@pytest.mark.parametrize("message", [*ATTRIBUTES, *CODED_ATTRIBUTES, *TENSORS])
def test_refused(tmp_path, message):
    coded = message in CODED_ATTRIBUTES
    tensors, _ = make_weights(bits=4 if coded else 0)
    tensors |= {n: normal(*s) for n, s in TENSORS.get(message, {}).items()}
    make_model(tmp_path, tensors, **({"k": 1} | ATTRIBUTES.get(message, {}) | CODED_ATTRIBUTES.get(message, {})))
    with pytest.raises(qcc.CompileError, match=message):
        qcc.compile(tmp_path / "m.onnx", tmp_path / "m.qcc")


CODED_TENSORS = {
    "expected weights and zero points of uint8 and scales of floats": {"s1": np.zeros((EXPERTS, INNER), np.int8)},
    "expected equal sizes of zero points and scales": {"z1": np.zeros((EXPERTS, INNER), np.uint8)},
    "expected scales and zero points of rank 2": {"z1": np.zeros((EXPERTS, INNER // 2, 1), np.uint8)},
    "expected equal sizes of scales and the axis they are for": {"s2": np.zeros((EXPERTS, 7), np.float32)},
    "a third weight of experts": {"s3": np.zeros((EXPERTS, INNER), np.float32)},
}  # fmt: skip


@pytest.mark.parametrize("message", CODED_TENSORS)
def test_refused_codes(tmp_path, message):
    tensors, _ = make_weights(bits=4)
    make_model(tmp_path, tensors | CODED_TENSORS[message], expert_weight_bits=4)
    with pytest.raises(qcc.CompileError, match=message):
        qcc.compile(tmp_path / "m.onnx", tmp_path / "m.qcc")


def test_refused_zero_points_of_one_block(tmp_path):
    """ONNX Runtime reads them in another order."""
    tensors, _ = make_weights(bits=4, block=16, zeros=True)
    tensors |= {"s1": np.ones((EXPERTS, INNER, 1), np.float32), "z1": np.zeros((EXPERTS, INNER, 1), np.uint8)}
    make_model(tmp_path, tensors, expert_weight_bits=4, block_size=32)
    with pytest.raises(qcc.CompileError, match="expected zero points of more than one block per row"):
        qcc.compile(tmp_path / "m.onnx", tmp_path / "m.qcc")


def test_refused_ranks(tmp_path):
    tensors, _ = make_weights()
    make_model(tmp_path, tensors, shape=("a", "b", "c", HIDDEN))
    with pytest.raises(qcc.CompileError, match="expected an input of rank 2 or 3, but got rank 4"):
        qcc.compile(tmp_path / "m.onnx", tmp_path / "m.qcc")
