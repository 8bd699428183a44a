# Compares the speed of two functions fairly: in pairs, one after the other, many times.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable


@dataclasses.dataclass
class Comparison:
    """Seconds per call of both (medians), and the other's time over ours: 2 means that ours takes half the time."""

    ours: float
    other: float
    ratio: float
    # The quartiles of the ratio over the pairs.
    low: float
    high: float


def seconds(function: Callable[[], object], repeats: int) -> float:
    """The mean time of one call among `repeats`."""
    start = time.perf_counter()
    for _ in range(repeats):
        function()
    return (time.perf_counter() - start) / repeats


def interleave(ours: Callable[[], object], other: Callable[[], object], pairs: int = 31, least: float = 0.005) -> Comparison:
    """Times `pairs` pairs of samples, each of at least `least` seconds, after a warm-up.

    What changes the machine's speed meanwhile hits both halves of a pair; the order in a pair alternates. `pairs` is at
    least 2.
    """
    repeats = []
    for function in (ours, other):
        seconds(function, 2)
        repeats.append(max(1, int(least / max(seconds(function, 3), 1e-7))))
    samples = []
    for i in range(pairs):
        if i % 2:
            late = seconds(other, repeats[1])
            samples.append((seconds(ours, repeats[0]), late))
        else:
            samples.append((seconds(ours, repeats[0]), seconds(other, repeats[1])))
    ratios = [b / a for a, b in samples]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return Comparison(statistics.median(a for a, _ in samples), statistics.median(b for _, b in samples), middle, low, high)
