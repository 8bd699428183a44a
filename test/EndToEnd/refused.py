# Trained models that cannot be compiled: each is refused by the name of what stands in the way.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

from __future__ import annotations

import pathlib
import tempfile

import harness

# Where the model lies, the code, what the message must name, and why (for docs/model-conformance.md).
PRIVATE = "made of the operators of one toolchain (PACTOps), which nothing but it defines"
REFUSED = [
    ("vision/imagenet/squeezenet_tensor_input.onnx", "QCC-E302", "STRING",
     "the class labels are strings; up to its scores it is the case `squeezenet-classes`"),
    ("vision/deeploy/MLPerf_KeywordSpotting/network.onnx", "QCC-E301", "RequantShift", PRIVATE),
    ("vision/deeploy/MLPerf_VisualWakeWords/network.onnx", "QCC-E301", "RequantShift", PRIVATE),
]  # fmt: skip


def refusal(path: str, code: str, name: str) -> str:
    """The model ends with exit status 4, its code and the name."""
    model = harness.MODELS / path
    if not model.exists():
        raise harness.Skip(f"no models in {harness.MODELS}: set QCC_TEST_DATA")
    with tempfile.TemporaryDirectory(prefix="qcc-refused-") as folder:
        done = harness.run(harness.QCC, model, "-o", pathlib.Path(folder) / "artifact", "-q", check=False)
    if done.returncode != 4 or code not in done.stderr or name not in done.stderr:
        raise harness.Failure(f"expected exit status 4, {code} and '{name}', but got {done.returncode}: {done.stderr.strip()[:300]}")
    return code


def all_refused() -> list:
    """The cases of this file."""
    return [(f"refused/{path}", lambda r=(path, code, name): refusal(*r)) for path, code, name, _ in REFUSED]
