# qcc for Python: compile a model with the driver, load and run what it wrote.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Compile ONNX models and run the result.

    import qcc

    qcc.compile("model.onnx", "model.qcc", precision="int8", calib="data.npz")
    model = qcc.load("model.qcc")
    outputs = model({"image": array})

Running needs numpy and the artifact only; compiling needs the program `qcc`.
"""

from ._driver import compile
from ._errors import CompileError, CompileWarning, QccError, Status
from ._model import Context, Entry, Model, Tensor, load

__all__ = ["CompileError", "CompileWarning", "Context", "Entry", "Model", "QccError", "Status", "Tensor", "compile", "load"]
