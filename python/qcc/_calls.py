# Calls of an entry through the C interface.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

from __future__ import annotations

import _thread
import ctypes
import math
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import _abi, _arrays
from ._errors import Status

# Seconds of a run from which on a person may want to interrupt the next.
_LONG = 0.1

#: The largest rank of the C interface.
MAX_RANK = 32


# Outputs of so many bytes have their memory kept: the allocator takes less from what it has, and gives back what is larger.
_KEPT_BYTES = range(128 << 10, 32 << 20)
# What a caller holds while the next run fills another.
_KEPT_COUNT = 2
# References to a block that only a list has, as they are counted.
_PROBE = [np.empty(0)]
_UNUSED = sys.getrefcount(_PROBE[0])


class Spares:
    """Memory of outputs that are gone. The system takes fresh pages, one by one, about as long as a kernel that fills them."""

    def __init__(self) -> None:
        self._blocks: list[np.ndarray] = []
        # Without the lock of the interpreter a count of references says little.
        self._counts = getattr(sys, "_is_gil_enabled", lambda: True)()

    def allocate(self, size: int) -> np.ndarray:
        """So many bytes; views of them have the block as their base, and are counted by its references."""
        if not self._counts:
            return np.empty(size, np.uint8)
        for i in range(len(self._blocks)):
            if sys.getrefcount(self._blocks[i]) == _UNUSED and size <= self._blocks[i].size <= 2 * size:
                return self._blocks[i][:size]
        # In steps, so that an output that grows from call to call fits for some.
        step = 1 << max(size.bit_length() - 4, 0)
        block = np.empty(-(-size // step) * step, np.uint8)
        self._blocks = [*self._blocks[-(_KEPT_COUNT - 1) :], block]
        return block[:size]


class Slot:
    """A tensor of the C interface with room for its shape."""

    def __init__(self, element: _arrays.ElementType | None = None):
        self.element = element
        dtype = _abi.DataType(element.code, element.bits, 1) if element else _abi.DataType()
        self._dims = (ctypes.c_int64 * MAX_RANK)()
        self.tensor = _abi.DLTensor(None, _abi.Device(_abi.CPU, 0), 0, dtype, self._dims, None, 0)
        self.pointer = ctypes.pointer(self.tensor)
        #: What was written or read last.
        self.shape: tuple[int, ...] = ()
        self.size = 0  # in bytes, of an output
        self.spares = Spares()

    def read_shape(self) -> None:
        """Takes the shape that a call has written."""
        self.shape = tuple(self._dims[: self.tensor.ndim])
        self.size = _arrays.count_bytes(self.shape, self.element.bits)

    def takes(self, value: Any) -> bool:
        """True for an array whose memory can be read as it is."""
        return (
            type(value) is np.ndarray
            and value.dtype == self.element.numpy
            and self.element.bits >= 8
            and value.flags.c_contiguous
            and value.flags.aligned
            and value.ndim <= MAX_RANK
        )

    def hold(self, array: np.ndarray) -> None:
        """Refers to an array that takes() takes, which has to live."""
        if array.shape != self.shape:
            self.shape = array.shape
            self.tensor.ndim = array.ndim
            self._dims[: array.ndim] = array.shape
        self.tensor.data = _arrays.address_of(array)


def _pointers(slots: Sequence[Slot]) -> Any:
    pointer = ctypes.POINTER(_abi.DLTensor)
    return (pointer * max(1, len(slots)))(*[slot.pointer for slot in slots])


class Call:
    """The inputs and outputs of an entry as the C interface takes them.

    What stays the same from one call to the next is not made again: that takes ctypes longer than a small model runs. One
    caller at a time.
    """

    def __init__(self, api: _abi.Api, number: int, inputs: Sequence[_arrays.ElementType], outputs: Sequence[_arrays.ElementType]):
        # Each look into the table makes a function object.
        self._infer_shapes, self._run = api.infer_shapes, api.run
        self._number = number
        self._inputs = [Slot(element) for element in inputs]
        self._outputs = [Slot(element) for element in outputs]
        self._given, self._made = _pointers(self._inputs), _pointers(self._outputs)
        self._are_own = True  # what `given` points at
        self._seconds = math.inf  # of the last run
        self._was_late = False
        #: Shapes of inputs for which those of the outputs are known.
        self._known: list[tuple[int, ...]] | None = None

    def run(
        self,
        context: ctypes.c_void_p,
        values: Sequence[Any],
        names: Sequence[str],
        free: Callable[[_abi.DLTensor], None],
        cancel: Callable[[], None],
    ) -> tuple[int, list[np.ndarray]]:
        """Runs the entry and returns the status and, if that is OK, the outputs.

        `names` are those of the inputs; `free` frees what the runtime has allocated, `cancel` ends a run from another thread.
        Raises QccError for inputs of another type.
        """
        owners, shapes = self._give(values, names)
        status = self._infer(context, shapes)
        if status not in (Status.OK, Status.DATA_SHAPES):
            return status, []
        arrays = [self._allocate(slot) for slot in self._outputs] if status == Status.OK else []
        status = self._execute(context, cancel)
        del owners  # until here
        if status:
            return status, []
        if not arrays:
            arrays = [self._take(slot, free) for slot in self._outputs]
        return status, [_finish(slot, array) for slot, array in zip(self._outputs, arrays)]

    def _give(self, values: Sequence[Any], names: Sequence[str]) -> tuple[list[object], list[tuple[int, ...]]]:
        """Refers to the inputs; returns what has to live and their shapes."""
        if not self._are_own:
            for i, slot in enumerate(self._inputs):
                self._given[i] = slot.pointer
            self._are_own = True
        owners, shapes = [], []
        for i, (slot, value) in enumerate(zip(self._inputs, values, strict=True)):
            if slot.takes(value):
                slot.hold(value)
                owners.append(value)
                shapes.append(value.shape)
                continue
            view = _arrays.view(value, slot.element, names[i])
            self._given[i] = ctypes.pointer(view.tensor)
            self._are_own = False
            owners.append(view)
            shapes.append(view.shape)
        return owners, shapes

    def _infer(self, context: ctypes.c_void_p, shapes: list[tuple[int, ...]]) -> int:
        """Finds the shapes of the outputs. Those of the inputs are all that they depend on."""
        if shapes == self._known:
            return Status.OK
        self._known = None
        for slot in self._outputs:
            slot.tensor.data = None
        status = self._infer_shapes(
            context, self._number, self._given, len(self._inputs), self._made, len(self._outputs)
        )
        # A tensor of a producer of its own may lack what numpy's have.
        if status == Status.OK and self._are_own:
            self._known = shapes
        if status == Status.OK:
            for slot in self._outputs:
                slot.read_shape()
        return status

    def _execute(self, context: ctypes.c_void_p, cancel: Callable[[], None]) -> int:
        """Runs the entry. In the main thread Ctrl-C ends a run that may take long."""

        def run() -> int:
            return self._run(context, self._number, self._given, len(self._inputs), self._made, len(self._outputs))

        start = time.perf_counter()
        if self._seconds < _LONG or threading.current_thread() is not threading.main_thread():
            status = run()
        else:
            status = self._run_aside(run, cancel)
        if status == Status.CANCELLED and self._was_late:
            status = run()  # what was cancelled had ended
        self._was_late = False
        self._seconds = time.perf_counter() - start
        return status

    def _run_aside(self, run: Callable[[], int], cancel: Callable[[], None]) -> int:
        """Runs in another thread while this one waits: Python sees a signal only between its own instructions."""
        found: list[int] = []
        ended = threading.Event()

        def work() -> None:
            found.append(run())
            ended.set()

        # A Thread's start and join wait too, and one that is interrupted takes the thread for ended.
        _thread.start_new_thread(work, ())
        try:
            ended.wait()
        except BaseException:  # KeyboardInterrupt, or what a handler of signals raises
            cancel()
            _wait_in_any_case(ended)
            # The context takes a cancellation that comes late as one of its next run.
            self._was_late = found != [Status.CANCELLED]
            raise
        return found[0]

    @staticmethod
    def _allocate(slot: Slot) -> np.ndarray:
        """Memory for an output whose shape is known; bytes where elements are packed."""
        if slot.element.bits < 8:
            array = np.empty(slot.size, np.uint8)
        elif slot.size in _KEPT_BYTES:
            array = slot.spares.allocate(slot.size).view(slot.element.numpy).reshape(slot.shape)
        else:
            array = np.empty(slot.shape, slot.element.numpy)
        slot.tensor.data = _arrays.address_of(array)
        return array

    @staticmethod
    def _take(slot: Slot, free: Callable[[_abi.DLTensor], None]) -> np.ndarray:
        """A copy of an output that the runtime has allocated, which is freed."""
        slot.read_shape()
        data = _arrays.copy_bytes(slot.tensor, slot.size)
        free(slot.tensor)
        return data if slot.element.bits < 8 else data.view(slot.element.numpy).reshape(slot.shape)


def _wait_in_any_case(event: threading.Event) -> None:
    """Waits, whatever signals come: what the other thread uses must live."""
    while not event.is_set():
        try:
            event.wait()
        except BaseException:
            pass


def _finish(slot: Slot, array: np.ndarray) -> np.ndarray:
    return _arrays.unpack(array, slot.shape, slot.element) if slot.element.bits < 8 else array
