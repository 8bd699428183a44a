#!/usr/bin/env python3
# Time and memory of AWQ and GPTQ on a decoder of any size, with random weights: ./dev bench scale
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""usage: bench_scale.py [--layers=N] [--hidden=K] [--inner=K] [--heads=N] [--samples=N] [--tokens=N] [--kills=N] [--page=FILE]

Compiles a Llama-shaped decoder (no embedding, no head: they stay float) to w4a16 in groups of 128 with AWQ and GPTQ, one
block after the other, and prints minutes, the most anonymous memory of the compiler at once, and the bound for it: 24 K^2 of
the largest K, the largest layer and 512 MB. With --kills=N the same is done again, killed N times on the way with a signal
that cannot be caught, and the bytes are compared. 1 billion parameters: --layers=16 --hidden=2048 --inner=8192 --heads=32.
"""

import argparse
import datetime
import os
import pathlib
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnx
import onnx.numpy_helper
from onnx import TensorProto, helper

SOURCE = pathlib.Path(__file__).resolve().parents[2]
QCC = SOURCE / "build" / "bin" / "qcc"
MB = 1 << 20


class Decoder:
    """Nodes and weights of the decoder over hidden states [1, tokens, hidden]."""

    def __init__(self, args):
        self.args, self.nodes, self.weights, self.count = args, [], [], 0
        self.random = np.random.default_rng(1)

    def add(self, op, *inputs, name="", **attributes):
        names = []
        for value in inputs:
            if isinstance(value, np.ndarray):
                self.weights.append(onnx.numpy_helper.from_array(value, f"w{len(self.weights)}"))
                value = self.weights[-1].name
            names.append(value)
        self.count += 1
        self.nodes.append(helper.make_node(op, names, [f"v{self.count}"], name=name or f"n{self.count}", **attributes))
        return f"v{self.count}"

    def linear(self, value, k, n, name):
        weight = self.random.standard_normal((k, n), dtype=np.float32) / np.float32(np.sqrt(k))
        return self.add("MatMul", value, weight, name=name)

    def norm(self, value):
        mean = self.add("ReduceMean", self.add("Mul", value, value), axes=[-1])
        root = self.add("Sqrt", self.add("Add", mean, np.float32([1e-5])))
        gain = 1 + self.random.standard_normal(self.args.hidden, dtype=np.float32) / 10
        return self.add("Mul", self.add("Div", value, root), gain)

    def heads(self, value, order):
        count = self.args.heads
        value = self.add("Reshape", value, np.int64([1, -1, count, self.args.hidden // count]))
        return self.add("Transpose", value, perm=order)

    def layer(self, value, i):
        hidden, inner = self.args.hidden, self.args.inner
        x = self.norm(value)
        q, k, v = (self.linear(x, hidden, hidden, f"{i}.{name}") for name in "qkv")
        q = self.add("Mul", self.heads(q, [0, 2, 1, 3]), np.float32([(hidden // self.args.heads) ** -0.5]))
        scores = self.add("Softmax", self.add("MatMul", q, self.heads(k, [0, 2, 3, 1])), axis=-1)
        mixed = self.add("Transpose", self.add("MatMul", scores, self.heads(v, [0, 2, 1, 3])), perm=[0, 2, 1, 3])
        mixed = self.add("Reshape", mixed, np.int64([1, -1, hidden]))
        value = self.add("Add", value, self.linear(mixed, hidden, hidden, f"{i}.o"))
        x = self.norm(value)
        gate = self.linear(x, hidden, inner, f"{i}.gate")
        gate = self.add("Mul", gate, self.add("Sigmoid", gate))
        mixed = self.add("Mul", gate, self.linear(x, hidden, inner, f"{i}.up"))
        return self.add("Add", value, self.linear(mixed, inner, hidden, f"{i}.down"))

    def save(self, path):
        value = "x"
        for i in range(self.args.layers):
            value = self.layer(value, i)
        given = helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, "tokens", self.args.hidden))
        result = helper.make_tensor_value_info(value, TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "decoder", [given], [result], self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        onnx.save(model, path, save_as_external_data=True, location="weights.bin")


def run(words, folder: pathlib.Path, kill_at: int = 0) -> tuple[float, int]:
    """Seconds and the most anonymous memory; kills the compiler once the folder has so many files, if that is not 0."""
    process = subprocess.Popen([str(word) for word in words], stdin=subprocess.DEVNULL)
    start, most = time.monotonic(), 0
    while process.poll() is None:
        try:
            found = re.search(r"RssAnon:\s+(\d+) kB", pathlib.Path(f"/proc/{process.pid}/status").read_text())
        except OSError:
            break
        most = max(most, int(found.group(1)) * 1024 if found else 0)
        if kill_at and folder.exists() and len(list(folder.iterdir())) >= kill_at:
            process.send_signal(signal.SIGKILL)
        time.sleep(0.01)
    if process.wait() != (-signal.SIGKILL if kill_at else 0):
        sys.exit(f"the compiler ended with status {process.returncode}")
    return time.monotonic() - start, most


def same(a: pathlib.Path, b: pathlib.Path) -> bool:
    names = {path.name for path in a.iterdir()} - {"profile.json"}
    return all((a / name).read_bytes() == (b / name).read_bytes() for name in names)


def main() -> None:
    parser = argparse.ArgumentParser(usage=__doc__)
    for name, value in (("layers", 2), ("hidden", 512), ("inner", 1408), ("heads", 8), ("samples", 16), ("tokens", 256), ("kills", 0)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--page", type=pathlib.Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        Decoder(args).save(folder / "m.onnx")
        data = folder / "data"
        data.mkdir()
        for i in range(args.samples):
            np.savez(data / f"{i:04}.npz", x=np.random.default_rng(i).standard_normal((1, args.tokens, args.hidden), dtype=np.float32))
        command = [QCC, folder / "m.onnx", f"--calib={data}", "--precision=w4a16:g128", "--algo=awq,gptq", "-q"]
        seconds, most = run([*command, "-o", folder / "whole.qcc"], folder)
        widest = max(args.hidden, args.inner)
        bound = 24 * widest**2 + 4 * args.hidden * args.inner + 512 * MB
        parameters = args.layers * (4 * args.hidden**2 + 3 * args.hidden * args.inner)
        lines = [
            f"`{pathlib.Path(sys.argv[0]).name} {' '.join(word for word in sys.argv[1:] if not word.startswith('--page'))}`, "
            f"{datetime.date.today().isoformat()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {platform.machine()}",
            f"{parameters / 1e6:.1f} million weights, {args.samples} samples of {args.tokens} tokens: {seconds / 60:.1f} minutes, "
            f"{most / MB:.0f} MB of anonymous memory at most (bound {bound / MB:.0f} MB)",
        ]
        if args.kills:
            kept = folder / "checkpoints"
            words = [*command, f"--checkpoint={kept}", "-o", folder / "resumed.qcc"]
            # A file for each group of both algorithms (4 in a layer) and one that says whose they are.
            for i in range(args.kills):
                run(words, kept, 1 + 8 * args.layers * (i + 1) // (args.kills + 1))
            seconds, _ = run(words, kept)
            equal = same(folder / "whole.qcc", folder / "resumed.qcc")
            lines.append(f"killed {args.kills} times, the last run took {seconds / 60:.1f} minutes: {'equal' if equal else 'OTHER'} bytes")
        print("\n".join(lines))
        if args.page:
            args.page.write_text("# AWQ and GPTQ at scale\n\n" + "\n\n".join(lines) + "\n", encoding="utf-8")
        if most > bound or "OTHER" in lines[-1]:
            sys.exit(1)


if __name__ == "__main__":
    main()
