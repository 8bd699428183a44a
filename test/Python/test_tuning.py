# --tune: schedules are timed once, kept in a file, and change nothing but speed.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
from __future__ import annotations

import hashlib
import json
import re
import subprocess

import numpy as np
import onnx
import pytest
import qcc
from onnx import TensorProto, helper, numpy_helper
from qcc import _driver

RNG = np.random.default_rng(11)
F = np.float32


def save(path):
    """Two convolutions, one of them without a window, and a product; sizes that no tile divides."""

    def weight(name, *shape):
        return numpy_helper.from_array((RNG.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(F), name)

    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"], "window", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w1"], ["c"], "point"),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("Flatten", ["d"], ["e"]),
        helper.make_node("MatMul", ["e", "w2"], ["y"], "product"),
    ]
    weights = [weight("w0", 37, 19, 3, 3), weight("w1", 21, 37, 1, 1), weight("w2", 21 * 11 * 9, 83)]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 19, 11, 9])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], weights,
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9), path)


def run(*arguments, check=True):
    done = subprocess.run([_driver._find_driver(), *map(str, arguments)], capture_output=True, text=True)
    assert not check or done.returncode == 0, done.stderr
    return done


def kernels(text):
    """Of each kernel its work, node, schedule and what was timed."""
    parts = text.split("  - work: ")[1:]
    found = []
    for part in parts:
        lines = part.splitlines()
        schedule = lines[2].split(": ", 1)[1].strip("'")
        times = [re.fullmatch(r"      '?(.*?)'?: ([0-9.e+-]+)", line).groups() for line in lines[4:]]
        found.append((lines[0], lines[1].split(": ", 1)[1], schedule, [name for name, _ in times]))
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tuning")
    save(folder / "m.onnx")
    np.savez(folder / "calib.npz", x=RNG.standard_normal((8, 19, 11, 9)).astype(F))
    return folder


@pytest.mark.parametrize("precision", ["f32", "int8", "w4a8", "w4a16"])
@pytest.mark.parametrize("target", ["native", "avx2"])
def test_every_schedule_gives_the_same_bits(folder, tmp_path, precision, target):
    flags = [folder / "m.onnx", f"--target={target}", f"--precision={precision}", "-q"]
    if precision in ("int8", "w4a8"):
        flags.append(f"--calib={folder / 'calib.npz'}")
    file = tmp_path / "tuning.yaml"
    run(*flags, "-o", tmp_path / "plain.qcc")
    run(*flags, "-o", tmp_path / "tuned.qcc", f"--tune={file}")
    text = file.read_text()
    timed = kernels(text)
    assert {node for _, node, _, _ in timed} >= {"window", "point", "product"}
    x = RNG.standard_normal((3, 19, 11, 9)).astype(F)
    want = qcc.load(tmp_path / "plain.qcc")({"x": x})["y"]
    np.testing.assert_array_equal(qcc.load(tmp_path / "tuned.qcc")({"x": x})["y"], want)
    for turn in range(max(len(names) for *_, names in timed)):
        asked = text
        for work, _, schedule, names in timed:
            before, after = asked.split(f"  - work: {work}\n")
            after = after.replace(f"schedule: '{schedule}'", f"schedule: '{names[turn % len(names)]}'", 1)
            after = after.replace(f"schedule: {schedule}\n", f"schedule: {names[turn % len(names)]}\n", 1)
            asked = before + f"  - work: {work}\n" + after
        file.write_text(asked)
        run(*flags, "-o", tmp_path / "other.qcc", f"--tune={file}")
        assert file.read_text() == asked, "what the file knows is not timed again"
        np.testing.assert_array_equal(qcc.load(tmp_path / "other.qcc")({"x": x})["y"], want)


def test_file_decides_the_bytes(folder, tmp_path):
    file = tmp_path / "tuning.yaml"
    run(folder / "m.onnx", "-q", "-o", tmp_path / "a.qcc", f"--tune={file}")
    text = file.read_bytes()
    for jobs in (1, 2):
        run(folder / "m.onnx", "-q", "-o", tmp_path / f"{jobs}.qcc", f"--tune={file}", f"--jobs={jobs}", "--no-cache")
    manifests = [(tmp_path / name / "manifest.json").read_bytes() for name in ("a.qcc", "1.qcc", "2.qcc")]
    assert manifests[0] == manifests[1] == manifests[2]
    assert file.read_bytes() == text
    assert hashlib.sha256(text).hexdigest() in manifests[0].decode()
    run("verify", tmp_path / "a.qcc")


def test_recipes_know_their_tuning(folder, tmp_path):
    file = tmp_path / "tuning.yaml"
    tuned, plain = tmp_path / "tuned.qcc", tmp_path / "plain.qcc"
    run(folder / "m.onnx", "-q", "-o", tuned, f"--tune={file}")
    run(folder / "m.onnx", "-q", "-o", plain)
    assert "tuning" not in (plain / "recipe.yaml").read_text()
    recipe = tuned / "recipe.yaml"
    assert f"tuning: {{hash: sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}}}\n" in recipe.read_text()

    def again(*flags, recipe=recipe):
        done = run(folder / "m.onnx", "-q", "-o", tmp_path / "again.qcc", f"--recipe={recipe}", *flags)
        return done.stderr, (tmp_path / "again.qcc" / "manifest.json").read_bytes()

    assert again(f"--tune={file}") == ("", (tuned / "manifest.json").read_bytes())
    # Without it the library is that of no tuning, and the recipe says so.
    said, manifest = again()
    assert f"{recipe}: the recipe has a tuning, but there is no --tune=FILE with it" in said and manifest == (plain / "manifest.json").read_bytes()
    for text in (file.read_text() + "\n", ""):
        (tmp_path / "other.yaml").write_text(text)
        assert f"the tuning {tmp_path / 'other.yaml'} is another than that of the recipe" in again(f"--tune={tmp_path / 'other.yaml'}")[0]
    assert again(recipe=plain / "recipe.yaml")[0] == ""
    run("calibrate", folder / "m.onnx", f"--recipe={recipe}", f"--calib={folder / 'calib.npz'}", "-o", tmp_path / "s.stats")


def test_other_versions_are_timed_again(folder, tmp_path):
    """A schedule that this compiler does not have is not taken, and kernels of other models stay."""
    file = tmp_path / "tuning.yaml"
    run(folder / "m.onnx", "-q", "-o", tmp_path / "a.qcc", f"--tune={file}")
    work, _, schedule, _ = kernels(file.read_text())[0]
    other = "'nobody: [knows'"
    strange = file.read_text().replace(f"schedule: '{schedule}'", "schedule: nr=7", 1)
    strange += f"  - work: {other}\n    node: elsewhere\n    schedule: nr=16 panel/16\n    seconds:\n      nr=16 panel/16: 1e-06\n"
    file.write_text(strange)
    run(folder / "m.onnx", "-q", "-o", tmp_path / "b.qcc", f"--tune={file}")
    after = {kernel[0]: kernel[2] for kernel in kernels(file.read_text())}
    run(folder / "m.onnx", "-q", "-o", tmp_path / "c.qcc", f"--tune={file}")  # what was written can be read
    assert after[other] == "nr=16 panel/16" and after[work] != "nr=7" and len(after) == 4


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("schema: qcc-recipe/1\n", 2, "expected schema: qcc-tuning/1, but got 'qcc-recipe/1'"),
        ("schema: qcc-tuning/1\nkernel: []\n", 2, "kernels"),
        ("schema: qcc-tuning/1\nkernels: {a: b}\n", 2, "line 2: expected a list of kernels"),
        ("schema: qcc-tuning/1\nkernels:\n  - work: a\n", 2, "expected the work and the schedule"),
        ("schema: qcc-tuning/1\nkernels:\n  - {work: a, schedule: b, seconds: {c: soon}}\n", 2, "expected seconds, but got 'soon'"),
        ("schema: qcc-tuning/1\nkernels:\n  - {work: a, schedule: b, seconds: {c: nan}}\n", 2, "expected seconds, but got 'nan'"),
        ("\0" * 8, 2, ""),
        ("# " + "x" * (5 << 20), 7, "expected at most 4194304 bytes"),
    ],
)  # fmt: skip
def test_refused_files(folder, tmp_path, text, code, says):
    file = tmp_path / "tuning.yaml"
    file.write_text(text)
    done = run(folder / "m.onnx", "-o", tmp_path / "a.qcc", f"--tune={file}", check=False)
    assert done.returncode == code and says in done.stderr and "tuning.yaml" in done.stderr
    assert not (tmp_path / "a.qcc").exists() and file.read_text() == text


def test_empty_files_know_nothing(folder, tmp_path):
    """As `mktemp` makes them."""
    file = tmp_path / "tuning.yaml"
    file.touch()
    run(folder / "m.onnx", "-q", "-o", tmp_path / "a.qcc", f"--tune={file}")
    assert kernels(file.read_text())


@pytest.mark.parametrize("place", ["tuning.yaml", "no/tuning.yaml"])
def test_files_are_checked_first(folder, tmp_path, place):
    """Not once the model is there to be tuned: here there is none."""
    (tmp_path / "tuning.yaml").write_text("schema: qcc-recipe/1\n")
    done = run(tmp_path / "none.onnx", "-o", tmp_path / "a.qcc", f"--tune={tmp_path / place}", check=False)
    assert done.returncode == (8 if "/" in place else 2) and place in done.stderr and "QCC-E101" not in done.stderr, done.stderr


def test_files_that_know_all_need_not_be_written(folder, tmp_path):
    """They may be where nobody writes."""
    file = tmp_path / "tuning.yaml"
    run(folder / "m.onnx", "-q", "-o", tmp_path / "a.qcc", f"--tune={file}")
    before = file.stat().st_mtime_ns, file.stat().st_ino
    run(folder / "m.onnx", "-q", "-o", tmp_path / "a.qcc", f"--tune={file}")
    assert (file.stat().st_mtime_ns, file.stat().st_ino) == before


def test_places_that_cannot_be_written(folder, tmp_path):
    done = run(folder / "m.onnx", "-o", tmp_path / "a.qcc", f"--tune={tmp_path / 'no' / 'tuning.yaml'}", check=False)
    assert done.returncode == 8 and f"there is no folder '{tmp_path / 'no'}'; make it first [QCC-E601]" in done.stderr, done.stderr
    done = run(folder / "m.onnx", "-o", tmp_path / "a.qcc", f"--tune={tmp_path}", check=False)
    assert done.returncode == 2 and "QCC-E401" in done.stderr
    done = run(folder / "m.onnx", "-o", tmp_path / "a.qcc", "--tune=", check=False)
    assert done.returncode == 2 and "--tune: expected a file" in done.stderr


def test_machines_that_cannot_run_the_target(folder, tmp_path):
    """The file's choices are taken, others are the cost model's, and that is said."""
    if "amx" in json.loads(run("targets", "--json").stdout)[-1]["summary"]:
        pytest.skip("this machine runs every target")
    done = run(folder / "m.onnx", "-o", tmp_path / "a.qcc", "--target=amx", f"--tune={tmp_path / 'tuning.yaml'}")
    assert "this machine cannot run --target=amx" in done.stderr and not (tmp_path / "tuning.yaml").exists()
