# Places that nothing can be written to, flags that come twice and files that are something else: each is told as what it is.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
from __future__ import annotations

import os
import pathlib
import subprocess

import numpy as np
import onnx
import onnx.numpy_helper
import onnx.parser
import pytest
import qcc

QCC = qcc._driver._find_driver()
K = 32
PERMISSIONS = "check the folder's permissions and space"


def driver(*words, cwd=None, **more):
    done = subprocess.run([QCC, *map(str, words)], capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd=cwd, timeout=120, **more)
    return done.returncode, done.stderr


@pytest.fixture
def folder(tmp_path):
    model = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 17]> g (float[n, {K}] x) => (float[n, {K}] y) {{ y = MatMul (x, w) }}')
    rng = np.random.default_rng(1)
    model.graph.initializer.append(onnx.numpy_helper.from_array(rng.standard_normal((K, K)).astype(np.float32), "w"))
    onnx.save(model, tmp_path / "m.onnx")
    np.savez(tmp_path / "d.npz", x=rng.standard_normal((8, K)).astype(np.float32))
    return tmp_path


# --- places -------------------------------------------------------------------------------------------------------------

QDQ = "--emit=qdq-onnx --precision=int8 --calib=d.npz"
MADE = {"artifact": "m.onnx", "qdq": f"m.onnx {QDQ}", "calibrate": "calibrate m.onnx --calib=d.npz", "stage": "m.onnx --emit=import"}


@pytest.mark.parametrize("made", MADE)
@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("no/x/y.qcc", "there is no folder 'no/x'; make it first [QCC-E601]"),
        ("m.onnx/y.qcc", "expected a folder, but 'm.onnx' is none; name another place [QCC-E601]"),
    ],
)  # fmt: skip
def test_folders_that_are_not_there(folder, made, place, says):
    code, text = driver(*MADE[made].split(), "-o", place, cwd=folder)
    assert code == 8 and f"{place}: {says}" in text and PERMISSIONS not in text, text


def test_statistics_lie_beside_the_model(folder):
    """Each shard in a file of its own; what they make together has a name that someone gave."""
    for words, name in (([], "m.stats"), (["--shard=1/2"], "m.1-of-2.stats"), (["--shard=2/2"], "m.2-of-2.stats")):
        assert driver("calibrate", "m.onnx", "--calib=d.npz", "-q", *words, cwd=folder) == (0, "")
        assert (folder / name).stat().st_size > 0
    whole = (folder / "m.stats").read_bytes()
    parts = ["merge-stats", "m.1-of-2.stats", "m.2-of-2.stats"]
    code, text = driver(*parts, cwd=folder)
    assert code == 2 and "expected -o FILE: where the statistics are written" in text, text
    assert driver(*parts, "-o", "all.stats", cwd=folder)[0] == 0
    assert (folder / "all.stats").read_bytes() == whole
    assert subprocess.run([QCC, *parts, "-o", "-"], capture_output=True, cwd=folder).stdout == whole


def test_samples_that_are_not_those_of_the_statistics(folder):
    np.savez(folder / "e.npz", x=np.ones((8, K), np.float32))
    assert driver("calibrate", "m.onnx", "--calib=d.npz", "-q", cwd=folder)[0] == 0
    for data, warns in (("d", False), ("e", True)):
        code, text = driver("m.onnx", "--precision=int8", "--stats=m.stats", f"--calib={data}.npz", cwd=folder)
        assert code == 0 and ("--calib has other samples than --stats was made of" in text) == warns, text


@pytest.mark.parametrize("place", [".", "/", "..", "./"])
def test_artifacts_have_names(folder, place):
    code, text = driver("m.onnx", "-o", place, cwd=folder)
    assert code == 8 and f"{place}: expected the name of a folder to make; NAME.qcc, for example [QCC-E601]" in text, text
    code, text = driver("m.onnx", "--emit=import", "-o", place, cwd=folder)
    assert code == 8 and f"{place}: expected a file, but got a folder; name a file in it [QCC-E601]" in text, text


@pytest.mark.parametrize("made", ["qdq", "calibrate", "stage"])
def test_inputs_are_no_places(folder, made):
    code, text = driver(*MADE[made].split(), "-o", "m.onnx", cwd=folder)
    assert code == 8 and "this command reads it, so it will not be replaced; expected another name [QCC-E601]" in text, text
    assert driver("m.onnx", "-q", "-o", "m.qcc", cwd=folder)[0] == 0
    code, text = driver("report", "m.qcc", "-o", "m.qcc/report.html", cwd=folder)
    assert code == 8 and "whose files are verified; expected another folder [QCC-E601]" in text, text


def test_places_without_permission(folder):
    """Of this command the folder is told, and not how the artifact would have been called for the time being."""
    closed = folder / "closed"
    closed.mkdir(mode=0o555)
    if os.access(closed, os.W_OK):
        pytest.skip("this user may write everywhere")
    code, text = driver("m.onnx", "-o", "closed/m.qcc", cwd=folder)
    assert code == 8 and f"cannot write in the folder 'closed': Permission denied; {PERMISSIONS} [QCC-E601]" in text and "tmp-" not in text, text


def test_places_that_take_nothing(folder):
    """Nobody may make folders there, root included."""
    code, text = driver("m.onnx", "-o", "/proc/m.qcc", cwd=folder)
    assert code == 8 and "/proc" in text and "tmp-" not in text and PERMISSIONS in text, text


# --- flags that come twice ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ("--target=avx2 --target=reference", "--target=avx2 changes nothing: 'reference' comes later and is taken"),
        ("--jobs=1 --jobs=2", "--jobs=1 changes nothing: '2' comes later and is taken"),
        ("--jobs=2 --jobs=2", ""),
        ("--dim=n=2 --dim=n=3 --keep=a --keep=layer", "matches the name of no node"),
    ],
)  # fmt: skip
def test_choices_that_come_twice(folder, flags, says):
    code, text = driver("m.onnx", "--precision=w8a16", *flags.split(), "-o", "m.qcc", cwd=folder)
    assert code == 0 and says in text and text.count("changes nothing") == ("changes nothing" in says), text
    code, text = driver("m.onnx", "--precision=w8a16", *flags.split(), "-q", "-o", "m.qcc", cwd=folder)
    assert (code, text) == (0, "")


def test_results_have_one_place(folder):
    code, text = driver("m.onnx", "-o", "a.qcc", "-o", "b.qcc", cwd=folder)
    assert code == 2 and "-o: expected one value, but got 'a.qcc' and 'b.qcc'; a run writes one [QCC-E401]" in text, text
    assert driver("m.onnx", "-o", "a.qcc", "-oa.qcc", cwd=folder)[0] == 0


def test_jobs_have_a_limit(folder):
    for words in (["m.onnx"], ["eval", "m.qcc", "--reference=m.onnx", "--data=d.npz"]):
        code, text = driver(*words, "--jobs=99999999999", cwd=folder)
        assert code == 2 and "--jobs: expected a number up to 4096, but got 99999999999; " in text, text


# --- names that are none ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flag", "code", "says"),
    [
        ("--precision=int9", 2, "but got 'int9'; did you mean 'int8'? [QCC-E401]"),
        ("--precision=everything", 2, "but got 'everything'; `qcc schemes` lists them [QCC-E401]"),
        ("--precision=w4a16:g33", 4, "[QCC-E307]"),
        ("--target=avx3", 2, "but got 'avx3'; `qcc targets` lists them [QCC-E401]"),
        ("--algo=gptk", 2, "did you mean 'gptq'? [QCC-E401]"),
        ("--emit=obi", 2, "[QCC-E401]"),
    ],
)  # fmt: skip
def test_names_that_do_not_exist(folder, flag, code, says):
    """They are slips of usage, other than what exists and is not supported."""
    assert (got := driver("m.onnx", flag, cwd=folder))[0] == code and says in got[1], got


# --- files that are something else --------------------------------------------------------------------------------------


@pytest.mark.parametrize("flag", ["recipe", "tune"])
def test_files_that_are_no_yaml(folder, flag):
    code, text = driver("m.onnx", f"--{flag}=d.npz", cwd=folder)
    assert code == 2 and "d.npz: expected text in YAML, but got a file of other bytes; name another file [QCC-E401]" in text, text
    (folder / "r.yaml").write_text("schema: [\n")
    code, text = driver("m.onnx", f"--{flag}=r.yaml", cwd=folder)
    assert code == 2 and "r.yaml: line " in text and "expected YAML, but it is none: " in text and "; correct the line [QCC-E401]" in text, text


# --- data in Python -----------------------------------------------------------------------------------------------------


def test_arrays_calibrate(folder):
    """The same bytes as the file that they are of."""
    x = np.load(folder / "d.npz")["x"]
    made = [qcc.compile(folder / "m.onnx", folder / f"{i}.qcc", precision="int8", calib={"x": x}) for i in range(2)]
    assert (made[0] / "manifest.json").read_bytes() == (made[1] / "manifest.json").read_bytes()
    of_file = qcc.compile(folder / "m.onnx", folder / "f.qcc", precision="int8", calib=folder / "d.npz")
    assert (of_file / "libmodel.so").read_bytes() == (made[0] / "libmodel.so").read_bytes()
    with pytest.raises(qcc.CompileError, match="m.onnx: calib.npz: there is no array for input 'x'"):
        qcc.compile(folder / "m.onnx", folder / "n.qcc", precision="int8", calib={"z": x})
    assert sorted(path.name for path in pathlib.Path(folder).iterdir()) == ["0.qcc", "1.qcc", "d.npz", "f.qcc", "m.onnx"]
