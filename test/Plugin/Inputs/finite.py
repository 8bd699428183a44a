# Checks that every output of an archive is finite and not all zero: finite.py NPZ
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import sys

import numpy

for name, value in numpy.load(sys.argv[1]).items():
    assert numpy.isfinite(value).all() and numpy.abs(value).max() > 0, name
