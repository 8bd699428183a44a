# The models of the end-to-end suite: where each comes from, what it is run on, in which forms it is compiled.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

from __future__ import annotations

import dataclasses
import pathlib
import sys
from collections.abc import Callable

import data
import harness
import numpy as np
import onnx
from onnx import numpy_helper

sys.path.insert(0, str(harness.SOURCE / "test" / "Models"))
import make_graphs

Inputs = dict[str, np.ndarray]


@dataclasses.dataclass
class Case:
    """A model, compiled once per entry of `forms` and run on each of that form's inputs."""

    name: str
    # Writes the model to a path, or names where it lies below the folder of shared models.
    source: str | Callable[[pathlib.Path], None]
    # A name of the form, the flags of the compiler, and what the compiled model is run on.
    forms: list[tuple[str, list[str], list[Inputs]]]
    # Makes the model that ONNX Runtime runs from the one that is compiled, where that one has nodes it does not know.
    known: Callable[[pathlib.Path], onnx.ModelProto] | None = None


def token_inputs(batch: int, mask: bool) -> Inputs:
    """Token ids for the BERT-shaped graph, the second half of each row masked where there is a mask."""
    inputs = {"input_ids": np.random.default_rng(batch).integers(0, 30522, (batch, 128))}
    if mask:
        inputs["attention_mask"] = np.tile((np.arange(128) < 64).astype(np.int64), (batch, 1))
    return inputs


def squeezenet_body(path: pathlib.Path) -> None:
    """The fp32 SqueezeNet up to its class scores: what follows makes strings and a map of the classes."""
    model = onnx.load(harness.MODELS / "vision" / "imagenet" / "squeezenet_tensor_input.onnx")
    graph = model.graph
    end = next(i for i, node in enumerate(graph.node) if node.output[0] == "loss1")
    del graph.node[end + 1 :], graph.output[:]
    graph.output.append(onnx.helper.make_tensor_value_info("loss1", onnx.TensorProto.FLOAT, None))
    onnx.save(model, path)


def squeezenet_float(path: pathlib.Path) -> None:
    """The fp16 SqueezeNet 1.0 with its weights, input and output as fp32, and a symbolic batch."""
    model = onnx.load(harness.MODELS / "vision" / "imagenet" / "SqueezeNet_fp16.onnx")
    graph = model.graph
    for weight in graph.initializer:
        weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight).astype(np.float32), weight.name))
    for value in [*graph.input, *graph.output, *graph.value_info]:
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    del graph.value_info[:]
    symbolic_batch(model)
    onnx.save(model, path)


def symbolic_batch(model: onnx.ModelProto) -> None:
    """Makes the first dimension of every input that is no weight, and of every output, the symbol `batch`."""
    weights = {weight.name for weight in model.graph.initializer}
    for value in [*model.graph.input, *model.graph.output]:
        if value.name not in weights:
            value.type.tensor_type.shape.dim[0].dim_param = "batch"


def cifar_batched(path: pathlib.Path) -> None:
    """The CIFAR network with a symbolic batch."""
    model = onnx.load(harness.MODELS / "vision" / "cifar10" / "samplenet.onnx")
    symbolic_batch(model)
    onnx.save(model, path)


def generated(kind: str, **options) -> Callable[[pathlib.Path], None]:
    """Writes a graph of test/Models/make_graphs.py."""
    return lambda path: make_graphs.make(kind, path, **options)


def meshnet(path: pathlib.Path) -> None:
    """MeshNet with its volume of 256 x 256 x 256 as symbols: it is convolutions only."""
    model = onnx.load(harness.MODELS / "vision" / "meshnet" / "model.onnx")
    for value in [*model.graph.input, *model.graph.output]:
        for dim, name in zip(value.type.tensor_type.shape.dim[2:], ("depth", "height", "width")):
            dim.dim_param = name
    del model.graph.value_info[:]
    onnx.save(model, path)


def without_quant(path: pathlib.Path) -> onnx.ModelProto:
    """A model whose `Quant` nodes (qonnx; signed, not narrow, ROUND) are spelled out: (clip(round(x / s + z)) - z) s."""
    model = onnx.load(path)
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        if node.op_type != "Quant":
            nodes.append(node)
            continue
        attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
        if attributes.get("rounding_mode", b"ROUND") != b"ROUND":
            raise harness.Failure(f"expected the rounding mode ROUND, but got {attributes['rounding_mode']}")
        x, scale, zero, bits = node.input
        bits, name = float(weights[bits]), node.output[0]
        signed, narrow = attributes.get("signed", 1), attributes.get("narrow", 0)
        high = 2 ** (bits - 1) - 1 if signed else 2**bits - 1 - narrow
        low = -(2 ** (bits - 1)) + narrow if signed else 0
        for key, bound in (("low", low), ("high", high)):
            model.graph.initializer.append(numpy_helper.from_array(np.array(bound, np.float32), f"{name}.{key}"))
        steps = [("Div", [x, scale]), ("Add", ["", zero]), ("Round", [""]), ("Clip", ["", f"{name}.low", f"{name}.high"]),
                 ("Sub", ["", zero]), ("Mul", ["", scale])]  # fmt: skip
        value = ""
        for i, (op, inputs) in enumerate(steps):
            inputs = [item or value for item in inputs]
            value = name if i == len(steps) - 1 else f"{name}.{i}"
            nodes.append(onnx.helper.make_node(op, inputs, [value]))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def vision(name: str, path: str, key: str, image: np.ndarray) -> Case:
    """A model of one image input with static sizes."""
    return Case(name, f"vision/{path}", [("fixed", [], [{key: image}])])


def all_cases() -> list[Case]:
    """Every model of the suite, large ones first: they run beside the small ones."""
    cifar = data.cifar(5)
    squeeze = [{"data_0": data.photos(n, 3, 224, 224, -120, 130)} for n in (1, 2)]
    yunet = [{"input": data.photos(1, 3, h, w)} for h, w in ((320, 320), (224, 320))]
    superres = [{"input": data.photos(n, 1, 224, 224, high=1)} for n in (1, 2)]
    resnet = [{"image": data.photos(n, 3, 224, 224, -2, 2)} for n in (1, 2)]
    digit = data.mnist(2)
    faces = data.photos(1, 3, 240, 320, -1, 1)
    volumes = [{"input": data.images(1, 1, depth, 48, 40)} for depth in (32, 24)]
    mel = data.log_mel(data.speech("fsmn-vad/vad_example.wav", 70000, 80000), 80)
    stacked = data.frames(((mel - mel.mean(0)) / mel.std(0)).reshape(-1), 400, 80).astype(np.float32)[None]
    keyword = data.log_mel(data.speech("jfk.wav", 8000, 16000), 10)[:98:2].T[None, None]
    return [
        Case("bert-base", generated("bert"), [("fixed", ["--dim=batch=1"], [token_inputs(1, False)])]),
        Case("bert-base-masked", generated("bert", mask=True),
             [("dynamic", [], [token_inputs(1, True), token_inputs(3, True)])]),
        Case("resnet50", generated("resnet50"), [("fixed", ["--dim=batch=1"], resnet[:1]), ("dynamic", [], resnet)]),
        Case("style-candy", "vision/style/candy.onnx", [("dynamic", [], [{"inputImage": data.photos(1, 3, 720, 720)}])]),
        Case("superresolution", "vision/superres/pytorch_super_resolution.onnx",
             [("dynamic", [], superres), ("fixed", ["--dim=batch_size=1"], superres[:1])]),
        vision("fastestdet", "fastestdet/FastestDet.onnx", "input.1", data.photos(1, 3, 352, 352, high=1)),
        vision("ultraface-rfb", "ultraface/version-RFB-320.onnx", "input", faces),
        vision("ultraface-slim", "ultraface/version-slim-320.onnx", "input", faces),
        vision("yunet", "yunet/yunet_n_320_320.onnx", "input", yunet[0]["input"]),
        Case("yunet-dynamic", "vision/yunet/yunet_n_dynamic.onnx", [("dynamic", [], yunet)]),
        Case("squeezenet", squeezenet_float, [("dynamic", [], squeeze), ("fixed", ["--dim=batch=1"], squeeze[:1])]),
        vision("squeezenet-fp16", "imagenet/SqueezeNet_fp16.onnx", "data_0", squeeze[0]["data_0"].astype(np.float16)),
        Case("squeezenet-classes", squeezenet_body,
             [("dynamic", [], [{"data": data.photos(n, 3, 227, 227)} for n in (1, 2)])]),
        Case("meshnet", meshnet, [("dynamic", [], volumes)]),
        vision("compact-transformer", "deeploy/CCT_FP32_CCT_2_32_32_128_Opset20/network.onnx", "input", cifar[:1]),
        Case("fsmn-vad", "audio/fsmn-vad/fsmnvad-offline.onnx",
             [("dynamic", [], [{"speech": stacked[:, :n]} for n in (200, 1, 37)])]),
        Case("keyword-mlp", "audio/gscv2/kwsmlp_w3a3.onnx", [("fixed", [], [{"inp.1": keyword}])], without_quant),
        Case("mnist-8", "vision/mnist/mnist-8.onnx",
             [("fixed", [], [{"Input3": digit[:1]}]), ("avx2", ["--target=avx2"], [{"Input3": digit[1:]}]),
              ("reference", ["--target=reference"], [{"Input3": digit[:1]}])]),
        Case("mnist-cntk", "vision/mnist/mnist-cntk.onnx", [("fixed", [], [{"Input3": digit[:1]}])]),
        Case("mnist-burn", "vision/mnist/burn-mnist.onnx", [("fixed", [], [{"input.1": digit[:1] / 255}])]),
        Case("mnist-external", "external-data/mnist-external/mnist.onnx", [("fixed", [], [{"input": digit[:1] / 255}])]),
        Case("cifar", "vision/cifar10/samplenet.onnx",
             [("fixed", [], [{"data": cifar[:1]}]), ("reference", ["--target=reference"], [{"data": cifar[:1]}])]),
        Case("cifar-batched", cifar_batched, [("dynamic", [], [{"data": cifar[:n]} for n in (1, 5)])]),
        Case("mlp", generated("mlp"), [("dynamic", [], [{"image": data.images(n, 1, 256)[:, 0]} for n in (1, 4, 33)])]),
        Case("attention", generated("attention"),
             [("dynamic", [], [{"x": data.images(n, 32, 64, low=-1)} for n in (1, 3)])]),
        Case("recurrent-cell", generated("cell"),
             [("dynamic", [], [{"x": data.images(2, 1, 16)[:, 0], "h": data.images(2, 1, 32)[:, 0]}])]),
        Case("swift-f0", "audio/swift-f0/model.onnx",
             [("dynamic", [], [{"input_audio": data.speech("jfk.wav", 16000, n)[None]} for n in (16000, 4096)])]),
        Case("byte-lstm", "nlp/byte_sb_bidi_lstm/model.onnx",
             [("dynamic", [], [{"input": data.text(*shape)} for shape in ((2, 58), (1, 1), (3, 300))])]),
    ]  # fmt: skip
