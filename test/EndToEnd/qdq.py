# Models that others have quantized, ../shared/models/qdq: QDQ graphs, graphs of the qonnx domain, private domains.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

from __future__ import annotations

import functools
import json
import pathlib
import tempfile

import harness
import nbits
import numpy as np
import numpy_graph
import onnx
import onnxruntime
import oracle
import qcc
from onnx import numpy_helper

FOLDER = harness.MODELS / "qdq"
UNSUPPORTED = 4
# Inputs of each qonnx graph; that of images has fewer but in a soak.
COUNT, IMAGES = 100, 4


def model_path(name: str) -> pathlib.Path:
    path = FOLDER / name
    if not path.exists():
        raise harness.Skip(f"no {path}: set QCC_TEST_DATA")
    return path


def compile_at(path: pathlib.Path, folder: str, *flags: str) -> qcc.Model:
    artifact = pathlib.Path(folder) / "artifact"
    harness.run(harness.QCC, path, "-o", artifact, "-q", *flags)
    return qcc.load(artifact)


def read_tensor(path: pathlib.Path) -> np.ndarray:
    tensor = onnx.TensorProto()
    tensor.ParseFromString(path.read_bytes())
    return numpy_helper.to_array(tensor)


def last_step(model: onnx.ModelProto, output: str) -> float:
    """The scale of the codes that an output comes from."""
    makers = {name: node for node in model.graph.node for name in node.output}
    scales = {w.name: numpy_helper.to_array(w) for w in model.graph.initializer}
    name = output
    for _ in range(16):
        node = makers[name]
        constants = [n for n in node.input[1:2] if n in scales]
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") and constants:
            return float(scales[constants[0]])
        name = node.input[0]
    raise harness.Failure(f"expected output '{output}' to be dequantized")


def mobilenet(target: str, bound: int) -> str:
    """The golden output within `bound` steps of its scale.

    Sums of integers are exact; what is left is one rounding of a scale, which brings values next to the middle of two
    codes to the other one. ONNX Runtime, run as written, is two steps off in 13 of 1000 scores
    (docs/quantized-models.md).
    """
    path = model_path("mobilenet_v2_qdq/model.onnx")
    data = path.parent / "test_data_set_0"
    want = read_tensor(data / "output_0.pb")
    with tempfile.TemporaryDirectory(prefix="qcc-qdq-") as folder:
        compiled = compile_at(path, folder, f"--target={target}")
        (got,) = compiled([read_tensor(data / "input_0.pb")]).values()
    step = last_step(onnx.load(path), "scores")
    steps = np.round(np.abs(got - want) / step)
    if got.argmax() != want.argmax() or steps.max() > bound:
        raise harness.Failure(f"expected a difference of at most {bound} steps, but got {steps.max():.0f}")
    counts = ", ".join(f"{int((steps == n).sum())} {n:.0f} off" for n in np.unique(steps))
    return f"of {want.size} scores in steps of {step:.4f}: {counts}"


def against_runtime(name: str) -> str:
    """ONNX Runtime's output: nearly all elements equal, no one off by more than two steps of the coarsest codes inside.

    Sums of f32 in another order bring a value next to the middle of two codes to the other one.
    """
    path = model_path(f"ort/{name}.onnx")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # Its fusions round otherwise: what the nodes say is compared.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    feed = {
        value.name: rng.standard_normal([d if isinstance(d, int) else 2 for d in value.shape], np.float32)
        for value in session.get_inputs()
    }
    with tempfile.TemporaryDirectory(prefix="qcc-qdq-") as folder:
        got = compile_at(path, folder)(feed)
    model, said = onnx.load(path), []
    scales = {w.name: numpy_helper.to_array(w) for w in model.graph.initializer}
    coarse = [float(scales[n.input[1]].max()) for n in model.graph.node if n.op_type == "QuantizeLinear" and n.input[1] in scales]
    step = max(coarse, default=0.0)
    for value, want in zip(session.get_outputs(), session.run(None, feed)):
        gap = np.abs(got[value.name] - want)
        exact = float(np.mean(gap <= 1e-5 * np.abs(want).max()))
        if exact < 0.995 or gap.max() > max(2 * step, 1e-5 * np.abs(want).max()):
            raise harness.Failure(f"{value.name}: {exact:.2%} equal, the largest difference {gap.max():.3g}, step {step:.3g}")
        said.append(f"{exact:.3%} of {want.size} equal, the others {gap.max() / step if step else 0:.2f} steps off at most")
    return ", ".join(said)


def against_definition(name: str) -> str:
    """What the nodes say, computed in f64: all elements equal to 1e-5. Weights of these graphs have zero points, and
    ONNX Runtime's sums of f32 bring some codes to the other side of a middle."""
    path = model_path(f"ort/{name}.onnx")
    model = onnx.load(path)
    weights = {w.name for w in model.graph.initializer}
    rng = np.random.default_rng(0)
    feed = {
        value.name: rng.standard_normal([d.dim_value or 2 for d in value.type.tensor_type.shape.dim], np.float32)
        for value in model.graph.input
        if value.name not in weights
    }
    with tempfile.TemporaryDirectory(prefix="qcc-qdq-") as folder:
        got = compile_at(path, folder)(feed)
    said = []
    for output, want in oracle.run_exact(path, feed).items():
        same = np.abs(got[output] - want) <= 1e-5 * np.abs(want).max()
        if not same.all():
            raise harness.Failure(f"{output}: {same.mean():.3%} equal")
        said.append(f"all of {want.size} equal")
    return ", ".join(said)


def refused(name: str) -> str:
    """Private operators end the compile with exit code 4, and each is named."""
    path = model_path(f"deeploy/{name}/network.onnx")
    done = harness.run(harness.QCC, "check", path, check=False)
    private = {n.op_type for n in onnx.load(path).graph.node if not n.domain} - set(
        schema.name for schema in onnx.defs.get_all_schemas()
    )
    missing = sorted(op for op in private if f"({op})" not in done.stdout + done.stderr)
    if done.returncode != UNSUPPORTED or missing or "RequantShift" not in private:
        raise harness.Failure(f"expected exit code 4 and all of {private} named, but got {done.returncode} without {missing}")
    with tempfile.TemporaryDirectory(prefix="qcc-qdq-") as folder:
        code = harness.run(harness.QCC, path, "-o", f"{folder}/artifact", check=False).returncode
    if code != UNSUPPORTED:
        raise harness.Failure(f"expected the compile to end with 4, but got {code}")
    return f"{', '.join(sorted(private))} named"


def qonnx(name: str, count: int) -> str:
    """The graph's output as its operators are defined, on random inputs.

    Sums of products are rounded otherwise here and there, so a value next to a boundary may fall on the other side of it:
    that moves an element by steps. At least 99.9% of all elements are equal to 1e-5.
    """
    path = model_path(f"qonnx/{name}.onnx")
    model = onnx.load(path)
    weights = {w.name for w in model.graph.initializer}
    (given,) = [value for value in model.graph.input if value.name not in weights]
    shape = [d.dim_value for d in given.type.tensor_type.shape.dim]
    rng = np.random.default_rng(0)
    exact, total, worst, whole = 0, 0, 0.0, 0
    with tempfile.TemporaryDirectory(prefix="qcc-qonnx-") as folder:
        compiled = compile_at(path, folder)
        for i in range(count):
            # Pixels, and for the network of bits bits with a sign.
            x = rng.random(shape, np.float32)
            if name.startswith("unsw"):
                x = np.where(x < 0.5, -1, 1).astype(np.float32)
            (want,) = numpy_graph.evaluate(model, {given.name: x}).values()
            (got,) = compiled([x]).values()
            same = np.abs(got - want) <= 1e-5 * np.abs(want).max()
            exact, total, whole = exact + int(same.sum()), total + same.size, whole + bool(same.all())
            worst = max(worst, float(np.abs(got - want).max() / np.abs(want).max()))
    if exact < 0.999 * total:
        raise harness.Failure(f"expected 99.9% of elements to be equal, but got {exact / total:.3%}")
    return f"{whole} of {count} outputs equal, {exact / total:.4%} of elements, the largest difference {worst:.2g}"


def low_bits(block: int, symmetric: bool) -> str:
    """A decoder in MatMulNBits: logits as ONNX Runtime's in f32, all products in the model's codes; in w4a8 next tokens
    that are as ONNX Runtime's at its level of int8."""
    source = harness.MODELS / "llm" / "lm-s" / "decoder.onnx"
    if not source.exists():
        raise harness.Skip(f"no {source}: set QCC_TEST_DATA")
    tokens = np.load(source.parent / "eval_tokens.npz")["input_ids"][:2, :128].astype(np.int64)
    with tempfile.TemporaryDirectory(prefix="qcc-nbits-") as folder:
        models = [pathlib.Path(folder) / f"level{level}.onnx" for level in (0, 4)]
        count = [nbits.convert(source, path, block, symmetric, level) for path, level in zip(models, (0, 4))][0]
        exact, coarse = (oracle.load(path, optimized=True).run(None, {"input_ids": tokens})[0] for path in models)
        (got,) = compile_at(models[0], folder)([tokens]).values()
        report = json.loads((pathlib.Path(folder) / "artifact" / "report.json").read_text())
        (rounded,) = compile_at(models[0], folder, "--precision=w4a8")([tokens]).values()
    kept = sum(op["reason"] == "as in the model" for op in report["ops"])
    if kept != count:
        raise harness.Failure(f"expected {count} products in the model's codes, but got {kept}")
    error = np.abs(got - exact).max() / np.abs(exact).max()
    agreement = (rounded.argmax(-1) == coarse.argmax(-1)).mean()
    if error > 1e-5 or agreement < 0.97:
        raise harness.Failure(f"expected errors of at most 1e-5 and 97% of next tokens equal, but got {error:.2g}, {agreement:.2%}")
    return f"{kept} products in codes, largest difference {error:.2g} of logits; w4a8: {agreement:.2%} of next tokens equal"


def all_qdq(soak: bool) -> list:
    """The cases of this file."""
    cases = [
        ("qdq/mobilenet-v2-exact", functools.partial(mobilenet, "reference", 0)),
        ("qdq/mobilenet-v2", functools.partial(mobilenet, "avx2", 1)),
    ]
    cases += [
        (f"qdq/{name}", functools.partial(against_runtime, name))
        for name in (
            "layout_transform_fix_transpose_without_dq.qdq", "nhwc_conv_clip_relu",
            "qdq_with_multi_consumer_dq_nodes.fixed.qdq16",
        )
    ]  # fmt: skip
    cases += [
        (f"qdq/{name}", functools.partial(against_definition, name))
        for name in ("qdq_with_multi_consumer_dq_nodes", "qdq_with_multi_consumer_dq_nodes.fixed")
    ]
    cases += [(f"qdq/{name}", functools.partial(refused, name)) for name in ("ICCT_8", "microLlama64", "microLlama64_parallel")]
    cases += [
        (f"nbits/lm-s-{name}", functools.partial(low_bits, block, symmetric))
        for name, block, symmetric in (("asymmetric-g32", 32, False), ("symmetric-g128", 128, True))
    ]
    names = ("TFC_2W2A", "unsw_nb15-mlp-w2a2", "espcn_quant_subpixel")
    counts = [COUNT, COUNT, COUNT if soak else IMAGES]
    return cases + [(f"qonnx/{name}", functools.partial(qonnx, name, n)) for name, n in zip(names, counts)]
