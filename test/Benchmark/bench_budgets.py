#!/usr/bin/env python3
# What int8 and w4a8 within budgets cost and give on a trained convolutional model: ./dev bench budgets
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""usage: bench_budgets.py [--model=NAME] [--precision=LIST] [--budget=FLAG]... [--rounds=N] [--seconds=S]
       [--page=FILE]

Compiles a model of test/EndToEnd/int8.py in int8, or a list of precisions, within each budget. Prints the error that the report states (relative square
of all outputs, mean over samples), that of the artifact on the samples that it was calibrated on and on the others, and size
and time against fp32, as predicted and as measured: one thread, in rounds that run all of them, in an order that turns.
"""

from __future__ import annotations

import argparse
import collections
import json
import pathlib
import tempfile

import numpy as np
import qcc
from bench_int8 import PLAIN, int8, race, ratio
from bench_quantization import write_page

BUDGETS = ["max-drop=1%", "max-drop=0.2%", "max-drop=0.1%", "max-latency=0.9x", "max-size=0.6x", "max-size=0.5x"]

# With weights of 4 bits it is the size that matters.
SMALLER = ["max-size=0.4x", "max-size=0.35x", "max-size=0.3x", "max-drop=2%", "max-drop=1%", "max-drop=0.5%"]


def read_report(artifact: pathlib.Path) -> dict:
    return json.loads((artifact / "report.json").read_text())


def run(model: qcc.Model, samples: np.ndarray) -> list[np.ndarray]:
    """All outputs of each sample."""
    return [np.concatenate([y.ravel() for y in model([samples[i : i + 1]]).values()]).astype(np.float64) for i in range(len(samples))]


def error(exact: list[np.ndarray], changed: list[np.ndarray]) -> float:
    return float(np.mean([np.sum((a - b) ** 2) / np.sum(a**2) for a, b in zip(exact, changed)]))


def table(arguments: argparse.Namespace, folder: pathlib.Path) -> list[str]:
    models, artifacts = {}, {}
    for budget in arguments.budget:
        artifacts[budget] = folder / str(len(artifacts))
        artifacts[budget].mkdir()
        *_, others = int8.build(arguments.model, artifacts[budget], f"--{budget}", precision=arguments.precision)
        models[budget] = qcc.load(artifacts[budget] / arguments.precision, threads=1)
    first = artifacts[arguments.budget[0]]
    models[PLAIN] = qcc.load(first / "f32", threads=1)
    (calibrated,) = np.load(first / "calibration.npz").values()
    exact = [run(models[PLAIN], samples) for samples in (calibrated, others)]
    feeds = {name: lambda model=model: model([others[:1]]) for name, model in models.items()}
    times = race(feeds, arguments.rounds, arguments.seconds * len(feeds))
    float_bytes = read_report(first / "f32")["summary"]["weight_bytes"]
    lines = ["| budget | layers | reported | in the artifact | other samples | size | measured | time | measured |", "|---" * 9 + "|"]
    for budget, artifact in artifacts.items():
        report = read_report(artifact / arguments.precision)
        plan, chosen = report["assignment"], report["assignment"]["chosen"]
        formats = collections.Counter(layer["format"] for layer in plan["layers"] if layer["columns"])
        own, new = (error(a, run(models[budget], samples)) for a, samples in zip(exact, (calibrated, others)))
        size, time = (chosen[key] / plan["float"][key] for key in ("bytes", "predicted_seconds"))
        low, middle, high = ratio(times, budget, PLAIN)
        lines.append(
            f"| `--{budget}` | {', '.join(f'{formats[key]} {key}' for key in sorted(formats))} | {chosen['error']:.3%} | {own:.3%} | {new:.3%} | {size:.3f} | "
            f"{report['summary']['weight_bytes'] / float_bytes:.3f} | {time:.3f} | {middle:.3f} ({low:.3f} to {high:.3f}) |"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description="int8 within budgets")
    parser.add_argument("--model", default="fastestdet", choices=list(int8.MODELS))
    parser.add_argument("--precision", default="int8", help="int8, w4a8 and f32, joined by commas")
    parser.add_argument("--budget", action="append", help="a flag without its dashes, such as max-drop=1%%")
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--seconds", type=float, default=12, help="for each contender")
    parser.add_argument("--page", type=pathlib.Path)
    arguments = parser.parse_args()
    arguments.budget = arguments.budget or (SMALLER if "w4a8" in arguments.precision else BUDGETS)
    with tempfile.TemporaryDirectory(prefix="qcc-bench-") as scratch:
        lines = table(arguments, pathlib.Path(scratch))
    print("\n".join(lines))
    if arguments.page:
        write_page(arguments.page, f"{arguments.precision} within budgets, {arguments.model}", lines)


if __name__ == "__main__":
    main()
