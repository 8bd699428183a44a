# The layers of the demo's models: forward, backward and how each is written as ONNX, in numpy.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A layer keeps what its backward pass needs from the last forward pass, so it is used once per step.

`params` and `grads` map the layer's own parameter names to arrays of equal shape; `children` are the layers inside it.
`export` adds the layer's nodes to a graph in the form that PyTorch's exporter writes and returns its output's name.
"""

from __future__ import annotations

import numpy as np
from graph import Graph
from scipy.special import erf


class Layer:
    """A function of one array with parameters."""

    def __init__(self, **params: np.ndarray):
        self.params = {name: value.astype(np.float32) for name, value in params.items()}
        self.grads: dict[str, np.ndarray] = {}
        self.children: list[Layer] = []

    def forward(self, x: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def backward(self, dy: np.ndarray) -> np.ndarray:
        """The gradient with respect to the input; fills `grads`."""
        raise NotImplementedError

    def export(self, graph: Graph, path: str, x: str) -> str:
        raise NotImplementedError

    def walk(self):
        """This layer and all inside it."""
        yield self
        for child in self.children:
            yield from child.walk()


class Sequential(Layer):
    """Layers one after another, named by position in an export."""

    def __init__(self, *layers: Layer):
        super().__init__()
        self.children = list(layers)

    def forward(self, x):
        for layer in self.children:
            x = layer.forward(x)
        return x

    def backward(self, dy):
        for layer in reversed(self.children):
            dy = layer.backward(dy)
        return dy

    def export(self, graph, path, x):
        for position, layer in enumerate(self.children):
            x = layer.export(graph, f"{path}.{position}", x)
        return x


class Residual(Sequential):
    """x + layers(x)."""

    def forward(self, x):
        return x + super().forward(x)

    def backward(self, dy):
        return dy + super().backward(dy)

    def export(self, graph, path, x):
        return graph.node("Add", [x, super().export(graph, path, x)], f"{path}/Add")


class Linear(Layer):
    """x W + b over the last axis. On a matrix it is exported as Gemm, on more axes as MatMul and Add."""

    def __init__(self, rng: np.random.Generator, size_in: int, size_out: int, rank: int = 3):
        scale = np.sqrt(2 / (size_in + size_out))
        super().__init__(weight=rng.normal(0, scale, (size_in, size_out)), bias=np.zeros(size_out))
        self.rank = rank

    def forward(self, x):
        self.x = x
        return x @ self.params["weight"] + self.params["bias"]

    def backward(self, dy):
        rows_x = self.x.reshape(-1, self.x.shape[-1])
        rows_dy = dy.reshape(-1, dy.shape[-1])
        self.grads = {"weight": rows_x.T @ rows_dy, "bias": rows_dy.sum(0)}
        return dy @ self.params["weight"].T

    def export(self, graph, path, x):
        bias = graph.initializer(f"{path}.bias", self.params["bias"])
        if self.rank == 2:
            weight = graph.initializer(f"{path}.weight", self.params["weight"].T)
            return graph.node("Gemm", [x, weight, bias], f"{path}/Gemm", transB=1)
        weight = graph.initializer(f"{path}.weight", self.params["weight"])
        product = graph.node("MatMul", [x, weight], f"{path}/MatMul")
        return graph.node("Add", [bias, product], f"{path}/Add")


class Relu(Layer):
    def forward(self, x):
        self.positive = x > 0
        return x * self.positive

    def backward(self, dy):
        return dy * self.positive

    def export(self, graph, path, x):
        return graph.node("Relu", [x], f"{path}/Relu")


class Gelu(Layer):
    """x Phi(x) by the error function, as torch.nn.GELU has it by default."""

    def forward(self, x):
        self.x, self.cdf = x, 0.5 * (1 + erf(x / np.sqrt(2)))
        return (x * self.cdf).astype(np.float32)

    def backward(self, dy):
        density = np.exp(-0.5 * self.x**2) / np.sqrt(2 * np.pi)
        return (dy * (self.cdf + self.x * density)).astype(np.float32)

    def export(self, graph, path, x):
        scaled = graph.node("Div", [x, graph.scalar(np.sqrt(2))], f"{path}/Div")
        curve = graph.node("Erf", [scaled], f"{path}/Erf")
        raised = graph.node("Add", [curve, graph.scalar(1)], f"{path}/Add")
        product = graph.node("Mul", [x, raised], f"{path}/Mul")
        return graph.node("Mul", [product, graph.scalar(0.5)], f"{path}/Mul_1")


class LayerNorm(Layer):
    """Normalisation over the last axis with scale and shift."""

    epsilon = 1e-5

    def __init__(self, size: int):
        super().__init__(weight=np.ones(size), bias=np.zeros(size))

    def forward(self, x):
        centred = x - x.mean(-1, keepdims=True)
        self.inverse = 1 / np.sqrt((centred**2).mean(-1, keepdims=True) + self.epsilon)
        self.normal = centred * self.inverse
        return self.normal * self.params["weight"] + self.params["bias"]

    def backward(self, dy):
        axes = tuple(range(dy.ndim - 1))
        self.grads = {"weight": (dy * self.normal).sum(axes), "bias": dy.sum(axes)}
        d = dy * self.params["weight"]
        mean, along = d.mean(-1, keepdims=True), (d * self.normal).mean(-1, keepdims=True)
        return (d - mean - self.normal * along) * self.inverse

    def export(self, graph, path, x):
        scale = graph.initializer(f"{path}.weight", self.params["weight"])
        shift = graph.initializer(f"{path}.bias", self.params["bias"])
        return graph.node("LayerNormalization", [x, scale, shift], f"{path}/LayerNormalization", axis=-1, epsilon=self.epsilon)


class Position(Layer):
    """Adds a learned vector to each token."""

    def __init__(self, rng: np.random.Generator, tokens: int, size: int):
        super().__init__(table=rng.normal(0, 0.02, (1, tokens, size)))

    def forward(self, x):
        return x + self.params["table"]

    def backward(self, dy):
        self.grads = {"table": dy.sum(0, keepdims=True)}
        return dy

    def export(self, graph, path, x):
        return graph.node("Add", [x, graph.initializer(f"{path}.table", self.params["table"])], f"{path}/Add")


class Attention(Layer):
    """Multi-head self-attention over [batch, tokens, size]."""

    def __init__(self, rng: np.random.Generator, tokens: int, size: int, heads: int):
        super().__init__()
        self.tokens, self.size, self.heads = tokens, size, heads
        self.query, self.key, self.value, self.out = self.children = [Linear(rng, size, size) for _ in range(4)]
        self.scale = np.float32(1 / np.sqrt(size // heads))

    def split(self, x):
        return x.reshape(len(x), self.tokens, self.heads, -1).transpose(0, 2, 1, 3)

    def join(self, x):
        return x.transpose(0, 2, 1, 3).reshape(len(x), self.tokens, self.size)

    def forward(self, x):
        self.q, self.k, self.v = (self.split(layer.forward(x)) for layer in (self.query, self.key, self.value))
        scores = self.q @ self.k.swapaxes(-1, -2) * self.scale
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        self.weights = weights / weights.sum(-1, keepdims=True)
        return self.out.forward(self.join(self.weights @ self.v))

    def backward(self, dy):
        dy = self.split(self.out.backward(dy))
        dv, dweights = self.weights.swapaxes(-1, -2) @ dy, dy @ self.v.swapaxes(-1, -2)
        dscores = self.weights * (dweights - (dweights * self.weights).sum(-1, keepdims=True)) * self.scale
        dq, dk = dscores @ self.k, dscores.swapaxes(-1, -2) @ self.q
        return sum(layer.backward(self.join(d)) for layer, d in ((self.query, dq), (self.key, dk), (self.value, dv)))

    def export(self, graph, path, x):
        split = graph.initializer(f"{path}.split", np.array([0, self.tokens, self.heads, self.size // self.heads]))
        joined = graph.initializer(f"{path}.joined", np.array([0, self.tokens, self.size]))
        parts = []
        for name, perm in (("query", [0, 2, 1, 3]), ("key", [0, 2, 3, 1]), ("value", [0, 2, 1, 3])):
            part = getattr(self, name).export(graph, f"{path}.{name}", x)
            part = graph.node("Reshape", [part, split], f"{path}/{name}/Reshape")
            parts.append(graph.node("Transpose", [part], f"{path}/{name}/Transpose", perm=perm))
        scores = graph.node("MatMul", parts[:2], f"{path}/MatMul")
        scores = graph.node("Mul", [scores, graph.scalar(self.scale)], f"{path}/Mul")
        weights = graph.node("Softmax", [scores], f"{path}/Softmax", axis=-1)
        mixed = graph.node("MatMul", [weights, parts[2]], f"{path}/MatMul_1")
        mixed = graph.node("Transpose", [mixed], f"{path}/Transpose", perm=[0, 2, 1, 3])
        mixed = graph.node("Reshape", [mixed, joined], f"{path}/Reshape")
        return self.out.export(graph, f"{path}.out", mixed)


class MeanTokens(Layer):
    """The mean over the tokens of [batch, tokens, size]."""

    def forward(self, x):
        self.tokens = x.shape[1]
        return x.mean(1)

    def backward(self, dy):
        return np.repeat(dy[:, None] / self.tokens, self.tokens, 1)

    def export(self, graph, path, x):
        return graph.node("ReduceMean", [x], f"{path}/ReduceMean", axes=[1], keepdims=0)


class Conv3x3(Layer):
    """A 3x3 convolution with one pixel of zeros around, NCHW."""

    def __init__(self, rng: np.random.Generator, channels_in: int, channels_out: int):
        scale = np.sqrt(2 / (9 * channels_in))
        super().__init__(weight=rng.normal(0, scale, (channels_out, channels_in, 3, 3)), bias=np.zeros(channels_out))

    def forward(self, x):
        n, c, h, w = self.shape = x.shape
        padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))
        self.columns = windows.transpose(0, 2, 3, 1, 4, 5).reshape(n * h * w, c * 9)
        y = self.columns @ self.params["weight"].reshape(-1, c * 9).T + self.params["bias"]
        return y.reshape(n, h, w, -1).transpose(0, 3, 1, 2)

    def backward(self, dy):
        n, c, h, w = self.shape
        rows = dy.transpose(0, 2, 3, 1).reshape(n * h * w, -1)
        weight = self.params["weight"]
        self.grads = {"weight": (rows.T @ self.columns).reshape(weight.shape), "bias": rows.sum(0)}
        columns = (rows @ weight.reshape(len(weight), -1)).reshape(n, h, w, c, 3, 3)
        dx = np.zeros((n, c, h + 2, w + 2), np.float32)
        for i in range(3):
            for j in range(3):
                dx[:, :, i : i + h, j : j + w] += columns[..., i, j].transpose(0, 3, 1, 2)
        return dx[:, :, 1:-1, 1:-1]

    def export(self, graph, path, x):
        weight = graph.initializer(f"{path}.weight", self.params["weight"])
        bias = graph.initializer(f"{path}.bias", self.params["bias"])
        return graph.node("Conv", [x, weight, bias], f"{path}/Conv", kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 1])


class MaxPool2x2(Layer):
    """The largest of each 2x2 block, NCHW with even height and width."""

    def forward(self, x):
        n, c, h, w = self.shape = x.shape
        blocks = x.reshape(n, c, h // 2, 2, w // 2, 2).transpose(0, 1, 2, 4, 3, 5).reshape(n, c, h // 2, w // 2, 4)
        self.chosen = blocks.argmax(-1)[..., None]
        return np.take_along_axis(blocks, self.chosen, -1)[..., 0]

    def backward(self, dy):
        n, c, h, w = self.shape
        blocks = np.zeros((*dy.shape, 4), np.float32)
        np.put_along_axis(blocks, self.chosen, dy[..., None], -1)
        return blocks.reshape(n, c, h // 2, w // 2, 2, 2).transpose(0, 1, 2, 4, 3, 5).reshape(n, c, h, w)

    def export(self, graph, path, x):
        return graph.node("MaxPool", [x], f"{path}/MaxPool", kernel_shape=[2, 2], strides=[2, 2])


class Flatten(Layer):
    def forward(self, x):
        self.shape = x.shape
        return x.reshape(len(x), -1)

    def backward(self, dy):
        return dy.reshape(self.shape)

    def export(self, graph, path, x):
        return graph.node("Flatten", [x], f"{path}/Flatten", axis=1)
