//===- ReportView.h - a report as its page shows it -------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_PACKAGE_REPORTVIEW_H
#define QCC_LIB_PACKAGE_REPORTVIEW_H

#include "Html.h"
#include "qcc/Package/Report.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringMap.h"

namespace qcc {

/// An artifact of a page and what follows from its data.
class ReportView {
public:
  ReportView(const PageArtifact &artifact, std::string prefix);

  const Report &report;
  const std::string prefix; ///< of the anchors on the page
  const std::string level;  ///< whose ceilings are shown
  Ceilings ceilings;
  bool isMeasured = false; ///< times are those of a profile
  unsigned threads = 1;
  /// Microseconds of each operation in one run: measured, or the least that
  /// the ceilings allow.
  std::vector<double> times;
  double totalTime = 0, totalFlops = 0, totalWeights = 0;
  double lowFlops = 0; ///< arithmetic of what does not run in f32

  /// Series of a precision: 0 for f32, the others by how often they occur.
  unsigned getSeries(llvm::StringRef precision) const;
  /// Precisions in the order of their series.
  llvm::ArrayRef<std::string> getPrecisions() const { return precisions; }
  /// The same without f32.
  llvm::ArrayRef<std::string> getLowPrecisions() const {
    llvm::ArrayRef<std::string> all = precisions;
    return !all.empty() && all.front() == "f32" ? all.drop_front() : all;
  }
  /// What bounds an operation: "memory", "cache" or "arithmetic".
  llvm::StringRef getBound(const OpReport &op) const;
  /// 10^9 operations per second that the ceilings allow for its arithmetic.
  double getPeak(const OpReport &op) const;
  /// 10^9 bytes per second at which its operands can be read.
  double getBandwidth(const OpReport &op) const;
  /// "measured on 1 thread ..." or "modelled ...".
  std::string describeTimes() const;
  /// An anchor of this artifact's part of the page.
  std::string getId(llvm::StringRef section) const {
    return prefix + section.str();
  }

private:
  void computeTimes(const std::optional<Profile> &profile);

  std::vector<std::string> precisions;
  llvm::StringMap<unsigned> series;
};

/// Bytes of an artifact on disk: library and weights.
inline double getArtifactBytes(const Report &report) {
  return double(report.libraryBytes) +
         (report.weightsEmbedded ? 0.0 : double(report.weightBytes));
}

// Sections of one artifact; each writes its heading.
void writePrecisions(llvm::raw_ostream &os, const ReportView &view);
void writeErrors(llvm::raw_ostream &os, const ReportView &view);
void writeAssignment(llvm::raw_ostream &os, const ReportView &view);
void writeRoofline(llvm::raw_ostream &os, const ReportView &view);
void writeKernels(llvm::raw_ostream &os, const ReportView &view);
void writeChannels(llvm::raw_ostream &os, const ReportView &view);
void writeOperations(llvm::raw_ostream &os, const ReportView &view);
void writeIdleNodes(llvm::raw_ostream &os, const ReportView &view);

// Sections of the whole page.
void writeAccuracy(llvm::raw_ostream &os, const ReportPage &page);
void writeFront(llvm::raw_ostream &os, const ReportPage &page,
                llvm::ArrayRef<ReportView> views);

/// Whether the error of its output is known, and the error: squared, relative
/// to the output's power; that of the weights as chosen, or that of the layer
/// in the precision asked for.
inline bool hasError(const OpReport &op) {
  return !op.algorithm.empty() || op.layerError >= 0;
}
inline double getError(const OpReport &op) {
  return op.algorithm.empty() ? double(op.layerError) * op.layerError
                              : op.errorChosen;
}

/// Sorts by a number, the largest first; what is equal, or no number, stays in
/// its order.
template <typename T, typename Key>
void sortDown(std::vector<T> &items, Key getKey) {
  std::vector<std::pair<double, size_t>> order;
  for (size_t i = 0; i < items.size(); ++i) {
    double key = getKey(items[i]);
    order.emplace_back(key == key ? -key : 0, i);
  }
  llvm::sort(order);
  std::vector<T> sorted;
  sorted.reserve(items.size());
  for (const auto &[key, index] : order)
    sorted.push_back(std::move(items[index]));
  items = std::move(sorted);
}

/// What an artifact is called on a page: the end of its path, as long as it
/// takes to tell it from the others, or its model.
std::string getTitle(const ReportPage &page, size_t artifact);

/// A name and what else runs with it, for a cell.
std::string makeNameCell(const OpReport &op, size_t others);

} // namespace qcc

#endif // QCC_LIB_PACKAGE_REPORTVIEW_H
