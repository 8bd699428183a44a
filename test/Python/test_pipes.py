# Pipes where files are expected: nothing waits for somebody to write into them.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import onnx.parser
import pytest
import qcc

QCC = qcc._driver._find_driver()
TEXT = '<ir_version: 10, opset_import: ["" : 21]> g (float[4] x) => (float[4] y) <float[4] w = {1, 2, 3, 4}> { y = Add(x, w) }'


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pipes")
    (folder / "m.onnx").write_bytes(onnx.parser.parse_model(TEXT).SerializeToString())
    return qcc.compile(folder / "m.onnx", folder / "m.qcc", embed_weights=False)


@pytest.fixture
def artifact(compiled, tmp_path):
    return pathlib.Path(shutil.copytree(compiled, tmp_path / "m.qcc"))


def replace(path):
    path.unlink()
    os.mkfifo(path)


def call(*words):
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
    return done.returncode, done.stderr


def load(artifact):
    return call(sys.executable, "-c", f"import qcc; qcc.load({str(artifact)!r})")


def test_weights(artifact, runner):
    replace(artifact / "weights.safetensors")
    for code, text in (load(artifact), call(runner, artifact, "--random-inputs")):
        assert code != 0 and "expected a regular file of weights" in text, text


def test_library(artifact, runner):
    replace(artifact / "libmodel.so")
    code, text = load(artifact)
    assert code != 0 and "is no compiled model: expected a shared library of x86-64, but got no regular file" in text, text
    assert call(runner, artifact, "--random-inputs")[0] == 9


def test_reports(artifact, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for words, remedy in (
        ([f"--profile={pipe}"], "name what `qcc-run ARTIFACT --profile --json` printed"),
        ([f"--eval={pipe}"], "name what `qcc eval --json` printed"),
    ):
        code, text = call(QCC, "report", artifact, *words, "-o", tmp_path / "r.html")
        assert code == 3 and f"pipe: expected a regular file; {remedy} [QCC-E101]" in text, text
    replace(artifact / "report.json")
    code, text = call(QCC, "report", artifact, "-o", tmp_path / "r.html")
    assert code == 3 and "report.json: expected a regular file; compile the model again [QCC-E101]" in text, text


def test_plugins(tmp_path):
    os.mkfifo(tmp_path / "pipe.so")
    code, text = call(QCC, "targets", f"--load-plugin={tmp_path / 'pipe.so'}")
    assert code == 2 and "expected a shared library, but got no regular file; name what qcc_add_plugin built [QCC-E402]" in text, text


def test_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("QCC_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "m.onnx").write_bytes(onnx.parser.parse_model(TEXT).SerializeToString())
    assert call(QCC, tmp_path / "m.onnx", "-q", "-o", tmp_path / "a")[0] == 0
    entries = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    for entry in entries:
        replace(entry)
    assert entries and call(QCC, tmp_path / "m.onnx", "-q", "-o", tmp_path / "b")[0] == 0
    x = np.ones(4, np.float32)
    assert qcc.load(tmp_path / "b")([x])["y"].tolist() == [2, 3, 4, 5]
