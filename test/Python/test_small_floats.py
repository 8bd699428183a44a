# Casts to and from the floats of 8 and 4 bits, against tables: every code, every f16, f32 and f64 around all seams.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import dataclasses
import json
import subprocess

import numpy as np
import onnx
import onnx.numpy_helper
import pytest
import qcc
from onnx import TensorProto, helper


@dataclasses.dataclass(frozen=True)
class Format:
    """A signed format as its specification gives it: OCP OFP8 1.0, OCP MX 1.0, the FNUZ variants."""

    onnx: int
    exponent: int
    mantissa: int
    bias: int
    largest: int  # code of the largest finite magnitude
    infinity: int | None
    nan: int

    @property
    def sign(self) -> int:
        return 1 << (self.exponent + self.mantissa)

    @property
    def is_fnuz(self) -> bool:
        return self.nan == self.sign and self.infinity is None and self.sign > 8

    def decode(self) -> np.ndarray:
        """The value of every code, f64."""
        values = []
        for code in range(2 * self.sign):
            magnitude = code & (self.sign - 1)
            field, rest = magnitude >> self.mantissa, magnitude & ((1 << self.mantissa) - 1)
            scale = 2.0 ** (max(field, 1) - self.bias - self.mantissa)
            value = (rest + (1 << self.mantissa if field else 0)) * scale
            if magnitude == self.infinity:
                value = np.inf
            elif magnitude > self.largest or (self.is_fnuz and code == self.sign):
                value = np.nan
            values.append(-value if code & self.sign else value)
        return np.array(values)

    def encode(self, x: np.ndarray, saturate: bool) -> np.ndarray:
        """The nearest code of each f64, by search in the table of values; ties go to the even code."""
        values = self.decode()[: self.largest + 1]
        values = np.append(values, 2 * values[-1] - values[-2])  # what would come next
        size = np.abs(np.where(np.isnan(x), 0, x))
        middle = (values[:-1] + values[1:]) / 2
        low, high = np.searchsorted(middle, size, "left"), np.searchsorted(middle, size, "right")
        code = np.where(low % 2 == 0, low, high)  # they differ on ties only
        if saturate or self.sign == 8:
            over = self.largest
        else:
            over = self.nan if self.infinity is None else self.infinity
        code = np.where(code > self.largest, over, code)
        code = np.where(np.isnan(x), self.nan, code)
        signed = np.signbit(x) & ~(self.is_fnuz & (code == 0))
        return (code | np.where(signed, self.sign, 0)).astype(np.uint8)


FORMATS = {
    "e4m3fn": Format(TensorProto.FLOAT8E4M3FN, 4, 3, 7, 0x7E, None, 0x7F),
    "e4m3fnuz": Format(TensorProto.FLOAT8E4M3FNUZ, 4, 3, 8, 0x7F, None, 0x80),
    "e5m2": Format(TensorProto.FLOAT8E5M2, 5, 2, 15, 0x7B, 0x7C, 0x7E),
    "e5m2fnuz": Format(TensorProto.FLOAT8E5M2FNUZ, 5, 2, 16, 0x7F, None, 0x80),
    "e2m1": Format(TensorProto.FLOAT4E2M1, 2, 1, 1, 0x7, None, 0x8),
}
E8M0 = TensorProto.FLOAT8E8M0
MODES = ("up", "down", "nearest")


def decode_e8m0() -> np.ndarray:
    return np.append(2.0 ** np.arange(-127.0, 128.0), np.nan)


def encode_e8m0(x: np.ndarray, saturate: bool, mode: str) -> np.ndarray:
    low, high = 2.0**-127, 2.0**127
    bounded = np.clip(np.where(np.isnan(x), 1, np.abs(x)), low, high)
    mantissa, exponent = np.frexp(bounded)  # mantissa from 0.5 to below 1
    step = {"up": mantissa > 0.5, "down": False, "nearest": mantissa >= 0.75}[mode]
    code = exponent - 1 + 127 + step
    bad = np.isnan(x) | (x < 0)
    if not saturate:
        bad |= (np.abs(x) < low) | (np.abs(x) > high)
    return np.where(bad, 255, code).astype(np.uint8)


def seams() -> np.ndarray:
    """f64 values on, and next to, all codes of all formats and the middles between them."""
    parts = [decode_e8m0()[:-1], decode_e8m0()[:-1] * 0.75, decode_e8m0()[:-1] * 1.5]
    for form in FORMATS.values():
        values = form.decode()[: form.largest + 1]
        values = np.append(values, 2 * values[-1] - values[-2])
        parts += [values, (values[:-1] + values[1:]) / 2, values / 2]
    exact = np.concatenate(parts)
    exact = np.concatenate([exact, -exact, [np.nan, np.inf, -np.inf, 0.0, -0.0, 3e38, 1e-45, 1e-40]])
    return np.concatenate([exact, np.nextafter(exact, np.inf), np.nextafter(exact, -np.inf)])


def sources() -> dict[str, np.ndarray]:
    random = np.random.default_rng(3)
    bits = random.integers(0, 1 << 32, 50000, dtype=np.uint64).astype(np.uint32).view(np.float32)
    near = (random.standard_normal(20000) * 2.0 ** random.integers(-20, 18, 20000)).astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        single = seams().astype(np.float32)
    around = [single, np.nextafter(single, np.float32(np.inf)), np.nextafter(single, np.float32(-np.inf))]
    return {
        "float16": np.arange(65536, dtype=np.uint16).view(np.float16),
        "float32": np.concatenate([bits, near, *around]),
        "float64": seams(),
        "int8": np.arange(-128, 128, dtype=np.int8),
    }


ONNX_OF = {
    "float16": TensorProto.FLOAT16, "float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE, "int8": TensorProto.INT8,
}  # fmt: skip


def build(folder, target):
    """A model that casts every source to every type in every way, and every code of every type to f32 and f16."""
    nodes, inputs, outputs, weights, wanted, given = [], [], [], [], {}, {}

    def add(source, to, name, expected, **attributes):
        nodes.append(helper.make_node("Cast", [source], [name], name, to=to, **attributes))
        outputs.append(helper.make_tensor_value_info(name, to, [len(expected)]))
        wanted[name] = expected

    for source, values in sources().items():
        given[source] = values
        inputs.append(helper.make_tensor_value_info(source, ONNX_OF[source], values.shape))
        # The same as a constant: the compiler's own arithmetic.
        few = values[:: max(1, len(values) // 3000)]
        weights.append(onnx.numpy_helper.from_array(few, f"w_{source}"))
        for at, x in ((source, values), (f"w_{source}", few)):
            with np.errstate(invalid="ignore"):
                exact = x.astype(np.float64)
            for form_name, form in FORMATS.items():
                for saturate in (1, 0):
                    name = f"{at}_{form_name}_{saturate}"
                    add(at, form.onnx, name, form.encode(exact, bool(saturate)), saturate=saturate)
            for mode in MODES:
                for saturate in (1, 0):
                    name, codes = f"{at}_e8m0_{mode}_{saturate}", encode_e8m0(exact, bool(saturate), mode)
                    add(at, E8M0, name, codes, saturate=saturate, round_mode=mode)
    decoders = {name: (form.onnx, form.decode()) for name, form in FORMATS.items()} | {"e8m0": (E8M0, decode_e8m0())}
    for name, (number, values) in decoders.items():
        inputs.append(helper.make_tensor_value_info(name, number, values.shape))
        given[name] = np.arange(len(values), dtype=np.uint8)
        with np.errstate(over="ignore"):
            add(name, TensorProto.FLOAT, f"{name}_f32", values.astype(np.float32))
            add(name, TensorProto.FLOAT16, f"{name}_f16", values.astype(np.float16))
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
    path = folder / f"{target}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 25)], ir_version=12), str(path))
    return qcc.compile(path, folder / f"{target}.qcc", target=target), given, wanted


@pytest.mark.parametrize("target", ["avx2", "reference"])
def test_casts(tmp_path, target):
    artifact, given, wanted = build(tmp_path, target)
    outputs = qcc.load(artifact)(given)
    for name, expected in wanted.items():
        got = outputs[name]
        if expected.dtype == np.uint8:
            got = got.view(np.uint8)
            special = got.astype(int) != expected
            # f32 arithmetic does not keep the sign of a NaN (docs/numerics.md).
            form = FORMATS.get(name.split("_")[-2])
            if form and form.sign > 8 and not form.is_fnuz:
                special &= ~((got & 0x7F == form.nan) & (expected & 0x7F == form.nan))
            assert not special.any(), f"{name}: {got[special][:5]} for {expected[special][:5]}"
        else:
            np.testing.assert_array_equal(got, expected, name)


def test_movement(tmp_path):
    """Codes pass through operators that move elements, as weights and as inputs, at any target."""
    codes = np.random.default_rng(0).permutation(256).astype(np.uint8).reshape(2, 8, 16)
    kinds = {name: (form.onnx, 2 * form.sign - 1) for name, form in FORMATS.items()} | {"e8m0": (E8M0, 255)}
    nodes, inputs, outputs, weights, wanted, given = [], [], [], [], {}, {}

    def add(op, operands, name, number, expected, **attributes):
        nodes.append(helper.make_node(op, operands, [name], name, **attributes))
        outputs.append(helper.make_tensor_value_info(name, number, expected.shape))
        wanted[name] = expected

    weights += [
        onnx.numpy_helper.from_array(np.array(v, np.int64), n)
        for n, v in {"shape": [4, 64], "one": [1], "three": [3], "pick": [1, 0, 1], "tiles": [1, 2, 1]}.items()
    ]
    for name, (number, mask) in kinds.items():
        x, y = codes & mask, codes[::-1, :, ::-1].copy() & mask
        given[name] = x
        inputs.append(helper.make_tensor_value_info(name, number, x.shape))
        raw = y.tobytes() if mask > 15 else (y.ravel()[::2] | y.ravel()[1::2] << 4).tobytes()
        weights.append(helper.make_tensor(f"{name}_w", number, y.shape, raw, raw=True))
        w = f"{name}_w"
        add("Transpose", [name], f"{name}_t", number, x.transpose(2, 0, 1), perm=[2, 0, 1])
        add("Reshape", [name, "shape"], f"{name}_r", number, x.reshape(4, 64))
        add("Identity", [w], f"{name}_i", number, y)
        add("Concat", [name, w], f"{name}_c", number, np.concatenate([x, y], 1), axis=1)
        add("Slice", [name, "one", "three", "one"], f"{name}_s", number, x[:, 1:3])
        add("Gather", [w, "pick"], f"{name}_g", number, y[[1, 0, 1]])
        add("Tile", [name, "tiles"], f"{name}_n", number, np.tile(x, (1, 2, 1)))
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 25)], ir_version=12), str(path))
    results = qcc.load(qcc.compile(path, tmp_path / "m.qcc"))(given)
    for name, expected in wanted.items():
        np.testing.assert_array_equal(results[name].view(np.uint8), expected, name)


def test_archives(tmp_path, runner):
    """Members of archives say the type in their names; elements below a byte are one byte each."""
    types = {"f8e5m2": TensorProto.FLOAT8E5M2, "f8e8m0": E8M0, "f4e2m1": TensorProto.FLOAT4E2M1,
             "int4": TensorProto.INT4, "uint2": TensorProto.UINT2}  # fmt: skip
    nodes = [helper.make_node("Identity", [f"x_{name}"], [f"y_{name}"]) for name in types]
    values = [
        [helper.make_tensor_value_info(f"{side}_{name}", number, [3]) for name, number in types.items()] for side in "xy"
    ]
    path = tmp_path / "m.onnx"
    graph = helper.make_graph(nodes, "g", *values)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 25)], ir_version=13), str(path))
    artifact = qcc.compile(path, tmp_path / "m.qcc")
    codes = {name: np.array([1, 2, 3], np.uint8) for name in types} | {"int4": np.array([-8, 7, -1], np.int8)}
    # int4 as unsigned codes is the same.
    np.savez(tmp_path / "in.npz", **{f"x_{n}.{n}": v.view(np.uint8) & (15 if n == "int4" else 255) for n, v in codes.items()})
    np.savez(tmp_path / "expect.npz", **{f"y_{n}.{n}": v for n, v in codes.items()})
    files = [f"--inputs={tmp_path}/in.npz", f"--expect={tmp_path}/expect.npz", f"--outputs={tmp_path}/out.npz"]
    done = subprocess.run([runner, str(artifact), *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    with np.load(tmp_path / "out.npz") as out:
        members = {"int4": "y_int4", "uint2": "y_uint2"}  # integers of 8 bits outside
        for name, value in codes.items():
            np.testing.assert_array_equal(out[members.get(name, f"y_{name}.{name}")], value, name)
    assert subprocess.run([runner, str(artifact), "--random-inputs"], capture_output=True).returncode == 0


@pytest.mark.parametrize("form_name", FORMATS)
def test_quantize(tmp_path, form_name):
    """QuantizeLinear and DequantizeLinear with scales per tensor, per axis and per block, e8m0 scales, zero points."""
    form, rng = FORMATS[form_name], np.random.default_rng(1)
    x = (rng.standard_normal((4, 40)) * 2.0 ** rng.integers(-9, 9, (4, 40))).astype(np.float32)
    x[0, :4] = [0.0, -0.0, np.inf, np.nan]
    codes = rng.integers(0, form.largest + 1, (4, 40)).astype(np.uint8)
    table, powers = form.decode(), decode_e8m0()
    scales = {
        "tensor": (np.array(0.37, np.float32), {}, lambda s: s),
        "axis": ((rng.random(4) + 0.1).astype(np.float32), {"axis": 0}, lambda s: s[:, None]),
        "block": ((rng.random((4, 3)) + 0.1).astype(np.float32), {"axis": 1, "block_size": 16}, lambda s: s.repeat(16, 1)[:, :40]),
    }
    nodes, weights, outputs, wanted = [], [], [], {}

    def add(op, operands, name, number, expected, **attributes):
        nodes.append(helper.make_node(op, operands, [name], name, **attributes))
        outputs.append(helper.make_tensor_value_info(name, number, [4, 40]))
        wanted[name] = expected

    def weight(name, number, shape, raw):
        if number == TensorProto.FLOAT4E2M1:
            raw = np.append(raw, raw[: raw.size % 2]) if raw.size % 2 else raw
            raw = raw[::2] | raw[1::2] << 4
        weights.append(helper.make_tensor(name, number, shape, raw.astype(np.uint8).tobytes(), raw=True))

    weight("no_zero", form.onnx, [], np.zeros(1, np.uint8))
    weight("one", form.onnx, [], form.encode(np.array([1.0]), True))
    for kind, (scale, attributes, spread) in scales.items():
        weights.append(onnx.numpy_helper.from_array(scale, kind))
        with np.errstate(over="ignore"):
            quotient = (x / spread(scale)).astype(np.float64)
        for saturate in (1, 0):
            add("QuantizeLinear", ["x", kind], f"q_{kind}_{saturate}", form.onnx, form.encode(quotient, bool(saturate)),
                output_dtype=form.onnx, saturate=saturate, **attributes)  # fmt: skip
        value = (table[codes].astype(np.float32) * spread(scale)).astype(np.float32)
        add("DequantizeLinear", ["c", kind], f"d_{kind}", TensorProto.FLOAT, value, **attributes)
    quotient = x / scales["tensor"][0]
    add("QuantizeLinear", ["x", "tensor", "no_zero"], "q_none", form.onnx, form.encode(quotient.astype(np.float64), True))
    shifted = np.where(np.isnan(quotient), quotient, quotient + np.float32(1))
    add("QuantizeLinear", ["x", "tensor", "one"], "q_one", form.onnx, form.encode(shifted.astype(np.float64), True))
    away = ((table[codes] - 1) * 0.37).astype(np.float32)
    add("DequantizeLinear", ["c", "tensor", "one"], "d_one", TensorProto.FLOAT, away)
    exponents = rng.integers(120, 134, (4, 3)).astype(np.uint8)
    weights.append(helper.make_tensor("powers", E8M0, [4, 3], exponents.tobytes(), raw=True))
    value = (table[codes] * powers[exponents].repeat(16, 1)[:, :40]).astype(np.float32)
    add("DequantizeLinear", ["c", "powers"], "d_powers", TensorProto.FLOAT, value, axis=1, block_size=16,
        output_dtype=TensorProto.FLOAT)  # fmt: skip
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 40]), helper.make_tensor_value_info("c", form.onnx, [4, 40])]
    path = tmp_path / "m.onnx"
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 25)], ir_version=12), str(path))
    results = qcc.load(qcc.compile(path, tmp_path / "m.qcc"))({"x": x, "c": codes})
    for name, expected in wanted.items():
        if expected.dtype == np.uint8:
            got = results[name].view(np.uint8)
            same = (got == expected) | (np.isnan(table[got]) & np.isnan(table[expected]))
            assert same.all(), f"{name}: {got[~same]} for {expected[~same]}"
        else:
            np.testing.assert_allclose(results[name], expected, rtol=2e-7, err_msg=name)


def test_arithmetic_on_codes_is_refused(tmp_path):
    value = [helper.make_tensor_value_info(n, TensorProto.FLOAT8E5M2, [4]) for n in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"], "rectify")], "g", value[:1], value[1:])
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 25)], ir_version=12), str(path))
    with pytest.raises(qcc.CompileError, match="rectify.*expected a Cast before input 0"):
        qcc.compile(path, tmp_path / "m.qcc")


# --- activations in FP8, a scale per token ----------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["reference", "avx2"])
@pytest.mark.parametrize("precision,name", [("fp8:token", "e4m3fn"), ("fp8:tensor:token", "e4m3fn"), ("fp8-e5m2:token", "e5m2")])
def test_activations_are_rounded_per_token(tmp_path, precision, name, target):
    """A product of rounded rows, by the definition in f64: rows of all sizes, of zeros, with one row and several."""
    random = np.random.default_rng(2)
    weight = random.standard_normal((48, 20), dtype=np.float32)
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="product")
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ("batch", "tokens", 48))
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "g", [given], [result], [onnx.numpy_helper.from_array(weight, "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "m.onnx")
    artifact = qcc.compile(tmp_path / "m.onnx", tmp_path / "m.qcc", precision=precision, target=target)
    small = FORMATS[name]
    table = small.decode()

    def round_to(values, scales):
        return table[small.encode((values / scales).astype(np.float64), saturate=True)]

    top = np.float32(table[small.largest])
    scales = np.abs(weight).max(axis=None if "tensor" in precision else 0) / top
    rounded = round_to(weight, scales) * np.float64(scales)
    model = qcc.load(artifact)
    for shape in ((1, 1), (3, 5)):
        x = random.standard_normal((*shape, 48), dtype=np.float32) * np.exp(6 * random.standard_normal((*shape, 1))).astype(np.float32)
        if shape[0] > 1:
            x[0, 0] = 0
            x[1, 2] = 1e-43  # whose scale would be 0
        rows = (np.abs(x).max(axis=-1, keepdims=True) / top).astype(np.float32)
        rows[rows == 0] = 1
        expected = round_to(x, rows) @ rounded * rows
        got = next(iter(model({"x": x}).values()))
        assert np.all(np.abs(got - expected) <= 1e-6 * np.abs(round_to(x, rows)) @ np.abs(rounded) * rows)


@pytest.mark.parametrize(
    "precision,status,text",
    [("w4a16:token", 4, "expected each parameter of 'w4a16'"), ("fp8:token:token", 4, "at most once"), ("w8a16,fp8:token,w8a16", 2, "each precision once")],
)  # fmt: skip
def test_tokens_are_rounded_by_fp8_alone(precision, status, text):
    done = subprocess.run([qcc._driver._find_driver(), "m.onnx", f"--precision={precision}", "--max-size=0.5x"], capture_output=True, text=True)
    assert done.returncode == status and text in done.stderr and ("QCC-E307" if status == 4 else "QCC-E401") in done.stderr, done.stderr


def save_product(path, weight):
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="product")
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ("rows", len(weight)))
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "g", [given], [result], [onnx.numpy_helper.from_array(weight, "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def to_bfloat16(x):
    bits = x.view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)).view(np.float32)


@pytest.mark.parametrize("precision,target", [("bf16", "avx2"), ("bf16", "reference"), ("bf16a16", "avx2"), ("bf16a16", "native"), ("bf16a16", "reference"), ("bf16", "avx2+amx")])
def test_products_of_bfloat16(tmp_path, precision, target):
    """With tiles among the levels, or where asked for, activations are rounded as well."""
    random = np.random.default_rng(7)
    weight = random.standard_normal((80, 37), dtype=np.float32)
    weight[0, :3] = np.float32([1.00390625, 1.01171875, -1e-40])  # ties to either side; a subnormal
    save_product(tmp_path / "m.onnx", weight)
    artifact = qcc.compile(tmp_path / "m.onnx", tmp_path / "m.qcc", precision=precision, target=target, require_fused=True)
    model, executed = qcc.load(artifact), {op["executed"] for op in json.loads((artifact / "report.json").read_text())["ops"] if op["executed"]}
    rounds = "amx" in target or precision == "bf16a16"
    assert executed == {"bf16a16" if rounds else "bf16"}
    rounded = to_bfloat16(weight)
    assert rounded[0, 0] == 1 and rounded[0, 1] == np.float32(1.015625)
    for rows in (1, 3, 50):
        x = random.standard_normal((rows, 80), dtype=np.float32)
        got = next(iter(model({"x": x}).values())).astype(np.float64)
        used = to_bfloat16(x) if rounds else x
        np.testing.assert_allclose(got, used.astype(np.float64) @ rounded, rtol=0, atol=1e-6 * (np.abs(x) @ np.abs(rounded)).max())
        assert rounds == (np.abs(got - x.astype(np.float64) @ rounded).max() > 1e-4)
        exact = x.astype(np.float64) @ weight
        assert (got * exact).sum() / np.sqrt((got**2).sum() * (exact**2).sum()) > 0.9999
