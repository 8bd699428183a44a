#!/usr/bin/env python3
# Accuracy of the quantization algorithms on a small trained language model: ./dev bench quantization
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""usage: bench_quantization.py [--rows=N] [--calibration-rows=N] [--mode=MODE] [--case=CASE]... [--page=FILE] [--int8]

Compiles the decoder of $QCC_TEST_DATA/models/llm/lm-s at each grid of its reference.json (bench's plugin `grids`, codes in
float) with each algorithm, and prints perplexity and KL divergence from the float model on evaluation tokens, with bootstrap
intervals over rows, beside the figures of the independent implementation in reference.json. R is the share of rounding to
nearest's loss that is recovered: (log ppl(RTN) - log ppl) / (log ppl(RTN) - log ppl(float)), and by KL 1 - KL / KL(RTN).
--int8 measures SmoothQuant on a copy of the model with outlier channels instead: norm gains times 64 in four channels and the
rows of the weights behind them over 64, which changes nothing in float.
"""

import argparse
import datetime
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnx
import onnx.numpy_helper

SOURCE = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(SOURCE / "python"), str(SOURCE / "test" / "Support")]

import harness  # noqa: E402 - found through the line above
import qcc  # noqa: E402

MODEL = pathlib.Path(os.environ.get("QCC_TEST_DATA", SOURCE.parent / "shared")) / "models" / "llm" / "lm-s"
CASES = {"w4_channel": "grid-w4-channel", "w3_channel": "grid-w3-channel", "w3_g64": "grid-w3-g64", "w2_g32": "grid-w2-g32"}
# Name in the table, --algo, name in reference.json.
ALGORITHMS = [
    ("RTN", [], "rtn"), ("clip", ["clip"], None), ("GPTQ", ["gptq"], "gptq"), ("GPTQ + clip", ["gptq", "clip"], None),
    ("AWQ", ["awq"], "awq"), ("AWQ + GPTQ", ["awq", "gptq"], "awq_gptq"),
    ("GPTQ, corrected", ["gptq-correct:0.5", "clip"], None),
]  # fmt: skip
HEAD = "^/m/MatMul$"  # tied to the embedding: float, as in reference.json


def build_grids(folder: pathlib.Path) -> pathlib.Path:
    """The plugin with the grids, built against an installed qcc."""
    build = SOURCE / "build"
    with open(folder / "grids.log", "w") as log:
        for command in (
            ["cmake", "--install", build, "--prefix", folder / "prefix"],
            ["cmake", "-S", SOURCE / "test" / "Benchmark" / "grids", "-B", folder / "build", "-G", "Ninja",
             f"-DCMAKE_PREFIX_PATH={folder / 'prefix'}", "-DCMAKE_C_COMPILER=clang-22", "-DCMAKE_CXX_COMPILER=clang++-22",
             "-DCMAKE_BUILD_TYPE=Release"],
            ["cmake", "--build", folder / "build"],
        ):  # fmt: skip
            subprocess.run(command, check=True, stdout=log, stderr=log)
    return folder / "build" / "libgrids.so"


def log_softmax(x: np.ndarray) -> np.ndarray:
    x = x.astype(np.float64)
    x -= x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


class Evaluation:
    """Losses and divergences by row of tokens."""

    def __init__(self, tokens: np.ndarray, exact: pathlib.Path):
        self.tokens = tokens
        model = qcc.load(exact)
        self.exact = [log_softmax(self.logits(model, i)) for i in range(len(tokens))]
        self.losses = np.array([self.loss(i, p) for i, p in enumerate(self.exact)])

    def logits(self, model, row: int) -> np.ndarray:
        return next(iter(model({"input_ids": self.tokens[row : row + 1]}).values()))[0, :-1]

    def loss(self, row: int, logs: np.ndarray) -> float:
        return -logs[np.arange(logs.shape[0]), self.tokens[row, 1:]].mean()

    def measure(self, artifact: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
        """Mean loss and KL divergence of each row."""
        model = qcc.load(artifact)
        losses, divergences = [], []
        for row, exact in enumerate(self.exact):
            logs = log_softmax(self.logits(model, row))
            losses.append(self.loss(row, logs))
            divergences.append((np.exp(exact) * (exact - logs)).sum(axis=-1).mean())
        return np.array(losses), np.array(divergences)


def interval(function, *rows: np.ndarray) -> tuple[float, float]:
    """The middle 95 % of a function of bootstrapped means."""
    random = np.random.default_rng(1)
    picks = random.integers(0, len(rows[0]), (2000, len(rows[0])))
    values = function(*(r[picks].mean(axis=1) for r in rows))
    return tuple(np.quantile(values, (0.025, 0.975)))


def table(arguments, folder: pathlib.Path) -> list[str]:
    reference = json.loads((MODEL / "reference.json").read_text())
    calibration = folder / "calibration.npz"
    np.savez(calibration, input_ids=np.load(MODEL / "calib_tokens.npz")["input_ids"][: arguments.calibration_rows])
    tokens = np.load(MODEL / "eval_tokens.npz")["input_ids"][: arguments.rows]
    evaluation = Evaluation(tokens, qcc.compile(MODEL / "decoder.onnx", folder / "float.qcc"))
    perplexity = np.exp(evaluation.losses.mean())
    lines = [f"float perplexity {perplexity:.3f} (reference {reference['float_perplexity']:.3f})", ""]
    lines += ["| grid | algorithm | perplexity (95 %) | reference | R | R (KL) | KL | layers by method | s |",
              "|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
    grids = arguments.grids or build_grids(folder)
    for case in arguments.case or CASES:
        nearest = None
        for name, algorithms, key in ALGORITHMS:
            if arguments.algorithm and name not in ("RTN", *arguments.algorithm):
                continue
            options = {"algo": algorithms, "calib": calibration, "calib_mode": arguments.mode} if algorithms else {}
            start = time.monotonic()
            # A name of its own: libraries that are open are not loaded again.
            artifact = qcc.compile(MODEL / "decoder.onnx", folder / f"{case}-{name}.qcc", precision=CASES[case], keep=HEAD,
                                   load_plugin=grids, **options)  # fmt: skip
            seconds = time.monotonic() - start
            losses, divergences = evaluation.measure(artifact)
            if nearest is None:
                nearest = losses, divergences
            low, high = interval(np.exp, losses)
            share = (nearest[0] - losses).mean() / (nearest[0] - evaluation.losses).mean()
            by_kl = 1 - divergences.mean() / nearest[1].mean()
            span = interval(lambda a, b, c: (a - b) / (a - c), nearest[0], losses, evaluation.losses)
            span_kl = interval(lambda a, b: 1 - a / b, divergences, nearest[1])
            methods = {}
            for op in json.loads((artifact / "report.json").read_text())["ops"]:
                if "algorithm" in op:
                    methods[op["algorithm"]] = methods.get(op["algorithm"], 0) + 1
            published = f"{reference['cases'][case][key]:.3f}" if key else ""
            lines.append(
                f"| {case} | {name} | {np.exp(losses.mean()):.3f} ({low:.2f} to {high:.2f}) | {published} "
                f"| {share:.3f} ({span[0]:.2f} to {span[1]:.2f}) | {by_kl:.3f} ({span_kl[0]:.2f} to {span_kl[1]:.2f}) "
                f"| {divergences.mean():.4f} | {', '.join(f'{n} {m}' for m, n in sorted(methods.items()))} | {seconds:.0f} |"
            )
            print(lines[-1], flush=True)
    return lines


def add_outliers(folder: pathlib.Path, factor: float = 64.0) -> pathlib.Path:
    """The model with gains of its norms larger in four channels, and the weights behind them smaller."""
    model = onnx.load(MODEL / "decoder.onnx")
    onnx.load_external_data_for_model(model, str(MODEL))
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    channels = [3, 77, 130, 201]

    def scale(name: str, by: float) -> None:
        values = onnx.numpy_helper.to_array(tensors[name]).copy()
        values[channels] *= np.float32(by)
        tensors[name].CopyFrom(onnx.numpy_helper.from_array(values, name))

    makers = {output: node for node in model.graph.node for output in node.output}
    for node in model.graph.node:
        if node.op_type == "MatMul" and node.input[1] in tensors:
            maker = makers[node.input[0]]
            gains = [name for name in maker.input if name.endswith("norm.weight")]
            if gains and node.name != HEAD.strip("^$"):
                scale(node.input[1], 1 / factor)
    for name in tensors:
        if name.endswith("layernorm.weight"):
            scale(name, factor)
    path = folder / "outliers.onnx"
    onnx.save(model, path)
    return path


def smooth(arguments, folder: pathlib.Path) -> list[str]:
    path = add_outliers(folder)
    calibration = folder / "calibration.npz"
    np.savez(calibration, input_ids=np.load(MODEL / "calib_tokens.npz")["input_ids"][: arguments.calibration_rows])
    tokens = np.load(MODEL / "eval_tokens.npz")["input_ids"][: arguments.rows]
    evaluation = Evaluation(tokens, qcc.compile(path, folder / "float.qcc"))
    exact = np.exp(evaluation.losses.mean())
    lines = [f"float perplexity with outliers {exact:.3f}", ""]
    lines += ["| algorithm | perplexity (95 %) | over float | KL |", "|---|---|---|---|"]
    for name, algorithms in (("W8A8", []), ("W8A8, SmoothQuant 0.5", ["smoothquant:0.5"]), ("W8A8, SmoothQuant", ["smoothquant"])):
        options = {"algo": algorithms, "calib": calibration} if algorithms else {}
        artifact = qcc.compile(path, folder / f"{name}.qcc", precision="int8", keep=HEAD, **options)
        losses, divergences = evaluation.measure(artifact)
        low, high = interval(np.exp, losses)
        loss = np.exp((losses - evaluation.losses).mean()) - 1
        span = interval(lambda a, b: np.exp(a - b) - 1, losses, evaluation.losses)
        lines.append(f"| {name} | {np.exp(losses.mean()):.3f} ({low:.2f} to {high:.2f}) "
                     f"| {loss:+.2%} ({span[0]:+.2%} to {span[1]:+.2%}) | {divergences.mean():.4f} |")  # fmt: skip
        print(lines[-1], flush=True)
    return lines


def write_page(page: pathlib.Path, title: str, lines: list[str]) -> None:
    """Writes a table below what made it."""
    command = " ".join([pathlib.Path(sys.argv[0]).name, *sys.argv[1:]])
    head = [f"# {title}, {datetime.date.today()}", "",
            f"`{command}` at {harness.commit()}, {harness.cpu_name()}, {os.cpu_count()} CPUs.", ""]  # fmt: skip
    page.write_text("\n".join(head + lines) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=24)
    parser.add_argument("--calibration-rows", type=int, default=64)
    parser.add_argument("--mode", default="sequential")
    parser.add_argument("--case", action="append", choices=list(CASES))
    parser.add_argument("--grids", type=pathlib.Path, help="the plugin, if it is built already")
    parser.add_argument("--algorithm", action="append", choices=[name for name, _, _ in ALGORITHMS])
    parser.add_argument("--page", type=pathlib.Path)
    parser.add_argument("--int8", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="qcc-bench-") as folder:
        lines = (smooth if arguments.int8 else table)(arguments, pathlib.Path(folder))
    print("\n".join(lines))
    if arguments.page:
        write_page(arguments.page, "Quantization algorithms on lm-s", lines)


if __name__ == "__main__":
    main()
