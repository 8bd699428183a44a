//===- Package.h - from objects and weights to an artifact ------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The last stage. It writes `libmodel.so`, `weights.safetensors`, `model.h`,
// `manifest.json`, `recipe.yaml`, `report.json`, `report.html` and
// `profile.json` in a folder that is whole or not there. Equal requests give
// equal bytes in all files but `profile.json`: nothing in them tells a path, a
// time, a user or a machine.
//
//===----------------------------------------------------------------------===//
#ifndef QCC_PACKAGE_PACKAGE_H
#define QCC_PACKAGE_PACKAGE_H

#include "qcc/Package/Recipe.h"
#include "qcc/Package/Report.h"
#include "qcc/Runtime/ProgramWriter.h"
#include "qcc/Support/MappedFile.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/Support/Error.h"
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace qcc {

/// Weights below this many bytes are embedded in the library by default.
inline constexpr uint64_t kEmbedLimit = 16 << 20;
/// Every packed tensor begins at a multiple of this many bytes.
inline constexpr uint64_t kWeightAlignment = 64;
/// Where data begins in weights.safetensors.
inline constexpr uint64_t kWeightDataAlignment = 4096;

/// One weight as kernels read it: opaque bytes, produced when they are needed.
struct PackedTensor {
  std::string name;   ///< unique
  std::string format; ///< for people: "f32 panels 16", "int8 vnni"
  uint64_t size = 0;  ///< bytes
  /// From the first weight; set by `layoutWeights`, a multiple of
  /// `kWeightAlignment`. Generated code refers to it.
  uint64_t offset = 0;
  /// Writes all `size` bytes.
  std::function<llvm::Error(llvm::MutableArrayRef<char> bytes)> fill;
};

/// Gives every tensor its offset, in order, and returns the bytes of all.
/// Errors: LimitReached if they overflow.
llvm::Expected<uint64_t>
layoutWeights(llvm::MutableArrayRef<PackedTensor> weights);

/// A relocatable ELF object. The order of objects is part of the result.
struct PackageObject {
  std::string name; ///< for messages
  std::string bytes;
};

/// A file that was read: the name that the manifest shows, and where it lies.
/// One that a model names is not opened again: it comes as it was mapped.
struct SourceFile {
  std::string name, path;
  std::shared_ptr<const MappedFile> mapped = nullptr;
};

/// What is written beside the manifest.
enum class PackageKind {
  Library, ///< libmodel.so
  Object,  ///< model.o for static linking, runtime included
  Archive  ///< libmodel.a that holds the same object
};

struct PackageRequest {
  std::string outputDir;
  PackageKind kind = PackageKind::Library;
  /// In front of the exported symbol and, in capitals, of the macros in
  /// model.h; not of libraries.
  std::string symbolPrefix = "";
  std::string modelName; ///< file name of the model, without folders
  /// The model first, then its external data and calibration data.
  std::vector<SourceFile> sources;
  /// The program: `finish` is called here, after the weights are known. Model
  /// and weights are set here.
  ProgramWriter *program = nullptr;
  /// Kernels, host program and tables (`qcc_kernel_table`, `qcc_entry_table`).
  /// The blob and embedded weights are made here.
  std::vector<PackageObject> objects;
  /// After `layoutWeights`.
  std::vector<PackedTensor> weights;
  Recipe recipe;
  /// Operations, kernels, nodes, activations and warnings; the rest of it is
  /// found out here.
  Report report;
  /// Nodes at which the host program waits for a value (sizes that depend on
  /// data).
  std::vector<std::string> syncPoints;
  /// Seconds of each stage so far, for profile.json.
  std::vector<std::pair<std::string, double>> timings;
};

struct PackageResult {
  uint64_t libraryBytes = 0, weightBytes = 0;
  bool weightsEmbedded = false;
};

/// Errors (CannotWrite) where an artifact could not be written now: something
/// that is none is there, or its folder does not exist or takes no files.
llvm::Error checkArtifactPath(llvm::StringRef outputDir);

/// Writes the artifact. Errors: CannotWrite, CannotLink, Internal (an object
/// needs what an artifact may not need).
llvm::Expected<PackageResult> writePackage(const PackageRequest &request);

/// Whether a folder holds an artifact (a manifest of our schema): only such a
/// folder is replaced by a new one.
bool isArtifact(llvm::StringRef folder);

/// Success if it does; else BadArtifact, which says what is wrong.
llvm::Error checkArtifact(llvm::StringRef folder);

/// Compares every file with the manifest's hashes. Errors: BadArtifact, with
/// each file that differs, is missing or, unless `allowsOthers`, is too much.
/// Returns the number of files compared.
llvm::Expected<unsigned> verifyArtifact(llvm::StringRef folder,
                                        bool allowsOthers = false);

} // namespace qcc

#endif // QCC_PACKAGE_PACKAGE_H
