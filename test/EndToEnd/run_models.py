#!/usr/bin/env python3
# Compiles whole models and compares them with ONNX Runtime; then what the compiler promises about its artifacts.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Models of cases.py agree with ONNX Runtime within 1e-4 of the output's largest magnitude (1e-2 where that is f16), in
every form in which they are compiled (fixed, dynamic, other targets); so do those of carried.py over 100 steps. promises.py has the rest: whole artifacts or none, equal bytes, equal
results on any number of threads."""

from __future__ import annotations

import pathlib
import sys
import tempfile
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "Support"))
import carried
import cases
import harness
import int8
import large
import numpy as np
import onnxruntime
import oracle
import promises
import qdq
import quantized
import refused
import stateful
import w4a8
import written

# The bound on the compiler's anonymous memory: half of the model and this.
MEMORY_MB = 700

# ONNX Runtime's answers of one model are computed once, under a lock: its sessions use all cores.
runtime_lock = threading.Lock()


def reference(model: pathlib.Path, case: cases.Case, inputs: list[cases.Inputs]) -> list[dict[str, np.ndarray]]:
    """What ONNX Runtime computes."""
    source = case.known(model).SerializeToString() if case.known else str(model)
    with runtime_lock:
        onnxruntime.set_default_logger_severity(4)
        session = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        return [dict(zip(names, session.run(names, feed))) for feed in inputs]


def run_model(model: pathlib.Path, case: cases.Case, flags: list[str], inputs: list[cases.Inputs], scratch: pathlib.Path) -> str:
    """Compiles a model in one form, runs it on each input and compares; says error, memory and time."""
    artifact = scratch / "artifact"
    memory, seconds = harness.run_measured(harness.QCC, model, "-o", artifact, "-q", *flags)
    limit = 0.5 * model.stat().st_size / 2**20 + MEMORY_MB
    if memory > limit:
        raise harness.Failure(f"expected at most {limit:.0f} MB of anonymous memory, but got {memory:.0f} MB")
    worst = 0.0
    for i, (feed, want) in enumerate(zip(inputs, reference(model, case, inputs))):
        given, result = scratch / f"in{i}.npz", scratch / f"out{i}.npz"
        np.savez(given, **feed)
        harness.run(harness.QCC_RUN, artifact, f"--inputs={given}", f"--outputs={result}")
        with np.load(result) as got:
            got = dict(got)
        what = oracle.mismatch(got, want)
        if what:
            raise harness.Failure(what)
        worst = max(worst, *(oracle.difference(got[name], want[name]).max(initial=0) for name in want))
    return f"error {worst:.1e}, compiled in {seconds:.1f} s with {memory:.0f} MB"


def model_case(case: cases.Case, flags: list[str], inputs: list[cases.Inputs]) -> str:
    """One form of one model, in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="qcc-e2e-") as folder:
        scratch = pathlib.Path(folder)
        if isinstance(case.source, str):
            model = harness.MODELS / case.source
        else:
            model = scratch / "model.onnx"
            try:
                case.source(model)
            except FileNotFoundError as missing:
                model = pathlib.Path(missing.filename)
        if not model.exists():
            raise harness.Skip(f"no models in {harness.MODELS}: set QCC_TEST_DATA")
        return run_model(model, case, flags, inputs, scratch)


def main() -> None:
    parser = harness.parser("compile whole models and compare them with ONNX Runtime")
    parser.add_argument("--only", default="", help="run the cases whose name holds this text")
    options = parser.parse_args()
    work = []
    for case in cases.all_cases():
        for form, flags, inputs in case.forms:
            work.append((f"{case.name}/{form}", lambda c=case, f=flags, i=inputs: model_case(c, f, i)))
    work += quantized.all_quantized()
    work += carried.all_carried()
    work += refused.all_refused()
    work += qdq.all_qdq(options.soak)
    work += int8.all_int8()
    work += w4a8.all_w4a8()
    work += written.all_written()
    work += stateful.all_stateful()
    work += promises.all_promises(options.soak)
    work += large.all_large(options.soak)
    harness.finish("endtoend", harness.run_cases([w for w in work if options.only in w[0]]), options.junit)


if __name__ == "__main__":
    main()
