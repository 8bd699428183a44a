#!/usr/bin/env python3
# Brings small trained Llama decoders to ONNX: checkpoints of llama2.c and of safetensors, with tokens of a text.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""usage: stories_to_onnx.py FOLDER OUTPUT [--text=FILE]... [--length=N]

FOLDER has either one checkpoint of llama2.c (*.bin with its seven numbers first, *tok*.bin beside it) or model.safetensors with
config.json and tokenizer.json. OUTPUT gets decoder.onnx (input_ids [batch, seq] to logits [batch, seq, vocabulary], no cache) and,
for the texts, tokens.npz: input_ids [rows, length], each row a piece of the text behind the token that begins a story.
"""

from __future__ import annotations

import argparse
import heapq
import json
import pathlib
import struct

import numpy as np
import onnx
import onnx.numpy_helper
from onnx import TensorProto, helper

BEGIN = 1  # begins a text, in both vocabularies


# --- checkpoints: weights by name, [out, in], rotary pairs half a head apart ---------------------------------------


def from_llama2c(path: pathlib.Path) -> tuple[dict, dict[str, np.ndarray]]:
    data = path.read_bytes()
    dim, inner, layers, heads, groups, vocabulary, length = struct.unpack("7i", data[:28])
    size, values, at = dim // heads, np.frombuffer(data, np.float32, offset=28), 0

    def take(*shape: int) -> np.ndarray:
        nonlocal at
        at += int(np.prod(shape))
        if at > values.size:
            raise SystemExit(f"{path}: expected at least {at} weights, but got {values.size}")
        return values[at - int(np.prod(shape)) : at].reshape(shape)

    def halves(weight: np.ndarray) -> np.ndarray:
        """Pairs that are neighbours become pairs half a head apart."""
        return weight.reshape(-1, size // 2, 2, dim).swapaxes(1, 2).reshape(weight.shape)

    tied = vocabulary > 0
    vocabulary = abs(vocabulary)
    named = {"embedding": take(vocabulary, dim)}
    for name, *shape in (("norm1", dim), ("q", heads * size, dim), ("k", groups * size, dim), ("v", groups * size, dim),
                         ("o", dim, heads * size), ("norm2", dim), ("gate", inner, dim), ("down", dim, inner),
                         ("up", inner, dim)):  # fmt: skip
        for i, weight in enumerate(take(layers, *shape)):
            named[f"{i}.{name}"] = halves(weight) if name in "qk" else weight
    named["norm"] = take(dim)
    take(length, size)  # angles
    named["head"] = named["embedding"] if tied else take(vocabulary, dim)
    return {"layers": layers, "heads": heads, "groups": groups, "epsilon": 1e-5, "base": 10000.0}, named


def from_safetensors(folder: pathlib.Path) -> tuple[dict, dict[str, np.ndarray]]:
    config = json.loads((folder / "config.json").read_text())
    data = (folder / "model.safetensors").read_bytes()
    start = 8 + struct.unpack("<Q", data[:8])[0]

    def get(entry: dict) -> np.ndarray:
        if entry["dtype"] != "F32":
            raise SystemExit(f"{folder}: expected weights of F32, but got {entry['dtype']}")
        first, last = entry["data_offsets"]
        return np.frombuffer(data[start + first : start + last], np.float32).reshape(entry["shape"])

    found = {name: get(entry) for name, entry in json.loads(data[8:start]).items() if name != "__metadata__"}
    names = {"norm1": "input_layernorm", "norm2": "post_attention_layernorm", **{n: f"self_attn.{n}_proj" for n in "qkvo"},
             **{n: f"mlp.{n}_proj" for n in ("gate", "up", "down")}}  # fmt: skip
    head = found["lm_head.weight"]
    named = {"embedding": found.get("model.embed_tokens.weight", head), "norm": found["model.norm.weight"], "head": head}
    for i in range(config["num_hidden_layers"]):
        for name, theirs in names.items():
            named[f"{i}.{name}"] = found[f"model.layers.{i}.{theirs}.weight"]
    return {"layers": config["num_hidden_layers"], "heads": config["num_attention_heads"],
            "groups": config["num_key_value_heads"], "epsilon": config["rms_norm_eps"],
            "base": config["rope_theta"]}, named  # fmt: skip


# --- the graph -----------------------------------------------------------------------------------------------------


class Builder:
    def __init__(self) -> None:
        self.nodes, self.weights = [], []

    def add(self, op: str, *inputs: str | np.ndarray, name: str = "", **attributes) -> str:
        names = []
        for value in inputs:
            if not isinstance(value, str):
                self.weights.append(onnx.numpy_helper.from_array(np.ascontiguousarray(value), f"w{len(self.weights)}"))
                value = self.weights[-1].name
            names.append(value)
        output = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, names, [output], name=name or output, **attributes))
        return output

    def norm(self, x: str, gain: np.ndarray, epsilon: float) -> str:
        mean = self.add("ReduceMean", self.add("Mul", x, x), axes=[-1])
        root = self.add("Sqrt", self.add("Add", mean, np.float32(epsilon)))
        return self.add("Mul", self.add("Div", x, root), gain)


def build(config: dict, named: dict[str, np.ndarray]) -> onnx.ModelProto:
    heads, groups = config["heads"], config["groups"]
    dim = named["embedding"].shape[1]
    size = named["0.q"].shape[0] // heads
    b = Builder()
    length = b.add("Gather", b.add("Shape", "input_ids"), np.int64(1))
    positions = b.add("Range", np.int64(0), length, np.int64(1))
    frequencies = (1.0 / config["base"] ** (np.arange(0, size, 2) / size)).astype(np.float32)
    angles = b.add("Mul", b.add("Unsqueeze", b.add("Cast", positions, to=TensorProto.FLOAT), np.int64([1])), frequencies[None])
    angles = b.add("Concat", angles, angles, axis=1)
    cosine, sine = b.add("Cos", angles), b.add("Sin", angles)
    later = b.add("Less", b.add("Unsqueeze", positions, np.int64([1])), b.add("Unsqueeze", positions, np.int64([0])))
    mask = b.add("Where", later, np.float32(-1e9), np.float32(0))

    def linear(x: str, name: str) -> str:
        return b.add("MatMul", x, named[name].T, name=name)

    def split(x: str, count: int) -> str:
        return b.add("Transpose", b.add("Reshape", x, np.int64([0, 0, count, size])), perm=[0, 2, 1, 3])

    def turn(x: str) -> str:
        low = b.add("Slice", x, np.int64([0]), np.int64([size // 2]), np.int64([3]))
        high = b.add("Slice", x, np.int64([size // 2]), np.int64([size]), np.int64([3]))
        other = b.add("Concat", b.add("Neg", high), low, axis=3)
        return b.add("Add", b.add("Mul", x, cosine), b.add("Mul", other, sine))

    def spread(x: str) -> str:
        if heads == groups:
            return x
        x = b.add("Tile", b.add("Unsqueeze", x, np.int64([2])), np.int64([1, 1, heads // groups, 1, 1]))
        return b.add("Reshape", x, np.int64([0, heads, -1, size]))

    h = b.add("Gather", named["embedding"], "input_ids")
    for i in range(config["layers"]):
        x = b.norm(h, named[f"{i}.norm1"], config["epsilon"])
        q = turn(split(linear(x, f"{i}.q"), heads))
        k = spread(turn(split(linear(x, f"{i}.k"), groups)))
        v = spread(split(linear(x, f"{i}.v"), groups))
        scores = b.add("Mul", b.add("MatMul", q, b.add("Transpose", k, perm=[0, 1, 3, 2])), np.float32(size**-0.5))
        mixed = b.add("MatMul", b.add("Softmax", b.add("Add", scores, mask), axis=-1), v)
        mixed = b.add("Reshape", b.add("Transpose", mixed, perm=[0, 2, 1, 3]), np.int64([0, 0, heads * size]))
        h = b.add("Add", h, linear(mixed, f"{i}.o"))
        x = b.norm(h, named[f"{i}.norm2"], config["epsilon"])
        gate = linear(x, f"{i}.gate")
        gate = b.add("Mul", gate, b.add("Sigmoid", gate))
        h = b.add("Add", h, linear(b.add("Mul", gate, linear(x, f"{i}.up")), f"{i}.down"))
    logits = linear(b.norm(h, named["norm"], config["epsilon"]), "head")
    b.nodes[-1].output[0] = "logits"
    assert logits not in (name for node in b.nodes for name in node.input) and named["head"].shape[1] == dim
    given = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "seq"])
    result = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "seq", named["head"].shape[0]])
    graph = helper.make_graph(b.nodes, "decoder", [given], [result], b.weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model


# --- tokens --------------------------------------------------------------------------------------------------------


def merge(symbols: list, rank) -> list:
    """Joins neighbours, those of the least rank first and of these the first, until none has a rank."""
    after, before = list(range(1, len(symbols) + 1)), list(range(-1, len(symbols) - 1))
    queue = []

    def offer(i: int) -> None:
        if i >= 0 and after[i] < len(symbols):
            pair = symbols[i], symbols[after[i]]
            if (order := rank(*pair)) is not None:
                heapq.heappush(queue, (order, i, pair))

    for i in range(len(symbols)):
        offer(i)
    while queue:
        _, i, pair = heapq.heappop(queue)
        j = after[i]
        if j >= len(symbols) or (symbols[i], symbols[j]) != pair:
            continue  # one of the two has been joined with another
        symbols[i], symbols[j] = pair[0] + pair[1], None
        after[i] = after[j]
        if after[i] < len(symbols):
            before[after[i]] = i
        after[j] = len(symbols)
        offer(before[i])
        offer(i)
    return [symbol for symbol in symbols if symbol is not None]


def tokenize_llama2c(path: pathlib.Path, count: int, text: str) -> list[int]:
    data, at, numbers, scores = path.read_bytes(), 4, {}, {}
    for number in range(count):
        score, size = struct.unpack("fi", data[at : at + 8])
        token = data[at + 8 : at + 8 + size]
        if token not in numbers:
            numbers[token], scores[token] = number, score
        at += 8 + size
    symbols = []
    for character in " " + text:
        known = character.encode()
        symbols += [known] if known in numbers else [bytes([byte]) for byte in known]
    joined = merge(symbols, lambda a, b: -scores[a + b] if a + b in scores else None)
    # Bytes that are no token of their own are numbers from 3 on.
    return [numbers[symbol] if symbol in numbers else symbol[0] + 3 for symbol in joined]


def tokenize_bpe(path: pathlib.Path, text: str) -> list[int]:
    model = json.loads(path.read_text())["model"]
    numbers = model["vocab"]
    pairs = (pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"])
    ranks = {tuple(pair): rank for rank, pair in enumerate(pairs)}
    symbols = []
    for character in "\u2581" + text.replace(" ", "\u2581"):
        symbols += [character] if character in numbers else [f"<0x{byte:02X}>" for byte in character.encode()]
    return [numbers.get(symbol, 0) for symbol in merge(symbols, lambda a, b: ranks.get((a, b)))]


def main() -> None:
    parser = argparse.ArgumentParser(usage=__doc__.split("\n")[0].removeprefix("usage: "))
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("--text", type=pathlib.Path, action="append", default=[])
    parser.add_argument("--length", type=int, default=256)
    arguments = parser.parse_args()
    folder = arguments.folder
    text = "\n".join(path.read_text(encoding="utf-8") for path in arguments.text)
    if (folder / "model.safetensors").exists():
        config, named = from_safetensors(folder)
        tokens = tokenize_bpe(folder / "tokenizer.json", text) if text else []
    else:
        checkpoints = [path for path in folder.glob("*.bin") if not path.name.startswith("tok")]
        tokenizers = list(folder.glob("tok*.bin"))
        if len(checkpoints) != 1 or len(tokenizers) != 1:
            raise SystemExit(f"{folder}: expected model.safetensors, or a checkpoint and a tokenizer of llama2.c")
        config, named = from_llama2c(checkpoints[0])
        tokens = tokenize_llama2c(tokenizers[0], named["embedding"].shape[0], text) if text else []
    arguments.output.mkdir(parents=True, exist_ok=True)
    onnx.save(build(config, named), arguments.output / "decoder.onnx")
    if text:
        piece = arguments.length - 1
        rows = [[BEGIN, *tokens[i : i + piece]] for i in range(0, len(tokens) - piece + 1, piece)]
        np.savez(arguments.output / "tokens.npz", input_ids=np.int64(rows))
        print(f"{len(tokens)} tokens in {len(rows)} rows of {arguments.length}")


if __name__ == "__main__":
    main()
