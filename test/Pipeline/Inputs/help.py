# Checks the help texts: length, time, flags.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import pathlib
import re
import subprocess
import time

VERBS = ["", "check", "inspect", "calibrate", "merge-stats", "compare", "eval", "report", "verify", "targets", "schemes", "explain"]


def help_of(*words: str) -> str:
    done = subprocess.run(["qcc", *words], capture_output=True, text=True, check=True)
    assert done.stderr == "", done.stderr
    return done.stdout


for verb in VERBS:
    start = time.monotonic()
    text = help_of(*filter(None, [verb]), "--help")
    lines = text.splitlines()
    assert len(lines) <= 60, f"qcc {verb} --help has {len(lines)} lines"
    wide = [line for line in lines if len(line) > 120]
    assert not wide, wide
    assert time.monotonic() - start < 5

# Every flag of the table is in the help of some sub-command, with a text.
table = pathlib.Path(__file__).resolve().parents[3] / "tools" / "qcc" / "Options.td"
names = re.findall(r': (?:Setting|Switch|CommaJoined<\["--"\],|Flag<\["-"\],) ?<?"([\w-]+)=?"', table.read_text())
assert len(names) > 20, names
names.remove("h")  # an alias of --help
shown = "".join(help_of(*filter(None, [verb]), "--help-advanced") for verb in VERBS)
missing = [name for name in names if not re.search(rf"^\s+--?{name}\b.*", shown, re.MULTILINE)]
assert not missing, missing
