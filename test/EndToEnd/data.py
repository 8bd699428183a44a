# Real inputs for the models of the suites: photographs, digits, speech and text below the folder of shared data.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Where the shared data is missing, random arrays of the same kind take its place: the models are missing too then, but
the cases are still listed."""

from __future__ import annotations

import functools
import gzip
import pathlib
import wave

import harness
import numpy as np
import PIL.Image

EVAL = harness.SHARED / "eval"


def images(*shape: int, low: float = 0, high: float = 1, seed: int = 0) -> np.ndarray:
    """Random images that are smooth as photographs are: noise at an eighth of the size, enlarged, with some grain."""
    rng = np.random.default_rng(seed)
    *outer, height, width = shape
    coarse = rng.random((*outer, -(-height // 8), -(-width // 8)), np.float32)
    smooth = coarse.repeat(8, -1).repeat(8, -2)[..., :height, :width]
    return (low + (high - low) * (0.9 * smooth + 0.1 * rng.random(shape, np.float32))).astype(np.float32)


def _files(folder: str, pattern: str) -> list[pathlib.Path]:
    return sorted((EVAL / folder).rglob(pattern))


def _pictures(files: list[pathlib.Path], count: int, channels: int, height: int, width: int) -> np.ndarray:
    """Pictures spread over `files` [count, channels, height, width], 0 to 255; 1 channel is luminance."""
    if not files:
        return images(count, channels, height, width, high=255)
    pixels = np.empty((count, channels, height, width), np.float32)
    for i in range(count):
        with PIL.Image.open(files[(7 + 31 * i) % len(files)]) as file:
            picture = file.convert("L" if channels == 1 else "RGB").resize((width, height), PIL.Image.Resampling.BILINEAR)
        pixels[i] = np.asarray(picture, np.float32).reshape(height, width, channels).transpose(2, 0, 1)
    return pixels


def photos(count: int, channels: int, height: int, width: int, low: float = 0, high: float = 255) -> np.ndarray:
    """Photographs of ImageNet's classes [count, channels, height, width] with their 0 to 255 as `low` to `high`."""
    return low + (high - low) / 255 * _pictures(_files("imagenet-sample", "*.JPEG"), count, channels, height, width)


def cifar(count: int) -> np.ndarray:
    """Pictures of CIFAR-10 [count, 3, 32, 32], -1 to 1."""
    return _pictures(_files("cifar10", "*.jpg"), count, 3, 32, 32) / 127.5 - 1


def mnist(count: int) -> np.ndarray:
    """The first test digits [count, 1, 28, 28], 0 to 255."""
    path = EVAL / "mnist" / "t10k-images-idx3-ubyte.gz"
    if not path.exists():
        return images(count, 1, 28, 28, high=255)
    pixels = np.frombuffer(gzip.open(path).read(), np.uint8, offset=16)
    return pixels.reshape(-1, 1, 28, 28)[:count].astype(np.float32)


@functools.cache
def speech(name: str, start: int = 0, count: int = 64000) -> np.ndarray:
    """`count` samples at 16 kHz of a recording below models/audio, -1 to 1."""
    path = harness.MODELS / "audio" / name
    if not path.exists():
        return np.random.default_rng(0).uniform(-0.1, 0.1, count).astype(np.float32)
    with wave.open(str(path)) as file:
        file.setpos(start)
        return np.frombuffer(file.readframes(count), np.int16).astype(np.float32) / 32768


def frames(samples: np.ndarray, size: int, step: int) -> np.ndarray:
    """Windows [n, size] of a signal."""
    return np.lib.stride_tricks.sliding_window_view(samples, size)[::step]


def log_mel(samples: np.ndarray, bands: int) -> np.ndarray:
    """Log energies [n, bands] of 25 ms every 10 ms in bands of equal width on the mel scale, 16 kHz."""
    power = np.abs(np.fft.rfft(frames(samples, 400, 160) * np.hamming(400), 512)) ** 2
    mel = np.linspace(0, 2595 * np.log10(1 + 8000 / 700), bands + 2)
    edges = 700 * (10 ** (mel / 2595) - 1)
    frequency = np.arange(257) * 16000 / 512
    rising = (frequency - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - frequency) / (edges[2:] - edges[1:-1])[:, None]
    return np.log(power @ np.maximum(0, np.minimum(rising, falling)).T + 1e-6).astype(np.float32)


def text(count: int, size: int) -> np.ndarray:
    """`count` lines of `size` bytes [count, size] of Shakespeare."""
    path = EVAL / "tinyshakespeare" / "input.txt"
    data = path.read_bytes() if path.exists() else bytes(range(32, 127)) * 100
    return np.frombuffer(data[: count * size], np.uint8).reshape(count, size)
