# Convolutions of whose taps many lie in the padding, against ONNX Runtime.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import pytest
from operator_checks import check, normal

# Size, dilations, pads, strides, groups.
WINDOWS = [
    ((20, 20), (12, 12), (12, 12, 12, 12), (1, 1), 1), ((20, 20), (24, 24), (24, 24, 24, 24), (1, 1), 1),
    ((28, 28), (12, 36), (12, 36, 12, 36), (1, 1), 2), ((9, 65), (7, 24), (0, 24, 14, 24), (1, 1), 1),
    ((13, 17), (12, 8), (30, 0, 3, 20), (1, 1), 1), ((31, 22), (13, 11), (13, 13, 13, 13), (2, 3), 4),
    ((5, 4), (8, 9), (40, 41, 16, 3), (3, 1), 1), ((1, 1), (6, 6), (6, 6, 6, 6), (1, 1), 1),
    # The last column of taps steps over the image.
    ((20, 1), (12, 1), (12, 3, 12, 2), (1, 2), 1),
]  # fmt: skip


def make(size, dilations, pads, strides, groups, free):
    weight, bias = normal(20, 48 // groups, 3, 3, seed=1), normal(20, seed=2)
    dims = "h,w" if free else f"{size[0]},{size[1]}"
    values = [", ".join(map(repr, a.ravel().tolist())) for a in (weight, bias)]
    text = f"""g (float[n,48,{dims}] x) => (float[n,20,u,v] y)
    <float[20,{48 // groups},3,3] w = {{{values[0]}}}, float[20] c = {{{values[1]}}}>
    {{ t = Conv<dilations=[{dilations[0]},{dilations[1]}], pads=[{",".join(map(str, pads))}], strides=[{strides[0]},{strides[1]}], group={groups}>(x, w, c)
       y = Relu(t) }}"""
    return text, {"x": normal(2, 48, *size)}


@pytest.mark.parametrize("free", [True, False])
@pytest.mark.parametrize("window", WINDOWS)
def test_taps_in_the_padding(tmp_path, window, free):
    text, inputs = make(*window, free)
    check(tmp_path, text, inputs)
