# Slips of the hand on the command line: inputs that would be overwritten, rules that match nothing, files that are damaged.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import threading
import warnings
import zipfile

import numpy as np
import onnx
import onnx.numpy_helper
import onnx.parser
import pytest
import qcc
from onnx import TensorProto, helper

QCC = qcc._driver._find_driver()
K = 32


def random(*shape, seed=1):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def save_layer(path: pathlib.Path, rows="rows", external=False) -> pathlib.Path:
    """One product, `layer`, of x [rows, K]."""
    weight = onnx.numpy_helper.from_array(random(K, K, seed=2), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], "layer")], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, K])], [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], [weight],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    more = {"save_as_external_data": True, "location": "weights.bin", "size_threshold": 0} if external else {}
    onnx.save(model, path, **more)
    return path


@pytest.fixture
def files(tmp_path):
    np.savez(tmp_path / "data.npz", x=random(40, K))
    return save_layer(tmp_path / "m.onnx"), tmp_path / "data.npz"


def driver(*words, cwd=None):
    done = subprocess.run([QCC, *map(str, words)], capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd=cwd, timeout=120)
    return done.returncode, done.stderr


def write_profile(runner, model, data, artifact, path, *flags):
    assert driver(model, "-q", *flags, "-o", artifact)[0] == 0
    done = subprocess.run([runner, artifact, f"--inputs={data}", "--profile", "--json"], capture_output=True, check=True)
    path.write_bytes(done.stdout)


# --- where results go ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["calibrate-model", "calibrate-data", "emit", "merge", "report", "link"])
def test_what_is_read_is_not_replaced(files, tmp_path, runner, verb):
    model, data = files
    stats = tmp_path / "s.stats"
    for number, path in ((1, stats), (2, tmp_path / "t.stats")):
        assert driver("calibrate", model, f"--calib={data}", "-o", path, f"--shard={number}/2")[0] == 0
    (tmp_path / "link.onnx").symlink_to(model)
    words, victim = {
        "calibrate-model": (["calibrate", model, f"--calib={data}"], model),
        "calibrate-data": (["calibrate", model, f"--calib={data}"], data),
        "emit": ([model, "--emit=import"], model),
        "merge": (["merge-stats", stats, tmp_path / "t.stats"], stats),
        "report": (["report", tmp_path / "m.qcc", f"--profile={tmp_path / 'p.json'}"], tmp_path / "p.json"),
        "link": ([tmp_path / "link.onnx", "--emit=import"], model),
    }[verb]
    if verb == "report":
        write_profile(runner, model, data, tmp_path / "m.qcc", victim)
    before = victim.read_bytes()
    code, text = driver(*words, "-o", victim)
    assert victim.read_bytes() == before
    assert code == 8 and "[QCC-E901]" not in text and "it will not be replaced" in text, text


def test_profiles_of_others_are_refused(files, tmp_path, runner):
    model, data = files
    for name in ("f32", "w8a16"):
        write_profile(runner, model, data, tmp_path / name, tmp_path / f"{name}.json", f"--precision={name}")
    for name, fits in (("f32", True), ("w8a16", False)):
        code, text = driver("report", tmp_path / "f32", f"--profile={tmp_path / name}.json", "-o", tmp_path / "page.html")
        assert (code == 0) == fits and ("expected a profile of '" in text) != fits, text


def test_profiles_of_the_same_with_other_weights_are_refused(files, tmp_path, runner):
    model, data = files
    write_profile(runner, model, data, tmp_path / "a", tmp_path / "a.json")
    changed = onnx.load(model)
    changed.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(random(K, K, seed=7), "w"))
    onnx.save(changed, tmp_path / "b.onnx")
    write_profile(runner, tmp_path / "b.onnx", data, tmp_path / "b", tmp_path / "b.json")
    hashes = {name: json.loads((tmp_path / name / "manifest.json").read_text())["files"]["libmodel.so"] for name in "ab"}
    for artifact in (tmp_path / "a", tmp_path / "a" / "libmodel.so"):
        assert driver("report", artifact, f"--profile={tmp_path / 'a.json'}", "-o", tmp_path / "page.html")[0] == 0
        code, text = driver("report", artifact, f"--profile={tmp_path / 'b.json'}", "-o", tmp_path / "page.html")
        assert code == 9 and f"expected a profile of '{artifact}', whose library is {hashes['a']}, but got one of {hashes['b']}; name what `qcc-run" in text, text
    # One of a version that did not say whose it is.
    older = json.loads((tmp_path / "b.json").read_text())
    del older["library"]
    (tmp_path / "b.json").write_text(json.dumps(older))
    assert driver("report", tmp_path / "a", f"--profile={tmp_path / 'b.json'}", "-o", tmp_path / "page.html")[0] == 0


def test_memory_to_load_an_artifact(files, tmp_path):
    model, data = files
    assert driver(model, "-q", "-o", tmp_path / "m.qcc")[0] == 0
    words = ["eval", tmp_path / "m.qcc", f"--reference={tmp_path / 'm.qcc'}", f"--data={data}"]
    code, text = driver(*words, "--max-memory=10")
    assert code == 7 and "[QCC-E501]" in text, text
    assert driver(*words, "--max-memory=2000")[0] == 0


def test_what_is_no_file_is_written_to(files, tmp_path):
    model, data = files
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    assert driver("calibrate", model, f"--calib={data}", "-o", pipe)[0] == 0
    reader.join(timeout=30)
    assert pipe.is_fifo()
    assert driver("calibrate", model, f"--calib={data}", "-o", tmp_path / "plain")[0] == 0
    assert got == [(tmp_path / "plain").read_bytes()]
    # A link stays, and what it leads to is replaced.
    (tmp_path / "link").symlink_to(tmp_path / "plain")
    assert driver("calibrate", model, f"--calib={data}", "--dim=rows=8", "-o", tmp_path / "link")[0] == 0
    assert (tmp_path / "link").is_symlink() and (tmp_path / "plain").read_bytes() != got[0]


def test_a_full_stdout_is_told(runner, fakes):
    with open("/dev/full", "w") as full:
        done = subprocess.run([runner, fakes / "embedded", "--info"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 8 and "cannot write to stdout" in done.stderr


def test_inputs_of_a_run_are_not_replaced(runner, fakes, tmp_path):
    np.savez(tmp_path / "in.npz", x=np.zeros((2, 4), np.float32))
    before = (tmp_path / "in.npz").read_bytes()
    words = [runner, fakes / "embedded", f"--inputs={tmp_path}/in.npz", f"--outputs={tmp_path}/./in.npz"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 2 and "expected another name" in done.stderr and (tmp_path / "in.npz").read_bytes() == before


# --- what is told -------------------------------------------------------------------------------------------------------


def test_rules_that_match_nothing(files, tmp_path):
    model, data = files
    for rule, warns in (("lm_head", True), ("lay", False)):
        code, text = driver(model, "--precision=w8a16", f"--keep={rule}", "-o", tmp_path / "m.qcc")
        assert code == 0 and (f"warning: --keep={rule} matches the name of no node" in text) == warns, text


def test_int8_with_parameters(tmp_path):
    """It is another scheme, which has no kernels for convolutions: data do not change that."""
    weight = onnx.numpy_helper.from_array(random(8, 16, 3, 3), "w")
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], "conv")], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 16, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], [weight],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "c.onnx")
    np.savez(tmp_path / "data.npz", x=random(1, 16, 8, 8))
    artifact = qcc.compile(tmp_path / "c.onnx", tmp_path / "c.qcc", precision="int8:tensor", calib=tmp_path / "data.npz")
    assert "not supported: convolutions have no kernel for 'int8:tensor'; 'int8' has one" in (artifact / "report.json").read_text()


@pytest.mark.parametrize("calib", [True, False])
def test_weights_on_the_left_are_told(tmp_path, calib):
    """They are no activations, so what asks for fused kernels is refused."""
    weight = onnx.numpy_helper.from_array(random(8, 16), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["w", "x"], ["y"], "left")], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [16, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], [weight],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "m.onnx")
    np.savez(tmp_path / "data.npz", x=random(16, 4))
    words = ["--precision=int8", *([f"--calib={tmp_path / 'data.npz'}"] if calib else [])]
    assert driver(tmp_path / "m.onnx", *words, "-o", tmp_path / "m.qcc")[0] == 0
    assert "not supported: the weight is the left operand" in (tmp_path / "m.qcc" / "report.json").read_text()
    code, text = driver(tmp_path / "m.onnx", *words, "--require-fused", "-o", tmp_path / "m.qcc")
    assert code == 4 and "[QCC-E308]" in text


@pytest.mark.parametrize("method", ["percentile:0", "percentile:50", "mse:0", "entropy:3", "minmax:1"])
def test_parameters_of_ranges(files, tmp_path, method):
    code, text = driver(files[0], f"--calib={files[1]}", "--precision=int8", f"--calib-method={method}", "-o", tmp_path / "m.qcc")
    assert code == 2 and f"but got '{method}'" in text


def test_drops_are_shares(files, tmp_path):
    code, text = driver(files[0], f"--calib={files[1]}", "--precision=int8", "--max-drop=3", "-o", tmp_path / "m.qcc")
    assert code == 2 and "a percentage such as '3%'" in text


@pytest.mark.parametrize("rows,warns", [(K - 1, True), (2 * K - 1, True), (2 * K, False)])
def test_few_rows_for_gptq(files, tmp_path, rows, warns):
    np.savez(tmp_path / "few.npz", x=random(rows, K))
    code, text = driver(files[0], f"--calib={tmp_path / 'few.npz'}", "--precision=w4a16:g32", "--algo=gptq", "-o", tmp_path / "m.qcc")
    assert code == 0 and (f"gptq: 1 layers see fewer rows of data than twice their inputs (node 'layer' {rows} of {2 * K})" in text) == warns, text


# --- calibration data ---------------------------------------------------------------------------------------------------


def test_damaged_archives(files, tmp_path):
    """One bit of an array is not what the archive's checksum says."""
    model, data = files
    content = bytearray(data.read_bytes())
    at = content.find(np.load(data)["x"].tobytes())
    content[at + 200] ^= 1
    data.write_bytes(content)
    code, text = driver("calibrate", model, f"--calib={data}", "-o", tmp_path / "s")
    assert code == 5 and "'x' is damaged" in text


def test_samples_of_a_folder_have_elements(files, tmp_path):
    (tmp_path / "folder").mkdir()
    np.savez(tmp_path / "folder" / "a.npz", x=random(4, K))
    np.savez(tmp_path / "folder" / "b.npz", x=random(0, K))
    code, text = driver("calibrate", files[0], f"--calib={tmp_path / 'folder'}", "-o", tmp_path / "s")
    assert code == 5 and "b.npz" in text and "empty arrays" in text


@pytest.mark.parametrize("rule,ok", [("rows=1..4", True), ("rows=16..32", True), ("rows=8", True), ("rows=7", False)])
def test_pieces_have_sizes_that_the_model_takes(files, tmp_path, rule, ok):
    code, text = driver("calibrate", files[0], f"--calib={files[1]}", f"--dim={rule}", "-o", tmp_path / "s")
    assert (code == 0) == ok, text
    if not ok:
        assert code == 5 and "expected 7 rows of input 'x', or a multiple of that, but got 40" in text


def test_many_rows_are_cut_in_time(files, tmp_path):
    """Thousands of pieces, and an array that no input asks for: neither is copied for each piece, which would take minutes and memory."""
    model, _ = files
    np.savez(tmp_path / "long.npz", x=np.ones((400_000, K), np.float32), extra=np.zeros(1 << 22))
    done = subprocess.run([QCC, "calibrate", model, f"--calib={tmp_path / 'long.npz'}", "-o", tmp_path / "s.stats", "-q"], timeout=60)
    assert done.returncode == 0


def test_statistics_with_a_flipped_bit_are_refused(files, tmp_path):
    model, calib = files[0], f"--calib={files[1]}"
    for name, shard in (("s", []), ("one", ["--shard=1/2"]), ("two", ["--shard=2/2"])):
        assert driver("calibrate", model, calib, *shard, "-o", tmp_path / name)[0] == 0
        data = bytearray((tmp_path / name).read_bytes())
        data[-100] ^= 1
        (tmp_path / name).write_bytes(data)
    for command in ([model, "-q", "--precision=int8", f"--stats={tmp_path / 's'}"], ["merge-stats", tmp_path / "one", tmp_path / "two"]):
        code, text = driver(*command, "-o", tmp_path / "out")
        assert code == 5 and re.search("(s|one): its bytes have another hash than when they were written: .*QCC-E201", text), text
        assert not (tmp_path / "out").exists()


def test_statistics_are_of_all_files_of_a_model(tmp_path):
    """Weights beside the model count: statistics and shards of others are refused."""
    model = save_layer(tmp_path / "m.onnx", external=True)
    np.savez(tmp_path / "data.npz", x=random(40, K))
    calib = f"--calib={tmp_path / 'data.npz'}"
    assert driver("calibrate", model, calib, "-o", tmp_path / "whole")[0] == 0
    assert driver("calibrate", model, calib, "--shard=1/2", "-o", tmp_path / "one")[0] == 0
    stats = f"--stats={tmp_path / 'whole'}"
    assert driver(model, "-q", "--precision=int8", stats, "-o", tmp_path / "m.qcc")[0] == 0
    weights = np.fromfile(tmp_path / "weights.bin", np.float32)
    (2 * weights).tofile(tmp_path / "weights.bin")
    code, text = driver(model, "-q", "--precision=int8", stats, "-o", tmp_path / "m.qcc")
    assert code == 5 and "expected statistics of this model" in text
    assert driver("calibrate", model, calib, "--shard=2/2", "-o", tmp_path / "two")[0] == 0
    code, text = driver("merge-stats", tmp_path / "one", tmp_path / "two", "-o", tmp_path / "both")
    assert code == 5 and "of the model" in text


# --- states -------------------------------------------------------------------------------------------------------------


def save_cell(path: pathlib.Path) -> pathlib.Path:
    """h' = tanh(x A + h B), y = h' C."""
    names = {"A": random(K, K, seed=3) / 4, "B": random(K, K, seed=4) / 6, "C": random(K, K, seed=5)}
    nodes = [
        helper.make_node("MatMul", ["x", "A"], ["xa"], "input"),
        helper.make_node("MatMul", ["h", "B"], ["hb"], "recurrent"),
        helper.make_node("Add", ["xa", "hb"], ["sum"]),
        helper.make_node("Tanh", ["sum"], ["next"]),
        helper.make_node("MatMul", ["next", "C"], ["y"], "output"),
    ]
    given = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, K]) for name in ("x", "h")]
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, K]) for name in ("y", "next")]
    graph = helper.make_graph(nodes, "g", given, made, [onnx.numpy_helper.from_array(v, n) for n, v in names.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def test_states_that_are_no_inputs_are_refused_with_those_that_are(tmp_path):
    model = save_cell(tmp_path / "m.onnx")
    code, text = driver(model, "--state=g=next", "-q", "-o", tmp_path / "o")
    assert code == 2 and "--state: expected an input of the model (x, h) that is no state yet, but got 'g'" in text
    code, text = driver(model, "--state=h=next", "--state=h=next", "-q", "-o", tmp_path / "o")
    assert code == 2 and "expected an input of the model (x) that is no state yet, but got 'h'" in text
    code, text = driver(model, "--state=h=last", "-q", "-o", tmp_path / "o")
    assert code == 2 and "--state: expected an output of the model (y, next), but got 'last'" in text


def stream(artifact, x):
    context = qcc.load(artifact).context()
    return np.concatenate([context.run([row[None]])["y"] for row in x]).astype(np.float64)


def test_states_are_calibrated_by_what_they_hold(tmp_path):
    model, x, state = save_cell(tmp_path / "m.onnx"), random(200, K, seed=6), {"h": "next"}
    exact = qcc.load(qcc.compile(model, tmp_path / "plain"))
    h, before = np.zeros((1, K), np.float32), []
    for row in x:
        before.append(h)
        h = exact([row[None], h])["next"]
    np.savez(tmp_path / "frames.npz", x=x)
    np.savez(tmp_path / "data.npz", x=x, h=np.concatenate(before))
    options = {"precision": "int8", "state": state}
    # Frames alone say nothing of the state, which is 0 in none but the first.
    with pytest.raises(qcc.CompileError, match="h") as caught:
        qcc.compile(model, tmp_path / "q.qcc", calib=tmp_path / "frames.npz", **options)
    assert caught.value.exit_code == 5
    low = qcc.compile(model, tmp_path / "q.qcc", calib=tmp_path / "data.npz", **options)
    want = stream(qcc.compile(model, tmp_path / "f.qcc", state=state), x)
    got = stream(low, x)
    assert (want * got).sum() / np.linalg.norm(want) / np.linalg.norm(got) > 0.999
    # Statistics with states and without are the same numbers.
    for name, more in (("without", []), ("with", ["--state=h=next"])):
        assert driver("calibrate", model, f"--calib={tmp_path / 'data.npz'}", *more, "-o", tmp_path / name)[0] == 0
        qcc.compile(model, tmp_path / f"{name}.qcc", stats=tmp_path / name, **options)
    assert (tmp_path / "with.qcc" / "libmodel.so").read_bytes() == (tmp_path / "without.qcc" / "libmodel.so").read_bytes()


# --- told before the work -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["file", "folder", "missing", "sealed"])
def test_artifacts_that_cannot_be_written(files, tmp_path, where):
    """Before the model is looked at, which would be refused too."""
    _, data = files
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    path = {"file": data, "folder": tmp_path, "missing": tmp_path / "no" / "m.qcc", "sealed": pathlib.Path("/proc/m.qcc")}[where]
    status, problems = driver(broken, "-q", "-o", path)
    assert status == 8 and "[QCC-E601]" in problems, problems
    assert driver(broken, "-q", "-o", tmp_path / "m.qcc")[0] == 3
    assert not list(tmp_path.glob("*.tmp-*")) and not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("verb", ["emit", "calibrate", "eval", "report"])
@pytest.mark.parametrize("where", ["missing", "folder"])
def test_results_that_cannot_be_written(files, tmp_path, verb, where):
    model, data = files
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    path = tmp_path / "no" / "file" if where == "missing" else tmp_path
    if verb in ("eval", "report"):
        assert driver(model, "-q", "-o", tmp_path / "a.qcc")[0] == 0
    words = {
        "emit": [broken, "--emit=import", "-o", path], "calibrate": ["calibrate", broken, f"--calib={data}", "-o", path],
        "eval": ["eval", tmp_path / "a.qcc", f"--reference={broken}", f"--data={data}", f"--report={path}"],
        "report": ["report", tmp_path / "a.qcc", "-o", path],
    }[verb]  # fmt: skip
    status, problems = driver(*words)
    assert status == 8 and "[QCC-E601]" in problems, problems


@pytest.mark.parametrize("name", ["report.html", "report.json", "another.html"])
def test_pages_are_no_part_of_an_artifact(files, tmp_path, name):
    model, data = files
    artifact = tmp_path / "a.qcc"
    assert driver(model, "-q", "-o", artifact)[0] == 0
    status, problems = driver("report", artifact, "-o", artifact / name)
    assert status == 8 and "expected another folder" in problems, problems
    measured = ["eval", artifact, f"--reference={model}", f"--data={data}", f"--report={artifact / name}"]
    assert driver(*measured)[0] == 8
    assert driver("verify", artifact)[0] == 0
    assert driver("report", artifact / "libmodel.so", "-o", tmp_path / name)[0] == 0
    assert driver("report", ".", "-o", "-", cwd=artifact)[0] == 0


@pytest.mark.parametrize("words", [["-o", ""], ["-o", "-"], ["--emit=import", "-o", ""]])
def test_names_that_are_none(files, tmp_path, words):
    status, problems = driver(files[0], *words, cwd=tmp_path)
    assert status == 2 and "-o" in problems and "[QCC-E401]" in problems, problems
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.npz", "m.onnx"]


# --- what was asked for -------------------------------------------------------------------------------------------------


def test_rounding_to_nearest_is_what_it_says(files, tmp_path):
    """With samples int8 chooses weights and scales by them, unless an algorithm is asked for."""
    model, data = files
    flags = ["-q", "--precision=int8", "--target=avx2"]
    assert driver(model, *flags, f"--calib={data}", "--algo=rtn", "-o", tmp_path / "asked")[0] == 0
    assert driver(model, *flags, "-o", tmp_path / "plain")[0] == 0
    assert driver(model, *flags, f"--calib={data}", "-o", tmp_path / "chosen")[0] == 0
    asked, plain, chosen = ((tmp_path / name / "libmodel.so").read_bytes() for name in ("asked", "plain", "chosen"))
    assert asked == plain != chosen


def test_floats_alone_meet_no_budget(files, tmp_path):
    model, data = files
    status, problems = driver(model, "--precision=f32", "--max-size=0.3x", f"--calib={data}", "-o", tmp_path / "a")
    assert status == 2 and "expected precisions to choose from beside f32" in problems, problems
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("schema: qcc-recipe/1\nprecision: f32\npasses:\n  - mixed_precision: {budget: {size: 0.5x}}\n")
    status, problems = driver(model, f"--recipe={recipe}", f"--calib={data}", "-o", tmp_path / "a")
    assert status == 2 and "expected precisions to choose from beside f32" in problems, problems
    assert driver(model, "--max-size=0.5x", f"--calib={data}", "-q", "-o", tmp_path / "a")[0] == 0


def test_sensitivities_are_known(files, tmp_path):
    status, problems = driver(files[0], "--precision=int8", "--sensitivity=fast", "-o", tmp_path / "a")
    assert status == 2 and "expected auto, measured or estimated, but got 'fast'" in problems, problems


@pytest.mark.parametrize("value", ["nan", "-1", "much"])
def test_tolerances_are_numbers(files, runner, value):
    model, data = files
    status, problems = driver("compare", model, f"--inputs={data}", f"--rtol={value}")
    assert status == 2 and "--rtol: expected a number from 0 on" in problems, problems
    done = subprocess.run([runner, "a.qcc", f"--inputs={data}", f"--atol={value}"], capture_output=True, text=True)
    assert done.returncode == 2 and "--atol" in done.stderr, done.stderr


def test_a_target_that_the_machine_lacks(files):
    """Not the fault of the data."""
    if " amx_int8 " in pathlib.Path("/proc/cpuinfo").read_text():
        pytest.skip("this CPU has all targets")
    model, data = files
    status, problems = driver("compare", model, f"--inputs={data}", "--target=amx")
    assert status == 4 and "amx: this machine cannot run what was compiled" in problems and "[QCC-E306]" in problems, problems


def test_far_names_are_not_suggested(files, tmp_path):
    model, data = files
    for name, suggests in (("foo", False), ("gptk", True), ("refin", True)):
        problems = driver(model, "--precision=w4a8", f"--algo={name}", f"--calib={data}", "-o", tmp_path / "a")[1]
        assert ("did you mean" in problems) == suggests, problems


# --- data that are wrong in a way that runs -------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", [["--precision=int8"], ["--precision=w4a8", "--algo=gptq"]])
@pytest.mark.parametrize("token", [63, 64, -64, -65])
def test_tokens_of_another_model_are_told(tmp_path, flags, token):
    rng = np.random.default_rng(1)
    tensors = [onnx.numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name) for name, shape in (("e", (64, K)), ("h", (K, 64)))]
    graph = helper.make_graph(
        [helper.make_node("Gather", ["e", "ids"], ["x"]), helper.make_node("MatMul", ["x", "h"], ["y"], "head")], "g",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, [1, 8])], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8, 64])], tensors,
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "m.onnx")
    ids = rng.integers(0, 64, (40, 8))
    ids[3, 2] = ids[7, 5] = token
    np.savez(tmp_path / "ids.npz", ids=ids)
    status, problems = driver(tmp_path / "m.onnx", *flags, f"--calib={tmp_path / 'ids.npz'}", "-o", tmp_path / "a")
    assert status == 0
    assert problems.count("2 of 320 tokens in the calibration data are none of the model's 64") == (token in (64, -65)), problems


def save_tagger(path: pathlib.Path, rows: int, classes: int, ids: str = "ids", step: str = "") -> None:
    """Rows of a table, chosen by `ids` that `step` may make from the input, and a layer of them."""
    model = onnx.parser.parse_model(f"""
        <ir_version: 9, opset_import: ["" : 17]> g (int64[1, 8] ids) => (float[1, 8, {classes}] y) {{
          {step} x = Gather (e, {ids}) [head] y = MatMul (x, h)
        }}""")
    for name, shape in (("e", (rows, K)), ("h", (K, classes))):
        model.graph.initializer.append(onnx.numpy_helper.from_array(random(*shape), name))
    onnx.save(model, path)


@pytest.mark.parametrize("rows, classes, token, tells", [(100, 7, 99, False), (100, 7, -100, False), (100, 7, 120, True), (7, 100, 6, False), (7, 100, 7, True)])
@pytest.mark.parametrize("step, ids", [("", "ids"), ("i = Cast <to = 6> (ids) j = Reshape (i, s)", "j")])
def test_tokens_are_rows_of_the_table(tmp_path, rows, classes, token, tells, step, ids):
    """Not the classes of the output: a tagger has few."""
    step = step and "s = Constant <value_ints = [1, 8]> () " + step
    save_tagger(tmp_path / "m.onnx", rows, classes, ids, step)
    data = np.random.default_rng(1).integers(0, min(rows, classes), (40, 8))
    data[3, 2] = data[7, 5] = token
    np.savez(tmp_path / "ids.npz", ids=data)
    status, problems = driver(tmp_path / "m.onnx", "--precision=int8", f"--calib={tmp_path / 'ids.npz'}", "-o", tmp_path / "a")
    assert status == 0
    told = f"2 of 320 tokens in the calibration data are none of the model's {rows} ({token} of 'ids', say)"
    assert problems.count(told) == problems.count("tokens in the calibration data") == tells, problems


def test_tokens_without_a_table_are_not_told(tmp_path):
    """Nor those that arithmetic takes to rows: a hash has any number."""
    np.savez(tmp_path / "ids.npz", ids=np.random.default_rng(1).integers(0, 1000, (40, 8)))
    save_tagger(tmp_path / "hash.onnx", 16, 7, "i", "n = Constant <value_int = 16> () i = Mod (ids, n)")
    numbers = onnx.parser.parse_model("""
        <ir_version: 9, opset_import: ["" : 17]> g (int64[1, 8] ids) => (float[1, 8, 7] y) {
          i = Constant <value_ints = [2]> () f = Cast <to = 1> (ids) x = Unsqueeze (f, i) y = MatMul (x, h)
        }""")
    numbers.graph.initializer.append(onnx.numpy_helper.from_array(random(1, 7), "h"))
    onnx.save(numbers, tmp_path / "numbers.onnx")
    for name in ("hash", "numbers"):
        status, problems = driver(tmp_path / f"{name}.onnx", "--precision=int8", f"--calib={tmp_path / 'ids.npz'}", "-o", tmp_path / "a")
        assert status == 0 and "tokens in the calibration data" not in problems, problems


def test_two_arrays_of_one_name_are_refused(files, tmp_path):
    model, data = files
    with zipfile.ZipFile(data) as archive:
        member = archive.read("x.npy")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(tmp_path / "two.npz", "w") as archive:
            archive.writestr("x.npy", member)
            archive.writestr("x.npy", member)
    status, problems = driver("calibrate", model, f"--calib={tmp_path / 'two.npz'}", "-o", tmp_path / "s.stats")
    assert status == 5 and problems.count("two.npz") == 1 and "has two members 'x'" in problems, problems


def test_the_sample_that_cannot_be_compared_is_named(files, tmp_path):
    model, _ = files
    assert driver(model, "-q", "-o", tmp_path / "a.qcc")[0] == 0
    x = random(40, K)
    x[17, 3] = np.nan
    np.savez(tmp_path / "bad.npz", x=x)
    status, problems = driver("eval", tmp_path / "a.qcc", f"--reference={model}", f"--data={tmp_path / 'bad.npz'}", "--metric=cosine", "--jobs=1")
    assert status == 5 and "bad.npz row 16" in problems, problems


def test_arrays_are_no_option(files, tmp_path):
    with pytest.raises(TypeError, match="as calib, but got ndarray"):
        qcc.compile(files[0], tmp_path / "a.qcc", calib=random(4, K))


# --- checks that would check nothing ------------------------------------------------------------------------------------


def test_comparisons_have_outputs(files, tmp_path):
    """Fused and quantized values have other names and types: the outputs are compared in any case."""
    model, data = files
    for precision in ("int8", "w4a8", "w4a16"):
        words = ["compare", model, f"--inputs={data}", f"--precision={precision}", "-q"]
        done = subprocess.run([QCC, *map(str, words), "--rtol=0.5"], capture_output=True, text=True)
        assert done.returncode == 0 and "output 'y'" in done.stdout, done.stdout + done.stderr
        assert driver(*words, "--rtol=1e-9")[0] == 6


def test_files_with_nothing_to_compare_are_refused(files, tmp_path, runner):
    model, data = files
    assert driver(model, "-q", "-o", tmp_path / "m.qcc")[0] == 0
    np.savez(tmp_path / "empty.npz")
    np.savez(tmp_path / "other.npz", z=np.zeros(3, np.float32))

    def run(*flags):
        done = subprocess.run([runner, tmp_path / "m.qcc", f"--inputs={data}", *flags], capture_output=True, text=True, cwd=tmp_path)
        return done.returncode, done.stderr

    code, text = run(f"--expect={tmp_path / 'empty.npz'}")
    assert code == 5 and "expected outputs, but got none" in text, text
    for name in ("empty", "other"):
        code, text = run("--dump=.*", f"--expect-values={tmp_path / name}.npz")
        assert code == 5 and "expected values that --dump finds, of the same type and shape, but got none" in text, text
    code, text = run(f"--expect={tmp_path / 'other.npz'}")
    assert code == 6 and "has no output 'y': it is not compared" in text, text


def test_batches_end_with_the_first_failure(files, tmp_path):
    model, _ = files
    (tmp_path / "list").write_text(f"{model}\t{tmp_path / 'a.qcc'}\n{tmp_path / 'none.onnx'}\t{tmp_path / 'b.qcc'}\n")
    assert driver(f"--batch={tmp_path / 'list'}", "-q")[0] == 3
    (tmp_path / "list").write_text(f"{model}\t{tmp_path / 'a.qcc'}\n")
    assert driver(f"--batch={tmp_path / 'list'}", "-q")[0] == 0


@pytest.mark.parametrize(("flag", "metric"), [("labels", "top1"), ("tokens", "perplexity")])
def test_arrays_that_no_metric_reads(files, tmp_path, flag, metric):
    model, data = files
    assert driver(model, "-q", "-o", tmp_path / "m.qcc")[0] == 0
    code, text = driver("eval", tmp_path / "m.qcc", f"--reference={model}", f"--data={data}", f"--{flag}=x")
    assert code == 2 and f"--{flag}: expected --metric={metric}, which reads it" in text


def test_samples_are_named_once(files, tmp_path):
    model, data = files
    assert driver(model, "-q", "-o", tmp_path / "m.qcc")[0] == 0
    np.savez(tmp_path / "labelled.npz", x=np.load(data)["x"], label=np.zeros(40, np.float32))
    code, text = driver("eval", tmp_path / "m.qcc", f"--reference={model}", f"--data={tmp_path / 'labelled.npz'}", "--metric=top1", "--labels=label")
    assert code == 5 and text.count("labelled.npz row 0") == 1 and "expected int64, int32 or uint8 in 'label'" in text, text


# --- words that are taken for others ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["verfy", "{tmp}/m.qcc"], "expected a model or a sub-command, but got 'verfy'; did you mean 'verify'?"),
        (["evla", "{tmp}/m.qcc", "--reference={model}"], "but got 'evla'; did you mean 'eval'?"),
        (["{model}", "--calib={data}", "--calib=other.npz"], "--calib: expected one value, but got '{data}' and 'other.npz'; a folder holds several"),
        (["{model}", "--precision=f32:g8"], "expected no parameters of f32, which has no scales, but got 'f32:g8'"),
    ],
)  # fmt: skip
def test_slips(files, tmp_path, words, says):
    model, data = files
    fill = {"model": model, "data": data, "tmp": tmp_path}
    code, text = driver(*[word.format(**fill) for word in words], cwd=tmp_path)
    assert code in (2, 4) and says.format(**fill) in text, text
    # The same twice is no question, and of choices the last one counts.
    assert driver(model, "-q", "-o", tmp_path / "m.qcc", f"--calib={data}", f"--calib={data}", "--precision=w4a16", "--precision=int8")[0] == 0


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("passes: [foo]", "r.yaml: expected a pass that `qcc schemes` lists, or mixed_precision, but got 'foo'"),
        ("passes:\n  - mixed_precision:\n      budget: {size: 0.9}", "r.yaml: line 4: size: expected"),
        ("passes:\n  - mixed_precision:\n      budget:\n        drop: x", "r.yaml: line 5: drop: expected"),
        ("passes:\n  - mixed_precision:\n      budget: {latency: -1x}", "r.yaml: line 4: latency: expected"),
    ],
)  # fmt: skip
def test_values_of_recipes_are_refused_at_their_line(files, tmp_path, line, says):
    model, data = files
    (tmp_path / "r.yaml").write_text(f"schema: qcc-recipe/1\n{line}\n")
    code, text = driver(model, f"--calib={data}", f"--recipe={tmp_path / 'r.yaml'}", "-o", tmp_path / "m.qcc")
    assert code == 2 and says in text and "--" not in text.split("; `qcc")[0].split("r.yaml", 1)[1], text


@pytest.mark.parametrize("words", [["report", "{tmp}/m.qcc"], ["{model}", "--emit=fuse"]])
@pytest.mark.parametrize("name", ["kept.npz", "kept.onnx"])
def test_models_and_data_are_not_replaced_by_pages(files, tmp_path, words, name):
    model, data = files
    assert driver(model, "-q", "-o", tmp_path / "m.qcc")[0] == 0
    (tmp_path / name).write_text("precious")
    code, text = driver(*[word.format(model=model, tmp=tmp_path) for word in words], "-o", tmp_path / name)
    assert code == 8 and "it will not be replaced" in text and (tmp_path / name).read_text() == "precious"
    assert driver(*[word.format(model=model, tmp=tmp_path) for word in words], "-o", tmp_path / "new.txt")[0] == 0


@pytest.mark.parametrize("kib", [8, 100])
def test_files_that_may_not_grow(tmp_path, kib):
    """Of kernels, and of the library with the weights in it."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 512])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], [onnx.numpy_helper.from_array(random(512, 512), "w")],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "m.onnx")
    command = f"ulimit -f {kib}; exec {QCC} {tmp_path / 'm.onnx'} -q --no-cache -o {tmp_path / 'm.qcc'}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.returncode > 0 and "[QCC-E" in done.stderr and "crashed" not in done.stderr, done
    assert os.listdir(tmp_path) == ["m.onnx"]


def test_help_without_room():
    with open("/dev/full", "w") as full:
        done = subprocess.run([QCC, "--help"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 8 and "QCC-E601" in done.stderr


# --- data ---------------------------------------------------------------------------------------------------------------


def test_one_infinite_element_does_not_decide(files, tmp_path):
    """Its outputs are no numbers in floats either: the other samples say what codes do."""
    model, data = files
    arrays = dict(np.load(data))
    for array in arrays.values():
        array = array.reshape(-1)
        array[3] = np.inf
    np.savez(tmp_path / "inf.npz", **arrays)
    executed = []
    for calib in (data, tmp_path / "inf.npz"):
        assert driver(model, "-q", "--precision=int8", f"--calib={calib}", "-o", tmp_path / "m.qcc")[0] == 0
        ops = json.loads((tmp_path / "m.qcc" / "report.json").read_text())["ops"]
        executed.append([op["executed"] for op in ops])
    assert executed[0] == executed[1]


@pytest.mark.parametrize("precision", ["w4a8:asym", "w4a8:asym:g64", "w4a8:sym"])
def test_4_bits_with_zero_points_are_chosen_by_samples(files, tmp_path, precision):
    model, data = files
    assert driver(model, "-q", f"--precision={precision}", f"--calib={data}", "-o", tmp_path / "m.qcc") == (0, "")
    ops = json.loads((tmp_path / "m.qcc" / "report.json").read_text())["ops"]
    assert any(op["executed"].startswith("w4a8") for op in ops)
    words = ["eval", tmp_path / "m.qcc", f"--reference={model}", f"--data={data}", "--min-cos=0.97"]
    assert driver(*words)[0] == 0
