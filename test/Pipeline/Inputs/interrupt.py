# Interrupts compiles of FOLDER/model.onnx at several moments: interrupt.py FOLDER
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np

folder = pathlib.Path(sys.argv[1])
command = ["qcc", str(folder / "model.onnx"), "-o", str(folder / "out"), "--no-cache", "-q"]
start = time.monotonic()
subprocess.run(command, check=True)
duration = time.monotonic() - start
subprocess.run(["rm", "-r", str(folder / "out")], check=True)

interrupted = 0
for step in range(8):
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    # Not before the handler is there: a process that only begins to load ends by the signal itself.
    time.sleep(duration * (0.25 + 0.07 * step))
    sent = [signal.SIGINT, signal.SIGTERM][step % 2]
    os.kill(process.pid, sent)
    _, said = process.communicate(timeout=60)
    left = sorted(path.name for path in folder.iterdir())
    if process.returncode == 0:  # it was faster
        assert left == ["model.onnx", "out"], left
        subprocess.run(["rm", "-r", str(folder / "out")], check=True)
        continue
    assert process.returncode in (130, -sent), (process.returncode, said)
    assert left == ["model.onnx"], left
    interrupted += process.returncode == 130
assert interrupted >= 2, f"only {interrupted} of 8 interrupts hit a compile"

# Calibration builds libraries among the temporary files: an interrupt removes them, and what a killed process could not
# remove the next one does.
temporary = folder / "temporary"
temporary.mkdir()
np.savez(folder / "data.npz", x=np.ones((2, 32, 64), np.float32))
calibrate = ["qcc", "calibrate", str(folder / "model.onnx"), f"--calib={folder / 'data.npz'}", "-o", str(folder / "stats"), "--no-cache", "-q"]
environment = {**os.environ, "TMPDIR": str(temporary)}
for sent in (signal.SIGINT, signal.SIGKILL):
    process = subprocess.Popen(calibrate, stderr=subprocess.PIPE, env=environment, start_new_session=True)
    while process.poll() is None and not any(temporary.iterdir()):
        time.sleep(0.001)
    os.killpg(process.pid, sent)
    process.communicate(timeout=60)
    assert process.returncode in (130, -sent), process.returncode
    left = [path.name for path in temporary.iterdir()]
    assert bool(left) == (sent == signal.SIGKILL), (sent, left)
subprocess.run(calibrate, check=True, env=environment)
assert list(temporary.iterdir()) == []
