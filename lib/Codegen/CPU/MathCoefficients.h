//===- MathCoefficients.h - polynomials of Math.cpp --------------*- C++
//-*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Written by python/tools/minimax.py. Lowest coefficient first.
//
//===----------------------------------------------------------------------===//
#ifndef QCC_LIB_CODEGEN_CPU_MATHCOEFFICIENTS_H
#define QCC_LIB_CODEGEN_CPU_MATHCOEFFICIENTS_H

namespace qcc {

/// (exp(x) - 1 - x) / x^2, |x| <= ln(2) / 2, relative to expm1(x): 1.4e-08.
inline constexpr double kExpm1[] = {0.5, 0.16666539013385773,
                                    0.04166661202907562, 0.008367099799215794,
                                    0.0013917619362473488};

/// (log(1 + x) - x + x^2 / 2) / x^3, sqrt(1/2) <= 1 + x <= sqrt(2), relative to
/// log(1 + x): 3.4e-08.
inline constexpr double kLog1p[] = {0.3333333134651184,  -0.250008225440979,
                                    0.20001259446144104, -0.16623125970363617,
                                    0.1420077681541443,  -0.13175249099731445,
                                    0.12748552858829498, -0.07502301037311554};

/// erf(sqrt(x)) / sqrt(x) - 1, 0 < x <= 1, relative to erf: 1.4e-09.
inline constexpr double kErfSmall[] = {
    0.12837916612625122,   -0.3761262595653534,  0.11283578723669052,
    -0.026853347197175026, 0.005187162198126316, -0.0007997853099368513,
    7.806903886375949e-05};

/// -log(1 - erf(1 + x)), 0 <= x <= 3, absolute in erf: 8e-09.
inline constexpr double kErfLarge[] = {
    1.8496055603027344,    2.6389620304107666,     0.8431955575942993,
    0.04106943681836128,   -0.008822153322398663,  0.0005498879472725093,
    0.0005280339391902089, -0.00014872566680423915};

/// (erf(3.6 t) / t - 1) / (x - 1) for t^2 = (1 + x) / 2, |x| <= 1, absolute in
/// erf: 4.3e-07.
inline constexpr double kErfAbsolute[] = {
    -0.4137633144855499,  0.28999555110931396,   -0.22775249183177948,
    0.18212008476257324,  -0.1408194899559021,   0.10222113132476807,
    -0.07347371429204941, 0.050623536109924316,  -0.021918920800089836,
    0.007544658146798611, -0.012774239294230938, 0.008069387637078762};

/// (sin(sqrt(x)) / sqrt(x) - 1) / x, 0 < x <= (pi/4)^2, relative to
/// sin: 1.6e-10.
inline constexpr double kSin[] = {-0.1666666716337204, 0.008333380334079266,
                                  -0.00019853505364153534,
                                  2.837395186361391e-06};

/// (cos(sqrt(x)) - 1 + x / 2) / x^2, 0 < x <= (pi/4)^2, relative to
/// cos: 1.1e-10.
inline constexpr double kCos[] = {0.04166664555668831, -0.00138873013202101,
                                  2.4430670237052254e-05};

} // namespace qcc

#endif // QCC_LIB_CODEGEN_CPU_MATHCOEFFICIENTS_H
