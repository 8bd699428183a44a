# DynamicQuantizeLSTM of com.microsoft against its definition in numpy and ONNX Runtime.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import numpy as np
import onnxruntime
import pytest
import qcc
from operator_checks import compile_text, normal

WIDTH, HIDDEN = 10, 8
SIZES = {
    "x": "float[s,b,10]", "w": "{t}[{d},10,32]", "r": "{t}[{d},8,32]", "bias": "float[{d},64]", "lens": "int32[b]", "h": "float[{d},b,8]",
    "c": "float[{d},b,8]", "p": "float[{d},24]", "ws": "float[{q}]", "wz": "{t}[{q}]", "rs": "float[{q}]", "rz": "{t}[{q}]",
}  # fmt: skip


def make_inputs(steps, batch, kind=np.int8, columns=False, directions=1, lengths=None, optional=(), zeros=True, seed=0):
    """Codes have 7 bits, as pairs of products of 8 saturate in ONNX Runtime on machines without VNNI; signed ones of columns
    have no zero points there."""
    rng = np.random.default_rng(seed)
    low, high = (-64, 64) if kind == np.int8 else (0, 128)
    table = (directions, 32) if columns else (directions,)
    zero = (0 if columns else 5) if kind == np.int8 else 60
    arrays = {"x": normal(steps, batch, WIDTH, seed=seed)}
    for name, rows in (("w", WIDTH), ("r", HIDDEN)):
        arrays[name] = rng.integers(low, high, (directions, rows, 32)).astype(kind)
        arrays[name + "s"] = rng.uniform(0.002, 0.01, table).astype(np.float32)
        arrays[name + "z"] = np.full(table, zero if zeros else 0, kind)
    if lengths is not None:
        arrays["lens"] = np.array(lengths, np.int32)
    shapes = {"bias": (directions, 64), "h": (directions, batch, 8), "c": (directions, batch, 8), "p": (directions, 24)}
    return arrays | {n: normal(*shapes[n], seed=seed + i + 1) / 2 for i, n in enumerate(shapes) if n in optional}


def make_text(arrays, attributes="", steps="s"):
    kind, directions = arrays["w"].dtype, arrays["w"].shape[0]
    sizes = {"t": str(kind), "d": directions, "q": ",".join(map(str, arrays["ws"].shape))}
    inputs = ", ".join(f"{SIZES[n].format(**sizes)} {n}" for n in SIZES if n in arrays).replace("[s,", f"[{steps},")
    operands = ", ".join(n if n in arrays else "" for n in SIZES)
    return f"""g ({inputs}) => (float[{steps},{directions},b,8] y, float[{directions},b,8] yh, float[{directions},b,8] yc)
    {{ y, yh, yc = com.microsoft.DynamicQuantizeLSTM<hidden_size=8{attributes}>({operands}) }}"""


def to_bytes(rows):
    """What DynamicQuantizeLinear gives, less the zero point; the scale."""
    low, high = min(rows.min(), np.float32(0)), max(rows.max(), np.float32(0))
    scale = np.float32(1) if low == high else (high - low) / np.float32(255)
    zero = np.rint(np.clip(-low / scale, 0, 255))
    return np.clip(np.rint(rows / scale) + zero, 0, 255) - zero, scale


def multiply(rows, arrays, name, d):
    codes, scale = to_bytes(rows)
    weight = arrays[name][d].astype(np.int64) - arrays[name + "z"][d].astype(np.int64)
    return np.float32(codes.astype(np.int64) @ weight) * (scale * arrays[name + "s"][d])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def turn(x, lengths):
    return np.stack([np.concatenate([x[:n, b][::-1], x[n:, b]]) for b, n in enumerate(lengths)], 1)


def expected(arrays, direction="forward", clip=np.inf, coupled=False):
    """One direction after the other, a sequence from its own end; gates lie in the order input, output, forget, cell."""
    steps, batch, _ = arrays["x"].shape
    results = []
    for d in range(arrays["w"].shape[0]):
        lengths = arrays.get("lens", np.full(batch, steps))
        reverse = direction == "reverse" or d == 1
        x = turn(arrays["x"], lengths) if reverse else arrays["x"]
        x = x[: lengths.max()]
        products = multiply(x.reshape(-1, WIDTH), arrays, "w", d).reshape(-1, batch, 32)
        bias = arrays["bias"][d].reshape(2, 32).sum(0) if "bias" in arrays else np.float32(0)
        peep = arrays["p"][d].reshape(3, 8) if "p" in arrays else np.zeros((3, 8), np.float32)
        h, c = (arrays[n][d] if n in arrays else np.zeros((batch, 8), np.float32) for n in "hc")
        y, last = np.zeros((steps, batch, 8), np.float32), h.copy()
        for t in range(lengths.max()):
            i, o, f, g = np.split(products[t] + multiply(h, arrays, "r", d) + bias, 4, axis=1)
            i = sigmoid(np.clip(i + peep[0] * c, -clip, clip))
            f = 1 - i if coupled else sigmoid(np.clip(f + peep[2] * c, -clip, clip))
            runs = (t < lengths)[:, None]
            c = np.where(runs, f * c + i * np.tanh(np.clip(g, -clip, clip)), c)
            h = np.where(runs, sigmoid(np.clip(o + peep[1] * c, -clip, clip)) * np.tanh(c), np.float32(0))
            y[t], last = h, np.where(runs, h, last)
        results.append((turn(y, lengths) if reverse else y, last, c))
    return [np.stack([r[0] for r in results], 1)] + [np.stack([r[i] for r in results]) for i in (1, 2)]


def compare(folder, *calls, attributes="", steps="s", peer=True, **options):
    """Bytes of a state differ by one where a state is as good as between two of them: what that makes in a gate is the bound.
    It is rarely met: nearly all elements agree to rounding."""
    model, compiled = compile_text(folder, make_text(calls[0], attributes, steps), domain="com.microsoft")
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1  # with more ONNX Runtime rounds parts of a batch apart
    session = onnxruntime.InferenceSession(model.SerializeToString(), settings)
    for arrays in calls:
        got = list(compiled(arrays).values())
        weight = (np.abs(arrays["r"].astype(np.int32) - arrays["rz"][0].flat[0]) * arrays["rs"].max()).max()
        bound = 2 / 255 * weight
        for want in [expected(arrays, **options)] + ([session.run(None, arrays)] if peer else []):
            for x, z in zip(got, want, strict=True):
                assert x.shape == z.shape and x.dtype == np.float32
                gaps = np.abs(x - z)
                assert gaps.max() <= bound and np.mean(gaps > 2e-6) < 0.02


FORMS = {
    "signed": {}, "unsigned": {"kind": np.uint8}, "columns": {"columns": True}, "unsigned columns": {"kind": np.uint8, "columns": True},
    "no zero points": {"zeros": False}, "all inputs": {"optional": ("bias", "h", "c", "p")},
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("steps", ["s", "5"])
def test_forms(tmp_path, form, steps):
    """As a loop, and spelled out."""
    calls = [make_inputs(5, 3, **FORMS[form])] + ([make_inputs(21, 1, **FORMS[form], seed=3)] if steps == "s" else [])
    compare(tmp_path, *calls, steps=steps)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("lengths", [None, [2, 4, 3]])
def test_directions(tmp_path, direction, lengths):
    arrays = make_inputs(5, 3, directions=2 if direction == "bidirectional" else 1, lengths=lengths, optional=("bias", "h", "c"))
    arrays["x"][4] *= 9  # behind the longest sequence: not in the range
    compare(tmp_path, arrays, attributes=f', direction="{direction}"', direction=direction)


def test_ranges_leave_ended_sequences_out(tmp_path):
    """States that stand still would widen the range: the sequence that ends first has the largest."""
    arrays = make_inputs(6, 2, lengths=[1, 6], optional=("h", "c"))
    arrays["h"][0, 0] *= 20
    arrays["c"][0, 0] *= 20
    compare(tmp_path, arrays)


def test_clip_and_coupled_gates(tmp_path):
    compare(tmp_path, make_inputs(5, 3, optional=("bias",)), attributes=", clip=0.5, input_forget=1", clip=np.float32(0.5), coupled=True)


def test_codes_of_eight_bits(tmp_path):
    """Exact sums; ONNX Runtime's may saturate."""
    arrays = make_inputs(5, 3)
    rng = np.random.default_rng(1)
    arrays |= {n: rng.integers(-128, 128, arrays[n].shape).astype(np.int8) for n in "wr"}
    compare(tmp_path, arrays, peer=False)


def test_a_state_of_zeros(tmp_path):
    arrays = make_inputs(3, 2)
    arrays["x"][:] = 0
    compare(tmp_path, arrays)


REFUSED = {
    "expected weights of int8 or uint8 with zero points": ("int8[1] rz", "uint8[1] rz"),
    "expected weights of int8 or uint8 with zero": ("int8[1,10,32] w", "int16[1,10,32] w"),
    "expected input 8, but it is left out": (", ws, ", ", , "),
    "expected scales and zero points of rank 1 or 2, but got rank 3": ("float[1] ws", "float[1,32,1] ws"),
    "expected equal sizes of scales or zero points and directions": ("float[1] ws", "float[2] ws"),
    "expected equal sizes of scales or zero points and gates": ("int8[1] wz", "int8[1,8] wz"),
    "expected equal sizes of gates and hidden sizes": ("int8[1,8,32] r", "int8[1,8,24] r"),
    "expected equal sizes of gates of both weights": ("int8[1,10,32] w", "int8[1,10,24] w"),
    "expected equal sizes of the inner dimensions": ("int8[1,10,32] w", "int8[1,12,32] w"),
    "one weight for each direction": ("hidden_size=8", 'hidden_size=8, direction="bidirectional"'),
    "expected input 0 of float, but got float16": ("float[s,b,10] x", "float16[s,b,10] x"),
}


@pytest.mark.parametrize("message", REFUSED)
def test_refused(tmp_path, message):
    text = make_text(make_inputs(2, 1))
    old, new = REFUSED[message]
    assert old in text
    with pytest.raises(qcc.CompileError, match=message):
        compile_text(tmp_path, text.replace(old, new), domain="com.microsoft")
