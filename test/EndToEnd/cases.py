# The models of the end-to-end suite: where each comes from, what it is run on, in which forms it is compiled.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

from __future__ import annotations

import dataclasses
import gzip
import pathlib
import sys
from collections.abc import Callable

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


def images(*shape: int, low: float = 0, high: float = 1, seed: int = 0) -> np.ndarray:
    """Random images that are smooth as photographs are: noise at an eighth of the size, enlarged, with some grain."""
    rng = np.random.default_rng(seed)
    *outer, height, width = shape
    coarse = rng.random((*outer, -(-height // 8), -(-width // 8)), np.float32)
    smooth = coarse.repeat(8, -1).repeat(8, -2)[..., :height, :width]
    return (low + (high - low) * (0.9 * smooth + 0.1 * rng.random(shape, np.float32))).astype(np.float32)


def mnist(count: int) -> np.ndarray:
    """The first test digits [count, 1, 28, 28], 0 to 255; random images when the data is not there."""
    path = harness.SHARED / "eval" / "mnist" / "t10k-images-idx3-ubyte.gz"
    if not path.exists():
        return images(count, 1, 28, 28, high=255)
    pixels = np.frombuffer(gzip.open(path).read(), np.uint8, offset=16)
    return pixels.reshape(-1, 1, 28, 28)[:count].astype(np.float32)


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


def vision(name: str, path: str, key: str, shape: tuple[int, ...], **form) -> Case:
    """A model of one image input with static sizes."""
    return Case(name, f"vision/{path}", [("fixed", [], [{key: images(*shape, **form)}])])


def all_cases() -> list[Case]:
    """Every model of the suite, large ones first: they run beside the small ones."""
    cifar = {"data": images(1, 3, 32, 32, low=-1)}
    squeeze = [{"data_0": images(n, 3, 224, 224, low=-120, high=130)} for n in (1, 2)]
    yunet = [{"input": images(1, 3, h, w, high=255)} for h, w in ((320, 320), (224, 320))]
    superres = [{"input": images(n, 1, 224, 224)} for n in (1, 2)]
    resnet = [{"image": images(n, 3, 224, 224, low=-2, high=2)} for n in (1, 2)]
    digit = mnist(2)
    return [
        Case("bert-base", generated("bert"), [("fixed", ["--dim=batch=1"], [token_inputs(1, False)])]),
        Case("bert-base-masked", generated("bert", mask=True),
             [("dynamic", [], [token_inputs(1, True), token_inputs(3, True)])]),
        Case("resnet50", generated("resnet50"), [("fixed", ["--dim=batch=1"], resnet[:1]), ("dynamic", [], resnet)]),
        Case("style-candy", "vision/style/candy.onnx",
             [("dynamic", [], [{"inputImage": images(1, 3, 720, 720, high=255)}])]),
        Case("superresolution", "vision/superres/pytorch_super_resolution.onnx",
             [("dynamic", [], superres), ("fixed", ["--dim=batch_size=1"], superres[:1])]),
        vision("fastestdet", "fastestdet/FastestDet.onnx", "input.1", (1, 3, 352, 352)),
        vision("ultraface-rfb", "ultraface/version-RFB-320.onnx", "input", (1, 3, 240, 320), low=-1),
        vision("ultraface-slim", "ultraface/version-slim-320.onnx", "input", (1, 3, 240, 320), low=-1),
        vision("yunet", "yunet/yunet_n_320_320.onnx", "input", (1, 3, 320, 320), high=255),
        Case("yunet-dynamic", "vision/yunet/yunet_n_dynamic.onnx", [("dynamic", [], yunet)]),
        Case("squeezenet", squeezenet_float, [("dynamic", [], squeeze), ("fixed", ["--dim=batch=1"], squeeze[:1])]),
        Case("squeezenet-classes", squeezenet_body,
             [("dynamic", [], [{"data": images(n, 3, 227, 227, high=255)} for n in (1, 2)])]),
        Case("mnist-8", "vision/mnist/mnist-8.onnx",
             [("fixed", [], [{"Input3": digit[:1]}]), ("avx2", ["--target=avx2"], [{"Input3": digit[1:]}]),
              ("reference", ["--target=reference"], [{"Input3": digit[:1]}])]),
        Case("mnist-cntk", "vision/mnist/mnist-cntk.onnx", [("fixed", [], [{"Input3": digit[:1]}])]),
        Case("mnist-burn", "vision/mnist/burn-mnist.onnx", [("fixed", [], [{"input.1": digit[:1] / 255}])]),
        Case("mnist-external", "external-data/mnist-external/mnist.onnx", [("fixed", [], [{"input": digit[:1] / 255}])]),
        Case("cifar", "vision/cifar10/samplenet.onnx",
             [("fixed", [], [cifar]), ("reference", ["--target=reference"], [cifar])]),
        Case("cifar-batched", cifar_batched,
             [("dynamic", [], [{"data": images(n, 3, 32, 32, low=-1)} for n in (1, 5)])]),
        Case("mlp", generated("mlp"), [("dynamic", [], [{"image": images(n, 1, 256)[:, 0]} for n in (1, 4, 33)])]),
        Case("attention", generated("attention"), [("dynamic", [], [{"x": images(n, 32, 64, low=-1)} for n in (1, 3)])]),
        Case("recurrent-cell", generated("cell"),
             [("dynamic", [], [{"x": images(2, 1, 16)[:, 0], "h": images(2, 1, 32)[:, 0]}])]),
    ]  # fmt: skip
