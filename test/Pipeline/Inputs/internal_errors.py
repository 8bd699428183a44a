# Lets a compile of FOLDER/model.onnx crash (QCC-E901) and its linker fail (QCC-E602): internal_errors.py FOLDER
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import os
import pathlib
import resource
import signal
import subprocess
import sys

folder = pathlib.Path(sys.argv[1])
command = ["qcc", str(folder / "model.onnx"), "-o", str(folder / "out"), "--target=avx2", "--progress=plain"]

# A crash while it compiles: the first line of progress says that it does.
crashing = subprocess.Popen([*command, "--no-cache"], stderr=subprocess.PIPE, text=True)
assert crashing.stderr.readline(), "no progress"
os.kill(crashing.pid, signal.SIGSEGV)
_, said = crashing.communicate(timeout=60)
assert crashing.returncode == 1, (crashing.returncode, said)
assert "qcc: error: crashed: invalid memory access; please report it" in said and "[QCC-E901]" in said, said

# A linker that cannot write its output: nothing else that is written is as large as the library.
subprocess.run(command, check=True, capture_output=True)
sizes = sorted(path.stat().st_size for path in (folder / "out").iterdir())
library = (folder / "out" / "libmodel.so").stat().st_size
assert sizes[-1] == library, sizes
subprocess.run(["rm", "-r", str(folder / "out")], check=True)


def limit() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (library - 1, library - 1))


done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit)
assert done.returncode == 1 and "[QCC-E602]" in done.stderr, (done.returncode, done.stderr)
assert not (folder / "out").exists()
