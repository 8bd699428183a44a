# Decoders of random weights in the form that ONNX Runtime's model builder gives them.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
from __future__ import annotations

import dataclasses
import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


@dataclasses.dataclass
class Decoder:
    """Blocks of Llama: GroupQueryAttention, MatMulNBits of 4 bits (accuracy_level 4), SkipSimplifiedLayerNormalization."""

    layers: int = 2
    hidden: int = 128
    heads: int = 4
    groups: int = 2
    inner: int = 384
    vocabulary: int = 512
    block: int = 32
    positions: int = 2048
    attributes: dict = dataclasses.field(default_factory=dict)  # of the attentions

    @property
    def width(self) -> int:
        return self.hidden // self.heads

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(0)
        self._nodes: list = []
        self._tensors: list = []

    def _tensor(self, name: str, values: np.ndarray) -> str:
        self._tensors.append(numpy_helper.from_array(values, name))
        return name

    def _node(self, op: str, inputs: str, outputs: str, name: str = "", domain: str = "com.microsoft", **attributes) -> None:
        self._nodes.append(helper.make_node(op, inputs.split(","), outputs.split(","), name or outputs, domain=domain, **attributes))

    def _product(self, source: str, name: str, rows: int, columns: int) -> str:
        """A product with random codes whose results are about as large as its inputs."""
        groups = rows // self.block
        codes = self._rng.integers(0, 256, (columns, groups, self.block // 2), dtype=np.uint8)
        scales = (self._rng.uniform(0.5, 1.5, (columns, groups)) / (4.6 * np.sqrt(rows))).astype(np.float32)
        inputs = f"{source},{self._tensor(name + '.codes', codes)},{self._tensor(name + '.scales', scales)}"
        self._node("MatMulNBits", inputs, name, K=rows, N=columns, bits=4, block_size=self.block, accuracy_level=4)
        return name

    def _gain(self, name: str) -> str:
        return self._tensor(name, self._rng.uniform(0.5, 1.5, self.hidden).astype(np.float32))

    def _lengths(self) -> None:
        """As the builder finds them from the mask of attention."""
        plain = {"domain": ""}
        self._node("ReduceSum", f"attention_mask,{self._tensor('one', np.array([1], np.int64))}", "lengths", **plain)
        self._node("Sub", "lengths,one", "ends", **plain)
        self._node("Cast", "ends", "seqlens_k", to=TensorProto.INT32, **plain)
        self._node("Shape", "attention_mask", "mask_shape", **plain)
        self._node("Gather", f"mask_shape,{self._tensor('second', np.array(1, np.int64))}", "length", axis=0, **plain)
        self._node("Cast", "length", "total_sequence_length", to=TensorProto.INT32, **plain)

    def _attention(self, i: int, source: str) -> str:
        wide = (self.heads + 2 * self.groups) * self.width
        packed = self._product(source, f"l{i}.qkv", self.hidden, wide)
        inputs = f"{packed},,,past_key_values.{i}.key,past_key_values.{i}.value,seqlens_k,total_sequence_length,cos_cache,sin_cache"
        self._node("GroupQueryAttention", inputs, f"l{i}.attention,present.{i}.key,present.{i}.value", f"l{i}.attention",
                   num_heads=self.heads, kv_num_heads=self.groups, do_rotary=1, **self.attributes)  # fmt: skip
        return self._product(f"l{i}.attention", f"l{i}.out", self.hidden, self.hidden)

    def _feed_forward(self, i: int, source: str) -> str:
        gate = self._product(source, f"l{i}.gate", self.hidden, self.inner)
        up = self._product(source, f"l{i}.up", self.hidden, self.inner)
        self._node("Sigmoid", gate, f"l{i}.sigmoid", domain="")
        self._node("Mul", f"{gate},l{i}.sigmoid", f"l{i}.silu", domain="")
        self._node("Mul", f"l{i}.silu,{up}", f"l{i}.inner", domain="")
        return self._product(f"l{i}.inner", f"l{i}.down", self.inner, self.hidden)

    def _skip(self, source: str, addend: str, name: str) -> tuple[str, str]:
        """The normalised sum, and the sum."""
        inputs = f"{source},{addend},{self._gain(name + '.gain')}"
        self._node("SkipSimplifiedLayerNormalization", inputs, f"{name},,,{name}.sum", name, epsilon=1e-6)
        return name, f"{name}.sum"

    def save(self, path: pathlib.Path) -> pathlib.Path:
        self._lengths()
        angles = np.outer(np.arange(self.positions), 1e4 ** (-np.arange(self.width // 2) / (self.width // 2)))
        self._tensor("cos_cache", np.cos(angles).astype(np.float32))
        self._tensor("sin_cache", np.sin(angles).astype(np.float32))
        table = self._rng.standard_normal((self.vocabulary, self.hidden)).astype(np.float32)
        self._node("Gather", f"{self._tensor('table', table)},input_ids", "x", domain="")
        self._node("SimplifiedLayerNormalization", f"x,{self._gain('first.gain')}", "first", domain="", epsilon=1e-6, axis=-1)
        normal, total = "first", "x"
        for i in range(self.layers):
            normal, total = self._skip(total, self._attention(i, normal), f"l{i}.middle")
            normal, total = self._skip(total, self._feed_forward(i, normal), f"l{i}.last")
        self._product(normal, "logits", self.hidden, self.vocabulary)
        cache = lambda name, length: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch_size", self.groups, length, self.width])
        names = [f"{i}.{kind}" for i in range(self.layers) for kind in ("key", "value")]
        inputs = [
            helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch_size", "sequence_length"]),
            helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["batch_size", "total_sequence_length"]),
            *(cache(f"past_key_values.{name}", "past_sequence_length") for name in names),
        ]
        logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch_size", "sequence_length", self.vocabulary])
        outputs = [logits, *(cache(f"present.{name}", "total_sequence_length") for name in names)]
        graph = helper.make_graph(self._nodes, "decoder", inputs, outputs, self._tensors)
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
        return path

    def feeds(self, ids: np.ndarray, past: dict[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
        """Inputs of tokens [B, S] behind a past, by name; none of these is padding."""
        batch, count = ids.shape
        if past is None:
            past = {name: np.zeros((batch, self.groups, 0, self.width), np.float32) for name in self.caches()}
        length = next(iter(past.values())).shape[2] + count
        return {"input_ids": ids.astype(np.int64), "attention_mask": np.ones((batch, length), np.int64), **past}

    def caches(self) -> list[str]:
        return [f"past_key_values.{i}.{kind}" for i in range(self.layers) for kind in ("key", "value")]
