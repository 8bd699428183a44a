#!/usr/bin/env python3
# Speed of int8 with calibrated scales: against own fp32 and ONNX Runtime's int8 and fp32.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""usage: bench_int8.py [--rounds=N] [--seconds=S] [--only=NAME] [--target=T] [--threads=1,2] [--own | --qdq] [--page=FILE]

Four contenders in one process, in rounds that run each once, in an order that turns, after a run that is not counted and
with several threads after a pause: ours in int8 and fp32, ONNX Runtime's in int8 (quantize_static: per channel, symmetric
weights, after its own preprocessing) and fp32, with all optimisations and the same threads. Both int8 are calibrated on the
same samples. Models: the trained ones of $QCC_TEST_DATA with at least 50 million products, and graphs of known shapes with
random weights. Writes docs/benchmarks/DATE-int8-LEVEL.md. Bounded: --seconds for each model and number of threads.

With --qdq the contenders are ONNX Runtime's int8 model, compiled by us and run by it, and our own int8, in DATE-qdq-LEVEL.md.
With --own the contenders are ours alone: fp32, int8 and w4a8 with calibration data, and int8 without, in DATE-int8-own-LEVEL.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "test" / part) for part in ("Support", "EndToEnd")]
import cases
import data
import harness
import int8
import numpy as np
import onnx
import onnxruntime
import qcc
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

LEAST_SAMPLE = 0.004  # seconds of one contender in a round
PAUSE = 0.1  # seconds between contenders of several threads: those of the one before wait in a loop before they sleep
OURS, PLAIN, PEER, PEER_PLAIN = "int8", "fp32", "ORT int8", "ORT fp32"
DYNAMIC, NARROW, QDQ = "int8 without data", "w4a8", "ORT's model"


@dataclasses.dataclass
class Subject:
    """A model: where it is or what makes it, and the samples [N, ...] of its one input that both int8 are calibrated on."""

    name: str
    path: Callable[[pathlib.Path], pathlib.Path]
    samples: Callable[[], np.ndarray]
    flags: tuple[str, ...] = ()


def trained(name: str) -> Subject:
    model = int8.MODELS[name]
    return Subject(name, lambda _: harness.MODELS / model.path, lambda: model.samples()[: model.calibration])


def shaped(name: str, kind: str, samples: Callable[[], np.ndarray]) -> Subject:
    def make(folder: pathlib.Path) -> pathlib.Path:
        path = folder / "model.onnx"
        cases.make_graphs.make(kind, path, batch=1)
        return path

    return Subject(name, make, samples)


def squeezenet(folder: pathlib.Path) -> pathlib.Path:
    cases.squeezenet_float(folder / "model.onnx")
    return folder / "model.onnx"


def pictures() -> np.ndarray:
    return data.images(4, 3, 224, 224, low=-2, high=2)


def tokens() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 30522, (4, 128))


SUBJECTS = [trained(name) for name in ("ultraface-rfb", "ultraface-slim", "yunet", "fastestdet", "superres", "fsmn-vad", "swift-f0")] + [
    Subject("squeezenet", squeezenet, lambda: data.photos(8, 3, 224, 224, -120, 130), ("--dim=batch=1",)),
    shaped("ResNet50-shaped", "resnet50", pictures),
    shaped("MobileNetV2-shaped", "mobilenetv2", pictures),
    shaped("BERT-base-shaped", "bert", tokens),
]


class Reader(CalibrationDataReader):
    """Hands samples to ONNX Runtime's calibration."""

    def __init__(self, name: str, samples: np.ndarray):
        self.feeds = iter([{name: sample[None]} for sample in samples])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.feeds, None)


def quantize_peer(path: pathlib.Path, folder: pathlib.Path, name: str, samples: np.ndarray) -> pathlib.Path:
    """ONNX Runtime's int8 of a model: scales per channel need opset 13."""
    model = onnx.load(path)
    if next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx")) < 13:
        model = onnx.version_converter.convert_version(model, 13)
    onnx.save(model, folder / "opset13.onnx")
    quant_pre_process(str(folder / "opset13.onnx"), str(folder / "prepared.onnx"), skip_symbolic_shape=True)
    quantize_static(
        str(folder / "prepared.onnx"), str(folder / "peer.onnx"), Reader(name, samples), quant_format=QuantFormat.QDQ,
        per_channel=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, extra_options={"WeightSymmetric": True},
    )  # fmt: skip
    return folder / "peer.onnx"


def session(path: pathlib.Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def seconds(run: Callable[[], object], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.perf_counter() - start) / repeats


def race(runs: dict[str, Callable[[], object]], rounds: int, limit: float, pause: float) -> dict[str, list[float]]:
    """Seconds of each contender in each round: as many rounds as fit `limit` seconds, at least 5."""
    repeats = {}
    for name, run in runs.items():
        seconds(run, 2)
        repeats[name] = max(1, int(LEAST_SAMPLE / seconds(run, 2)))
    times = {name: [] for name in runs}
    order, end = list(runs), time.perf_counter() + limit
    for done in range(rounds):
        if done >= 5 and time.perf_counter() > end:
            break
        for name in order:
            time.sleep(pause)
            runs[name]()
            times[name].append(seconds(runs[name], repeats[name]))
        order = order[1:] + order[:1] if done % 2 else order[::-1]
    return times


def ratio(times: dict[str, list[float]], slow: str, fast: str) -> tuple[float, float, float]:
    """Quartiles of the time of `slow` over that of `fast`, round by round."""
    low, middle, high = statistics.quantiles([a / b for a, b in zip(times[slow], times[fast])], n=4)
    return low, middle, high


def cosine(got: list[np.ndarray], want: list[np.ndarray]) -> float:
    a, b = (np.concatenate([array.ravel() for array in arrays]).astype(np.float64) for arrays in (got, want))
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def count_products(artifact: pathlib.Path, precision: str) -> str:
    """How many of an artifact's products and convolutions were executed in a precision."""
    ops = json.loads((artifact / "report.json").read_text())["ops"]
    products = [op for op in ops if op["op"].removeprefix("qcc.") in ("conv", "int_conv", "matmul", "int_matmul", "qmatmul")]
    return f"{sum(op['executed'] == precision for op in products)} of {len(products)}"


def measure(subject: Subject, options: argparse.Namespace) -> list[tuple[int, dict[str, list[float]], str]]:
    """Times of all contenders for each number of threads, with what became of the products."""
    results = []
    with tempfile.TemporaryDirectory(prefix="qcc-bench-") as scratch:
        folder = pathlib.Path(scratch)
        path, samples = subject.path(folder), subject.samples()
        graph = onnx.load(path).graph
        weights = {w.name for w in graph.initializer}
        (name,) = [value.name for value in graph.input if value.name not in weights]
        np.savez(folder / "calibration.npz", **{name: samples})
        calibrated = f"--calib={folder / 'calibration.npz'}"
        ours = {PLAIN: [], OURS: ["--precision=int8", calibrated]}
        if options.own:
            ours |= {DYNAMIC: ["--precision=int8"], NARROW: ["--precision=w4a8", calibrated]}
        peer = None if options.own else quantize_peer(path, folder, name, samples)
        if options.qdq:
            ours |= {QDQ: []}
        for kind, flags in ours.items():
            model = peer if kind == QDQ else path
            harness.run(harness.QCC, model, "-o", folder / kind, *flags, f"--target={options.target}", "-q", *subject.flags)
        feed = {name: samples[:1]}
        for threads in options.threads:
            models = {kind: qcc.load(folder / kind, threads=threads) for kind in ours}
            runs = {kind: lambda model=model: model(feed) for kind, model in models.items()}
            exact = list(models[PLAIN](feed).values())
            said = [
                f"{count_products(folder / kind, 'int8' if kind == QDQ else kind.split()[0])} | {cosine(list(models[kind](feed).values()), exact):.4f}"
                for kind in ours
                if kind != PLAIN
            ]
            if peer:
                sessions = [session(p, threads) for p in (peer, path)]
                runs |= {PEER: lambda: sessions[0].run(None, feed), PEER_PLAIN: lambda: sessions[1].run(None, feed)}
            if options.qdq:
                runs = {kind: runs[kind] for kind in (QDQ, PEER, OURS)}
            results.append((threads, race(runs, options.rounds, options.seconds, PAUSE if threads > 1 else 0), " | ".join(said)))
    return results


def geometric_mean(values: list[float]) -> float:
    return float(np.exp(np.mean(np.log(values))))


def main() -> None:
    parser = argparse.ArgumentParser(description="speed of int8")
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--seconds", type=float, default=12)
    parser.add_argument("--target", default="native")
    parser.add_argument("--only", default="")
    parser.add_argument("--threads", type=lambda text: [int(n) for n in text.split(",")], default=[1, 2])
    parser.add_argument("--own", action="store_true")
    parser.add_argument("--qdq", action="store_true")
    parser.add_argument("--page", type=pathlib.Path)
    options = parser.parse_args()
    day = datetime.date.today().isoformat()
    if options.own:
        names, pairs = (PLAIN, OURS, DYNAMIC, NARROW), [(PLAIN, OURS), (PLAIN, DYNAMIC), (OURS, NARROW)]
        title, file = "int8 with and without data, and w4a8", "int8-own"
        said = " | ".join(f"products in {kind} | cosine" for kind in (OURS, DYNAMIC, NARROW))
    elif options.qdq:
        names, pairs = (QDQ, PEER, OURS), [(PEER, QDQ), (QDQ, OURS)]
        title, file = "int8 models of ONNX Runtime, compiled and run by it", "qdq"
        said = " | ".join(f"products in int8, {kind} | cosine" for kind in (OURS, QDQ))
    else:
        names, pairs = (OURS, PLAIN, PEER, PEER_PLAIN), [(PLAIN, OURS), (PEER, OURS), (PEER_PLAIN, PLAIN)]
        title, file, said = "int8 against fp32 and ONNX Runtime", "int8", "products in int8 | cosine"
    speeds = " | ".join(f"{fast} over {slow}" for slow, fast in pairs)
    columns = f"| model | threads | {' | '.join(names)} | {speeds} | {said} |"
    lines = [
        f"# {title}, {day}", "",
        f"`./dev bench int8 {' '.join(word for word in sys.argv[1:] if not word.startswith('--page'))}` at commit {harness.commit()}, "
        f"`--target={options.target}`, on {harness.cpu_name()}; ONNX Runtime {onnxruntime.__version__}; load average at the start {os.getloadavg()[0]:.1f}.",
        f"At most {options.rounds} rounds in at most {options.seconds:.0f} s, each running all contenders once; times are medians, speeds medians of the",
        "ratio in a round, with quartiles. Cosine: our outputs with our fp32 ones on a calibration sample.", "",
        columns,
        "|---" * columns.count(" | ") + "|---|",
    ]  # fmt: skip
    found: dict[int, list[list[float]]] = {}
    for subject in SUBJECTS:
        if options.only not in subject.name:
            continue
        for threads, times, outcome in measure(subject, options):
            ratios = [ratio(times, *pair) for pair in pairs]
            found.setdefault(threads, []).append([middle for _, middle, _ in ratios])
            medians = " | ".join(f"{statistics.median(times[name]) * 1e3:.2f} ms" for name in names)
            measured = " | ".join(f"{middle:.2f}x ({low:.2f} to {high:.2f})" for low, middle, high in ratios)
            lines.append(f"| {subject.name} | {threads} | {medians} | {measured} | {outcome} |")
            print(lines[-1], flush=True)
    for threads, rows in found.items():
        means = " | ".join(f"{geometric_mean(list(column)):.2f}x" for column in zip(*rows))
        lines.append(f"| geometric mean | {threads} |{' |' * len(names)} {means} |" + " |" * (said.count("|") + 1))
        print(lines[-1], flush=True)
    harness.write_page(file, lines, options.page)


if __name__ == "__main__":
    main()
