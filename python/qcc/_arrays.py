# Arrays of Python as tensors of the C interface, and back.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

from __future__ import annotations

import ctypes
import dataclasses
import math
from typing import Any

import numpy as np

from . import _abi
from ._errors import QccError, Status


@dataclasses.dataclass(frozen=True)
class ElementType:
    """An element type: its name, DLPack's code and bits, and the numpy type that holds it.

    Types that numpy lacks are those of the package ml_dtypes where it is installed, else raw integers; types below a
    byte have one element per byte in numpy and are packed for the model.
    """

    name: str
    code: int
    bits: int
    numpy: np.dtype
    raw: np.dtype


def _make_types() -> list[ElementType]:
    try:
        import ml_dtypes
    except ImportError:
        ml_dtypes = None

    def own(name: str, raw: str) -> np.dtype:
        return np.dtype(getattr(ml_dtypes, name, None) or raw)

    types = [("bool", 6, 8, "bool", "bool")]
    types += [(f"int{bits}", 0, bits, f"int{bits}", f"int{bits}") for bits in (8, 16, 32, 64)]
    types += [(f"uint{bits}", 1, bits, f"uint{bits}", f"uint{bits}") for bits in (8, 16, 32, 64)]
    types += [(f"float{bits}", 2, bits, f"float{bits}", f"float{bits}") for bits in (16, 32, 64)]
    types += [(f"complex{bits}", 5, bits, f"complex{bits}", f"complex{bits}") for bits in (64, 128)]
    plain = [ElementType(name, code, bits, np.dtype(held), np.dtype(raw)) for name, code, bits, held, raw in types]
    others = [("bfloat16", 4, 16, "uint16"), ("float8_e4m3fn", 10, 8, "uint8"), ("float8_e4m3fnuz", 11, 8, "uint8"),
              ("float8_e5m2", 12, 8, "uint8"), ("float8_e5m2fnuz", 13, 8, "uint8"), ("float8_e8m0fnu", 14, 8, "uint8"),
              ("float4_e2m1fn", 17, 8, "uint8"), ("float4_e2m1fn", 17, 4, "uint8"),
              ("int4", 0, 4, "int8"), ("uint4", 1, 4, "uint8"),
              ("int2", 0, 2, "int8"), ("uint2", 1, 2, "uint8")]  # fmt: skip
    return plain + [ElementType(name, code, bits, own(name, raw), np.dtype(raw)) for name, code, bits, raw in others]


_TYPES = {(type.code, type.bits): type for type in _make_types()}


def find_type(dtype: _abi.DataType) -> ElementType:
    """The type of a DLPack triple."""
    found = _TYPES.get((dtype.code, dtype.bits))
    if found is None or dtype.lanes != 1:
        raise QccError(Status.BAD_TYPE, f"unknown element type: DLPack code {dtype.code}, {dtype.bits} bits")
    return found


def pack(array: np.ndarray, bits: int) -> np.ndarray:
    """Elements below a byte, one per byte, as a model has them: the first in the low bits."""
    per_byte = 8 // bits
    flat = array.reshape(-1).view(np.uint8) & ((1 << bits) - 1)
    padded = np.zeros(-(-flat.size // per_byte) * per_byte, np.uint8)
    padded[: flat.size] = flat
    shifted = padded.reshape(-1, per_byte) << (np.arange(per_byte, dtype=np.uint8) * bits)
    return np.bitwise_or.reduce(shifted.astype(np.uint8), axis=1)


def unpack(packed: np.ndarray, shape: tuple[int, ...], element: ElementType) -> np.ndarray:
    """The inverse of pack."""
    per_byte = 8 // element.bits
    shifts = np.arange(per_byte, dtype=np.uint8) * element.bits
    raw = (packed.reshape(-1, 1) >> shifts) & ((1 << element.bits) - 1)
    raw = raw.reshape(-1)[: math.prod(shape)].astype(np.uint8)
    if element.raw == np.int8:  # the sign bit fills the byte
        sign = np.uint8(1 << (element.bits - 1))
        raw = (raw ^ sign) - sign
    return raw.view(element.raw).view(element.numpy).reshape(shape)


class View:
    """A DLTensor and what it refers to."""

    def __init__(self, tensor: _abi.DLTensor, owners: tuple[object, ...], shape: tuple[int, ...]):
        self.tensor = tensor
        self.owners = owners
        self.shape = shape


def view_numpy(array: np.ndarray, element: ElementType, shape: tuple[int, ...]) -> View:
    """A dense array whose elements are `element`; packed ones have fewer bytes than their shape says."""
    dims = (ctypes.c_int64 * max(1, len(shape)))(*shape)
    tensor = _abi.DLTensor(
        array.ctypes.data, _abi.Device(_abi.CPU, 0), len(shape), _abi.DataType(element.code, element.bits, 1), dims, None, 0
    )
    return View(tensor, (array, dims), shape)


_capsule_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_capsule_pointer.restype = ctypes.c_void_p
_capsule_pointer.argtypes = [ctypes.py_object, ctypes.c_char_p]


def _is_dense(tensor: _abi.DLTensor) -> bool:
    if not tensor.strides:
        return True
    expected = 1
    for i in reversed(range(tensor.ndim)):
        if tensor.shape[i] == 0:
            return True
        if tensor.shape[i] != 1 and tensor.strides[i] != expected:
            return False
        expected *= tensor.shape[i]
    return True


def _view_dlpack(value: Any) -> View | None:
    """The memory of a DLPack exporter, without a copy; None where its layout needs one.

    The capsule is not consumed: when it goes, it frees what it holds.
    """
    capsule = value.__dlpack__()
    managed = _capsule_pointer(capsule, b"dltensor")
    tensor = _abi.DLTensor.from_address(managed)
    if not _is_dense(tensor):
        return None
    copied = _abi.DLTensor.from_buffer_copy(tensor)
    return View(copied, (capsule,), tuple(tensor.shape[i] for i in range(tensor.ndim)))


def view(value: Any, element: ElementType, name: str, kind: str = "input") -> View:
    """An input as a tensor: numpy arrays and DLPack exporters as they are where that is possible, else as numpy makes
    an array of them. Numbers and sequences take the type of the input; arrays of another type are refused.
    """
    if not isinstance(value, (np.ndarray, np.generic)):
        if hasattr(value, "__dlpack__"):
            found = _view_dlpack(value)
            if found is not None:
                return found
            value = np.from_dlpack(value)
        else:
            try:
                value = np.asarray(value, element.numpy)
            except (TypeError, ValueError) as error:
                text = f"{kind} '{name}': expected {element.name}, but got {type(value).__name__}: {error}"
                raise QccError(Status.BAD_TYPE, text) from error
    array = np.asarray(value)
    if array.dtype.newbyteorder("=") == element.numpy:
        array = array.astype(element.numpy, copy=False)
    if array.dtype not in (element.numpy, element.raw):
        raise QccError(Status.BAD_TYPE, f"{kind} '{name}': expected {element.name}, but got {array.dtype}")
    # require would give numbers a dim.
    if array.ndim:
        array = np.require(array, requirements=["C", "A"])
    if element.bits < 8:
        return view_numpy(pack(array, element.bits), element, array.shape)
    return view_numpy(array, element, array.shape)


def count_bytes(shape: tuple[int, ...], bits: int) -> int:
    """Bytes of a dense tensor."""
    return (math.prod(shape) * bits + 7) // 8  # numpy's product takes as long as a small model runs


def address_of(array: np.ndarray) -> int:
    """Where a dense array begins."""
    try:
        return ctypes.addressof(ctypes.c_char.from_buffer(array))
    except (TypeError, ValueError):  # it is read-only or empty: this takes twice as long
        return array.ctypes.data


def copy_bytes(tensor: _abi.DLTensor, size: int) -> np.ndarray:
    """A copy of a tensor's bytes, which are so many."""
    copy = np.empty(size, np.uint8)
    if size:
        ctypes.memmove(address_of(copy), tensor.data, size)
    return copy


def copy_out(tensor: _abi.DLTensor) -> np.ndarray:
    """A tensor of the model as an array of its own."""
    element = find_type(tensor.dtype)
    shape = tuple(tensor.shape[: tensor.ndim])
    data = copy_bytes(tensor, count_bytes(shape, element.bits))
    if element.bits < 8:
        return unpack(data, shape, element)
    return data.view(element.numpy).reshape(shape)
