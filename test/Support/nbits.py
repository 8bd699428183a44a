# Rewrites products with constant matrices as MatMulNBits, as tools that quantize for ONNX Runtime do.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
from __future__ import annotations

import pathlib

import numpy as np
import onnx
from onnx import helper, numpy_helper

BITS = 4


def round_blocks(weight: np.ndarray, block: int, symmetric: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes [N, blocks, block], scales and zero points [N, blocks] of a weight [K, N], each rounded to nearest."""
    k, n = weight.shape
    blocks, top = -(-k // block), (1 << BITS) - 1
    rows = np.pad(weight.T.astype(np.float32), [(0, 0), (0, blocks * block - k)]).reshape(n, blocks, block)
    if symmetric:
        scales = np.abs(rows).max(-1) / np.float32(1 << (BITS - 1))
        zeros = np.full(scales.shape, 1 << (BITS - 1))
    else:
        low, high = np.minimum(rows.min(-1), 0), np.maximum(rows.max(-1), 0)
        scales = (high - low) / np.float32(top)
        zeros = np.rint(-low / np.where(scales > 0, scales, 1)).astype(int)
    steps = rows / np.where(scales > 0, scales, 1)[..., None]
    return np.clip(np.rint(steps) + zeros[..., None], 0, top).astype(np.uint8), scales, zeros.astype(np.uint8)


def pack(codes: np.ndarray) -> np.ndarray:
    """Two codes of the last dimension to a byte, the first in the low bits."""
    even = np.pad(codes, [(0, 0)] * (codes.ndim - 1) + [(0, codes.shape[-1] % 2)])
    return np.ascontiguousarray(even[..., ::2] | even[..., 1::2] << 4)


def convert(source: pathlib.Path, target: pathlib.Path, block: int, symmetric: bool, level: int = 0) -> int:
    """Writes the model with MatMulNBits of an accuracy level; returns how many."""
    model = onnx.load(source)
    weights = {w.name: w for w in model.graph.initializer if len(w.dims) == 2}
    taken = set()
    for node in model.graph.node:
        if node.op_type != "MatMul" or node.input[1] not in weights:
            continue
        name = node.input[1]
        weight = numpy_helper.to_array(weights[name])
        codes, scales, zeros = round_blocks(weight, block, symmetric)
        tables = {f"{name}_codes": pack(codes), f"{name}_scales": scales}
        if not symmetric:
            tables[f"{name}_zeros"] = pack(zeros)
        if name not in taken:
            model.graph.initializer.extend(numpy_helper.from_array(table, key) for key, table in tables.items())
        taken.add(name)
        attributes = {"K": weight.shape[0], "N": weight.shape[1], "bits": BITS, "block_size": block, "accuracy_level": level}
        node.CopyFrom(helper.make_node("MatMulNBits", [node.input[0], *tables], node.output, node.name,
                                       domain="com.microsoft", **attributes))  # fmt: skip
    used = {name for node in model.graph.node for name in node.input}
    kept = [w for w in model.graph.initializer if w.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, target)
    return sum(node.op_type == "MatMulNBits" for node in model.graph.node)
