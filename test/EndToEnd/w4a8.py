# Trained models at w4a8 with calibration data: accuracy and agreement with fp32 on samples that were not calibrated on.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

from __future__ import annotations

import functools
import json
import pathlib
import tempfile
from collections.abc import Callable

import harness
import int8
import numpy as np

# Bounds of the project for w4a8, three times those of int8: the cosine of all outputs, the accuracy on digits, the share of changed
# classes, the share of equal decisions on frames of sound.
COSINE, DIGITS_LOSS, FLIPS, FRAMES = 0.97, 0.009, 0.06, 0.97


def speaks(outputs: list[np.ndarray]) -> np.ndarray:
    """Frames of the voice detector that are not silence, its class 0."""
    return outputs[0][..., 0] < 0.5


def voiced(outputs: list[np.ndarray]) -> np.ndarray:
    """Frames in which the pitch tracker is as sure of its pitch as its authors ask for."""
    return outputs[1] > 0.9


DECISIONS: dict[str, Callable[[list[np.ndarray]], np.ndarray]] = {"fsmn-vad": speaks, "swift-f0": voiced}


def interval(count: int, total: int) -> tuple[float, float]:
    """Wilson's 95% interval of a share."""
    z, share = 1.96, count / total
    middle = (share + z * z / 2 / total) / (1 + z * z / total)
    half = z / (1 + z * z / total) * np.sqrt(share * (1 - share) / total + z * z / 4 / total**2)
    return middle - half, middle + half


def describe(artifact: pathlib.Path) -> str:
    """How many of an artifact's products and convolutions have which precision."""
    ops = json.loads((artifact / "report.json").read_text())["ops"]
    layers = [op for op in ops if op["op"] in ("qcc.conv", "qcc.int_conv", "qcc.matmul", "qcc.int_matmul", "qcc.qmatmul")]
    counts = {p: sum(op["executed"] == p for op in layers) for p in ("w4a8", "int8", "f32")}
    return ", ".join(f"{count} {p}" for p, count in counts.items() if count)


def size(artifact: pathlib.Path) -> int:
    """Bytes of an artifact's library and weights."""
    return sum(file.stat().st_size for file in artifact.iterdir() if file.name in ("libmodel.so", "weights.bin"))


def agreement(name: str) -> str:
    """Outputs keep their direction, classes and frames their decisions, and some layers have weights of 4 bits."""
    model = int8.MODELS[name]
    with tempfile.TemporaryDirectory(prefix="qcc-w4a8-") as scratch:
        folder = pathlib.Path(scratch)
        exact, low, samples = int8.build(name, folder, precision="w4a8")
        layers, share_of_size = describe(folder / "w4a8"), size(folder / "w4a8") / size(folder / "f32")
        found = int8.compare(exact, low, samples, DECISIONS.get(name))
    low_end, high_end = interval(found.flips, len(samples))
    if found.cosine < COSINE or (model.classes and found.flips > FLIPS * len(samples)) or found.equal < FRAMES or "w4a8" not in layers:
        raise harness.Failure(
            f"expected a cosine of {COSINE}, at most {FLIPS:.0%} flips, {FRAMES:.0%} equal frames and layers in w4a8, "
            f"but got {found.cosine:.4f}, {low_end:.1%} to {high_end:.1%}, {found.equal:.1%}, {layers}"
        )
    said = f", {found.flips} classes changed ({low_end:.1%} to {high_end:.1%})" if model.classes else ""
    said += f", {found.equal:.2%} of frames equal" if name in DECISIONS else ""
    return (
        f"cosine {found.cosine:.5f} over {len(samples)} samples, the least {found.least:.5f}{said}; {layers}; "
        f"{share_of_size:.2f} of the size"
    )


def all_w4a8() -> list:
    """The cases of this file."""
    return [(f"w4a8/{name}", functools.partial(agreement, name)) for name in int8.MODELS] + [
        ("w4a8/digits", functools.partial(int8.digits, "w4a8", DIGITS_LOSS))
    ]
