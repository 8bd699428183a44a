#!/usr/bin/env python3
# The whole way of a model in one run: trained, compiled at three precisions, run, checked and timed.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""usage: run_demo.py [FOLDER]

Trains the models of train.py into FOLDER (default: build/demo) unless they are there, compiles each with qcc at fp32,
int8 and w4a8, runs the 500 test images through the compiled library, and compares with ONNX Runtime on the float
model: accuracy, largest difference, time per call on one thread in interleaved pairs. Ends with 1 when an fp32 library
disagrees with ONNX Runtime or a quantized one loses more than 3 points of accuracy.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import onnxruntime
import qcc
import timing

HERE = pathlib.Path(__file__).resolve().parent
BUILD = HERE.parents[1] / "build"
MODELS = ("mlp", "cnn", "transformer")
PRECISIONS = ("f32", "int8", "w4a8")
# Images in one timed call.
BATCH = 64
# The bounds that the demo checks: fp32 against ONNX Runtime, relative to the largest logit; points lost by quantizing.
FLOAT_BOUND, ACCURACY_BOUND = 1e-4, 0.03
# Operations that multiply with a weight.
PRODUCTS = ("qcc.matmul", "qcc.qmatmul", "qcc.int_matmul", "qcc.conv", "qcc.int_conv")


def compile_model(folder: pathlib.Path, name: str, precision: str) -> pathlib.Path:
    """Compiles a model with the driver and returns its artifact."""
    artifact = folder / f"{name}-{precision}.qcc"
    command = [BUILD / "bin" / "qcc", folder / f"{name}.onnx", "-o", artifact, f"--precision={precision}", "-q"]
    if precision != "f32":
        command.append(f"--calib={folder / f'{name}_calib.npz'}")
    done = subprocess.run(command)
    if done.returncode != 0:
        sys.exit(f"demo: qcc ended with {done.returncode} on {name} at {precision}")
    return artifact


def products(artifact: pathlib.Path, precision: str) -> tuple[str, collections.Counter]:
    """How many matrix products and convolutions run in the precision asked for, and why the others do not."""
    ops = json.loads((artifact / "report.json").read_text())["ops"]
    found = [op for op in ops if op["op"] in PRODUCTS]
    reasons = collections.Counter(op["reason"] for op in found if op["executed"] != precision)
    return f"{len(found) - reasons.total()} of {len(found)}", reasons


class Reference:
    """ONNX Runtime on the float model, on one thread."""

    def __init__(self, model: pathlib.Path):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])

    def __call__(self, image: np.ndarray) -> np.ndarray:
        return self.session.run(["logits"], {"image": image})[0]


def measure(folder: pathlib.Path, name: str, precision: str) -> tuple[list[str], str | None]:
    """A row of the table, and what misses its bound if anything does."""
    artifact = compile_model(folder, name, precision)
    model = qcc.load(artifact, threads=1)
    share, reasons = products(artifact, precision)
    for reason, count in reasons.items():
        print(f"{name} at {precision}: {count} of another precision, {reason}")
    reference = Reference(folder / f"{name}.onnx")
    images, labels = np.load(folder / f"{name}_test.npz")["image"], np.load(folder / "labels.npy")
    logits, expected = model({"image": images})["logits"], reference(images)
    accuracy, float_accuracy = (float((y.argmax(1) == labels).mean()) for y in (logits, expected))
    error = float(np.abs(logits - expected).max() / np.abs(expected).max())
    batch = {"image": np.ascontiguousarray(images[:BATCH])}
    speed = timing.interleave(lambda: model(batch), lambda: reference(batch["image"]))
    row = [
        name, precision, share, f"{accuracy:.1%}", f"{error:.1e}", f"{speed.ours * 1e6:.0f} us", f"{speed.other * 1e6:.0f} us",
        f"{speed.ratio:.2f}x ({speed.low:.2f} to {speed.high:.2f})",
    ]  # fmt: skip
    if precision == "f32" and not error <= FLOAT_BOUND:
        return row, f"{name} at f32 differs from ONNX Runtime by {error:.1e}, more than {FLOAT_BOUND:.0e}"
    if accuracy < float_accuracy - ACCURACY_BOUND:
        return row, f"{name} at {precision} has {accuracy:.1%} accuracy, float {float_accuracy:.1%}"
    return row, None


def print_table(rows: list[list[str]]) -> None:
    """Prints rows in columns; the first is the header."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def main() -> None:
    parser = argparse.ArgumentParser(description="train, compile, run, check and time small models")
    parser.add_argument("folder", type=pathlib.Path, nargs="?", default=BUILD / "demo")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, HERE / "train.py", folder], check=True)
    header = ["model", "precision", "products in it", "accuracy", "error", "qcc", "ONNX Runtime fp32", "speed against it"]
    rows, misses = [header], []
    for name in MODELS:
        for precision in PRECISIONS:
            row, miss = measure(folder, name, precision)
            rows.append(row)
            misses += [miss] if miss else []
    print()
    print_table(rows)
    print("\nproducts: matrix products and convolutions that run in the precision, of all")
    print(f"accuracy: of {len(np.load(folder / 'labels.npy'))} test images")
    print("error: largest difference from ONNX Runtime on the float model, over its largest logit")
    print(f"time: of {BATCH} images in one call on one thread, medians of 31 interleaved pairs with the quartiles of the ratio")
    place = os.path.relpath(folder)
    print(f"artifacts: {place}/{{{','.join(MODELS)}}}-{{{','.join(PRECISIONS)}}}.qcc, with the report in report.html")
    if misses:
        sys.exit("demo: " + "; ".join(misses))


if __name__ == "__main__":
    main()
