# The errors of the package.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

from __future__ import annotations

import enum


class Status(enum.IntEnum):
    """Why a call of a compiled model failed; the numbers of qcc_status_code in qcc.h."""

    OK = 0
    INVALID_ARGUMENT = 1
    NOT_FOUND = 2
    BAD_SHAPE = 3
    BAD_TYPE = 4
    BAD_LAYOUT = 5
    OUT_OF_MEMORY = 6
    BAD_WEIGHTS = 7
    UNSUPPORTED_HOST = 8
    CANCELLED = 9
    BAD_DATA = 10
    DATA_SHAPES = 11
    IN_USE = 12
    INTERNAL = 13


class QccError(RuntimeError):
    """A model could not be loaded or run. `status` is a Status, or the number of one that this package is too old for."""

    def __init__(self, status: int, text: str):
        super().__init__(text)
        self.status: int = Status(status) if status in Status._value2member_map_ else status

    def __reduce__(self):
        # As pools of processes hand errors on: what Exception has for it knows the text alone.
        return QccError, (int(self.status), str(self))


class CompileWarning(UserWarning):
    """What the driver found worth telling of a model that it compiled."""


class CompileError(RuntimeError):
    """The driver refused a model.

    `exit_code` is that of the command line (3 bad model, 4 unsupported, ...), `code` the stable code of the first
    diagnostic ("QCC-E112") or "", `text` all that the driver said.
    """

    def __init__(self, exit_code: int, code: str, text: str):
        super().__init__(text or f"qcc ended with exit code {exit_code}")
        self.exit_code = exit_code
        self.code = code
        self.text = text

    def __reduce__(self):
        return CompileError, (self.exit_code, self.code, self.text)
