# qcc.compile: what it passes on to the driver, and what becomes of a refusal.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import json
import pathlib
import stat
import sys

import numpy as np
import pytest
import qcc

DRIVER = """#!{python}
import json, sys
json.dump(sys.argv[1:], open({record!r}, "w"))
sys.stderr.write({text!r})
sys.exit({code})
"""


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """Replaces the driver by a program that records its arguments; returns a function that sets its end."""
    path, record = tmp_path / "qcc", tmp_path / "arguments"

    def end_with(code=0, text=""):
        path.write_text(DRIVER.format(python=sys.executable, record=str(record), text=text, code=code))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return lambda: json.loads(record.read_text())

    monkeypatch.setenv("QCC", str(path))
    return end_with


def test_options(driver):
    arguments = driver()
    folder = qcc.compile(
        "m.onnx", precision="int8", calib=pathlib.Path("a.npz"), require_fused=True, embed_weights=False, jobs=2,
        keep=["first", "last"], dim={"batch": 1, "seq": "1,8", "heads": [2, 4]}, recipe=None,
    )  # fmt: skip
    assert folder == pathlib.Path("m.qcc")
    assert arguments() == ["m.onnx", "--progress=none", "--color=never", "-o", "m.qcc", "--precision=int8", "--calib=a.npz", "--require-fused",
                           "--no-embed-weights", "--jobs=2", "--keep=first", "--keep=last", "--dim=batch=1", "--dim=seq=1,8",
                           "--dim=heads=2,4"]  # fmt: skip


@pytest.mark.parametrize("name", ["help", "help_advanced", "version"])
def test_options_that_compile_nothing_are_refused(driver, name):
    driver()
    with pytest.raises(TypeError, match=f"expected an option of how to compile, but got '{name}'"):
        qcc.compile("m.onnx", **{name: True})


def test_lists(driver):
    """Values that the driver takes once are joined, or refused where the last would win."""
    arguments = driver()
    qcc.compile("m.onnx", precision=["w4a16", "w8a16"], algo=("awq", "gptq"), calib=["a.npz"])
    assert arguments()[-3:] == ["--precision=w4a16,w8a16", "--algo=awq,gptq", "--calib=a.npz"]
    with pytest.raises(TypeError, match="expected one value of calib, but got 2"):
        qcc.compile("m.onnx", calib=["a.npz", "b.npz"])


def test_arrays_as_calibration_data(driver, tmp_path):
    """They are a file while the driver runs, the same bytes for the same arrays."""
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    arguments, record = driver(), tmp_path / "kept"
    copy = f'import shutil; [shutil.copy(word[8:], {str(record)!r}) for word in sys.argv if word.startswith("--calib=")]'
    program = (tmp_path / "qcc").read_text()
    (tmp_path / "qcc").write_text(program.replace("sys.exit", copy + "\nsys.exit"))
    kept = []
    for _ in range(2):
        qcc.compile("m.onnx", calib={"x": x, "file": [1, 2]})
        kept.append(record.read_bytes())
        assert not pathlib.Path(arguments()[-1].removeprefix("--calib=")).exists()
    assert kept[0] == kept[1]
    with np.load(record) as arrays:
        np.testing.assert_array_equal(arrays["x"], x)
        assert sorted(arrays.files) == ["file", "x"]
    with pytest.raises(TypeError, match="expected arrays of numbers as calib, but got object as 'x'"):
        qcc.compile("m.onnx", calib={"x": object()})


@pytest.mark.parametrize("name", ["precision", "calib_method", "stats"])
def test_mappings_are_of_names(driver, name):
    driver()
    with pytest.raises(TypeError, match=f"expected text, a number or a path as {name}, but got dict"):
        qcc.compile("m.onnx", **{name: {"x": 1}})


@pytest.mark.parametrize("model", [b"\x08\x09", bytearray(2), 7, None])
def test_models_are_paths(driver, model):
    driver()
    with pytest.raises(TypeError, match=f"expected the path of an ONNX file, but got {type(model).__name__}: write the model to a file first"):
        qcc.compile(model)


def test_warnings(driver):
    driver(0, "qcc: warning: --keep=zzz matches the name of no node\nqcc: warning: gptq: few rows\nwrote m.qcc\n")
    with pytest.warns(qcc.CompileWarning) as told:
        qcc.compile("m.onnx")
    assert [str(warning.message) for warning in told] == ["--keep=zzz matches the name of no node", "gptq: few rows"]
    assert told[0].filename == __file__
    driver(4, "qcc: warning: gptq: few rows\nqcc: error: m.onnx: refused [QCC-E301]\n")
    with pytest.warns(qcc.CompileWarning), pytest.raises(qcc.CompileError) as error:
        qcc.compile("m.onnx")
    assert error.value.text == "qcc: error: m.onnx: refused [QCC-E301]"


def test_output_folder(driver):
    arguments = driver()
    assert qcc.compile("dir/m.onnx", "out") == pathlib.Path("out")
    assert arguments() == ["dir/m.onnx", "--progress=none", "--color=never", "-o", "out"]


def test_names_that_look_like_flags(driver):
    arguments = driver()
    qcc.compile("-o.onnx")
    assert arguments() == ["./-o.onnx", "--progress=none", "--color=never", "-o", "-o.qcc"]


def test_refusals_carry_code_and_text(driver):
    driver(4, "m.onnx: error: [QCC-E210] node 'a': no kernel for op Foo\nremedy: remove it\n")
    with pytest.raises(qcc.CompileError) as error:
        qcc.compile("m.onnx")
    assert (error.value.exit_code, error.value.code) == (4, "QCC-E210")
    assert error.value.text.endswith("remedy: remove it")
    driver(139)
    with pytest.raises(qcc.CompileError, match="qcc ended with exit code 139") as error:
        qcc.compile("m.onnx")
    assert error.value.code == ""
