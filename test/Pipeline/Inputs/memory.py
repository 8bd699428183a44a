# Compiles a model under many limits of memory: each run ends with 0, or with 7 and the line of QCC-E501.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import subprocess
import sys

model, output = sys.argv[1:]
statuses = set()
for limit in [1] * 8 + list(range(2, 40, 2)):
    command = ["qcc", model, f"--max-memory={limit}", "-o", output, "-q"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    last = done.stderr.strip().splitlines()[-1:]
    if done.returncode not in (0, 7) or (done.returncode == 7 and not last[0].endswith("[QCC-E501]")):
        sys.exit(f"--max-memory={limit}: expected status 0 or 7 with QCC-E501, but got {done.returncode}: {done.stderr}")
    statuses.add(done.returncode)
if statuses != {0, 7}:
    sys.exit(f"expected some limits to suffice and some not, but got only {statuses}")
