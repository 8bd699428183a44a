# qcc-run on the model written by hand: files in and out, comparison, exit codes, hostile archives.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import json
import pathlib
import re
import struct
import subprocess
import zipfile

import numpy as np
import onnx
import onnx.numpy_helper
import pytest

DIAGNOSTICS = pathlib.Path(__file__).resolve().parents[2] / "include" / "qcc" / "Support" / "Diagnostics.def"


@pytest.fixture
def run(runner, fakes):
    """Calls qcc-run on the model; returns exit code, stdout, stderr."""

    def call(*arguments, model=fakes / "embedded", stdin=""):
        done = subprocess.run(
            [runner, *([str(model)] if model else []), *map(str, arguments)], capture_output=True, text=True, timeout=60, input=stdin
        )
        return done.returncode, done.stdout, done.stderr

    return call


@pytest.fixture
def x(tmp_path):
    """Inputs of the entry main in a file, and its outputs."""
    values = np.arange(8, dtype=np.float32).reshape(2, 4)
    np.savez(tmp_path / "in.npz", x=values, unused=np.zeros(3))
    return tmp_path / "in.npz", 2 * values + np.array([10, 20, 30, 40], np.float32)


def test_writes_outputs(run, x, tmp_path):
    path, expected = x
    for name in ("a.npz", "b.npz"):
        assert run(f"--inputs={path}", f"--outputs={tmp_path / name}")[0] == 0
    with np.load(tmp_path / "a.npz") as outputs:
        assert list(outputs) == ["y"]
        np.testing.assert_array_equal(outputs["y"], expected)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_reads_column_major_and_compressed(run, x, tmp_path):
    values = np.asfortranarray(np.arange(8, dtype=np.float32).reshape(2, 4))
    np.savez_compressed(tmp_path / "f.npz", x=values)
    np.savez(tmp_path / "want.npz", y=x[1])
    assert run(f"--inputs={tmp_path}/f.npz", f"--expect={tmp_path}/want.npz", "--rtol=0", "--atol=0")[0] == 0


def test_comparison(run, x, tmp_path):
    path, expected = x
    wrong = expected.copy()
    wrong[1, 2] += 1
    np.savez(tmp_path / "wrong.npz", y=wrong)
    code, out, _ = run(f"--inputs={path}", f"--expect={tmp_path}/wrong.npz")
    assert code == 6
    assert "1 of 8 elements differ, the worst at [1, 2]: expected 43, but got 42" in out
    assert run(f"--inputs={path}", f"--expect={tmp_path}/wrong.npz", "--rel-max=0.1")[0] == 0
    code, out, _ = run(f"--inputs={path}", f"--expect={tmp_path}/wrong.npz", "--json")
    assert code == 6
    (compared,) = json.loads(out)["compare"]
    assert (compared["output"], compared["passed"], compared["mismatches"]) == ("y", False, 1)
    np.savez(tmp_path / "other.npz", z=wrong)
    assert run(f"--inputs={path}", f"--expect={tmp_path}/other.npz")[0] == 6


def test_nan_agrees_with_nan_only(run, tmp_path):
    np.savez(tmp_path / "in.npz", x=np.array([[np.nan, np.inf, 1, 2]], np.float32))
    np.savez(tmp_path / "same.npz", y=np.array([[np.nan, np.inf, 32, 44]], np.float32))
    np.savez(tmp_path / "other.npz", y=np.array([[1, np.inf, 32, 44]], np.float32))
    assert run(f"--inputs={tmp_path}/in.npz", f"--expect={tmp_path}/same.npz")[0] == 0
    assert run(f"--inputs={tmp_path}/in.npz", f"--expect={tmp_path}/other.npz")[0] == 6


def write_data_set(folder, inputs, outputs):
    folder.mkdir()
    for prefix, arrays in (("input", inputs), ("output", outputs)):
        for i, array in enumerate(arrays):
            tensor = onnx.numpy_helper.from_array(array) if isinstance(array, np.ndarray) else array
            (folder / f"{prefix}_{i}.pb").write_bytes(tensor.SerializeToString())


def test_onnx_data_set(run, x, tmp_path):
    values = np.arange(8, dtype=np.float32).reshape(2, 4)
    typed = onnx.helper.make_tensor("any", onnx.TensorProto.FLOAT, [2, 4], values.reshape(-1))
    write_data_set(tmp_path / "raw", [values], [x[1]])
    write_data_set(tmp_path / "typed", [typed], [x[1]])
    write_data_set(tmp_path / "wrong", [values], [x[1] + 1])
    assert run(f"--test-data={tmp_path}/raw")[0] == 0
    assert run(f"--test-data={tmp_path}/typed")[0] == 0
    assert run(f"--test-data={tmp_path}/wrong")[0] == 6
    assert run(f"--test-data={tmp_path}/none")[0] == 2


def test_batch(run, x, fakes, tmp_path):
    values = np.arange(8, dtype=np.float32).reshape(2, 4)
    write_data_set(tmp_path / "good", [values], [x[1]])
    write_data_set(tmp_path / "bad", [values], [x[1] + 1])
    write_data_set(tmp_path / "typed", [values.astype(np.float64)], [x[1]])
    (tmp_path / "list").write_text(
        "".join(f"{fakes / 'embedded'}\t{tmp_path / name}\n" for name in ("good", "bad", "typed")) + "/nothing\t/nothing\n"
    )
    code, out, _ = run(f"--batch={tmp_path}/list", model=None)
    assert code == 6
    assert [line.split("\t")[0] for line in out.splitlines()] == ["0", "6", "5", "3"]


def test_malformed_data_sets(run, x, tmp_path):
    values = np.arange(8, dtype=np.float32).reshape(2, 4)
    write_data_set(tmp_path / "data", [values], [x[1]])
    whole = (tmp_path / "data" / "input_0.pb").read_bytes()
    for size in range(len(whole)):
        (tmp_path / "data" / "input_0.pb").write_bytes(whole[:size])
        assert run(f"--test-data={tmp_path}/data")[0] in (4, 5), size
    huge = onnx.TensorProto(dims=[2**40, 2**40], data_type=1, raw_data=b"1234")
    (tmp_path / "data" / "input_0.pb").write_bytes(huge.SerializeToString())
    assert run(f"--test-data={tmp_path}/data")[0] == 5


def npy(header, data=b"", version=1):
    text = header.encode()
    size = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + size + text + data


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no array at all",
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 4), }"),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999, 99999999999, 4), }", b"0" * 32),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-2, -4), }", b"0" * 32),
        npy("{'descr': '|O', 'fortran_order': False, 'shape': (2, 4), }", b"0" * 64),
        npy("{'descr': '>f4', 'fortran_order': False, 'shape': (2, 4), }", b"0" * 32),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 4", b"0" * 32),
        npy("{'descr': __import__('os'), 'fortran_order': False, 'shape': (2, 4), }", b"0" * 32),
        npy("{" * 5000, b"0" * 32),
        b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31),
    ],
)
def test_malformed_arrays(run, tmp_path, content):
    with zipfile.ZipFile(tmp_path / "bad.npz", "w") as archive:
        archive.writestr("x.npy", content)
    code, _, err = run(f"--inputs={tmp_path}/bad.npz")
    assert code == 5, err
    assert "'x'" in err


def test_archives_that_expand(run, tmp_path):
    header = npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 4), }")
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", header + bytes(200_000_000))
    code, _, err = run(f"--inputs={tmp_path}/bomb.npz")
    assert code == 5 and "but its shape needs 16" in err
    whole = (tmp_path / "bomb.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    assert run(f"--inputs={tmp_path}/cut.npz")[0] == 5


def test_bench_and_profile(run, tmp_path):
    code, out, _ = run("--bench", "--runs=5", "--dim=batch=8", "--json", "--profile")
    assert code == 0
    result = json.loads(out)
    assert result["bench"]["runs"] == 5
    assert 0 < result["bench"]["min_ms"] <= result["bench"]["median_ms"] <= result["bench"]["p90_ms"]
    assert sorted(row["node"] for row in result["profile"]) == ["Add_1", "Mul_0"]
    trace = tmp_path / "trace.json"
    assert run(f"--profile={trace}", "--runs=2")[0] == 0
    assert [event["name"] for event in json.loads(trace.read_text())["traceEvents"]] == ["Mul_0", "Add_1"]
    code, out, _ = run("--bench-on-input", stdin="a\nb\n")
    assert code == 0 and re.fullmatch(r"ready\n\d+\n\d+\n", out)


def test_dump(run, x, tmp_path):
    path, expected = x
    assert run(f"--inputs={path}", "--dump=Mul", f"--dump-to={tmp_path}/dump.npz")[0] == 0
    with np.load(tmp_path / "dump.npz") as values:
        assert list(values) == ["twice_0"]
        np.testing.assert_array_equal(values["twice_0"], np.arange(8).reshape(2, 4) * 2)
    assert run(f"--inputs={path}", "--dump=(")[0] == 2
    code, _, text = run(f"--inputs={path}", "--dump=nothing", f"--dump-to={tmp_path}/none.npz")
    assert code == 2 and "'nothing', which finds none" in text and not (tmp_path / "none.npz").exists()


def test_steps_carry_states(run, tmp_path):
    np.savez(tmp_path / "in.npz", step=np.array([1, 10, 100]))
    np.savez(tmp_path / "want.npz", total=np.array([[1], [11], [111]]))
    assert run("--entry=count", f"--inputs={tmp_path}/in.npz", "--steps=3", f"--expect={tmp_path}/want.npz")[0] == 0
    code, _, text = run("--entry=count", f"--inputs={tmp_path}/in.npz")
    assert code == 5 and "input 'step': expected rank 0, but got 1; if it is stacked by step, --steps=3" in text
    assert run("--entry=count", f"--inputs={tmp_path}/in.npz", "--steps=3", "--dump=.")[0] == 2


@pytest.mark.parametrize(
    "arguments, code",
    [
        (["--bogus"], 2),
        (["--random-inputs", "--runs=0"], 2),
        (["--random-inputs", "--warmup=-1"], 2),
        (["--random-inputs", "--threads=1025"], 2),
        ([], 2),
        (["--entry=nothing"], 2),
        (["--random-inputs", "--dim=nothing=1"], 2),
        (["--random-inputs", "--dim=batch"], 2),
        (["--random-inputs", "--dim=batch=65"], 5),
        (["--random-inputs", "--inputs=a.npz"], 2),
        (["--inputs=/nothing.npz"], 5),
        (["--entry=refuse"], 5),
        (["--random-inputs", "--outputs=/nothing/out.npz"], 8),
        (["--random-inputs=7"], 0),
        (["--info"], 0),
        (["--help"], 0),
    ],
)
def test_exit_codes(run, arguments, code):
    assert run(*arguments)[0] == code


def test_errors_have_codes(run, fakes, tmp_path):
    """Those of `qcc explain`, with the exit code that it has there."""
    explained = {code: exit_code for code, exit_code in re.findall(r'"(QCC-E\d+)", (\d+)', DIAGNOSTICS.read_text())}
    for arguments, says in [
        (["--bogus"], "unknown flag '--bogus'; `qcc-run --help` shows the flags"),
        (["--info", "other"], "expected one artifact, but got 'other' besides"),
        (["--info", "--threads=5000"], "--threads: expected a number from 0 to 1024, but got '5000'"),
        (["--random-inputs=x"], "--random-inputs: expected a number from 0 on, but got 'x'"),
        (["--random-inputs=-1"], "--random-inputs: expected a number from 0 on, but got '-1'"),
        (["--random-inputs", "--steps=0"], "--steps: expected a number from 1 on, but got '0'"),
        (["--random-inputs", "--dump-to=a.npz"], "--dump-to belongs to --dump"),
        (["--random-inputs", "--dump=("], "--dump: expected a regular expression, but got"),
        (["--inputs=/nothing.npz"], "/nothing.npz"),
        (["--entry=nothing"], "nothing"),
        (["--random-inputs", "--outputs=/nothing/out.npz"], "/nothing/out.npz"),
    ]:  # fmt: skip
        code, _, text = run(*arguments)
        found = re.fullmatch(r"qcc-run: error: (.*) \[(QCC-E\d+)\]\n", text)
        assert found and says in found[1] and code == int(explained[found[2]]), text
    assert run("--info", model=tmp_path)[2].endswith("[QCC-E702]\n") and explained["QCC-E702"] == "3"


def test_missing_features_are_named(run, x, fakes):
    assert run("--entry=probe", "--quiet")[1].endswith(", 1\n")
    assert "no such" not in run("--info")[2]
    assert run(model=fakes)[0] == 3


@pytest.mark.parametrize("share", [0, 0.001, 0.1, 0.5, 0.9, 1])
def test_a_part_of_a_library(run, fakes, tmp_path, share):
    whole = (fakes / "embedded" / "libmodel.so").read_bytes()
    (tmp_path / "libmodel.so").write_bytes(whole[: max(4, int(share * (len(whole) - 1)))])
    code, _, text = run("--info", model=tmp_path)
    assert code == 9
    assert re.search(r"libmodel.so: the library is cut short: expected \d+ bytes or more, but got \d+; compile", text)


def test_weights_lie_beside_what_a_link_leads_to(run, fakes, tmp_path):
    (tmp_path / "model.so").symlink_to(fakes / "external" / "libmodel.so")
    assert run("--random-inputs", model=tmp_path / "model.so")[0] == 0


def test_random_inputs_are_the_same(run):
    first, second, other = (run(f"--random-inputs={seed}")[1] for seed in (1, 1, 2))
    assert first == second != other
