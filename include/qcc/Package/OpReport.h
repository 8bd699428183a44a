//===- OpReport.h - what became of one operation ----------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_PACKAGE_OPREPORT_H
#define QCC_PACKAGE_OPREPORT_H

#include <cstdint>
#include <string>
#include <vector>

namespace qcc {

/// The reason of an operation that no precision applies to.
inline constexpr char kNotQuantized[] = "kept: not a quantized operation";

/// One line of the report: what became of one named operation of the model.
/// Nothing falls back silently: where `executed` is not `requested`, `reason`
/// says why.
struct OpReport {
  /// True if a precision applies to it and it does not run in the one that was
  /// asked for.
  bool isNotAsAsked() const {
    return requested != executed && reason != kNotQuantized;
  }

  unsigned site = 0; ///< its site in the library (qcc_site_info)
  std::string entry; ///< entry that it belongs to
  std::string node;  ///< name of the ONNX node
  /// All ONNX nodes that it computes, in order; `node` is one of them.
  std::vector<std::string> nodes;
  std::string op;        ///< kind, for example "qcc.matmul"
  std::string kernel;    ///< symbol of the kernel that it runs in
  std::string requested; ///< precision that was asked for
  std::string executed;  ///< precision that it runs in
  /// "as asked", "kept: ..." or "not supported: ...".
  std::string reason;
  std::string
      compute; ///< what it multiplies or adds: "int8", "f32", "i64", ...
  /// What chose its weights by calibration data, "" if nothing did; relative
  /// errors of its outputs with weights rounded to nearest, and as chosen.
  std::string algorithm;
  float errorNearest = 0, errorChosen = 0;
  /// What they are of (kErrorOfAttr); "": of the layer's weights.
  std::string errorOf;
  /// |x - r| / |r| of its result r, computed in the precision asked for on
  /// exact inputs, over calibration samples (also where it stays float for
  /// that); negative: not measured.
  float layerError = -1;
  std::string transform; ///< what was scaled, or why not; "" if not asked for
  std::string flops;     ///< size expression as text; "" if not known
  std::string bytes;     ///< bytes read and written, likewise
  /// Both at the sizes of the report (Report::sizes); 0 if not known.
  double flopsAt = 0, bytesAt = 0;
  uint64_t weightBytes = 0; ///< of the constants that it reads, as stored
};

} // namespace qcc

#endif // QCC_PACKAGE_OPREPORT_H
