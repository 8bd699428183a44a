# The demo's trained models at low precision, on every CPU target that this machine runs.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

from __future__ import annotations

import functools
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable

import harness
import numpy as np

MODELS = ("mlp", "cnn", "transformer")
# The target and the CPU features that its code needs.
TARGETS = {"avx2": {"avx2", "fma"}, "avx512-vnni": {"avx512bw", "avx512_vnni"}}
# One artifact has the same weights for all its levels: artifacts of one level each may not (docs/int8.md, pairs).
BOTH = "avx2+avx512-vnni"
# The accuracy that rounding to nearest may cost, in parts of the test images.
LOSS = 0.03

lock = threading.Lock()


@functools.cache
def trained() -> pathlib.Path:
    """The folder with the demo's models; trains them when they are not there."""
    folder = harness.BUILD / "demo"
    done = subprocess.run([sys.executable, harness.SOURCE / "examples" / "demo" / "train.py", folder], capture_output=True)
    if done.returncode != 0:
        raise harness.Failure(f"train.py ended with {done.returncode}")
    return folder


def logits(model: str, precision: str, target: str, without: str = "") -> tuple[np.ndarray, np.ndarray]:
    """What a compiled model makes of the test images with a CPU `without` features, as "-avx512f", and their classes."""
    for part in target.split("+"):
        if not TARGETS[part] <= harness.cpu_flags():
            raise harness.Skip(f"this CPU does not run {part}")
    with lock:
        folder = trained()
    with tempfile.TemporaryDirectory(prefix="qcc-quantized-") as scratch:
        artifact, result = pathlib.Path(scratch) / "artifact", pathlib.Path(scratch) / "out.npz"
        flags = [f"--precision={precision}", f"--target={target}", "-q"]
        if precision == "int8":
            flags.append(f"--calib={folder / model}_calib.npz")
        harness.run(harness.QCC, folder / f"{model}.onnx", "-o", artifact, *flags)
        environment = os.environ | {"QCC_CPU_FEATURES": without}
        harness.run(harness.QCC_RUN, artifact, f"--inputs={folder / model}_test.npz", f"--outputs={result}", env=environment)
        with np.load(result) as outputs:
            return outputs["logits"], np.load(folder / "labels.npy")


def accuracy(model: str, precision: str, target: str) -> str:
    """The accuracy is at most LOSS below that of fp32 on the same target."""
    y, labels = logits(model, precision, target)
    exact, _ = logits(model, "f32", target)
    low, full = (float((z.argmax(1) == labels).mean()) for z in (y, exact))
    if not np.isfinite(y).all() or low < full - LOSS:
        raise harness.Failure(f"expected an accuracy of at least {full - LOSS:.1%}, but got {low:.1%}")
    return f"accuracy {low:.1%}, fp32 {full:.1%}"


def same_bits(model: str, precision: str) -> str:
    """Integer kernels of different instruction sets give the same bits."""
    first, second = (logits(model, precision, BOTH, without)[0] for without in ("-avx512f", ""))
    if first.tobytes() != second.tobytes():
        raise harness.Failure(f"results differ between the levels of {BOTH}, by up to {np.abs(first - second).max():.3g}")
    return BOTH


def all_quantized() -> list[tuple[str, Callable[[], str]]]:
    """The cases of this file."""
    cases = [
        (f"quantized/{model}-{precision}-{target}", functools.partial(accuracy, model, precision, target))
        for model in MODELS for precision in ("int8", "w4a8") for target in TARGETS
    ]  # fmt: skip
    cases += [(f"quantized/mlp-{p}-same-bits", functools.partial(same_bits, "mlp", p)) for p in ("int8", "w4a8")]
    return cases
