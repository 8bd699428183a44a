# Loads and runs compiled models.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

from __future__ import annotations

import ctypes
import dataclasses
import functools
import operator
import os
import pathlib
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from . import _abi, _arrays, _calls, _library
from ._errors import QccError, Status

_Info = TypeVar("_Info", bound=_abi.Sized)
_Result = TypeVar("_Result")
_MAX_THREADS = 1024


@dataclasses.dataclass(frozen=True)
class Tensor:
    """An input, output or state. A dim is a number, the name of a size that inputs give, or None where it follows from
    others. `dtype` is the name of the element type, as "float32" or "bfloat16"."""

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]


@dataclasses.dataclass(frozen=True)
class Entry:
    """A function of a model."""

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


# The files that were loaded from each path: the dynamic loader knows them for as long as the process lives.
_loaded: dict[pathlib.Path, list[tuple[int, int]]] = {}


def _fresh_name(file: pathlib.Path) -> str:
    """A name of a library under which the dynamic loader has not loaded another file.

    It takes a name that it knows for the file that it was, also where an artifact was replaced since.
    """
    path = file.resolve()
    status = path.stat()
    known = _loaded.setdefault(path, [])
    if (status.st_dev, status.st_ino) not in known:
        known.append((status.st_dev, status.st_ino))
    return f"{path.parent}/{'./' * known.index((status.st_dev, status.st_ino))}{path.name}"


class _Handle:
    """The library and its open model, shared by the contexts, which must go first."""

    def __init__(self, path: pathlib.Path, threads: int, verify: bool, weights: str | os.PathLike | None):
        file = path / "libmodel.so" if path.is_dir() else path
        if not file.exists():
            raise QccError(Status.NOT_FOUND, f"expected an artifact with libmodel.so, but found none in {path}")
        if fault := _library.find_fault(file):
            raise QccError(Status.INVALID_ARGUMENT, f"{file} is no compiled model: {fault}")
        try:
            library = ctypes.CDLL(_fresh_name(file))
            query = library.qcc_model_query_v1
        except (OSError, AttributeError) as error:
            raise QccError(Status.INVALID_ARGUMENT, f"{file} is no compiled model: {error}") from error
        query.restype = ctypes.POINTER(_abi.Api)
        query.argtypes = [ctypes.c_uint32, ctypes.c_void_p]
        table = query(_abi.ABI_VERSION, None)
        if not table:
            raise QccError(Status.INVALID_ARGUMENT, f"{file} needs a newer version of this package")
        self.library = library
        self.api = table.contents
        self.model = ctypes.c_void_p()
        text = ctypes.create_string_buffer(1024)
        options = _abi.OpenOptions(
            weights_path=os.fsencode(weights) if weights is not None else None,
            flags=_abi.VERIFY_WEIGHTS if verify else 0,
            threads=threads,
            error_text=ctypes.cast(text, ctypes.c_char_p),
            error_text_size=len(text),
        )
        status = self.api.open(options, self.model)
        if status:
            raise QccError(status, text.value.decode(errors="replace"))
        self._finalizer = weakref.finalize(self, self.api.close, self.model)

    def describe(self, kind: type[_Info], function: Any, *arguments: int) -> _Info:
        info = kind()
        status = function(self.model, *arguments, info)
        if status:
            raise QccError(status, "the model does not describe itself")
        return info


@dataclasses.dataclass(frozen=True)
class _Signature:
    """An entry with what a call needs of it."""

    number: int
    entry: Entry
    input_types: tuple[_arrays.ElementType, ...]
    output_types: tuple[_arrays.ElementType, ...]
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]


def _exclusive(method: Callable[..., _Result]) -> Callable[..., _Result]:
    """A method of Context that only one thread is in at a time."""

    @functools.wraps(method)
    def call(self: Context, *arguments: Any, **named: Any) -> _Result:
        with self._lock:
            return method(self, *arguments, **named)

    return call


class Context:
    """Working memory and states for one caller at a time: calls of other threads wait. Made by Model.context."""

    def __init__(self, model: Model, handle: _Handle):
        self._model = model
        self._handle = handle
        # One caller at a time: others wait. A caller may come again, from the __dlpack__ of an input, say.
        self._lock = threading.RLock()
        self._context = ctypes.c_void_p()
        self._calls: dict[int, _calls.Call] = {}  # by the number of the entry
        status = handle.api.context_create(handle.model, None, self._context)
        if status:
            raise QccError(status, "no memory for a context")
        # The handle is an argument so that it lives until the context is gone.
        self._finalizer = weakref.finalize(self, _destroy, handle, self._context)

    @_exclusive
    def run(self, inputs: Mapping[str, Any] | Sequence[Any] = (), entry: str | None = None) -> dict[str, np.ndarray]:
        """Runs an entry and returns its outputs by name. Unless it is named it is the first one that takes such shapes.

        `inputs` are numpy arrays or objects with `__dlpack__`, by name or in order. Dense ones are read in place.
        """
        signature = self._model._signature(entry, inputs)
        values = _in_order(inputs, signature)
        # Taken while it is used: a caller that comes again has one of its own.
        call = self._calls.pop(signature.number, None) or _calls.Call(
            self._handle.api, signature.number, signature.input_types, signature.output_types
        )
        try:
            status, outputs = call.run(self._context, values, signature.input_names, self._free, self.cancel)
        finally:
            self._calls[signature.number] = call
        if status:
            self._raise(status)
        return dict(zip(signature.output_names, outputs))

    __call__ = run

    @_exclusive
    def reset(self) -> None:
        """Sets all states to their first value."""
        status = self._handle.api.state_reset(self._context)
        if status:
            self._raise(status)

    def cancel(self) -> None:
        """From any thread: the run in progress, or else the next one, ends with Status.CANCELLED."""
        self._handle.api.cancel(self._context)

    @_exclusive
    def state(self, name: str) -> np.ndarray:
        """A copy of a state. One whose size depends on inputs exists after the first run."""
        tensor = _calls.Slot().tensor
        status = self._handle.api.state_get(self._context, self._state_number(name), tensor)
        if status:
            self._raise(status, name)
        try:
            return _arrays.copy_out(tensor)
        finally:
            self._free(tensor)

    @_exclusive
    def set_state(self, name: str, value: Any) -> None:
        """Replaces the value of a state by one of the same shape. One whose size depends on inputs exists after the first
        run."""
        number = self._state_number(name)
        view = _arrays.view(value, self._model._state_types[number], name, "state")
        status = self._handle.api.state_set(self._context, number, view.tensor)
        if status:
            self._raise(status, name)

    def _state_number(self, name: str) -> int:
        names = [state.name for state in self._model.states]
        if name not in names:
            known = f"one of the states {', '.join(names)}" if names else "a model with states"
            raise QccError(Status.NOT_FOUND, f"expected {known}, but got {name}")
        return names.index(name)

    def _raise(self, status: int, state: str = "") -> None:
        text = self._handle.api.last_error(self._context).decode(errors="replace")
        if status == Status.NOT_FOUND and state:
            text = f"state '{state}' has no size before the first run: its size is that of the inputs"
        raise QccError(status, text)

    def __copy__(self) -> Context:
        raise TypeError("a context cannot be copied: Model.context makes one, and state and set_state carry states over")

    def __deepcopy__(self, memo: object) -> Context:
        return self.__copy__()

    def __reduce__(self) -> str:
        raise TypeError("a context cannot be pickled")

    def _free(self, tensor: _abi.DLTensor) -> None:
        self._handle.api.free_tensor(self._handle.model, tensor)


def _destroy(handle: _Handle, context: ctypes.c_void_p) -> None:
    handle.api.context_destroy(context)


def _kind(value: Any) -> str:
    kind = type(value).__name__
    return f"an array of {value.dtype}" if isinstance(value, np.ndarray) else f"{'an' if kind[:1] in 'AEIOUaeiou' else 'a'} {kind}"


def _in_order(inputs: Mapping[str, Any] | Sequence[Any], signature: _Signature) -> list[Any]:
    """The inputs in the order of the entry."""
    names = signature.input_names
    if type(inputs) is not dict and not isinstance(inputs, Mapping):
        if not isinstance(inputs, Sequence) or isinstance(inputs, (str, bytes)):
            raise QccError(
                Status.INVALID_ARGUMENT,
                f"expected arrays by name, as {{'{names[0] if names else ''}': array}}, or a list of them, but got {_kind(inputs)}",
            )
        values = list(inputs)
        if len(values) != len(names):
            raise QccError(Status.INVALID_ARGUMENT, f"expected {len(names)} inputs, but got {len(values)}")
        return values
    # A wrong name first: with it the right one is missing, too.
    if unknown := sorted(set(inputs) - set(names), key=str):
        raise QccError(Status.INVALID_ARGUMENT, f"expected inputs {', '.join(names)}, but got '{unknown[0]}'")
    for name in names:
        if name not in inputs:
            raise QccError(Status.INVALID_ARGUMENT, f"expected an array for input '{name}', but got none")
    return [inputs[name] for name in names]


def _takes(signature: _Signature, inputs: Mapping[str, Any] | Sequence[Any]) -> bool:
    """True if the inputs have the sizes that the entry states."""
    try:
        values = _in_order(inputs, signature)
    except QccError:
        return False
    return all(
        len(shape) == len(tensor.shape) and all(not isinstance(d, int) or d == n for d, n in zip(tensor.shape, shape))
        for tensor, shape in zip(signature.entry.inputs, (value.shape if hasattr(value, "shape") else np.shape(value) for value in values))
    )


def _check_sizes(signatures: list[_Signature], inputs: Mapping[str, Any] | Sequence[Any]) -> None:
    """Names the sizes that there are entries for, if an input has another; the runtime would name those of one."""
    entries = [signature.entry for signature in signatures]
    for i, value in enumerate(_in_order(inputs, signatures[0])):
        shape = value.shape if hasattr(value, "shape") else np.shape(value)
        for d, size in enumerate(shape):
            known = [entry.inputs[i].shape[d] for entry in entries if len(entry.inputs[i].shape) == len(shape)]
            if len(set(known)) > 1 and all(isinstance(n, int) for n in known) and size not in known:
                sizes = [str(n) for n in sorted(set(known))]
                text = f"{', '.join(sizes[:-1])} or {sizes[-1]}"
                raise QccError(
                    Status.BAD_SHAPE,
                    f"input '{entries[0].inputs[i].name}': expected dim {d} to be {text}, but got {size}",
                )


class Model:
    """A compiled model. Calls may come from any thread: each has a context of its own, and so its own states."""

    def __init__(self, handle: _Handle):
        self._handle = handle
        self._local = threading.local()
        info = handle.describe(_abi.ModelInfo, handle.api.model_info)
        #: The name of the model, the compiler that made it, and the kernels chosen for this CPU.
        self.name: str = info.name.decode()
        self.producer: str = info.producer.decode()
        self.level: str = info.level.decode()
        self.threads: int = info.threads
        signatures = [self._read_entry(number) for number in range(info.num_entries)]
        self._signatures = {signature.entry.name: signature for signature in signatures}
        self._first = signatures[0]
        # The first entry for other sizes, where the compiler was asked for several.
        names = [tensor.name for tensor in self._first.entry.inputs]
        sizes = [s for s in signatures if [tensor.name for tensor in s.entry.inputs] == names]
        self._sizes = sizes if len(sizes) > 1 else []
        #: The entries by name, in order.
        self.entries: dict[str, Entry] = {name: s.entry for name, s in self._signatures.items()}
        states = [self._read_tensor(0, _abi.STATE, number) for number in range(info.num_states)]
        self.states: tuple[Tensor, ...] = tuple(tensor for tensor, _ in states)
        self._state_types = [element for _, element in states]

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The inputs of the first entry."""
        return self._first.entry.inputs

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """The outputs of the first entry."""
        return self._first.entry.outputs

    def context(self) -> Context:
        """A new context, with new states."""
        return Context(self, self._handle)

    def __call__(self, inputs: Mapping[str, Any] | Sequence[Any] = (), entry: str | None = None) -> dict[str, np.ndarray]:
        """Runs an entry in this thread's context; see Context.run."""
        return self._own_context().run(inputs, entry)

    def reset(self) -> None:
        """Sets the states of this thread's context to their first value."""
        self._own_context().reset()

    def _own_context(self) -> Context:
        if not hasattr(self._local, "context"):
            self._local.context = _ThreadContext(self, self._handle)
        return self._local.context

    def _signature(self, entry: str | None, inputs: Mapping[str, Any] | Sequence[Any]) -> _Signature:
        if entry is None and not self._sizes:
            return self._first
        if entry is None:
            found = next((s for s in self._sizes if _takes(s, inputs)), None)
            if found is None:
                _check_sizes(self._sizes, inputs)
            return found or self._first
        if entry not in self._signatures:
            raise QccError(
                Status.NOT_FOUND, f"expected one of the entries {', '.join(self._signatures)}, but got {entry}"
            )
        return self._signatures[entry]

    def _read_entry(self, number: int) -> _Signature:
        info = self._handle.describe(_abi.EntryInfo, self._handle.api.entry_info, number)
        inputs = [self._read_tensor(number, _abi.INPUT, i) for i in range(info.num_inputs)]
        outputs = [self._read_tensor(number, _abi.OUTPUT, i) for i in range(info.num_outputs)]
        entry = Entry(info.name.decode(), tuple(t for t, _ in inputs), tuple(t for t, _ in outputs))
        names = [tuple(tensor.name for tensor in tensors) for tensors in (entry.inputs, entry.outputs)]
        return _Signature(number, entry, tuple(e for _, e in inputs), tuple(e for _, e in outputs), *names)

    def _read_tensor(self, entry: int, kind: int, number: int) -> tuple[Tensor, _arrays.ElementType]:
        info = self._handle.describe(_abi.TensorInfo, self._handle.api.tensor_info, entry, kind, number)
        element = _arrays.find_type(info.dtype)

        def dim(i: int) -> int | str | None:
            if info.dims[i] >= 0:
                return info.dims[i]
            return info.symbols[i].decode() if info.symbols[i] else None

        return Tensor(info.name.decode(), element.name, tuple(dim(i) for i in range(info.ndim))), element

    def __reduce__(self) -> str:
        raise TypeError("a model cannot be copied or pickled: qcc.load opens an artifact in each process")

    def __repr__(self) -> str:
        return f"<qcc.Model {self.name}: {', '.join(self.entries)}; {self.level}>"


class _ThreadContext(Context):
    """The context of a thread. It refers to its model weakly: the model holds it."""

    def __init__(self, model: Model, handle: _Handle):
        super().__init__(weakref.proxy(model), handle)


def load(
    path: str | os.PathLike,
    *,
    threads: int = 0,
    verify: bool = False,
    weights: str | os.PathLike | None = None,
) -> Model:
    """Opens an artifact: its folder, or the library in it.

    `threads` counts the caller's; 0 is one per CPU that this process may use. `verify` compares the hash of all
    weights. `weights` is their file when it does not lie beside the library. Raises QccError.
    """
    # ctypes would cut the number.
    try:
        threads = operator.index(threads)
    except TypeError:
        raise TypeError(f"load() expected a number of threads, but got {_kind(threads)}") from None
    if not 0 <= threads <= _MAX_THREADS:
        raise QccError(
            Status.INVALID_ARGUMENT, f"expected threads from 1 to {_MAX_THREADS}, or 0 for one per CPU, but got {threads}"
        )
    return Model(_Handle(pathlib.Path(path), threads, verify, weights))
