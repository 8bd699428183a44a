//===- Report.h - what a compile did to every operation ---------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// `report.json` (docs/report.md, schema qcc-report/2) and the page that shows
// it. The page shows nothing that is not in the data: what a compile knows,
// and, where given, what `qcc eval` and `qcc-run --profile` have measured.
//
//===----------------------------------------------------------------------===//
#ifndef QCC_PACKAGE_REPORT_H
#define QCC_PACKAGE_REPORT_H

#include "qcc/Package/OpReport.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace qcc {

/// What to do about a file that is no report or no profile.
inline constexpr llvm::StringLiteral kReportRemedy = "compile the model again";
inline constexpr llvm::StringLiteral kProfileRemedy =
    "name what `qcc-run ARTIFACT --profile --json` printed";

/// What a machine can do at most, in 10^9 per second: arithmetic of f32 and of
/// products of bytes (a multiplication and an addition are two), and bytes read
/// from the cache of a core and from memory. 0: not known.
struct Ceilings {
  std::string level; ///< feature level of a target, as "avx2"
  double f32 = 0, int8 = 0, cache = 0, memory = 0;
  uint64_t cacheBytes = 0; ///< what is no larger than this is read from cache
};

/// A kernel and what the target chose for it.
struct KernelReport {
  std::string name;     ///< symbol
  std::string emitter;  ///< what made it, as "x86.gemm-f32"
  std::string schedule; ///< its parameters, as "mr = 6, nr = 16"
};

/// A node of the model that no operation of the program computes.
struct IdleNode {
  std::string node, op;
  std::string reason; ///< "view", "host", "constant" or "merged"
};

/// What calibration saw of the channels of an activation that is multiplied by
/// a weight.
struct ActivationReport {
  std::string value; ///< name in the statistics
  uint64_t channels = 0;
  float largest = 0; ///< max |x|
  float median = 0;  ///< of max |x| of the channels that are not all zero
  /// Channels whose max |x| is more than kOutlierRatio times the median.
  uint64_t outliers = 0;
  /// Channel and max |x| of the largest of these, at most 16.
  std::vector<std::pair<uint64_t, float>> channelMaxima;
};

/// A channel this much larger than the median one is called an outlier.
inline constexpr float kOutlierRatio = 6;

/// Size and error of a model whose layers have some choice of formats.
struct AssignmentPoint {
  std::string format; ///< of all layers that may have it; "" if they differ
  double bytes = 0, error = 0;
};

/// A format that a layer could have had: bytes stored, what the outputs change,
/// seconds by the cost table.
struct AssignmentCandidate {
  std::string format;
  double bits = 0, bytes = 0, error = 0, seconds = 0;
};

/// What mixed precision chose for a layer, and from what.
struct AssignedLayer {
  std::string node, format, rule;
  std::vector<AssignmentCandidate> candidates;
};

/// What mixed precision measured and chose.
struct AssignmentReport {
  std::string metric, sensitivity, dropMetric;
  std::vector<std::pair<std::string, std::string>> budgets;
  double floatBytes = 0;
  AssignmentPoint chosen;
  double predictedError = 0, drop = 0;
  std::vector<AssignedLayer> layers;
  std::vector<AssignmentPoint> front, uniform;
};

/// An input or output: name, "f32", sizes.
struct TensorReport {
  std::string name, type, shape;
};

struct EntryReport {
  std::string name;
  std::vector<TensorReport> inputs, outputs;
  std::optional<uint64_t> arenaBytes; ///< none: depends on sizes
};

/// The data of `report.json`.
struct Report {
  std::string qcc, model, target, precision;
  std::vector<std::string> algorithms;
  uint64_t libraryBytes = 0, weightBytes = 0;
  bool weightsEmbedded = false;
  std::vector<EntryReport> entries;
  /// Values of the symbols at which arithmetic and traffic are counted.
  std::vector<std::pair<std::string, int64_t>> sizes;
  std::vector<Ceilings> ceilings; ///< modelled, of one core; one per level
  std::vector<KernelReport> kernels;
  std::vector<OpReport> ops; ///< in the order in which they run
  std::vector<IdleNode> idle;
  /// Steps of the host program that run no kernel, by kind.
  std::vector<std::pair<std::string, uint64_t>> hostSteps;
  std::vector<ActivationReport> activations;
  std::vector<std::string> warnings;
  /// What mixed precision wrote, as JSON; "" without it. `readReport` leaves
  /// what it understands of it in `assigned`.
  std::string assignment;
  std::optional<AssignmentReport> assigned;
};

/// How many operations run in each precision, in order of the names.
std::vector<std::pair<std::string, unsigned>>
countPrecisions(llvm::ArrayRef<OpReport> ops);

/// `report.json`; equal reports give equal bytes.
std::string writeReportJson(const Report &report);

/// Reads it. The text may be a stranger's: what is missing has its default,
/// what has another type is refused. Errors: BadArtifact, with `name`.
llvm::Expected<Report> readReport(llvm::StringRef text, llvm::StringRef name);

//===----------------------------------------------------------------------===//
// What is measured
//===----------------------------------------------------------------------===//

/// A value with its 95 % interval. Not finite: not known.
struct Interval {
  double value = 0, low = 0, high = 0;
};

/// A metric of one artifact (docs/calibration.md).
struct MeasuredMetric {
  size_t artifact = 0; ///< index in ReportPage::artifacts
  std::string metric;
  uint64_t rows = 0;
  Interval value;
  std::optional<double> reference; ///< that of the reference model
  std::optional<Interval> drop;    ///< how much worse
};

/// What `qcc eval --json` prints.
struct Measurement {
  std::string reference;
  std::vector<MeasuredMetric> metrics;
};

/// Time of one site in one run.
struct SiteTime {
  unsigned site = 0;
  std::string op, kernel; ///< as OpReport has them
  double microseconds = 0;
  double gops = 0, gbs = 0; ///< 10^9 operations and bytes per second
};

/// What `qcc-run --profile --json` prints.
struct Profile {
  std::string level;
  std::string library; ///< its hash as the manifest has it; "" if not known
  unsigned threads = 1;
  std::vector<SiteTime> sites;
  std::optional<Ceilings> ceilings; ///< measured in the same process
};

/// Reads what these programs print. `names` are the artifacts as `qcc eval` was
/// given them. Errors: BadArtifact, with `name`.
llvm::Expected<Measurement> readMeasurement(llvm::StringRef text,
                                            llvm::StringRef name,
                                            llvm::ArrayRef<std::string> names);
llvm::Expected<Profile> readProfile(llvm::StringRef text, llvm::StringRef name);
/// The hash of the library in `manifest.json`, "" if it has none. Errors:
/// BadArtifact, with `name`.
llvm::Expected<std::string> readLibraryHash(llvm::StringRef text,
                                            llvm::StringRef name);

//===----------------------------------------------------------------------===//
// The page
//===----------------------------------------------------------------------===//

/// An artifact on a page.
struct PageArtifact {
  std::string name; ///< path as given, or "" for the only one
  Report report;
  std::optional<Profile> profile;
};

struct ReportPage {
  std::vector<PageArtifact> artifacts; ///< at least one
  std::optional<Measurement> measurement;
};

/// The page as HTML: one file without scripts and without anything from a
/// network. Names of strangers are text in it, whatever they hold. Its size is
/// bounded for any number of operations: beyond kMaxRows of a table what is
/// alike is counted.
std::string writeReportHtml(const ReportPage &page);

/// Rows of a table on the page.
inline constexpr size_t kMaxRows = 1000;

} // namespace qcc

#endif // QCC_PACKAGE_REPORT_H
