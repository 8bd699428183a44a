# Memory of outputs is used again when nothing refers to it, and only then.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import numpy as np
import pytest
from operator_checks import compile_text

TEXT = "g (float[n] x) => (float[n] y, float16[n] z) { y = Add(x, x) z = Cast<to=10>(x) }"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return compile_text(tmp_path_factory.mktemp("m"), TEXT)[1]


@pytest.mark.parametrize("size", [10, 100_000, 10_000_000])
def test_what_is_held_stays(model, size):
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal(size).astype(np.float32) for _ in range(6)]
    held = [model({"x": x}) for x in inputs]
    parts = [model({"x": x})["y"][size // 2 :: 3] for x in inputs]
    views = [memoryview(model({"x": x})["y"]) for x in inputs]
    for x, outputs, part, view in zip(inputs, held, parts, views, strict=True):
        np.testing.assert_array_equal(outputs["y"], x + x)
        np.testing.assert_array_equal(outputs["z"], x.astype(np.float16))
        np.testing.assert_array_equal(part, (x + x)[size // 2 :: 3])
        np.testing.assert_array_equal(np.asarray(view), x + x)


def test_what_is_dropped_is_used_again(model):
    x = np.ones(100_000, np.float32)
    places = set()
    for _ in range(20):
        outputs = model({"x": x})
        places |= {a.__array_interface__["data"][0] for a in outputs.values()}
    assert len(places) <= 4  # two of each output: one is held while the next is made


def test_sizes_that_grow(model):
    for size in range(60_000, 61_000, 37):
        x = np.full(size, size, np.float32)
        outputs = model({"x": x})
        assert outputs["y"].shape == (size,) and outputs["y"].flags.writeable
        np.testing.assert_array_equal(outputs["y"], x + x)


def test_outputs_whose_size_depends_on_data(tmp_path):
    """The runtime has their memory: they are copies of it."""
    text = "g (float[n] x) => (int64[1, m] where, float[m] what) { where = NonZero(x) t = Transpose(where) what = GatherND(x, t) }"
    model = compile_text(tmp_path, text)[1]
    held = []
    for size in (10, 0, 1, 100_000):
        for kept in (0, 1, 3):
            x = np.where(np.arange(size) % 3 < kept, np.arange(size) + 1, 0).astype(np.float32)
            held.append((x, model({"x": x})))
    for x, outputs in held:
        assert outputs["where"].flags.writeable and outputs["what"].flags.writeable
        np.testing.assert_array_equal(outputs["where"], [np.nonzero(x)[0]])
        np.testing.assert_array_equal(outputs["what"], x[x != 0])
