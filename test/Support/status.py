# Runs a program for a lit test and checks its exit status: status.py STATUS PROGRAM WORDS...
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import subprocess
import sys

done = subprocess.run(sys.argv[2:], stdin=subprocess.DEVNULL)
if done.returncode != int(sys.argv[1]):
    sys.exit(f"{sys.argv[2]}: expected exit status {sys.argv[1]}, but got {done.returncode}")
