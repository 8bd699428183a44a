# The C interface of a compiled model (qcc/Runtime/qcc.h) for ctypes.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, c_char_p, c_int32, c_int64, c_uint8, c_uint16, c_uint32, c_uint64, c_void_p

ABI_VERSION = 1
CPU = 1
INPUT, OUTPUT, STATE = range(3)
VERIFY_WEIGHTS, PIN_THREADS = 1, 2


class Device(Structure):
    _fields_ = [("device_type", c_int32), ("device_id", c_int32)]


class DataType(Structure):
    _fields_ = [("code", c_uint8), ("bits", c_uint8), ("lanes", c_uint16)]


class DLTensor(Structure):
    _fields_ = [
        ("data", c_void_p),
        ("device", Device),
        ("ndim", c_int32),
        ("dtype", DataType),
        ("shape", POINTER(c_int64)),
        ("strides", POINTER(c_int64)),
        ("byte_offset", c_uint64),
    ]


class Sized(Structure):
    """A structure that starts with its size, which is set when it is made."""

    def __init__(self, **values: object):
        super().__init__(**values)
        self.struct_size = ctypes.sizeof(self)


class OpenOptions(Sized):
    _fields_ = [
        ("struct_size", c_uint64),
        ("host", c_void_p),
        ("weights_path", c_char_p),
        ("weights_fd_plus_1", c_int32),
        ("flags", c_uint32),
        ("weights_data", c_void_p),
        ("weights_bytes", c_uint64),
        ("threads", c_uint32),
        ("reserved", c_uint32),
        ("error_text", c_char_p),
        ("error_text_size", c_uint64),
    ]


class ModelInfo(Sized):
    _fields_ = [
        ("struct_size", c_uint64),
        ("name", c_char_p),
        ("producer", c_char_p),
        ("level", c_char_p),
        ("num_entries", c_uint32),
        ("num_symbols", c_uint32),
        ("num_states", c_uint32),
        ("num_sites", c_uint32),
        ("weight_bytes", c_uint64),
        ("source_sha256", POINTER(c_uint8)),
        ("threads", c_uint32),
        ("reserved", c_uint32),
    ]


class EntryInfo(Sized):
    _fields_ = [("struct_size", c_uint64), ("name", c_char_p), ("num_inputs", c_uint32), ("num_outputs", c_uint32)]


class TensorInfo(Sized):
    _fields_ = [
        ("struct_size", c_uint64),
        ("name", c_char_p),
        ("dtype", DataType),
        ("ndim", c_int32),
        ("dims", POINTER(c_int64)),
        ("symbols", POINTER(c_char_p)),
    ]


_status = c_int32
_tensors = POINTER(POINTER(DLTensor))


def _function(*arguments: object, result: object = _status) -> object:
    return ctypes.CFUNCTYPE(result, *arguments)


class Api(Structure):
    """The table of functions; struct_size says which are there."""

    _fields_ = [
        ("struct_size", c_uint64),
        ("abi_version", c_uint32),
        ("reserved", c_uint32),
        ("open", _function(POINTER(OpenOptions), POINTER(c_void_p))),
        ("close", _function(c_void_p)),
        ("model_info", _function(c_void_p, POINTER(ModelInfo))),
        ("entry_info", _function(c_void_p, c_uint32, POINTER(EntryInfo))),
        ("find_entry", _function(c_void_p, c_char_p, POINTER(c_uint32))),
        ("tensor_info", _function(c_void_p, c_uint32, c_int32, c_uint32, POINTER(TensorInfo))),
        ("symbol_info", c_void_p),
        ("site_info", c_void_p),
        ("memory_need", c_void_p),
        ("context_create", _function(c_void_p, c_void_p, POINTER(c_void_p))),
        ("context_destroy", _function(c_void_p, result=None)),
        ("last_error", _function(c_void_p, result=c_char_p)),
        ("infer_shapes", _function(c_void_p, c_uint32, _tensors, c_uint32, _tensors, c_uint32)),
        ("run", _function(c_void_p, c_uint32, _tensors, c_uint32, _tensors, c_uint32)),
        ("free_tensor", _function(c_void_p, POINTER(DLTensor), result=None)),
        ("cancel", _function(c_void_p, result=None)),
        ("state_reset", _function(c_void_p)),
        ("state_get", _function(c_void_p, c_uint32, POINTER(DLTensor))),
        ("state_set", _function(c_void_p, c_uint32, POINTER(DLTensor))),
        ("set_observer", c_void_p),
    ]
