# Calibration on several processes: the bytes are those of one, whatever starts them.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import qcc
from test_algorithms import K, N, Graph, network, norm, samples, weight

QCC = qcc._driver._find_driver()
SHARDS = 3


def mpirun() -> list[str]:
    program = shutil.which("mpirun")
    if not program:
        pytest.skip("there is no mpirun (Debian's openmpi-bin)")
    # Containers have one user and fewer cores than ranks; Open MPI refuses both unless told.
    return [program, "--allow-run-as-root", "--oversubscribe", "-n", str(SHARDS)]


@pytest.fixture(scope="module")
def cluster():
    """Ray with as many places as there are shards."""
    ray = pytest.importorskip("ray", reason="there is no Ray (PyPI's ray)")
    ray.init(num_cpus=SHARDS, include_dashboard=False, log_to_driver=False, configure_logging=False)
    yield ray
    ray.shutdown()


def run(command, **kwargs):
    done = subprocess.run([*map(str, command)], stdin=subprocess.DEVNULL, capture_output=True, text=True, **kwargs)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def prepare(tmp_path: pathlib.Path):
    """A model, data of 13 samples, and what one process gathers."""
    path = network(tmp_path)
    np.savez(tmp_path / "calib.npz", x=samples(100))
    flags = [path, f"--calib={tmp_path / 'calib.npz'}"]
    run([QCC, "calibrate", *flags, "-o", tmp_path / "whole.stats"])
    return flags


def check_merged(tmp_path: pathlib.Path) -> None:
    parts = [tmp_path / f"part{i}.stats" for i in (2, 1, 3)]
    run([QCC, "merge-stats", *parts, "-o", tmp_path / "merged.stats"])
    assert (tmp_path / "merged.stats").read_bytes() == (tmp_path / "whole.stats").read_bytes()


def test_statistics_of_shards_with_samples(tmp_path):
    """Ranges of shards, and samples that choose weights: the library of one process."""
    flags = prepare(tmp_path)
    for i in range(SHARDS):
        run([QCC, "calibrate", *flags, f"--shard={i + 1}/{SHARDS}", "-o", tmp_path / f"part{i + 1}.stats"])
    check_merged(tmp_path)
    flags += ["--precision=int8", "--target=avx2", "-q"]
    run([QCC, *flags, "-o", tmp_path / "whole.qcc"])
    run([QCC, *flags, f"--stats={tmp_path / 'merged.stats'}", "-o", tmp_path / "joined.qcc"])
    for name in ("libmodel.so", "report.json"):
        assert (tmp_path / "whole.qcc" / name).read_bytes() == (tmp_path / "joined.qcc" / name).read_bytes()
    assert "weights by gptq" in (tmp_path / "whole.qcc" / "report.json").read_text()


def test_statistics_by_mpirun(tmp_path):
    flags = prepare(tmp_path)
    shell = 'i=$((OMPI_COMM_WORLD_RANK + 1)); exec "$0" calibrate "$@" --shard=$i/$OMPI_COMM_WORLD_SIZE -o part$i.stats'
    run([*mpirun(), "sh", "-c", shell, QCC, *flags], cwd=tmp_path)
    check_merged(tmp_path)


def test_statistics_by_ray(tmp_path, cluster):
    flags = prepare(tmp_path)

    @cluster.remote
    def shard(number):
        command = [QCC, "calibrate", *map(str, flags), f"--shard={number}/{SHARDS}", "-o", str(tmp_path / f"part{number}.stats")]
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True).returncode

    assert cluster.get([shard.remote(i + 1) for i in range(SHARDS)]) == [0] * SHARDS
    check_merged(tmp_path)


# --- sequential calibration in rounds ------------------------------------------------------------------------------

SCRIPT = pathlib.Path(__file__).parents[2] / "examples" / "cluster" / "calibrate.py"


@pytest.fixture(scope="module")
def sequential(tmp_path_factory):
    """Flags, and the artifact of one process."""
    folder = tmp_path_factory.mktemp("sequential")
    graph = Graph()
    hidden = graph.add("Relu", graph.add("MatMul", norm(graph, "x"), weight(K, K), name="first"))
    path = graph.save(folder / "m.onnx", graph.add("MatMul", hidden, weight(K, N), name="last"))
    np.savez(folder / "calib.npz", x=samples(100))
    flags = [path, f"--calib={folder / 'calib.npz'}", "--target=avx2", "--progress=none"]
    made = {}

    def make(*more):
        if more not in made:
            made[more] = folder / f"whole{len(made)}.qcc"
            run([QCC, *flags, *more, "-q", "-o", made[more]])
        return flags, made[more]

    return make


def check_rounds(tmp_path, sequential, launch, *more) -> None:
    flags, whole = sequential(*more)
    command = [sys.executable, SCRIPT, f"--shards={SHARDS}", f"--launch={launch}", "--", *flags, *more,
               f"--checkpoint={tmp_path / 'checkpoints'}", "-o", tmp_path / "out.qcc"]  # fmt: skip
    assert f"rounds of {SHARDS} shards" in run(command, env={**os.environ, "QCC": QCC})
    for path in whole.iterdir():
        if path.name != "profile.json":
            assert path.read_bytes() == (tmp_path / "out.qcc" / path.name).read_bytes(), path.name
    # What was joined and used is gone.
    assert not [path for path in (tmp_path / "checkpoints").iterdir() if "-of-" in path.name or path.name.startswith("data-")]


GPTQ = ("--precision=w4a8", "--algo=gptq")


def test_rounds_by_mpirun(tmp_path, sequential):
    check_rounds(tmp_path, sequential, " ".join(mpirun()), *GPTQ)


def test_rounds_by_ray(tmp_path, sequential):
    pytest.importorskip("ray", reason="there is no Ray (PyPI's ray)")
    check_rounds(tmp_path, sequential, "ray", *GPTQ)


@pytest.mark.parametrize("more", [
    ("--precision=w4a8", "--algo=awq,gptq", "--calib-mode=parallel"),
    ("--precision=int8", "--algo=smoothquant"),
    ("--precision=int8", "--calib-method=entropy"),
    ("--precision=int8", "--min-cos=0.5", "--no-correct-bias"),
])  # fmt: skip
def test_rounds_of_other_algorithms(tmp_path, sequential, more):
    check_rounds(tmp_path, sequential, "local", *more)


def test_more_shards_than_samples(tmp_path, sequential):
    flags, _ = sequential(*GPTQ)
    command = [*flags, *GPTQ, f"--checkpoint={tmp_path / 'checkpoints'}"]
    for i in (1, 14, 20):
        run([QCC, "calibrate", *command, f"--shard={i}/20", "-q"])


def refuse(command, status, text):
    done = subprocess.run([*map(str, command)], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == status and text in done.stderr, done.stderr


def test_what_shards_cannot_do(tmp_path, sequential):
    flags, _ = sequential(*GPTQ)
    checkpoint = f"--checkpoint={tmp_path / 'checkpoints'}"
    out = ["-o", tmp_path / "out.qcc"]
    refuse([QCC, *flags, *GPTQ, checkpoint, "--shards=2", *out], 5, "expected statistics of 2 shards, but 2 are missing")
    assert (tmp_path / "checkpoints" / "wanted").exists() and not (tmp_path / "out.qcc").exists()
    refuse([QCC, "calibrate", *flags, *GPTQ, checkpoint], 2, "expected --shard=I/N")
    refuse([QCC, "calibrate", *flags, *GPTQ, checkpoint, "--shard=1/2", "-o", tmp_path / "file"], 2, "expected no file")
    correct = ["--precision=w4a8", "--algo=gptq-correct", f"--checkpoint={tmp_path / 'other'}"]
    refuse([QCC, *flags, *correct, "--shards=2", *out], 2, "expected one process")


@pytest.mark.parametrize(("flags", "text"), [
    (["--shards=0"], "expected --shards=1 or more, but got 0"),
    (["--shards=2", "--launch=nope"], "expected --launch=local, ray or a command, but found no program 'nope'"),
    (["--shards=2", "--launch="], "found no program ''"),
])  # fmt: skip
def test_what_the_script_refuses(tmp_path, flags, text):
    refuse([sys.executable, SCRIPT, *flags, "--", "m.onnx", f"--checkpoint={tmp_path}"], 2, text)


def test_what_all_shards_say_is_said_once(tmp_path, sequential):
    flags, _ = sequential(*GPTQ)
    lossy = tmp_path / "qcc"
    lossy.write_text(f'#!/bin/sh\n[ "$1" = calibrate ] && echo "machine lost" >&2 && exit 9\nexec "{QCC}" "$@"\n')
    lossy.chmod(0o755)
    command = [sys.executable, SCRIPT, f"--shards={SHARDS}", "--", *flags, *GPTQ, f"--checkpoint={tmp_path / 'c'}", "-o", tmp_path / "out.qcc"]
    done = subprocess.run([*map(str, command)], stdin=subprocess.DEVNULL, capture_output=True, text=True, env={**os.environ, "QCC": str(lossy)})
    assert done.returncode == 1 and done.stderr.count("machine lost") == 1 and "failed: " in done.stderr, done.stderr


def test_parts_of_others_are_refused(tmp_path, sequential):
    """A part with the sums of other shapes, or of other samples."""
    flags, _ = sequential(*GPTQ)
    folder = tmp_path / "checkpoints"
    command = [*flags, *GPTQ, f"--checkpoint={folder}"]
    for _ in range(2):
        for i in (1, 2):
            run([QCC, "calibrate", *command, f"--shard={i}/2", "-q"])
        parts = sorted(path for path in folder.iterdir() if path.name.endswith("-of-2"))
        assert len(parts) == 2
        first, second = (path.read_bytes() for path in parts)
        # The second one's numbers under the first one's name: a key of its own says that they are not.
        parts[0].write_bytes(second)
        refuse([QCC, *command, "--shards=2", "-o", tmp_path / "out.qcc"], 5, "1 are missing")
        parts[0].write_bytes(first)
        refuse([QCC, *command, "--shards=2", "-o", tmp_path / "out.qcc"], 5, "2 are missing")
