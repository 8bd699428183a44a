# The quantized model that --emit=qdq-onnx writes: the decisions of the artifact, checked by ONNX Runtime.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

from __future__ import annotations

import functools
import pathlib
import tempfile

import harness
import int8
import numpy as np
import onnx
import onnxruntime
import qcc
from onnx import TensorProto, helper

SAMPLES = 2
# Elements of outputs that the compiled QDQ graph gives as the artifact does, and codes of a group that are exact: the others
# lie next to the middle of two codes.
SAME, EXACT = 0.999, 0.98


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """ONNX Runtime on what the nodes say, without fusions that round otherwise."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def is_linear(node: onnx.NodeProto, op: str) -> bool:
    return node.op_type == op and node.domain in ("", "ai.onnx", "com.microsoft")


def cut(model: onnx.ModelProto, before: onnx.ModelProto) -> tuple[onnx.ModelProto, list[str]]:
    """The fused groups of a QDQ model side by side: codes that a group makes are an output, those that it reads an input with
    `.given` behind the name. Gives the model and the names of the codes. `before` is the float model, for the shapes."""
    cut_model = onnx.ModelProto()
    cut_model.CopyFrom(model)
    graph = cut_model.graph
    codes = [node.output[0] for node in graph.node if is_linear(node, "QuantizeLinear")]
    shapes = {value.name: value for value in onnx.shape_inference.infer_shapes(before).graph.value_info}
    for node in graph.node:
        if is_linear(node, "DequantizeLinear") and node.input[0] in codes:
            node.input[0] += ".given"
    # The rank of a tensor is that of what was rounded.
    sources = {node.output[0]: node.input[0] for node in graph.node if is_linear(node, "QuantizeLinear")}
    known = {value.name: value for value in graph.input} | shapes
    del graph.output[:]
    for name in codes:
        like = known[sources[name].removesuffix("/factors_product")].type.tensor_type
        dims = [d.dim_value or d.dim_param for d in like.shape.dim] if like.HasField("shape") else None
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.UINT8, dims))
        graph.input.append(helper.make_tensor_value_info(f"{name}.given", TensorProto.UINT8, dims))
    return cut_model, codes


def groups(model: onnx.ModelProto, before: onnx.ModelProto, feed: dict[str, np.ndarray], folder: pathlib.Path) -> str:
    """Each group's codes within one step of ONNX Runtime's, both from the same codes."""
    cut_model, codes = cut(model, before)
    if not codes:
        return "no groups: nothing is faster in int8"
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    del whole.graph.output[:]
    whole.graph.output.extend(v for v in cut_model.graph.output)
    want = dict(zip(codes, session(whole).run(codes, feed)))
    # Where ONNX infers no shape, these are the sizes.
    for value in cut_model.graph.input:
        if not value.type.tensor_type.HasField("shape"):
            for size in want[value.name.removesuffix(".given")].shape:
                value.type.tensor_type.shape.dim.add().dim_value = size
    onnx.save(cut_model, folder / "groups.onnx")
    harness.run(harness.QCC, folder / "groups.onnx", "-o", folder / "groups", "-q")
    given = {f"{name}.given": want[name] for name in codes}
    got = qcc.load(folder / "groups")({**feed, **given})
    exact, total = 0, 0
    for name in codes:
        steps = np.abs(got[name].astype(int) - want[name].astype(int))
        if steps.max(initial=0) > 1 or np.mean(steps == 0) < EXACT:
            raise harness.Failure(f"{name}: {np.mean(steps == 0):.2%} of codes equal, the others up to {steps.max()} steps off")
        exact, total = exact + int((steps == 0).sum()), total + steps.size
    return f"{len(codes)} groups, {exact / total:.3%} of {total} codes equal, the others one step off"


def written(name: str, *target: str) -> str:
    """The written model, compiled and run by ONNX Runtime, gives what the artifact gives; each group is within a step."""
    model = int8.MODELS[name]
    with tempfile.TemporaryDirectory(prefix="qcc-written-") as scratch:
        folder = pathlib.Path(scratch)
        plain, low, samples = int8.build(name, folder, *target)
        path = harness.MODELS / model.path
        flags = ["--precision=int8", f"--calib={folder / 'calibration.npz'}", "-q", *target]
        harness.run(harness.QCC, path, "--emit=qdq-onnx", "-o", folder / "written.onnx", *flags)
        graph = onnx.load(folder / "written.onnx")
        onnx.checker.check_model(graph)
        harness.run(harness.QCC, folder / "written.onnx", "-o", folder / "again", "-q", *target)
        again, peer = qcc.load(folder / "again"), session(graph)
        names = [value.name for value in peer.get_outputs()]
        given = peer.get_inputs()[0].name
        same, total, products, own = 0, 0, np.zeros(3), np.zeros(3)
        for sample in samples[:SAMPLES]:
            feed = {given: sample[None]}
            got, second, exact = low(feed), again(feed), plain(feed)
            want = dict(zip(names, peer.run(names, feed)))
            for output in names:
                scale = np.abs(got[output]).max()
                same += int((np.abs(got[output] - second[output]) <= 1e-5 * scale).sum())
                total += got[output].size
                a, b, c = (each[output].ravel().astype(np.float64) for each in (got, want, exact))
                products += [a @ b, a @ a, b @ b]
                own += [a @ c, a @ a, c @ c]
        # Codes that ONNX Runtime rounds to the other side move what follows, by less than int8 itself does.
        if same < SAME * total or int8.cosine(products) < min(0.999, int8.cosine(own)):
            raise harness.Failure(f"{same / total:.3%} of elements as in the artifact, cosine with ONNX Runtime {int8.cosine(products):.5f}")
        said = groups(graph, onnx.load(path), {given: samples[:1]}, folder)
        count = sum(node.op_type == "QuantizeLinear" for node in graph.graph.node)
    return f"{count} tensors as codes, {same / total:.3%} as in the artifact, cosine with ONNX Runtime {int8.cosine(products):.6f}; {said}"


def refused() -> str:
    """Without scales there is nothing to write."""
    done = harness.run(harness.QCC, harness.MODELS / int8.MODELS["mnist-8"].path, "--emit=qdq-onnx", "-o", "/dev/null", check=False)
    if done.returncode != 2 or "--calib" not in done.stderr:
        raise harness.Failure(f"expected exit code 2 and a word on --calib, but got {done.returncode}: {done.stderr}")
    return "exit code 2 without --calib"


def all_written() -> list:
    """The cases of this file."""
    cases = [(f"written/{name}", functools.partial(written, name)) for name in int8.MODELS] + [("written/refused", refused)]
    # Here scales of rows would take layers into floats that do without in the written model.
    return cases + [("written/swift-f0-avx2", functools.partial(written, "swift-f0", "--target=avx2"))]
