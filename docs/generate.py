#!/usr/bin/env python3
# Writes the generated pages below docs/generated: operations and passes, from their definitions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""usage: docs/generate.py [--check]

With --check nothing is written; the pages that are not current are named and the exit status is 1.
"""

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
OUT = ROOT / "docs" / "generated"
LLVM = pathlib.Path("/usr/lib/llvm-22")


def tblgen(definition: pathlib.Path, *flags: str) -> str:
    """What mlir-tblgen prints for a file of definitions, without its own heading comment."""
    command = [LLVM / "bin" / "mlir-tblgen", *flags, "-I", ROOT / "include", "-I", LLVM / "include", definition]
    text = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=True).stdout
    lines = [line.rstrip() for line in text.splitlines() if not line.startswith("<!--")]
    return "\n".join(lines).strip() + "\n"


def pages() -> dict[str, str]:
    """Every generated page by its name."""
    dialects = [("QCC/QCCOps.td", "qcc"), ("Host/HostOps.td", "qcc_host")]
    found = {}
    for path, name in dialects:
        definition = ROOT / "include" / "qcc" / "Dialect" / path
        if definition.exists():
            found[f"{name}.md"] = tblgen(definition, "-gen-dialect-doc", f"-dialect={name}")
    passes = sorted((ROOT / "passes").rglob("*.td"))
    found["passes.md"] = "# Passes\n\n" + "\n".join(tblgen(path, "-gen-pass-doc") for path in passes)
    return found


def main() -> None:
    check = "--check" in sys.argv[1:]
    stale = []
    OUT.mkdir(exist_ok=True)
    for name, text in pages().items():
        path = OUT / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if not check:
            path.write_text(text, encoding="utf-8")
    if check and stale:
        sys.exit(f"not current: {', '.join(stale)}; run docs/generate.py")


if __name__ == "__main__":
    main()
