# Calibrations that end before they are finished, and folders of checkpoints that are not theirs.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
from __future__ import annotations

import hashlib
import pathlib
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
import qcc
from test_algorithms import K, Graph, norm, samples, weight

QCC = qcc._driver._find_driver()
DEPTH = 8
FLAGS = ["--precision=w4a8", "--target=avx2", "--progress=none", "-q"]


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> pathlib.Path:
    """A model of several blocks, data, and what runs without checkpoints make of them by each algorithm."""
    folder = tmp_path_factory.mktemp("work")
    graph = Graph()
    value = "x"
    for i in range(DEPTH):
        inner = graph.add("Relu", graph.add("MatMul", norm(graph, value), weight(K, K), name=f"layer{i}"))
        value = graph.add("Add", value, inner)
    graph.save(folder / "m.onnx", graph.add("MatMul", norm(graph, value), weight(K, K), name="last"))
    np.savez(folder / "calib.npz", x=samples(100))
    return folder


def command(work, output, *flags, algo="awq,gptq", model="m.onnx", data="calib.npz"):
    return [QCC, str(work / model), f"--calib={work / data}", f"--algo={algo}", *FLAGS, *map(str, flags), "-o", str(output)]


def run(words):
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return done.returncode, done.stderr


def compile_(words):
    status, problems = run(words)
    assert status == 0, problems
    return problems


def check_same(a: pathlib.Path, b: pathlib.Path) -> None:
    """Every file but the times that stages took."""
    names = sorted(path.name for path in a.iterdir())
    assert names == sorted(path.name for path in b.iterdir())
    for name in set(names) - {"profile.json"}:
        assert (a / name).read_bytes() == (b / name).read_bytes(), name


WHOLE: dict[str, pathlib.Path] = {}


def whole(work, algo="awq,gptq", *flags) -> pathlib.Path:
    """The artifact of a run that was not interrupted."""
    key = " ".join([algo, *flags])
    if key not in WHOLE:
        WHOLE[key] = work / f"whole{len(WHOLE)}.qcc"
        compile_(command(work, WHOLE[key], *flags, algo=algo))
    return WHOLE[key]


def kill_after(words, folder: pathlib.Path, pattern: str) -> None:
    """Starts a run and kills it once the folder has a file of this name."""
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while process.poll() is None and not any(folder.glob(pattern)):
            time.sleep(0.002)
    finally:
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"


@pytest.mark.parametrize("algo", ["awq,gptq", "gptq-correct:0.5", "gptq,clip,refine"])
def test_killed_twice(work, tmp_path, algo):
    """The third run takes what the first two finished, and gives the bytes of a single one."""
    folder = tmp_path / "checkpoints"
    words = command(work, tmp_path / "out.qcc", f"--checkpoint={folder}", algo=algo)
    kill_after(words, folder, "*-gptq-*-000001" if algo != "awq,gptq" else "*-awq-*-000002")
    kill_after(words, folder, "*-gptq-*-000004")
    assert not (tmp_path / "out.qcc").exists()
    kept = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    compile_(words)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept, "finished blocks were done again"
    check_same(tmp_path / "out.qcc", whole(work, algo))


def test_killed_between_matrices_that_do_not_fit_together(tmp_path):
    """Products of so many inputs that their sums are gathered in two runs of the model."""
    width, random = 3000, np.random.default_rng(3)
    graph = Graph(("rows", width))
    value = "x"
    for i in range(5):
        gain = 1 + random.standard_normal(width, dtype=np.float32) / 4
        inner = graph.add("LayerNormalization", value, gain, axis=-1)
        for k, n in ((width, 24), (24, width)):
            inner = graph.add("MatMul", inner, random.standard_normal((k, n), dtype=np.float32) / np.float32(k**0.5), name=f"{i}.{k}")
        value = graph.add("Add", value, inner)
    graph.save(tmp_path / "m.onnx", value)
    channels = np.exp(random.standard_normal(width)).astype(np.float32)
    np.savez(tmp_path / "calib.npz", x=random.standard_normal((40, width), dtype=np.float32) * channels)
    folder = tmp_path / "checkpoints"
    words = command(tmp_path, tmp_path / "out.qcc", f"--checkpoint={folder}", "--precision=w4a16", algo="awq")
    kill_after(words, folder, "*-awq-*-000001")
    kill_after(words, folder, "*-awq-*-000007")
    compile_(words)
    compile_(command(tmp_path, tmp_path / "whole.qcc", "--precision=w4a16", algo="awq"))
    check_same(tmp_path / "out.qcc", tmp_path / "whole.qcc")


@pytest.mark.parametrize("algo,flags", [("clip", ["--calib-mode=parallel"]), ("smoothquant", ["--precision=int8"])])
def test_finished_work_is_used(work, tmp_path, algo, flags):
    """A run that finds everything finished gives the same bytes; so does one that finds half of it."""
    folder = tmp_path / "checkpoints"
    words = command(work, tmp_path / "out.qcc", f"--checkpoint={folder}", *flags, algo=algo)
    for _ in range(2):
        compile_(words)
        check_same(tmp_path / "out.qcc", whole(work, algo, *flags))
        for path in sorted(folder.glob("qcc-*"))[3:]:
            path.unlink()


# --- folders that are not of this work -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(work) -> pathlib.Path:
    folder = work / "finished"
    compile_(command(work, work / "finished.qcc", f"--checkpoint={folder}", algo="gptq"))
    return folder


def copy(finished, tmp_path) -> pathlib.Path:
    return pathlib.Path(shutil.copytree(finished, tmp_path / "checkpoints"))


def refuse(words, status, code, text, folder):
    before = sorted(path.name for path in folder.iterdir())
    got, problems = run(words)
    assert (got, code in problems) == (status, True) and text in problems, problems
    assert sorted(path.name for path in folder.iterdir()) == before


def test_other_work_is_refused(work, finished, tmp_path):
    """Of another model, other data, options or another compiler: with what differs, and nothing is overwritten."""
    folder = copy(finished, tmp_path)
    checkpoint = f"--checkpoint={folder}"
    out = tmp_path / "out.qcc"
    np.savez(work / "other.npz", x=samples(101))
    (work / "other.onnx").write_bytes((work / "m.onnx").read_bytes() + b"\x32\x00")  # an empty documentation string
    for words, text in [
        (command(work, out, checkpoint, algo="clip"), "gptq"),
        (command(work, out, checkpoint, "--keep=layer1", algo="gptq"), "layer1"),
        (command(work, out, checkpoint, "--calib-mode=parallel", algo="gptq"), "sequential"),
        (command(work, out, checkpoint, "--dim=rows=10", algo="gptq"), "dims"),
        (command(work, out, checkpoint, algo="gptq", data="other.npz"), "other.npz"),
        (command(work, out, checkpoint, algo="gptq", model="other.onnx"), "other.onnx"),
    ]:
        refuse(words, 5, "QCC-E201", "of other choices or data: expected", folder)
        assert text in run(words)[1]
    origin = (folder / "origin").read_text()
    assert "compiler: sha256:" in origin and "machine: " in origin
    for old, new in [("compiler: sha256:", "compiler: sha256:0"), ("qcc-checkpoint/1", "qcc-checkpoint/2"), ("machine: ", "machine: i")]:
        (folder / "origin").write_text(origin.replace(old, new))
        refuse(command(work, out, checkpoint, algo="gptq"), 5, "QCC-E201", "of other choices or data: expected", folder)


def test_folders_of_others_are_left_alone(work, tmp_path):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    (folder / "thesis.txt").write_text("text")
    refuse(command(work, tmp_path / "out.qcc", f"--checkpoint={folder}"), 5, "QCC-E201", "thesis.txt", folder)
    words = command(work, tmp_path / "out.qcc", f"--checkpoint={folder / 'thesis.txt'}")
    refuse(words, 8, "QCC-E601", "thesis.txt", folder)


def piece(folder, number) -> pathlib.Path:
    return next(folder.glob(f"qcc-quantize-gptq-*-{number:06}"))


@pytest.mark.parametrize("kind", ["cut", "longer", "changed", "empty", "another piece", "a folder", "a link", "of another folder"])
def test_broken_files_are_done_again(work, finished, tmp_path, kind):
    """With a warning, and the same bytes."""
    folder = copy(finished, tmp_path)
    path = piece(folder, 3)
    data = bytearray(path.read_bytes())
    if kind == "cut":
        path.write_bytes(data[:-100])
    elif kind == "longer":
        path.write_bytes(data + b"x")
    elif kind == "changed":
        data[-1] ^= 1
        path.write_bytes(data)
    elif kind == "another piece":
        path.write_bytes(piece(folder, 2).read_bytes())
    elif kind == "of another folder":
        first, second, rest = bytes(data).split(b"\n", 2)
        another = b"1" if second.endswith(b"0") else b"0"  # the last digit of a hash, whatever the hash is
        path.write_bytes(b"\n".join([first, second[:-1] + another, rest]))
    else:
        path.unlink()
        if kind == "empty":
            path.touch()
        elif kind == "a folder":
            path.mkdir()
        else:
            path.symlink_to("/dev/zero")
    words = command(work, tmp_path / "out.qcc", f"--checkpoint={folder}", algo="gptq")
    words.remove("-q")
    status, problems = run(words)
    if kind in ("a folder",):  # where nothing can be written
        assert status == 8 and "QCC-E601" in problems
        return
    assert status == 0 and "is not used" in problems, problems
    check_same(tmp_path / "out.qcc", work / "finished.qcc")


def rewrite(path: pathlib.Path, change) -> None:
    """Changes the entries of a file and gives it the right hash, as an attacker would."""
    schema, origin, key, _, body = path.read_bytes().split(b"\n", 4)
    lines, payload = body.split(b"\n\n", 1)
    entries, at = {}, 0
    for line in lines.split(b"\n"):
        size, name = line.split(b" ", 1)
        entries[name.decode()] = payload[at : at + int(size)]
        at += int(size)
    change(entries)
    body = b"".join(b"%d %s\n" % (len(value), name.encode()) for name, value in entries.items()) + b"\n" + b"".join(entries.values())
    hash_ = b"sha256:" + hashlib.sha256(body).hexdigest().encode()
    path.write_bytes(b"\n".join([schema, origin, key, hash_, body]))


HOSTILE = {
    "no scales": lambda e: e.pop("scales0"),
    "more codes": lambda e: e.update(codes0=e["codes0"] + b"x"),
    "codes too large": lambda e: e.update(codes0=b"\xff" * len(e["codes0"])),
    "NaN scales": lambda e: e.update(scales0=b"\xff" * len(e["scales0"])),
    "infinite values": lambda e: e.update(scales0=np.full(len(e["scales0"]) // 4, 3e38, np.float32).tobytes(), codes0=b"\x0f" * len(e["codes0"])),
    "another method": lambda e: e.update(method0=b"magic"),
    "two errors": lambda e: e.update(errors0=e["errors0"][:16]),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files_are_refused(work, finished, tmp_path, kind):
    folder = copy(finished, tmp_path)
    rewrite(piece(folder, 3), HOSTILE[kind])
    words = command(work, tmp_path / "out.qcc", f"--checkpoint={folder}", algo="gptq")
    refuse(words, 5, "QCC-E201", "expected a checkpoint of this layer", folder)
    assert not (tmp_path / "out.qcc").exists()


@pytest.mark.parametrize("flags,text", [
    (["--shards=2"], "expected --checkpoint"),
    (["--shards=0", "--checkpoint=c"], "expected a number"),
    (["--checkpoint="], "expected a folder"),
])  # fmt: skip
def test_flags_that_make_no_sense(work, tmp_path, flags, text):
    status, problems = run(command(work, tmp_path / "out.qcc", *flags))
    assert status == 2 and "QCC-E401" in problems and text in problems


def test_data_are_needed(work, tmp_path):
    words = [QCC, str(work / "m.onnx"), "--precision=w4a8", f"--checkpoint={tmp_path / 'c'}", "-o", str(tmp_path / "out.qcc")]
    status, problems = run(words)
    assert status == 2 and "expected --calib" in problems
