# What the driver says of what was asked for: that it names what may be written instead, and counts and limits what it says it does.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess

import numpy as np
import onnx
import onnx.numpy_helper
import pytest
import qcc
from onnx import TensorProto, helper

QCC = qcc._driver._find_driver()
K = 32


def random(*shape, seed=1):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def save_graph(path: pathlib.Path, nodes, rows) -> pathlib.Path:
    """Nodes from x [rows, K] to y, and a weight w [K, K]."""
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, K])], [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(random(K, K, seed=2), "w")],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


@pytest.fixture
def files(tmp_path):
    np.savez(tmp_path / "data.npz", x=random(40, K))
    return save_graph(tmp_path / "m.onnx", [helper.make_node("MatMul", ["x", "w"], ["y"], "layer")], "rows"), tmp_path / "data.npz"


def driver(*words):
    done = subprocess.run([QCC, *map(str, words)], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120)
    return done.returncode, done.stderr


def test_what_no_precision_applies_to_is_not_counted(tmp_path):
    nodes = [helper.make_node("MatMul", ["x", "w"], ["p"]), helper.make_node("Softmax", ["p"], ["y"])]
    model = save_graph(tmp_path / "m.onnx", nodes, 4)
    code, text = driver(model, "--precision=w4a16", "--require-fused", "-v", "-o", tmp_path / "m.qcc")
    assert code == 0 and "kept: not a quantized operation" in text and "not in the precision asked for" not in text, text
    code, text = driver(model, "--precision=w4a16", "--keep=.", "-o", tmp_path / "m.qcc")
    assert code == 0 and "; 1 not in the precision asked for" in text, text


def test_pages_count_what_a_precision_applies_to(tmp_path):
    """Of a product and a Softmax the first alone may be in f32 against what was asked."""
    model = save_graph(tmp_path / "m.onnx", [helper.make_node("MatMul", ["x", "w"], ["p"]), helper.make_node("Softmax", ["p"], ["y"])], 4)
    for name, flags in (("low", []), ("kept", ["--keep=."])):
        assert driver(model, "--precision=w4a16", *flags, "-o", tmp_path / name)[0] == 0
    assert driver("report", tmp_path / "low", tmp_path / "kept", "-o", tmp_path / "page.html")[0] == 0
    page = (tmp_path / "page.html").read_text()
    table = page[page.index("What each artifact is") : page.index("<details")]
    head = re.findall(r"<th[^>]*>(.*?)</th>", table)
    rows = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row) for row in re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)]
    column = [re.sub("<.*?>", "", text) for text in head].index("in f32 against what was asked")
    assert [row[column] for row in rows if row[column].isdigit()] == ["0", "1"]
    assert "kept: not a quantized operation" in page and "kept in f32" not in page
    assert "1 in f32 against what was asked" in page


def test_an_input_without_a_rank(tmp_path):
    model = onnx.load(save_graph(tmp_path / "m.onnx", [helper.make_node("MatMul", ["x", "w"], ["y"])], 4))
    model.graph.input[0].type.tensor_type.ClearField("shape")
    onnx.save(model, tmp_path / "m.onnx")
    code, text = driver(tmp_path / "m.onnx", "-o", tmp_path / "m.qcc")
    assert code == 4 and "input 'x': expected a shape, but the rank is not known; export the model with the shape" in text and "--dim" not in text, text
    # What it says may be done.
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", K]))
    onnx.save(model, tmp_path / "m.onnx")
    assert driver(tmp_path / "m.onnx", "-o", tmp_path / "m.qcc")[0] == 0


@pytest.mark.parametrize("value", ["x86", "neon"])
def test_targets_are_named(files, tmp_path, value):
    code, text = driver(files[0], f"--target={value}", "-o", tmp_path / "m.qcc")
    assert code == 2 and f"expected a target of reference, avx2, avx512, avx512-vnni, amx, native, but got '{value}'; `qcc targets` lists them" in text, text


def test_an_artifact_that_the_machine_lacks(files, tmp_path, runner):
    """`qcc eval` says of it what qcc-run does."""
    model, data = files
    assert driver(model, "-q", "-o", tmp_path / "m.qcc")[0] == 0
    measure = [QCC, "eval", tmp_path / "m.qcc", f"--reference={model}", f"--data={data}"]
    for words in (measure, [runner, tmp_path / "m.qcc", f"--inputs={data}"]):
        done = subprocess.run(words, capture_output=True, text=True, env=os.environ | {"QCC_CPU_FEATURES": "-fma"})
        assert done.returncode == 4 and "lacks it; compile with a lower --target [QCC-E306]" in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("flag", "line", "says"),
    [
        ("--max-drop=1", "budget: {drop: 1}", "expected a share below 1, or a percentage such as '1%', but got '1'; one percent is 1% or 0.01"),
        ("--max-size=2x", "budget: {size: 2x}", "at most 1x, but got '2x', which limits nothing; half the size is 0.5x"),
    ],
)  # fmt: skip
def test_budgets_that_limit_nothing(files, tmp_path, flag, line, says):
    model, data = files
    (tmp_path / "r.yaml").write_text(f"schema: qcc-recipe/1\npasses:\n  - mixed_precision:\n      {line}\n")
    for words in ([flag], [f"--recipe={tmp_path / 'r.yaml'}"]):
        code, text = driver(model, f"--calib={data}", *words, "-o", tmp_path / "m.qcc")
        assert code == 2 and says in text and "[QCC-E401]" in text, text
    assert driver(model, f"--calib={data}", "--max-size=1x", "-q", "-o", tmp_path / "m.qcc")[0] == 0
    if flag.startswith("--max-drop"):
        assert driver("eval", tmp_path / "m.qcc", f"--reference={model}", f"--data={data}", "--metric=top1", flag)[0] == 2


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--calib={data}", "--max-drop=200%"], "--max-drop=200% limits little"),
        (["--calib={data}", "--max-drop=20%"], ""),
        (["--precision=int8", "--calib-method=entropy"], "--calib-method changes nothing: ranges are found in --calib=DATA or --stats=FILE"),
        (["--precision=int8", "--calib-method=entropy", "--calib={data}"], ""),
        (["--precision=w4a16", "--calib={data}"], "--calib decides nothing: without --algo weights of w4a16 are rounded by themselves; "
         "--algo=gptq,clip, for example, uses it"),
        (["--precision=w4a16", "--algo=rtn", "--calib={data}"], "--calib decides nothing: "),
        (["--precision=bf16", "--calib={data}"], "--calib decides nothing: without --algo weights of bf16 are rounded by themselves; "
         "--precision=int8, for example, uses it"),
        (["--precision=w4a16", "--algo=clip", "--calib={data}"], ""),
        (["--precision=w4a16", "--max-size=1x", "--calib={data}"], ""),
        (["--precision=w4a8", "--calib={data}"], ""),
        (["--precision=f32", "--calib={data}"], "--calib changes nothing: in f32 nothing is quantized; --precision=int8, for example, uses it"),
    ],
)  # fmt: skip
def test_flags_that_decide_nothing(files, tmp_path, flags, says):
    model, data = files
    code, text = driver(model, *[flag.format(data=data) for flag in flags], "-o", tmp_path / "m.qcc")
    assert code == 0 and (f"warning: {says}" in text if says else "warning" not in text), text


def test_files_that_are_no_model_are_named(files, tmp_path):
    model, data = files
    assert driver(model, "-q", "-o", tmp_path / "m.qcc")[0] == 0
    header = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    (tmp_path / "a.gguf").write_bytes(b"GGUF\x03" + bytes(100))
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    for name, says in (
        ("none.onnx", "cannot open the file: No such file or directory; check the name [QCC-E101]"),
        ("m.qcc", "expected an ONNX model, but got an artifact, which is compiled already; qcc-run runs it [QCC-E101]"),
        (".", "expected an ONNX model, but got a folder; name the model in it [QCC-E101]"),
        ("a.gguf", "expected an ONNX model, but got a GGUF file; export the model that it was made of to ONNX [QCC-E101]"),
        ("a.safetensors", "expected an ONNX model, but got a safetensors file; export"),
    ):
        code, text = driver(tmp_path / name, "-o", tmp_path / "out")
        assert code == 3 and says in text, text


def test_remedies_fit(files, tmp_path):
    model, data = files
    assert driver(model, "-q", "-o", tmp_path / "m.qcc")[0] == 0
    code, text = driver("eval", tmp_path / "none.qcc", f"--reference={model}", f"--data={data}")
    assert code == 3 and "found no library; name the folder that qcc wrote, or its libmodel.so [QCC-E702]" in text, text
    np.save(tmp_path / "x.npy", random(40, K))
    code, text = driver(model, "--precision=int8", f"--calib={tmp_path / 'x.npy'}", "-o", tmp_path / "a")
    assert code == 5 and "np.savez(FILE, NAME=array) writes an .npz" in text, text
    for flag in ("--calib", "--stats"):
        code, text = driver(model, "--precision=int8", f"{flag}={tmp_path / 'none.npz'}", "-o", tmp_path / "a")
        assert code == 5 and "none.npz: " in text and "; check the path [QCC-E201]" in text, text
    code, text = driver("merge-stats", tmp_path / "none.stats", "-o", tmp_path / "all.stats")
    assert code == 5 and "; check the path [QCC-E201]" in text, text
    # The file is named once.
    (tmp_path / "cut.npz").write_bytes(data.read_bytes()[:100])
    code, text = driver(model, "--precision=int8", f"--calib={tmp_path / 'cut.npz'}", "-o", tmp_path / "a")
    assert code == 5 and text.count("cut.npz") == 1 and "cut.npz: cannot be opened: " in text, text
    code, text = driver("verify", model)
    assert code == 3 and "expected the folder of an artifact, but got a file; name the folder that qcc wrote [QCC-E702]" in text, text
    # What is read beside an artifact is not mended by compiling.
    for flag, told in (("--profile", "name what `qcc-run ARTIFACT --profile --json` printed"), ("--eval", "name what `qcc eval --json` printed")):
        for written in ("{}", "[]", "{", '{"results": [], "profile": []}'):
            (tmp_path / "other.json").write_text(written)
            code, text = driver("report", tmp_path / "m.qcc", f"{flag}={tmp_path / 'other.json'}", "-o", tmp_path / "page.html")
            assert code == 9 and f"; {told}" in text and "compile the model" not in text, text
    np.savez(tmp_path / "wide.npz", x=random(2, K + 1))
    code, text = driver("compare", model, f"--inputs={tmp_path / 'wide.npz'}", "-q")
    assert code == 5 and "qcc-run ended with status 5; what it says above is the reason [QCC-E201]" in text, text
    explained = subprocess.run([QCC, "explain", "QCC-E201"], capture_output=True, text=True)
    assert "inputs or calibration data that do not fit the model" in explained.stdout, explained.stdout
    for words in (["--foo=int9"], ["report", "--foo"]):
        code, text = driver(*words)
        assert code == 2 and "unknown flag" in text and "did you mean" not in text, text
    assert "unknown flag '--precison=int8'; did you mean '--precision=int8'? [QCC-E401]" in driver("--precison=int8")[1]
    code, text = driver(model, "-q", "--precision=int8", "-o", tmp_path / "a")
    code, text = driver("eval", tmp_path / "a", f"--reference={model}", f"--data={data}", "--min-cos=0.99999999")
    assert code == 6 and "expected a cosine of at least 0.99999999, but got 0.9" in text, text


def test_automatic_padding_of_sizes_that_are_not_known(tmp_path):
    """As the notes of docs/onnx-support.md say."""
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], "conv", strides=[2, 2], auto_pad="SAME_UPPER")], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, "h", "v"])], [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(random(4, 4, 3, 3), "w")],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "m.onnx")
    code, text = driver(tmp_path / "m.onnx", "-o", tmp_path / "m.qcc")
    assert code == 4 and "automatic padding with a stride needs a size that is known; fix the dimension with --dim" in text, text
    assert driver(tmp_path / "m.onnx", "--dim=h=9", "--dim=v=8", "-o", tmp_path / "m.qcc")[0] == 0
    done = subprocess.run([QCC, "check", "--list-ops"], capture_output=True, text=True)
    rows = [line for line in done.stdout.splitlines() if "auto_pad SAME_UPPER and SAME_LOWER with a stride" in line]
    assert {line.split(" | ")[1] for line in rows} >= {"Conv", "MaxPool", "AveragePool", "QLinearConv"}


@pytest.mark.parametrize("version, constants", [(3, []), (9, ["w"])])
def test_inputs_with_a_value_of_their_own(tmp_path, version, constants):
    """Constants; before IR version 4 every initializer has to be an input, and nothing is to be told."""
    model = onnx.load(save_graph(tmp_path / "m.onnx", [helper.make_node("MatMul", ["x", "w"], ["y"])], 4))
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [K, K]))
    model.ir_version = version
    onnx.save(model, tmp_path / "m.onnx")
    shown = subprocess.run([QCC, "inspect", tmp_path / "m.onnx"], capture_output=True, text=True).stdout
    assert ("inputs that have values and are constants: w\n" in shown) == bool(constants), shown
    facts = json.loads(subprocess.run([QCC, "inspect", "--json", tmp_path / "m.onnx"], capture_output=True, text=True).stdout)
    assert facts["constant_inputs"] == constants and [tensor["name"] for tensor in facts["inputs"]] == ["x"]
    # Without the initializer it is an input.
    del model.graph.initializer[:]
    onnx.save(model, tmp_path / "m.onnx")
    facts = json.loads(subprocess.run([QCC, "inspect", "--json", tmp_path / "m.onnx"], capture_output=True, text=True).stdout)
    assert [tensor["name"] for tensor in facts["inputs"]] == ["x", "w"] and facts["constant_inputs"] == []
