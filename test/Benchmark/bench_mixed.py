#!/usr/bin/env python3
# Accuracy of mixed precision between two formats on a small trained language model: ./dev bench mixed
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""usage: bench_mixed.py [--low=FORMAT] [--high=FORMAT] [--between=FORMAT]... [--step=BITS]... [--rows=N] [--calibration-rows=N] [--algo=NAMES] [--page=FILE]

Compiles the decoder of $QCC_TEST_DATA/models/llm/lm-s with all products but the output head in a format of few bits, with all in
one of four bits more, and with mixed precision between the two (and the formats between them) at the size of the first plus
`--step` bits per weight. Prints perplexity and KL divergence from the float model on evaluation tokens, which are not those it was
calibrated on, with bootstrap intervals over rows, and the share of the gap between the two that mixed precision recovers:
(KL(low) - KL) / (KL(low) - KL(high)), and the same of the logarithm of the perplexity.
"""

import argparse
import json
import pathlib
import tempfile
import time

import numpy as np
import onnx
from bench_quantization import HEAD, MODEL, Evaluation, interval, qcc, write_page


def count_weights(model: pathlib.Path) -> int:
    """Weights of the products that have precisions: all matrices but the head, which is the embedding."""
    graph = onnx.load(model, load_external_data=False).graph
    shapes = {tensor.name: tensor.dims for tensor in graph.initializer}
    nodes = [node for node in graph.node if node.op_type == "MatMul" and node.input[1] in shapes]
    return sum(int(np.prod(shapes[node.input[1]])) for node in nodes if node.name != HEAD.strip("^$"))


def get_bits(artifact: pathlib.Path, uniform: str | None = None) -> float:
    """Bits per weight of the products that have precisions, as chosen or all in one format."""
    bits = weights = 0
    for layer in json.loads((artifact / "report.json").read_text())["assignment"]["layers"]:
        if len(layer["candidates"]) > 1:
            chosen = next(c for c in layer["candidates"] if c["format"] == (uniform or layer["format"]))
            bits += chosen["bytes"] * 8
            weights += layer["rows"] * layer["columns"]
    return bits / weights


def count_formats(artifact: pathlib.Path) -> str:
    counts = {}
    for layer in json.loads((artifact / "report.json").read_text())["assignment"]["layers"]:
        if len(layer["candidates"]) > 1:
            counts[layer["format"]] = counts.get(layer["format"], 0) + 1
    return ", ".join(f"{n} {key}" for key, n in sorted(counts.items()))


def table(arguments, folder: pathlib.Path) -> list[str]:
    calibration = folder / "calibration.npz"
    np.savez(calibration, input_ids=np.load(MODEL / "calib_tokens.npz")["input_ids"][: arguments.calibration_rows])
    tokens = np.load(MODEL / "eval_tokens.npz")["input_ids"][: arguments.rows]
    model = MODEL / "decoder.onnx"
    evaluation = Evaluation(tokens, qcc.compile(model, folder / "float.qcc"))
    algorithms = {"algo": arguments.algo.split(",")} if arguments.algo else {}

    def make(name: str, **options) -> tuple[pathlib.Path, float]:
        start = time.monotonic()
        # Rounding to nearest needs no data.
        data = {"calib": calibration} if algorithms or "max_size" in options else {}
        artifact = qcc.compile(model, folder / f"{name}.qcc", keep=HEAD, **data, **algorithms, **options)
        return artifact, time.monotonic() - start

    formats = ",".join([arguments.low, *arguments.between, arguments.high])
    low, high = (make(name, precision=name)[0] for name in (arguments.low, arguments.high))
    measured = {name: evaluation.measure(artifact) for name, artifact in (("low", low), ("high", high))}
    size = json.loads((low / "report.json").read_text())["summary"]["weight_bytes"]
    weights = count_weights(model)
    perplexity = np.exp(evaluation.losses.mean())
    lines = [f"Float perplexity {perplexity:.3f}.", ""]
    lines += ["| formats | bits | perplexity (95 %) | KL | gap recovered (KL) | gap recovered (log perplexity) | products | s |",
              "|---|---|---|---|---|---|---|---|"]  # fmt: skip

    def add(name: str, bits: float, scores, products: str, seconds: str) -> None:
        losses, divergences = scores
        (low_losses, low_kl), (high_losses, high_kl) = measured["low"], measured["high"]
        span = interval(np.exp, losses)
        shares = []
        for ours, worst, best in ((divergences, low_kl, high_kl), (losses, low_losses, high_losses)):
            share = (worst - ours).mean() / (worst - best).mean()
            between = interval(lambda a, b, c: (b - a) / (b - c), ours, worst, best)
            shares.append(f"{share:.1%} ({between[0]:.1%} to {between[1]:.1%})")
        if scores is measured["low"] or scores is measured["high"]:
            shares = ["0 %" if scores is measured["low"] else "100 %"] * 2
        lines.append(f"| {name} | {bits:.3f} | {np.exp(losses.mean()):.3f} ({span[0]:.2f} to {span[1]:.2f}) "
                     f"| {divergences.mean():.5f} | {shares[0]} | {shares[1]} | {products} | {seconds} |")  # fmt: skip
        print(lines[-1], flush=True)

    for step in arguments.step or [0.5]:
        artifact, seconds = make(f"mixed{step}", precision=formats, max_size=f"{int(size + step * weights / 8)}B")
        if step == (arguments.step or [0.5])[0]:
            add(arguments.low, get_bits(artifact, arguments.low), measured["low"], "", "")
        add(f"mixed, + {step} bit", get_bits(artifact), evaluation.measure(artifact), count_formats(artifact), f"{seconds:.0f}")
    add(arguments.high, get_bits(artifact, arguments.high), measured["high"], "", "")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--low", default="w4a16:channel")
    parser.add_argument("--high", default="w8a16")
    parser.add_argument("--between", action="append")
    parser.add_argument("--step", type=float, action="append")
    parser.add_argument("--rows", type=int, default=24)
    parser.add_argument("--calibration-rows", type=int, default=16)
    parser.add_argument("--algo")
    parser.add_argument("--page", type=pathlib.Path)
    arguments = parser.parse_args()
    if arguments.between is None:
        arguments.between = ["w6a16:channel"]
    with tempfile.TemporaryDirectory(prefix="qcc-bench-") as folder:
        lines = table(arguments, pathlib.Path(folder))
    print("\n".join(lines))
    if arguments.page:
        write_page(arguments.page, "Mixed precision on lm-s", lines)


if __name__ == "__main__":
    main()
