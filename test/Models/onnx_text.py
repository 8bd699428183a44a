#!/usr/bin/env python3
# Writes a model given in ONNX's text form as a binary file; lit tests keep their models as text (%make-onnx).
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""usage: onnx_text.py MODEL.onnxtxt OUT.onnx

Lines that start with `//` are dropped, so a test's RUN and CHECK lines may stand above its model. The model is written
as it stands: nothing checks it, because tests of refusals need broken ones.
"""

import sys

import onnx.parser


def main() -> None:
    source, target = sys.argv[1:]
    with open(source, encoding="utf-8") as file:
        text = "".join(line for line in file if not line.lstrip().startswith("//"))
    model = onnx.parser.parse_model(text)
    with open(target, "wb") as file:
        file.write(model.SerializeToString())


if __name__ == "__main__":
    main()
