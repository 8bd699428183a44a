# Measures artifacts and compares the figures with numpy: eval.py FOLDER
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import json
import pathlib
import subprocess
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

folder = pathlib.Path(sys.argv[1])
rng = np.random.default_rng(11)
VOCABULARY, LENGTH, ROWS = 40, 6, 50


def make_model(path: pathlib.Path, noise: float) -> None:
    """Logits of the next token from the one before: an embedding and two products. `noise` is added to weights."""
    random = np.random.default_rng(5)
    other = np.random.default_rng(6)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        values = random.standard_normal(shape) + noise * other.standard_normal(shape)
        return numpy_helper.from_array((values / np.sqrt(shape[0])).astype(np.float32), name)

    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["x"], name="embed"),
        helper.make_node("MatMul", ["x", "w1"], ["h"], name="first"),
        helper.make_node("Tanh", ["h"], ["t"], name="tanh"),
        helper.make_node("MatMul", ["t", "w2"], ["logits"], name="second"),
        helper.make_node("ReduceMax", ["logits"], ["best"], name="best", keepdims=0, axes=[2]),
        helper.make_node("ArgMax", ["logits"], ["token"], name="token", keepdims=0, axis=2),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "length"])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "length", VOCABULARY]),
            helper.make_tensor_value_info("best", TensorProto.FLOAT, ["batch", "length"]),
            helper.make_tensor_value_info("token", TensorProto.INT64, ["batch", "length"]),
        ],
        [weight("table", VOCABULARY, 32), weight("w1", 32, 64), weight("w2", 64, VOCABULARY)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def run(*words, status: int = 0) -> subprocess.CompletedProcess:
    done = subprocess.run(list(map(str, words)), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    assert done.returncode == status, f"{words}: expected {status}, but got {done.returncode}: {done.stderr}"
    return done


model, near, far = folder / "m.onnx", folder / "near.qcc", folder / "far.qcc"
make_model(model, 0)
make_model(folder / "far.onnx", 0.2)
run("qcc", model, "-o", near, "--precision=int8", "-q")
run("qcc", folder / "far.onnx", "-o", far, "-q")
run("qcc", model, "-o", folder / "float.qcc", "-q")
ids = rng.integers(0, VOCABULARY, (ROWS, LENGTH))
labels = rng.integers(0, VOCABULARY, (ROWS, LENGTH))
labels[0, :3] = -100  # not counted
data = folder / "data.npz"
np.savez(data, ids=ids, labels=labels)


def outputs(artifact: pathlib.Path) -> np.ndarray:
    run("qcc-run", artifact, f"--inputs={data}", f"--outputs={folder / 'out.npz'}", "-q")
    return np.load(folder / "out.npz")["logits"].astype(np.float64)


def log_softmax(x: np.ndarray) -> np.ndarray:
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def perplexity(x: np.ndarray) -> float:
    picked = np.take_along_axis(log_softmax(x)[:, :-1], ids[:, 1:, None], -1)
    return float(np.exp(-picked.mean()))


r, xs = outputs(folder / "float.qcc"), {near: outputs(near), far: outputs(far)}
base = ["qcc", "eval", near, far, f"--data={data}", "--progress=none"]
everything = base + [f"--reference={model}", "--metric=cosine,sqnr,top1", "--metric=perplexity,kl"]
result = json.loads(run(*everything, "--json").stdout)
found = {(e["artifact"], e["metric"]): e for e in result["results"]}
assert len(found) == 10
counted = labels >= 0
for artifact, x in xs.items():
    flat_r, flat_x = r.reshape(ROWS, -1), x.reshape(ROWS, -1)
    norms = np.linalg.norm(flat_r, axis=1) * np.linalg.norm(flat_x, axis=1)
    log_r, log_x = log_softmax(r), log_softmax(x)
    agree = (r.argmax(-1) == x.argmax(-1)).mean()
    expected = {
        "cosine": ((flat_r * flat_x).sum(1) / norms).mean(),
        "sqnr": 10 * np.log10((r**2).sum() / ((x - r) ** 2).sum()),
        "top1": agree,
        "perplexity": perplexity(x),
        "kl": (np.exp(log_r) * (log_r - log_x)).sum(-1).mean(),
    }
    for metric, value in expected.items():
        entry = found[str(artifact), metric]
        np.testing.assert_allclose(entry["value"], value, rtol=1e-5, err_msg=metric)
        assert entry["low"] <= entry["value"] <= entry["high"] and entry["rows"] == ROWS, entry
    np.testing.assert_allclose(found[str(artifact), "perplexity"]["reference"], perplexity(r), rtol=1e-5)
    np.testing.assert_allclose(found[str(artifact), "perplexity"]["drop"]["value"], perplexity(x) / perplexity(r) - 1, rtol=1e-3, atol=1e-7)
    np.testing.assert_allclose(found[str(artifact), "top1"]["drop"]["value"], 1 - agree, atol=1e-12)
assert found[str(near), "cosine"]["value"] > found[str(far), "cosine"]["value"]

# The same figures again, on any number of threads, and against an artifact as reference.
assert json.loads(run(*everything, "--json", "--jobs=1").stdout) == result
assert json.loads(run(*everything, "--json", "--jobs=3").stdout) == result
other = json.loads(run(*base, f"--reference={folder / 'float.qcc'}", "--metric=cosine,sqnr,top1,perplexity,kl", "--json").stdout)
assert other["results"] == result["results"]

# Labels: accuracies of both sides.
done = run(*base, f"--reference={model}", "--metric=top1", "--labels=labels", "--json")
entry = json.loads(done.stdout)["results"][1]
accuracy = lambda x: (x.argmax(-1) == labels)[counted].mean()
np.testing.assert_allclose([entry["value"], entry["reference"]], [accuracy(xs[far]), accuracy(r)], atol=1e-12)
np.testing.assert_allclose(entry["drop"]["value"], accuracy(r) - accuracy(xs[far]), atol=1e-12)

# An artifact against itself: no error at all, which JSON has no number for.
done = run("qcc", "eval", near, f"--reference={near}", f"--data={data}", "--json")
assert [e["value"] for e in json.loads(done.stdout)["results"]] == [1, None]

# Another output, and the table.
table = run(*base, f"--reference={model}", "--output=best").stdout
assert table.startswith("artifact") and table.count("cosine") == 2 and f"{ROWS} rows" in table, table

# Gates.
cosine = found[str(far), "cosine"]["value"]
run(*base, f"--reference={model}", f"--min-cos={cosine - 1e-4}")
done = run(*base, f"--reference={model}", f"--min-cos={cosine + 1e-4}", status=6)
assert "far.qcc: expected a cosine of at least" in done.stderr and "near.qcc" not in done.stderr and done.stdout, done.stderr
drop = found[str(far), "perplexity"]["drop"]["value"]
run(*base, f"--reference={model}", "--metric=perplexity", f"--max-drop={100 * abs(drop) + 1}%")
done = run(*base, f"--reference={model}", "--metric=top1", "--max-drop=0", status=6)
assert "far.qcc: expected top1 worse by at most 0%" in done.stderr, done.stderr

# An artifact that is better than its reference: less than nothing in the table and JSON, and no gate misses.
worse, better = sorted([near, far], key=lambda artifact: -perplexity(xs[artifact]))
gain = perplexity(xs[better]) / perplexity(xs[worse]) - 1
words = ["qcc", "eval", better, f"--reference={worse}", f"--data={data}", "--metric=perplexity", "--tokens=ids", "--max-drop=0", "--progress=none"]
done = run(*words)
assert f"{100 * gain:+.2f}% (" in done.stdout and gain < 0, done.stdout
np.testing.assert_allclose(json.loads(run(*words, "--json").stdout)["results"][0]["drop"]["value"], gain, rtol=1e-3)
assert "-0.00%" not in run("qcc", "eval", near, f"--reference={model}", f"--data={data}", "--metric=perplexity").stdout

# Logits of random weights say less than a guess.
assert perplexity(xs[worse]) > VOCABULARY
warning = f"qcc: warning: {worse}: the perplexity of {perplexity(xs[worse]):.1f} is above that of a guess among {VOCABULARY} classes; "
assert done.stderr == warning + "see whether --data and --tokens are those of the model\n", done.stderr

# What is wrong is said.
np.savez(folder / "wide.npz", ids=ids.astype(np.float32))
np.savez(folder / "empty.npz", ids=np.zeros((0, LENGTH), np.int64))
np.savez(folder / "short.npz", ids=ids, labels=labels[:, 1:])
whole = (near / "libmodel.so").read_bytes()
(folder / "part.so").write_bytes(whole[: len(whole) // 2])
np.savez(folder / "large.npz", ids=ids, labels=labels + VOCABULARY)
wrong = [
    ([], 2, "expected artifacts"),
    ([near, f"--data={data}"], 2, "--reference"),
    ([near, f"--reference={model}"], 2, "--data"),
    ([folder / "none.qcc", f"--reference={model}", f"--data={data}"], 3, "none.qcc"),
    ([folder / "part.so", f"--reference={model}", f"--data={data}"], 9, "part.so: the library is cut short: expected "),
    ([near, f"--reference={folder / 'none.onnx'}", f"--data={data}"], 3, "none.onnx"),
    ([near, f"--reference={model}", f"--data={folder / 'none.npz'}"], 5, "none.npz"),
    ([near, f"--reference={model}", f"--data={folder / 'wide.npz'}"], 5, "ids"),
    ([near, f"--reference={model}", f"--data={folder / 'empty.npz'}"], 5, "there are none"),
    ([near, f"--reference={model}", f"--data={data}", "--metric=loss"], 2, "'loss'"),
    ([near, f"--reference={model}", f"--data={data}", "--output=nothing"], 2, "logits, best, token"),
    ([near, f"--reference={model}", f"--data={data}", "--output=token"], 5, "output 'token'"),
    ([near, f"--reference={model}", f"--data={data}", "--min-cos=2"], 2, "--min-cos"),
    ([near, f"--reference={model}", f"--data={data}", "--max-drop=x", "--metric=top1"], 2, "--max-drop"),
    ([near, f"--reference={model}", f"--data={data}", "--max-drop=1%"], 2, "what may drop"),
    ([near, f"--reference={model}", f"--data={data}", "--metric=top1", "--labels=nothing"], 5, "'nothing'"),
    ([near, f"--reference={model}", f"--data={folder / 'short.npz'}", "--metric=top1", "--labels=labels"], 5, "labels or tokens"),
    ([near, f"--reference={model}", f"--data={folder / 'large.npz'}", "--metric=top1", "--labels=labels"], 5, "below 40"),
    ([near, f"--reference={model}", f"--data={data}", "--metric=perplexity", "--output=best"], 5, "labels or tokens"),
]
for words, status, text in wrong:
    done = run("qcc", "eval", *words, "--progress=none", status=status)
    assert text in done.stderr and done.stderr.startswith("qcc: error: "), f"{words}: {done.stderr}"
