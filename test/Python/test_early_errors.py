# What flags say by themselves is wrong is told before anything is done: here there is no model to do it with.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
from __future__ import annotations

import subprocess

import numpy as np
import onnx
import onnx.numpy_helper
import onnx.parser
import pytest
import qcc

QCC = qcc._driver._find_driver()
K = 32


def driver(*words, cwd=None):
    done = subprocess.run([QCC, *map(str, words)], capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd=cwd, timeout=120)
    return done.returncode, done.stderr


def save(path, text, weights=()):
    model = onnx.parser.parse_model('<ir_version: 9, opset_import: ["" : 17]>' + text)
    rng = np.random.default_rng(1)
    for name, shape in weights:
        model.graph.initializer.append(onnx.numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name))
    onnx.save(model, path)


QDQ = "--emit=qdq-onnx: expected --precision=int8 with --calib or --stats and without --algo, but got "


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--emit=qdq-onnx --precision=int8 --calib=c.npz --algo=gptq", QDQ + "--algo=gptq"),
        ("--emit=qdq-onnx --precision=int8 --calib=c.npz --algo=rtn", QDQ + "--algo=rtn"),
        ("--emit=qdq-onnx --calib=c.npz", QDQ + "--precision=f32"),
        ("--emit=qdq-onnx --precision=w4a16 --calib=c.npz", QDQ + "--precision=w4a16"),
        ("--emit=qdq-onnx --precision=w4a8 --calib=c.npz", QDQ + "--precision=w4a8"),
        ("--emit=qdq-onnx --max-size=0.5x --calib=c.npz", QDQ + "--precision=mixed with a budget"),
        ("--emit=qdq-onnx --precision=int8 --sensitivity=estimated --max-drop=1% --calib=c.npz", QDQ + "--precision=int8 with a budget"),
        ("--emit=qdq-onnx --precision=int8", QDQ + "neither --calib nor --stats"),
        ("--max-size=0.5x", "mixed precision chooses by data: expected --calib=DATA, but got none"),
        ("--max-size=0.5x --stats=m.stats", "mixed precision chooses by data: expected --calib=DATA, but got none"),
        ("--algo=gptq --calib=c.npz", "--algo: expected a --precision to quantize to, but got f32"),
        ("--algo=rtn,awq,gptq --precision=w4a16", "--algo=awq,gptq: chooses by data: expected --calib=DATA, but got none"),
        ("--algo=gptq-correct --precision=w4a16 --calib=c.npz --calib-mode=parallel", "--algo=gptq-correct: expected --calib-mode=sequential, but got parallel"),
        ("--max-size=0.5x --calib=c.npz --checkpoint=c --shards=2", "--checkpoint: expected no budget"),
    ],
)  # fmt: skip
def test_flags_that_do_not_go_together(tmp_path, words, says):
    code, text = driver("none.onnx", *words.split(), cwd=tmp_path)
    assert code == 2 and says in text and text.endswith("[QCC-E401]\n"), text


def test_algorithms_that_do_not_fit_the_precision(tmp_path):
    code, text = driver("none.onnx", "--algo=smoothquant", "--precision=w4a16", "--calib=c.npz", cwd=tmp_path)
    assert code == 4 and "--algo=smoothquant: expected a precision that rounds activations (integer compute), but got 'w4a16'" in text, text


@pytest.mark.parametrize(
    ("lines", "flags", "says"),
    [
        ("precision: int8\npasses: [gptq]", ["--emit=qdq-onnx", "--calib=c.npz"], QDQ + "--algo=gptq"),
        ("passes:\n  - mixed_precision: {candidates: [w4a16], budget: {size: 0.5x}}", ["--emit=qdq-onnx", "--calib=c.npz"], QDQ + "--precision=w4a16 with a budget"),
        ("precision: w4a16\npasses: [gptq]", [], "--algo=gptq: chooses by data"),
    ],
)  # fmt: skip
def test_recipes_say_it_too(tmp_path, lines, flags, says):
    (tmp_path / "r.yaml").write_text(f"schema: qcc-recipe/1\n{lines}\n")
    code, text = driver("none.onnx", "--recipe=r.yaml", *flags, cwd=tmp_path)
    assert code == 2 and says in text, text


def test_budgets_of_written_models(tmp_path):
    """They are those of int8 where there are convolutions: known once the model is read, before it is calibrated."""
    save(tmp_path / "product.onnx", f"g (float[n, {K}] x) => (float[n, {K}] y) {{ y = MatMul (x, w) }}", [("w", (K, K))])
    save(tmp_path / "conv.onnx", f"g (float[n, {K}, 4] x) => (float[n, {K}, 4] y) {{ y = Conv (x, w) }}", [("w", (K, K, 1))])
    np.savez(tmp_path / "c.npz", x=np.random.default_rng(2).standard_normal((16, K, 4)).astype(np.float32))
    words = ["--emit=qdq-onnx", "--precision=int8", "--max-drop=50%", "--calib=c.npz"]
    assert driver("conv.onnx", *words, "-o", "conv-int8.onnx", cwd=tmp_path)[0] == 0
    (tmp_path / "c.npz").unlink()
    code, text = driver("product.onnx", *words, "-o", "product-int8.onnx", cwd=tmp_path)
    assert code == 2 and "expected a model with convolutions" in text and "leave the budget out [QCC-E401]" in text, text


def test_names_of_measurements(tmp_path):
    """Before the reference is compiled: it is no model here, or one that compiling would refuse."""
    save(tmp_path / "m.onnx", f"g (float[n, {K}] x) => (float[n, {K}] y) {{ y = MatMul (x, w) }}", [("w", (K, K))])
    np.savez(tmp_path / "d.npz", x=np.zeros((8, K), np.float32), label=np.zeros(8, np.int64))
    assert driver("m.onnx", "-q", "-o", "m.qcc", cwd=tmp_path)[0] == 0
    for flags, code, says in (
        (["--output=nope"], 2, "m.qcc: --output: expected one of y, but got 'nope'"),
        (["--metric=top1", "--labels=foo"], 5, "there is no array 'foo'; there are 'x', 'label'"),
        (["--metric=perplexity", "--tokens=foo"], 5, "there is no array 'foo'; there are 'x', 'label'"),
    ):
        got, text = driver("eval", "m.qcc", "--reference=none.onnx", "--data=d.npz", *flags, cwd=tmp_path)
        assert got == code and says in text, text
    code, text = driver("eval", "m.qcc", "--reference=m.onnx", "--data=d.npz", "--metric=perplexity", cwd=tmp_path)
    assert code == 2 and "--metric=perplexity: expected --tokens=NAME" in text and "emit" not in text, text
    assert driver("eval", "m.qcc", "--reference=m.onnx", "--data=d.npz", "--metric=top1", "--labels=label", "--output=y", cwd=tmp_path)[0] == 0
