# Compiles a model to precisions for the reference and for this machine and compares what they compute.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""usage: agree.py FOLDER PRECISION..., where FOLDER holds mlp.onnx and in.npz"""
import pathlib
import subprocess
import sys

import numpy

folder = pathlib.Path(sys.argv[1])
plain = {}
for precision in ["f32", *sys.argv[2:]]:
    results = []
    for target in ("reference", "native"):
        artifact, out = folder / f"{target}.qcc", folder / f"{target}.npz"
        words = ["qcc", folder / "mlp.onnx", f"--target={target}", f"--precision={precision}", "-o", artifact, "-q", "--require-fused"]
        subprocess.run(words, check=True)
        subprocess.run(["qcc-run", artifact, f"--inputs={folder / 'in.npz'}", f"--outputs={out}"], check=True, stdout=subprocess.DEVNULL)
        results.append(dict(numpy.load(out).items()))
    plain = plain or results[0]
    for name, want in results[0].items():
        # Activations may be rounded otherwise where f32 sums of the layer before do.
        exact = precision == "bf16" or precision.startswith(("f32", "w8a16", "w6", "w4a16", "w3", "w2", "fp8", "nf4"))
        bound = 1e-5 if exact else 2e-2
        numpy.testing.assert_allclose(results[1][name], want, rtol=0, atol=bound * numpy.abs(want).max(), err_msg=f"{precision} {name}")
        # And it is not the float model.
        assert precision == "f32" or numpy.abs(want - plain[name]).max() > 1e-4 * numpy.abs(want).max(), precision
