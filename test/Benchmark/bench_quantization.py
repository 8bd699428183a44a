#!/usr/bin/env python3
# Accuracy of the quantization algorithms on small trained language models: ./dev bench quantization
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""usage: bench_quantization.py [--model=NAME] [--part=PART]... [--case=CASE]... [--algorithm=NAME]... [--rows=N]
                             [--calibration-rows=N] [--mode=MODE] [--outliers=FACTOR] [--results=FILE] [--page=FILE]

Compiles a trained decoder ($QCC_TEST_DATA/models/llm/lm-s; stories260K and tinystories-656k are brought to ONNX first) with each
algorithm and measures perplexity and KL divergence from the float model on evaluation tokens, with bootstrap intervals over rows.
Parts (default: all):

  grids    the grids of the model's reference.json, with the figures of the independent plain implementation beside. R is the share
           of the loss of rounding to nearest that is recovered: (log ppl(RTN) - log ppl) / (log ppl(RTN) - log ppl(float)), and by KL
           1 - KL / KL(RTN)
  presets  every preset, rounded to nearest
  outliers SmoothQuant and rotation on a copy of lm-s with outlier channels: norm gains times FACTOR (256) in four channels and the
           rows of the weights behind them over it, which changes nothing in float

--results keeps what was measured: cases in it are not measured again, so that a long run can be stopped. It says which build
measured them; those of another build are measured anew.
"""

import argparse
import datetime
import hashlib
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

DATA = pathlib.Path(os.environ.get("QCC_TEST_DATA", SOURCE.parent / "shared"))
MODEL = DATA / "models" / "llm" / "lm-s"
CASES = {"w4_channel": "w4a16:channel", "w4_g128": "w4a16:g128", "w3_channel": "w3a16:channel", "w3_g64": "w3a16:g64",
         "w2_g32": "w2a16:g32"}  # fmt: skip
PRESETS = ["bf16", "int8", "w4a8", "w8a16", "w6a16", "w4a16", "w3a16", "w2a16", "fp8", "fp8:token", "fp8:tensor", "fp8-e5m2",
           "nf4"]  # fmt: skip
# Name in the table, --algo, name in reference.json.
ALGORITHMS = [
    ("RTN", [], "rtn"), ("clip", ["clip"], None), ("GPTQ", ["gptq"], "gptq"), ("GPTQ + clip", ["gptq", "clip"], None),
    ("AWQ", ["awq"], "awq"), ("AWQ + GPTQ", ["awq", "gptq"], "awq_gptq"),
    ("GPTQ corrected + clip", ["gptq-correct:0.5", "clip"], None),
    ("GPTQ + clip, refined", ["gptq", "clip", "refine"], None),
    ("GPTQ corrected + clip, refined", ["gptq-correct:0.5", "clip", "refine"], None),
    ("rotation", ["rotate"], None), ("rotation + GPTQ + clip", ["rotate", "gptq", "clip"], None),
    ("rotation + AWQ + GPTQ", ["rotate", "awq", "gptq"], None),
]  # fmt: skip
OUTLIERS = [("int8", []), ("int8", ["smoothquant:0.5"]), ("int8", ["smoothquant"]), ("int8", ["rotate"]), ("w4a8", []), ("w4a8", ["rotate"]),
            ("w4a16:channel", []), ("w4a16:channel", ["rotate"])]  # fmt: skip
HEAD = "^/m/MatMul$"  # tied to the embedding: float, as in reference.json


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


def get_build() -> str:
    """What tells this build of the compiler from others."""
    library = pathlib.Path(os.environ.get("QCC", SOURCE / "build" / "bin" / "qcc")).resolve().parents[1] / "lib" / "libQCC.so"
    return hashlib.sha256(library.read_bytes()).hexdigest()[:16]


class Bench:
    """A model, its tokens, and what was measured of it."""

    def __init__(self, arguments, folder: pathlib.Path, model: pathlib.Path, calibration, tokens, head: str, name: str):
        self.arguments, self.folder, self.model, self.head, self.name = arguments, folder, model, head, name
        self.calibration = folder / f"{name}-calibration.npz"
        np.savez(self.calibration, input_ids=calibration)
        self.build = get_build()
        self.results = json.loads(arguments.results.read_text()) if arguments.results and arguments.results.exists() else {}
        self.evaluation = Evaluation(tokens, qcc.compile(model, folder / f"{name}-float.qcc"))
        self.float = np.exp(self.evaluation.losses.mean())

    def measure(self, precision: str, algorithms: list[str], **more) -> dict:
        """Losses and divergences by row, how layers were chosen, and seconds; from the results if they are there."""
        given = self.arguments
        key = f"{self.name} {precision} {'+'.join(algorithms)} {given.calibration_rows} {given.mode} {given.rows}"
        if self.results.get(key, {}).get("build") == self.build:
            return self.results[key]
        options = {"algo": algorithms, "calib": self.calibration, "calib_mode": given.mode} if algorithms else {}
        start = time.monotonic()
        # A name of its own: libraries that are open are not loaded again.
        name = key.replace(" ", "-").replace(":", "-")
        artifact = qcc.compile(self.model, self.folder / f"{name}.qcc", precision=precision, keep=self.head, **options, **more)
        seconds = time.monotonic() - start
        losses, divergences = self.evaluation.measure(artifact)
        methods = {}
        for op in json.loads((artifact / "report.json").read_text())["ops"]:
            if "algorithm" in op:
                methods[op["algorithm"]] = methods.get(op["algorithm"], 0) + 1
        self.results[key] = {"build": self.build, "losses": list(losses), "divergences": list(divergences), "methods": methods,
                             "seconds": seconds}  # fmt: skip
        if given.results:
            given.results.write_text(json.dumps(self.results))
        return self.results[key]

    def row(self, measured: dict, nearest: dict | None, published: str) -> str:
        """Perplexity, the plain implementation's, R, R by KL, KL, methods, seconds."""
        losses, divergences = np.array(measured["losses"]), np.array(measured["divergences"])
        low, high = interval(np.exp, losses)
        text = f"{np.exp(losses.mean()):.3f} ({low:.2f} to {high:.2f}) | {published} "
        if nearest:
            before, before_kl = np.array(nearest["losses"]), np.array(nearest["divergences"])
            exact = self.evaluation.losses
            share = (before - losses).mean() / (before - exact).mean()
            span = interval(lambda a, b, c: (a - b) / (a - c), before, losses, exact)
            by_kl = 1 - divergences.mean() / before_kl.mean()
            span_kl = interval(lambda a, b: 1 - a / b, divergences, before_kl)
            # The share of nothing says nothing.
            gap = (before - exact).mean() / max((before - exact).std(ddof=1) / len(before) ** 0.5, 1e-30)
            text += f"| {share:.3f} ({span[0]:.2f} to {span[1]:.2f}) " if gap >= 3 else "| within noise "
            text += f"| {by_kl:.3f} ({span_kl[0]:.2f} to {span_kl[1]:.2f}) "
        else:
            text += "| | "
        methods = ", ".join(f"{n} {m}" for m, n in sorted(measured["methods"].items()))
        return text + f"| {divergences.mean():.4f} | {methods} | {measured['seconds']:.0f} |"


HEADER = ["| precision | algorithm | perplexity (95 %) | plain implementation | R | R by KL | KL | layers by method | s |",
          "|---|---|---|---|---|---|---|---|---|"]  # fmt: skip


def table_grids(bench: Bench, arguments) -> list[str]:
    path = MODEL / "reference.json"
    reference = json.loads(path.read_text())["cases"] if bench.name == "lm-s" else {}
    lines = list(HEADER)
    for case in arguments.case or CASES:
        nearest = bench.measure(CASES[case], [])
        for name, algorithms, key in ALGORITHMS:
            if arguments.algorithm and name not in ("RTN", *arguments.algorithm):
                continue
            measured = bench.measure(CASES[case], algorithms)
            published = f"{reference[case][key]:.3f}" if key and case in reference else ""
            lines.append(f"| {CASES[case]} | {name} | " + bench.row(measured, nearest if algorithms else None, published))
            print(lines[-1], flush=True)
    return lines


def table_presets(bench: Bench, arguments) -> list[str]:
    lines = ["| preset | perplexity (95 %) | over float | KL | s |", "|---|---|---|---|---|"]
    for precision in PRESETS:
        measured = bench.measure(precision, [])
        losses = np.array(measured["losses"])
        low, high = interval(np.exp, losses)
        span = interval(lambda a, b: np.exp(a - b) - 1, losses, bench.evaluation.losses)
        over = np.exp((losses - bench.evaluation.losses).mean()) - 1
        lines.append(f"| {precision} | {np.exp(losses.mean()):.3f} ({low:.2f} to {high:.2f}) "
                     f"| {over:+.2%} ({span[0]:+.2%} to {span[1]:+.2%}) | {np.mean(measured['divergences']):.5f} "
                     f"| {measured['seconds']:.0f} |")  # fmt: skip
        print(lines[-1], flush=True)
    return lines


def add_outliers(folder: pathlib.Path, factor: float) -> pathlib.Path:
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


def table_outliers(bench: Bench, arguments) -> list[str]:
    lines = ["| precision | algorithm | perplexity (95 %) | over float | KL | s |", "|---|---|---|---|---|---|"]
    for precision, algorithms in OUTLIERS:
        measured = bench.measure(precision, algorithms)
        losses = np.array(measured["losses"])
        low, high = interval(np.exp, losses)
        loss = np.exp((losses - bench.evaluation.losses).mean()) - 1
        span = interval(lambda a, b: np.exp(a - b) - 1, losses, bench.evaluation.losses)
        lines.append(f"| {precision} | {' + '.join(algorithms)} | {np.exp(losses.mean()):.3f} ({low:.2f} to {high:.2f}) "
                     f"| {loss:+.2%} ({span[0]:+.2%} to {span[1]:+.2%}) | {np.mean(measured['divergences']):.4f} "
                     f"| {measured['seconds']:.0f} |")  # fmt: skip
        print(lines[-1], flush=True)
    return lines


def write_page(page: pathlib.Path, title: str, lines: list[str]) -> None:
    """Writes a table below what made it."""
    command = " ".join([pathlib.Path(sys.argv[0]).name, *sys.argv[1:]])
    head = [f"# {title}, {datetime.date.today()}", "",
            f"`{command}` at {harness.commit()}, {harness.cpu_name()}, {os.cpu_count()} CPUs.", ""]  # fmt: skip
    page.write_text("\n".join(head + lines) + "\n", encoding="utf-8")


def open_model(arguments, folder: pathlib.Path, outliers: bool = False) -> Bench:
    rows, name = arguments.calibration_rows, arguments.model
    if name == "lm-s":
        model = add_outliers(folder, arguments.outliers) if outliers else MODEL / "decoder.onnx"
        calibration = np.load(MODEL / "calib_tokens.npz")["input_ids"][:rows]
        tokens = np.load(MODEL / "eval_tokens.npz")["input_ids"][: arguments.rows]
        return Bench(arguments, folder, model, calibration, tokens, HEAD, f"outliers{arguments.outliers:g}" if outliers else name)
    command = [sys.executable, SOURCE / "python" / "tools" / "stories_to_onnx.py", DATA / "models" / "llm" / name, folder / name,
               f"--text={DATA / 'eval' / 'tinystories' / 'tinystories_a.txt'}"]  # fmt: skip
    subprocess.run(command, check=True)
    tokens = np.load(folder / name / "tokens.npz")["input_ids"]
    return Bench(arguments, folder, folder / name / "decoder.onnx", tokens[-rows:], tokens[: arguments.rows], "^head$", name)


def main() -> None:
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--model", default="lm-s", choices=["lm-s", "stories260K", "tinystories-656k"])
    parser.add_argument("--part", action="append", choices=["grids", "presets", "outliers"])
    parser.add_argument("--rows", type=int, default=24)
    parser.add_argument("--calibration-rows", type=int, default=64)
    parser.add_argument("--mode", default="sequential")
    parser.add_argument("--case", action="append", choices=list(CASES))
    parser.add_argument("--algorithm", action="append", choices=[name for name, _, _ in ALGORITHMS])
    parser.add_argument("--outliers", type=float, default=256)
    parser.add_argument("--results", type=pathlib.Path)
    parser.add_argument("--page", type=pathlib.Path)
    arguments = parser.parse_args()
    lines = []
    with tempfile.TemporaryDirectory(prefix="qcc-bench-") as name:
        folder = pathlib.Path(name)
        for part in arguments.part or ["grids", "presets", "outliers"]:
            if part == "outliers" and arguments.model != "lm-s":
                continue
            bench = open_model(arguments, folder, part == "outliers")
            lines += [f"## {part.capitalize()}", "", f"Float perplexity {bench.float:.3f}.", ""]
            lines += {"grids": table_grids, "presets": table_presets, "outliers": table_outliers}[part](bench, arguments)
            lines.append("")
    print("\n".join(lines))
    if arguments.page:
        write_page(arguments.page, f"Quantization algorithms on {arguments.model}", lines)


if __name__ == "__main__":
    main()
