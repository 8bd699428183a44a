# Compares `qcc explain` with the catalogue, code by code.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import json
import pathlib
import re
import subprocess

source = pathlib.Path(__file__).resolve().parents[3]
text = (source / "include" / "qcc" / "Support" / "Diagnostics.def").read_text()
entry = r'QCC_DIAGNOSTIC\(\s*(\w+),\s*"(QCC-E\d+)",\s*(\d+),\s*"([^"]+)"\s*(?:"[^"]*"\s*)*,\s*"([^"]+)'
catalogue = re.findall(entry, text)
assert len(catalogue) == len(re.findall(r"^QCC_DIAGNOSTIC", text, re.MULTILINE)), "an entry that cannot be read"
assert len({code for _, code, *_ in catalogue}) == len(catalogue), "a code that is used twice"
for name, code, exit_code, summary, remedy in catalogue:
    done = subprocess.run(["qcc", "explain", code, "--json"], capture_output=True, text=True, check=True)
    shown = json.loads(done.stdout)
    assert shown["code"] == code and shown["name"] == name, shown
    assert shown["exit_code"] == int(exit_code) and 1 <= shown["exit_code"] <= 9, shown
    assert shown["summary"].startswith(summary) and shown["remedy"].startswith(remedy), shown
