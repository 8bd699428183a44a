# Recurrent models over 100 steps of a recording, against ONNX Runtime: each side goes on from its own state.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

from __future__ import annotations

import dataclasses
import pathlib
import tempfile
from collections.abc import Callable

import data
import harness
import numpy as np
import oracle
import qcc

STEPS = 100
Inputs = dict[str, np.ndarray]


@dataclasses.dataclass
class Recurrent:
    """A model below models/audio whose state goes from an output to an input.

    `feeds` gives the other inputs of all steps. With `kept`, the compiled model keeps the state itself (--state).
    """

    name: str
    path: str
    state: tuple[str, str]
    shape: tuple[int, ...]
    feeds: Callable[[], list[Inputs]]
    kept: bool = False


def silero(rate: int, batch: int, with_rate: bool = True) -> list[Inputs]:
    """Chunks of 32 ms, each with the last 4 ms of the one before it, as the model's authors feed it."""
    chunk, context = rate // 1000 * 32, rate // 1000 * 4
    step = 16000 // rate
    samples = np.stack([data.speech("silero-vad/test.wav", 16000 * (1 + i), 60000)[::step] for i in range(batch)])
    feeds = []
    for i in range(STEPS):
        first = i * chunk
        feed = {"input": samples[:, first : first + context + chunk].copy()}
        if with_rate:
            feed["sr"] = np.array(rate, np.int64)
        feeds.append(feed)
    return feeds


def spectra() -> list[Inputs]:
    """Magnitudes of 32 ms every 8 ms."""
    windows = data.frames(data.speech("jfk.wav", 8000), 512, 128)[:STEPS]
    return [{"input_2": np.abs(np.fft.rfft(window)).astype(np.float32)[None, None]} for window in windows]


def signals() -> list[Inputs]:
    """32 ms every 8 ms."""
    windows = data.frames(data.speech("jfk.wav", 8000), 512, 128)[:STEPS]
    return [{"input_4": window[None, None].copy()} for window in windows]


def all_models() -> list[Recurrent]:
    """The recurrent models, in the forms in which their state is carried."""
    dtln = (1, 2, 128, 2)
    one = [
        ("dtln-1", "dtln/model_1.onnx", ("tf_op_layer_stack_2", "input_3"), dtln, spectra),
        ("dtln-2", "dtln/model_2.onnx", ("tf_op_layer_stack_5", "input_5"), dtln, signals),
        ("silero-static", "silero-vad/silero_vad_openvino_16k.onnx", ("stateN", "state"), (2, 1, 128),
         lambda: silero(16000, 1, with_rate=False)),
    ]  # fmt: skip
    models = [Recurrent(f"{name}/{form}", *rest, kept) for name, *rest in one for form, kept in (("passed", False), ("kept", True))]
    for name, path in (("silero-op15", "silero_vad_16k_op15"), ("silero", "silero_vad")):
        for rate, batch in ((16000, 1), (16000, 3), (8000, 1)):
            if rate == 16000 or name == "silero":
                models.append(Recurrent(f"{name}/{rate}x{batch}", f"silero-vad/{path}.onnx", ("stateN", "state"),
                                        (2, batch, 128), lambda r=rate, b=batch: silero(r, b)))  # fmt: skip
    return models


def run_steps(case: Recurrent) -> str:
    """Both sides over all steps; each output and state agrees at each."""
    model = harness.MODELS / "audio" / case.path
    if not model.exists():
        raise harness.Skip(f"no models in {harness.MODELS}: set QCC_TEST_DATA")
    source, target = case.state
    with tempfile.TemporaryDirectory(prefix="qcc-carried-") as folder:
        artifact = pathlib.Path(folder) / "artifact"
        flags = [f"--state={target}={source}"] if case.kept else []
        harness.run(harness.QCC, model, "-o", artifact, "-q", *flags)
        context = qcc.load(artifact, threads=1).context()
        session = oracle.load(model, optimized=True)
        ours = theirs = np.zeros(case.shape, np.float32)
        worst = 0.0
        for step, feed in enumerate(case.feeds()):
            want = oracle.run(session, {**feed, target: theirs})
            theirs = want[source]
            got = context.run(feed if case.kept else {**feed, target: ours})
            if case.kept:
                got[source] = context.state(target)
            ours = got[source]
            what = oracle.mismatch(got, want)
            if what:
                raise harness.Failure(f"step {step}: {what}")
            worst = max(worst, *(float(oracle.difference(got[name], want[name]).max()) for name in want))
    return f"error {worst:.1e} over {STEPS} steps"


def all_carried() -> list:
    """The cases of this file."""
    return [(f"carried/{case.name}", lambda c=case: run_steps(c)) for case in all_models()]
