# Reads files of qcc calibrate (docs/statistics-file.md).
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import hashlib
import json
import pathlib
import struct
from fractions import Fraction

import numpy as np


class Reader:
    """Hands out the words behind the header."""

    def __init__(self, words: np.ndarray):
        self.words, self.next = words, 0

    def take(self, count: int) -> np.ndarray:
        taken = self.words[self.next : self.next + count]
        assert len(taken) == count
        self.next += count
        return taken

    def sums(self, low: int, words: int, size: int = 1) -> list[float]:
        """Integers of so many words, as floats."""
        rows = self.take(words * size).reshape(size, words)
        return [float(Fraction(sum(int(w) << 64 * (low + i) for i, w in enumerate(row)), 1 << 1088)) for row in rows]


def read(path: pathlib.Path) -> dict:
    """The header, with `sums` as numbers, `bins` as arrays and `channels` as arrays by name."""
    file = path.read_bytes()
    data = file[:-32]
    assert hashlib.sha256(data).digest() == file[-32:]
    (size,) = struct.unpack("<Q", data[:8])
    root = json.loads(data[8 : 8 + size])
    assert root["schema"] == "qcc-stats/3"
    reader = Reader(np.frombuffer(data[8 + size :], "<u8"))
    for tensor in root["tensors"]:
        tensor["sums"] = [reader.sums(*each)[0] for each in tensor["sums"]]
        for sign in ("negative", "positive"):
            first, count = tensor["histogram"][sign]
            bins = np.zeros(2048, np.int64)
            bins[first : first + count] = reader.take(count)
            tensor["histogram"][sign] = bins
        if channels := tensor.get("channels"):
            size = channels["size"]
            channels["counts"] = reader.take(size)
            extremes = reader.take(size).view("<f4").reshape(size, 2)
            channels["min"], channels["max"] = extremes[:, 0], extremes[:, 1]
            channels["sums"] = np.array([reader.sums(*each, size) for each in channels["sums"]])
    assert reader.next == len(reader.words)
    return root
