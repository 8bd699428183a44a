#!/usr/bin/env python3
# Computes the polynomials of lib/Codegen/CPU/MathCoefficients.h.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""usage: minimax.py > lib/Codegen/CPU/MathCoefficients.h

Each polynomial minimises the largest weighted error over its interval (Remez exchange on a dense grid, 50 digits). The
coefficients are rounded to f32 from the lowest on; after each rounding the others are computed anew, so that they make
up for it. The bounds that hold for the functions as evaluated are measured by test/Numerics, not here.
"""

import struct
from decimal import Decimal as D
from decimal import getcontext

getcontext().prec = 50
GRID = 1500
PI = D("3.14159265358979323846264338327950288419716939937511")


def to_f32(value):
    return D(struct.unpack("f", struct.pack("f", float(value)))[0])




def cos_sin(x, start):
    """Taylor series of sin (start 1) or cos (start 0)."""
    term, total, k = (x if start else D(1)), D(0), start
    while abs(term) > D("1e-48"):
        total += term
        term *= -x * x / ((k + 1) * (k + 2))
        k += 2
    return total


def erf(x):
    term, total, n = x, D(0), 0
    while abs(term) > D("1e-49"):
        total += term / (2 * n + 1)
        n += 1
        term *= -x * x / n
    return total * 2 / PI.sqrt()


def solve(rows, rhs):
    """Gaussian elimination with pivots."""
    n = len(rows)
    m = [row[:] + [b] for row, b in zip(rows, rhs)]
    for c in range(n):
        p = max(range(c, n), key=lambda r: abs(m[r][c]))
        m[c], m[p] = m[p], m[c]
        for r in range(c + 1, n):
            f = m[r][c] / m[c][c]
            if f:
                for k in range(c, n + 1):
                    m[r][k] -= f * m[c][k]
    x = [D(0)] * n
    for r in range(n - 1, -1, -1):
        x[r] = (m[r][n] - sum(m[r][k] * x[k] for k in range(r + 1, n))) / m[r][r]
    return x


def remez(points, values, weights, powers):
    """Coefficients of `powers` with the least maximum of weight * |p - value| on the points."""
    n = len(powers)
    basis = [[x**p for p in powers] for x in points]
    chosen = [round(i * (len(points) - 1) / n) for i in range(n + 1)]
    coefficients = []
    for _ in range(30):
        rows = [basis[i] + [(-1) ** k / weights[i]] for k, i in enumerate(chosen)]
        *coefficients, level = solve(rows, [values[i] for i in chosen])
        errors = [w * (sum(c * b for c, b in zip(coefficients, row)) - v) for row, v, w in zip(basis, values, weights)]
        # One extremum per run of equal sign; the n + 1 consecutive ones that hold the largest.
        extrema, start = [], 0
        for i in range(1, len(errors) + 1):
            if i == len(errors) or (errors[i] > 0) != (errors[start] > 0):
                extrema.append(max(range(start, i), key=lambda k: abs(errors[k])))
                start = i
        while len(extrema) > n + 1:
            extrema.pop(0 if abs(errors[extrema[0]]) < abs(errors[extrema[-1]]) else -1)
        if len(extrema) < n + 1:
            break
        chosen = extrema
        if max(abs(e) for e in errors) <= abs(level) * D("1.001"):
            break
    return coefficients


def fit(function, weight, low, high, degree):
    """f32 coefficients of 1, x, ..., x^degree; and the largest weighted error with them."""
    low, high = D(low), D(high)
    points = [(low + high) / 2 + (high - low) / 2 * cos_sin(PI * i / (GRID - 1), 0) for i in range(GRID)]
    points = [x for x in sorted(points) if x != 0]
    values, weights = [function(x) for x in points], [weight(x) for x in points]
    rest, result = values, []
    for k in range(degree + 1):
        result.append(to_f32(remez(points, rest, weights, range(k, degree + 1))[0]))
        rest = [v - result[-1] * x**k for v, x in zip(rest, points)]
    return result, max(abs(r * w) for r, w in zip(rest, weights))


def fit_whole(function, weight, low, high, degree):
    """As fit, but all coefficients are rounded at once: x^k, x^(k+1), ... alone fit nothing where x = 0 is within the interval."""
    low, high = D(low), D(high)
    points = [(low + high) / 2 + (high - low) / 2 * cos_sin(PI * i / (GRID - 1), 0) for i in range(GRID)]
    points.sort()
    values, weights = [function(x) for x in points], [weight(x) for x in points]
    result = [to_f32(c) for c in remez(points, values, weights, range(degree + 1))]
    return result, max(abs((sum(c * x**k for k, c in enumerate(result)) - v) * w) for x, v, w in zip(points, values, weights))


ERF_END = D("3.6")


def erf_share(x):
    """erf(ERF_END t) / t for t^2 = (1 + x) / 2."""
    t = ((1 + x) / 2).sqrt()
    return erf(ERF_END * t) / t


HALF_LN2 = D(2).ln() / 2
SQRT2 = D(2).sqrt()
TASKS = [
    ("Expm1", "(exp(x) - 1 - x) / x^2, |x| <= ln(2) / 2, relative to expm1(x)",
     lambda x: (x.exp() - 1 - x) / x**2, abs, -HALF_LN2 * D("1.001"), HALF_LN2 * D("1.001"), 4),
    ("Log1p", "(log(1 + x) - x + x^2 / 2) / x^3, sqrt(1/2) <= 1 + x <= sqrt(2), relative to log(1 + x)",
     lambda x: ((1 + x).ln() - x + x**2 / 2) / x**3, lambda x: abs(x**3 / (1 + x).ln()), 1 / SQRT2 - 1, SQRT2 - 1, 7),
    ("ErfSmall", "erf(sqrt(x)) / sqrt(x) - 1, 0 < x <= 1, relative to erf",
     lambda x: erf(x.sqrt()) / x.sqrt() - 1, lambda x: x.sqrt() / erf(x.sqrt()), D("1e-8"), D(1), 6),
    ("ErfLarge", "-log(1 - erf(1 + x)), 0 <= x <= 3, absolute in erf",
     lambda x: -(1 - erf(1 + x)).ln(), lambda x: 1 - erf(1 + x), D(0), D(3), 7),
    ("ErfAbsolute", "(erf(3.6 t) / t - 1) / (x - 1) for t^2 = (1 + x) / 2, |x| <= 1, absolute in erf",
     lambda x: (erf_share(x) - 1) / (x - 1), lambda x: (1 - x) * ((1 + x) / 2).sqrt(), D("1e-12") - 1, 1 - D("1e-9"), 11),
    ("Sin", "(sin(sqrt(x)) / sqrt(x) - 1) / x, 0 < x <= (pi/4)^2, relative to sin",
     lambda x: (cos_sin(x.sqrt(), 1) / x.sqrt() - 1) / x, lambda x: x, D("1e-8"), (PI / 4) ** 2 * D("1.001"), 3),
    ("Cos", "(cos(sqrt(x)) - 1 + x / 2) / x^2, 0 < x <= (pi/4)^2, relative to cos",
     lambda x: (cos_sin(x.sqrt(), 0) - 1 + x / 2) / x**2, lambda x: x**2, D("1e-8"), (PI / 4) ** 2 * D("1.001"), 2),
]


def main():
    print("//===- MathCoefficients.h - polynomials of Math.cpp --------------*- C++ -*-===//")
    print("// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception")
    print("//\n// Written by python/tools/minimax.py. Lowest coefficient first.\n//")
    print("//===----------------------------------------------------------------------===//")
    print("#ifndef QCC_LIB_CODEGEN_CPU_MATHCOEFFICIENTS_H\n#define QCC_LIB_CODEGEN_CPU_MATHCOEFFICIENTS_H\n")
    print("namespace qcc {\n")
    for name, text, function, weight, low, high, degree in TASKS:
        fitted = fit_whole if name == "ErfAbsolute" else fit
        coefficients, error = fitted(function, weight, low, high, degree)
        print(f"/// {text}: {float(error):.2g}.")
        print(f"inline constexpr double k{name}[] = {{{', '.join(repr(float(c)) for c in coefficients)}}};\n")
    print("} // namespace qcc\n\n#endif // QCC_LIB_CODEGEN_CPU_MATHCOEFFICIENTS_H")


if __name__ == "__main__":
    main()
