# Whether a library is there as a whole, before it is loaded.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

from __future__ import annotations

import os
import pathlib
import stat
import struct

# What is needed of the header of an ELF file (tables: offsets, size of an entry, number) and of an entry for a segment
# (type, offset, size in the file).
_HEADER = struct.Struct("<4sBB10xHH12xQQ6xHHHH2x")
_SEGMENT = struct.Struct("<I4xQ16xQ16x")
_64_BITS, _LITTLE_ENDIAN, _SHARED, _X86_64, _LOADED = 2, 1, 3, 62, 1


def find_fault(file: pathlib.Path) -> str | None:
    """What is wrong with a shared library, as lib/Support/LibraryFile.cpp says it.

    The dynamic loader maps what the header tells of: where the file ends before that, the process dies of SIGBUS.
    """
    try:
        with open(file, "rb", opener=_open) as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                return "expected a shared library of x86-64, but got no regular file"
            return _check(stream, status.st_size)
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _open(path: str, flags: int) -> int:
    # A pipe must not wait for somebody to write.
    return os.open(path, flags | os.O_NONBLOCK)


def _check(stream, size: int) -> str | None:
    def cut(end: int) -> str:
        return f"the library is cut short: expected {end} bytes or more, but got {size}; compile the model again"

    start = stream.read(_HEADER.size)
    if not start.startswith(b"\x7fELF"):
        return "expected a shared library of x86-64, but got another file"
    if len(start) < _HEADER.size:
        return cut(_HEADER.size)
    _, bits, order, kind, machine, segments_at, sections_at, *sizes = _HEADER.unpack(start)
    segment_size, segments, section_size, sections = sizes
    if (bits, order, kind, machine, segment_size) != (_64_BITS, _LITTLE_ENDIAN, _SHARED, _X86_64, _SEGMENT.size):
        return "expected a shared library of x86-64, but got another file"
    end = max(segments_at + segments * segment_size, sections_at + sections * section_size)
    if size < end:
        return cut(end)
    stream.seek(segments_at)
    table = stream.read(segments * segment_size)
    end = max([offset + length for kind, offset, length in _SEGMENT.iter_unpack(table) if kind == _LOADED], default=0)
    return cut(end) if size < end else None
