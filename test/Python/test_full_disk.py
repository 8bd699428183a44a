# A disk without room for what is linked.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
from __future__ import annotations

import re
import subprocess

import onnx.parser
import pytest
import qcc

QCC = qcc._driver._find_driver()
TEXT = '<ir_version: 10, opset_import: ["" : 21]> g (float[a, b] x) => (float[a, b] y) { y = Softmax(x) }'


@pytest.mark.parametrize("flags", ["", "--emit=a"])
def test_what_is_linked_has_no_room(tmp_path, flags):
    """The linker maps its output: it dies of SIGBUS in the page that there is no room for."""
    (tmp_path / "m.onnx").write_bytes(onnx.parser.parse_model(TEXT).SerializeToString())
    for name in ("small", "tmp"):
        (tmp_path / name).mkdir()
    script = f"""cd {tmp_path}
        mount -t tmpfs -o size=10k tmpfs small || exit 99
        for size in 12 24 36 48 60 72 84 96 108 120 132 144; do
          mount -o remount,size=${{size}}k small
          TMPDIR=$PWD/tmp {QCC} m.onnx -q --target=avx2 {flags} -o small/x
          echo "status $?" >&2
          rm -rf small/*
        done"""
    done = subprocess.run(["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script], capture_output=True, text=True)
    if done.returncode == 99 or done.stderr.startswith("unshare:"):
        pytest.skip("no file system can be mounted here")
    codes = [int(code) for code in re.findall(r"^status (\d+)$", done.stderr, re.MULTILINE)]
    full = codes.count(8)
    assert full >= 5 and codes == [8] * full + [0] * (len(codes) - full), done.stderr
    assert done.stderr.count("No space left on device") == full, done.stderr
    # Nor does LLVM's handler of crashes leave files.
    assert not list((tmp_path / "tmp").iterdir())
