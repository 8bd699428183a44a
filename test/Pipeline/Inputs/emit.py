# Prints a model after each stage that is text and reads it back: emit.py MODEL FOLDER
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import pathlib
import subprocess
import sys

model, folder = sys.argv[1], pathlib.Path(sys.argv[2])


def output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


for stage in ["import", "calibrate", "transform", "assign", "quantize", "fuse", "schedule", "plan"]:
    path = folder / f"{stage}.mlir"
    output("qcc", model, f"--emit={stage}", "-o", str(path), "-q", "--target=avx2")
    once = output("qcc-opt", str(path))
    assert "module" in once, stage
    path.write_text(once)
    assert output("qcc-opt", str(path)) == once, f"{stage} changes when it is read back"
