#!/usr/bin/env python3
# Trains the demo's models on scikit-learn's digits and writes them as ONNX with their data; about a minute on 2 cores.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""usage: train.py FOLDER

Writes for each model (mlp, cnn, transformer), unless the same scripts have done so before:
  MODEL.onnx        float32, dynamic batch: image -> logits
  MODEL_calib.npz   128 images for calibration
  MODEL_test.npz    500 images that neither training nor calibration saw
and labels.npy, the classes of the 500. Seeds are fixed.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import pathlib
import time

# More threads only wait for each other on matrices this small; to be said before numpy is loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import layers
import numpy as np
import onnx
from graph import Graph
from sklearn.datasets import load_digits

TEST, CALIBRATION = 500, 128


def mlp(rng: np.random.Generator) -> layers.Layer:
    """Three layers on 64 pixels."""
    return layers.Sequential(
        layers.Linear(rng, 64, 128, rank=2), layers.Relu(),
        layers.Linear(rng, 128, 128, rank=2), layers.Relu(),
        layers.Linear(rng, 128, 10, rank=2),
    )  # fmt: skip


def cnn(rng: np.random.Generator) -> layers.Layer:
    """Three convolutions on 1x8x8, pooled in between, and a classifier."""
    return layers.Sequential(
        layers.Conv3x3(rng, 1, 16), layers.Relu(),
        layers.Conv3x3(rng, 16, 32), layers.Relu(), layers.MaxPool2x2(),
        layers.Conv3x3(rng, 32, 64), layers.Relu(), layers.MaxPool2x2(),
        layers.Flatten(), layers.Linear(rng, 256, 10, rank=2),
    )  # fmt: skip


def transformer(rng: np.random.Generator) -> layers.Layer:
    """Two blocks of pre-norm attention and MLP over the eight rows of an image as tokens."""
    tokens, size = 8, 64

    def block() -> list[layers.Layer]:
        return [
            layers.Residual(layers.LayerNorm(size), layers.Attention(rng, tokens, size, heads=4)),
            layers.Residual(
                layers.LayerNorm(size), layers.Linear(rng, size, 4 * size), layers.Gelu(), layers.Linear(rng, 4 * size, size)
            ),
        ]

    return layers.Sequential(
        layers.Linear(rng, 8, size), layers.Position(rng, tokens, size), *block(), *block(),
        layers.LayerNorm(size), layers.MeanTokens(), layers.Linear(rng, size, 10, rank=2),
    )  # fmt: skip


# Each model: how it is built, the shape of one image, passes over the data.
MODELS = {"mlp": (mlp, (64,), 60), "cnn": (cnn, (1, 8, 8), 20), "transformer": (transformer, (8, 8), 80)}


def load() -> tuple[np.ndarray, np.ndarray]:
    """The 1,797 digits in a fixed random order: images [N, 8, 8] from -1 to 1, and their classes."""
    digits = load_digits()
    order = np.random.default_rng(1).permutation(len(digits.target))
    return (digits.images[order] / 8 - 1).astype(np.float32), digits.target[order]


def shifted(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each image moved by at most one pixel in both directions: more to learn from than 1,169 images."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)), constant_values=-1)
    rows, columns = rng.integers(0, 3, (2, len(images), 1))
    index = np.arange(8)
    return padded[np.arange(len(images))[:, None, None], (rows + index)[:, :, None], (columns + index)[:, None, :]]


def loss_gradient(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The gradient of the mean cross-entropy."""
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    p[np.arange(len(labels)), labels] -= 1
    return p / len(labels)


class Adam:
    """Adam (Kingma and Ba, 2015) over the parameters of a model."""

    def __init__(self, model: layers.Layer, steps: int, rate: float = 3e-3):
        self.owners = [(layer, name) for layer in model.walk() for name in layer.params]
        self.moments = [[np.zeros_like(layer.params[name]) for _ in range(2)] for layer, name in self.owners]
        self.steps, self.rate, self.step = steps, rate, 0

    def update(self) -> None:
        """One step; the rate falls to zero along half a cosine."""
        self.step += 1
        rate = self.rate * 0.5 * (1 + np.cos(np.pi * self.step / self.steps))
        for (layer, name), (mean, square) in zip(self.owners, self.moments):
            gradient = layer.grads[name]
            mean += 0.1 * (gradient - mean)
            square += 0.001 * (gradient**2 - square)
            unbiased = mean / (1 - 0.9**self.step), square / (1 - 0.999**self.step)
            layer.params[name] -= (rate * unbiased[0] / (np.sqrt(unbiased[1]) + 1e-8)).astype(np.float32)


def train(name: str, images: np.ndarray, labels: np.ndarray) -> layers.Layer:
    """Trains one of MODELS."""
    build, shape, epochs = MODELS[name]
    rng = np.random.default_rng(7)
    model = build(rng)
    batch = 64
    steps = len(images) // batch
    adam = Adam(model, epochs * steps)
    for _ in range(epochs):
        order = rng.permutation(len(images))
        for step in range(steps):
            chosen = order[step * batch : (step + 1) * batch]
            x = shifted(images[chosen], rng).reshape(-1, *shape)
            model.backward(loss_gradient(model.forward(x), labels[chosen]))
            adam.update()
    return model


def export(name: str, model: layers.Layer) -> onnx.ModelProto:
    """The model as ONNX: image [batch, ...] -> logits [batch, 10]."""
    graph = Graph(name)
    image = graph.input("image", ["batch", *MODELS[name][1]])
    graph.output("logits", model.export(graph, name, image), ["batch", 10])
    return graph.model()


def source_hash() -> str:
    """What the models depend on: the scripts that make them."""
    here = pathlib.Path(__file__).resolve().parent
    return hashlib.sha256(b"".join((here / name).read_bytes() for name in ("train.py", "layers.py", "graph.py"))).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description="train the demo's models")
    parser.add_argument("folder", type=pathlib.Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    stamp = folder / "stamp"
    if stamp.exists() and stamp.read_text() == source_hash():
        return
    images, labels = load()
    test, calibration, rest = np.split(np.arange(len(images)), [TEST, TEST + CALIBRATION])
    np.save(folder / "labels.npy", labels[test].astype(np.int64))
    for name in MODELS:
        start = time.monotonic()
        model = train(name, images[rest], labels[rest])
        shape = MODELS[name][1]
        accuracy = (model.forward(images[test].reshape(-1, *shape)).argmax(1) == labels[test]).mean()
        onnx.save(export(name, model), folder / f"{name}.onnx")
        np.savez(folder / f"{name}_test.npz", image=images[test].reshape(-1, *shape))
        np.savez(folder / f"{name}_calib.npz", image=images[calibration].reshape(-1, *shape))
        print(f"trained {name} in {time.monotonic() - start:.0f} s: {accuracy:.1%} of {TEST} test images", flush=True)
    stamp.write_text(source_hash())


if __name__ == "__main__":
    main()
