# Interrupts compiles of FOLDER/model.onnx at several moments: interrupt.py FOLDER
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import os
import pathlib
import signal
import subprocess
import sys
import time

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
