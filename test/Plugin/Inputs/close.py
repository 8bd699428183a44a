# Checks that two archives hold the same outputs but for rounding: close.py NPZ NPZ
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import sys

import numpy

one, other = (numpy.load(path) for path in sys.argv[1:])
assert set(one.files) == set(other.files)
for name in one.files:
    numpy.testing.assert_allclose(one[name], other[name], rtol=0, atol=1e-5 * numpy.abs(other[name]).max(), err_msg=name)
