# Values, links and files that went wrong on the way: variables that are not set, links to themselves, libraries with a
# changed byte.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import shutil
import subprocess

import numpy as np
import pytest
import qcc
from mixtures import NODE, save
from onnx import TensorProto
from test_poor_data import driver


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model of one product, samples of it, and artifacts in fp32 and int8."""
    folder = tmp_path_factory.mktemp("made")
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((64, 64)).astype(np.float32)
    ends = [("x", TensorProto.FLOAT, ["n", 64])], [("y", TensorProto.FLOAT, ["n", 64])]
    path = save(folder, [NODE("MatMul", ["x", "w"], ["y"], name="product")], {"w": weight}, *ends)
    np.savez(folder / "x.npz", x=rng.standard_normal((8, 64)).astype(np.float32))
    qcc.compile(path, folder / "f32.qcc")
    qcc.compile(path, folder / "int8.qcc", precision="int8", calib=[folder / "x.npz"])
    return folder


@pytest.mark.parametrize("flag", ["--max-size", "--max-drop", "--max-latency", "--calib", "--stats", "--target", "--dim", "--jobs", "--keep"])
def test_empty_values(made, flag):
    """As of a script's variable that is not set: without the flag the result would be another one."""
    code, said, _ = driver(made / "m.onnx", "--precision=int8", flag + "=", "-o", made / "none.qcc")
    assert code == 2 and f"{flag}: expected a value, but got an empty word" in said
    assert not (made / "none.qcc").exists()


def test_output_is_a_link_to_itself(made, tmp_path):
    (tmp_path / "loop.qcc").symlink_to("loop.qcc")
    code, said, _ = driver(made / "m.onnx", "-o", tmp_path / "loop.qcc")
    assert code == 0, said
    assert driver("verify", tmp_path / "loop.qcc")[0] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["loop.qcc"]


def test_output_within_an_artifact(made, tmp_path):
    shutil.copytree(made / "f32.qcc", tmp_path / "a.qcc")
    code, said, _ = driver(made / "m.onnx", "-o", tmp_path / "a.qcc" / "inner.qcc")
    assert code == 8 and "it would be a part of the artifact" in said
    assert driver("verify", tmp_path / "a.qcc")[0] == 0


@pytest.mark.parametrize("role", ["artifact", "reference"])
def test_damaged_artifacts_are_not_measured(made, tmp_path, role):
    """One changed byte in the library; files that the manifest does not know are nobody's business here."""
    artifact = shutil.copytree(made / "int8.qcc", tmp_path / "a.qcc")
    (artifact / "notes.txt").write_text("mine")
    words = ["eval", artifact, f"--reference={made / 'f32.qcc'}", f"--data={made / 'x.npz'}"]
    if role == "reference":
        words = ["eval", made / "f32.qcc", f"--reference={artifact / 'libmodel.so'}", f"--data={made / 'x.npz'}"]
    code, said, _ = driver(*words)
    assert code == 0, said
    library = artifact / "libmodel.so"
    data = bytearray(library.read_bytes())
    data[len(data) // 2] ^= 1
    library.write_bytes(data)
    code, said, _ = driver(*words)
    assert code == 9 and "libmodel.so: is not what manifest.json says" in said


@pytest.mark.parametrize("flag", ["--dim=n=4", "--dim=oops", "--state=x=y"])
def test_flags_of_a_reference_that_is_compiled_already(made, flag):
    code, said, _ = driver("eval", made / "int8.qcc", f"--reference={made / 'f32.qcc'}", f"--data={made / 'x.npz'}", flag)
    assert code == 2 and "expected a model as --reference" in said


def test_sizes_that_only_some_artifacts_have(made, tmp_path):
    """Samples are cut to rows that all take, whichever comes first and whichever is the reference."""
    qcc.compile(made / "m.onnx", tmp_path / "four.qcc", dim="n=4")
    qcc.compile(made / "m.onnx", tmp_path / "both.qcc", dim="n=1,4")
    for names in (["four", "both"], ["both", "four"]):
        paths = [tmp_path / f"{name}.qcc" for name in names]
        for words in ([*paths, f"--reference={made / 'f32.qcc'}"], [paths[0], f"--reference={paths[1]}"]):
            code, said, _ = driver("eval", *words, f"--data={made / 'x.npz'}")
            assert code == 0, said


def test_links_to_themselves(made, tmp_path, runner):
    """As data and as a library: what is wrong with the file, and no internal error."""
    (tmp_path / "x.npz").symlink_to("x.npz")
    (tmp_path / "a.qcc").mkdir()
    (tmp_path / "a.qcc" / "libmodel.so").symlink_to("libmodel.so")
    for code, words in ((5, [made / "f32.qcc", f"--inputs={tmp_path / 'x.npz'}"]), (3, [tmp_path / "a.qcc"])):
        done = subprocess.run([runner, *map(str, words)], capture_output=True, text=True)
        assert done.returncode == code and "QCC-E901" not in done.stderr, done.stderr


def test_compare_without_room_for_results(made):
    with open("/dev/full", "w") as full:
        words = [qcc._driver._find_driver(), "compare", made / "m.onnx", f"--inputs={made / 'x.npz'}"]
        done = subprocess.run([*map(str, words)], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 8 and "qcc-run could not write" in done.stderr


def test_page_beside_a_library_alone(made, tmp_path):
    """No manifest lists what lies beside it, so that a page would be in nobody's way; it has no report, though."""
    shutil.copy(made / "int8.qcc" / "libmodel.so", tmp_path / "alone.so")
    words = ["eval", tmp_path / "alone.so", f"--reference={made / 'f32.qcc'}", f"--data={made / 'x.npz'}"]
    code, said, _ = driver(*words, f"--report={tmp_path / 'r.html'}")
    assert code == 9 and "there is no report.json" in said and "would be a part" not in said
    assert driver(*words)[0] == 0


def test_measurement_of_no_bytes(made, tmp_path):
    (tmp_path / "e.json").write_text("")
    code, said, _ = driver("report", made / "int8.qcc", f"--eval={tmp_path / 'e.json'}", "-o", tmp_path / "r.html")
    assert code == 9 and "but the file is empty" in said
    assert not (tmp_path / "r.html").exists()


def test_nan_that_no_input_reads(made, tmp_path):
    """Labels, say: they neither refuse samples nor leave them out."""
    x = np.load(made / "x.npz")["x"]
    np.savez(tmp_path / "s.npz", x=x, label=np.full(len(x), np.nan, np.float32))
    code, said, _ = driver("calibrate", made / "m.onnx", f"--calib={tmp_path / 's.npz'}", "-o", tmp_path / "s.stats")
    assert code == 0 and "NaN" not in said
    np.savez(tmp_path / "s.npz", x=np.full_like(x, np.nan))
    code, said, _ = driver("calibrate", made / "m.onnx", f"--calib={tmp_path / 's.npz'}", "-o", tmp_path / "t.stats")
    assert code == 5 and "input 'x' has 512 NaN" in said


@pytest.mark.parametrize("state", ["x=y", "x=nope", "nope=y", "x"])
def test_states_that_cannot_be(made, state):
    """`check` says of states what compiling says: here y has no rows before the first run."""
    said = [driver(*words, made / "m.onnx", f"--state={state}", *rest)[:2] for words, rest in ((["check"], []), ([], ["--emit=import", "-o", "-"]))]
    assert said[0][0] == said[1][0] == 2 and "--state" in said[0][1]
    assert said[0][1].splitlines()[-1] == said[1][1].splitlines()[-1]
    code, said, printed = driver("check", made / "m.onnx", "--dim=n=4", "--state=x=y")
    assert (code, said, printed) == (0, "", "supported: 1 operations\n")


def test_compare_takes_the_recipe_of_mixed_precision(made, tmp_path):
    words = [made / "m.onnx", f"--calib={made / 'x.npz'}"]
    code, said, _ = driver(*words, "--max-size=0.6x", "-o", tmp_path / "m.qcc")
    assert code == 0, said
    code, said, printed = driver("compare", *words, f"--inputs={made / 'x.npz'}", f"--recipe={tmp_path / 'm.qcc/recipe.yaml'}", "--rtol=1")
    assert code == 0 and "cosine 0.99" in printed, said
