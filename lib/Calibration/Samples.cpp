//===- Samples.cpp - reading calibration data -------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The readers throw; this file is compiled with exceptions and lets none out.
//
//===----------------------------------------------------------------------===//
#include "qcc/Calibration/Samples.h"
#include "Npz.h"
#include "TestData.h"
#include "qcc/Support/Diagnostics.h"
#include <algorithm>
#include <filesystem>

using namespace qcc;
namespace fs = std::filesystem;

static SampleArray toSampleArray(run::Array &&array) {
  SampleArray result;
  result.name = std::move(array.name);
  result.code = array.type->code;
  result.bits = array.type->bits;
  result.shape = array.shape;
  auto *bytes = reinterpret_cast<const char *>(array.bytes.data());
  result.bytes.assign(bytes, bytes + array.bytes.size());
  return result;
}

/// Rows `first` to `first + count` of an array.
static SampleArray cut(const SampleArray &array, int64_t first, int64_t count) {
  // Member by member: a copy of all of it for each piece would take time that
  // grows with the square of the rows.
  SampleArray part;
  part.name = array.name;
  part.code = array.code;
  part.bits = array.bits;
  part.shape = array.shape;
  part.shape[0] = count;
  size_t rowBytes = array.shape[0] ? array.bytes.size() / array.shape[0] : 0;
  part.bytes.assign(array.bytes.begin() + first * rowBytes,
                    array.bytes.begin() + (first + count) * rowBytes);
  return part;
}

/// Rows of each piece of a set of arrays with so many `rows`; 0 if it is one
/// sample.
static int64_t getPieceRows(const Sample &sample,
                            llvm::ArrayRef<SampleInput> inputs, int64_t &rows) {
  int64_t piece = 0;
  for (const SampleInput &input : inputs) {
    auto found = std::find_if(
        sample.arrays.begin(), sample.arrays.end(),
        [&](const SampleArray &array) { return array.name == input.name; });
    if (found == sample.arrays.end() || found->shape.empty() ||
        input.shape.size() != found->shape.size())
      return 0;
    int64_t wanted = input.shape[0] < 0 ? input.pieceRows : input.shape[0];
    if ((rows && found->shape[0] != rows) || (piece && wanted != piece))
      return 0;
    rows = found->shape[0];
    piece = wanted;
  }
  bool isFree = !inputs.empty() && inputs[0].shape[0] < 0;
  if (piece <= 0 || rows <= piece)
    return 0;
  if (!isFree && rows % piece != 0)
    throw run::RunError(run::BadData,
                        sample.name + ": expected " + std::to_string(piece) +
                            " rows of input '" + inputs[0].name +
                            "', or a multiple of that, but got " +
                            std::to_string(rows) + "; leave some out");
  return piece;
}

static void addSamples(Sample sample, llvm::ArrayRef<SampleInput> inputs,
                       std::vector<Sample> &samples) {
  int64_t rows = 0, piece = getPieceRows(sample, inputs, rows);
  if (!piece) {
    samples.push_back(std::move(sample));
    return;
  }
  for (int64_t first = 0, count = 0; first < rows; first += count) {
    count = std::min(piece, rows - first);
    // A rest that is too few rows stays with what is before it.
    if (int64_t left = rows - first - count;
        left < inputs[0].leastRows && count + left <= inputs[0].mostRows)
      count += left;
    Sample part;
    part.name = sample.name + " row " + std::to_string(first);
    for (const SampleArray &array : sample.arrays) {
      bool isCut = !array.shape.empty() && array.shape[0] == rows;
      // What is no input may have another size; the first piece has it.
      if (isCut)
        part.arrays.push_back(cut(array, first, count));
      else if (first == 0)
        part.arrays.push_back(array);
    }
    samples.push_back(std::move(part));
  }
}

static void readArchive(const fs::path &path,
                        llvm::ArrayRef<SampleInput> inputs,
                        std::vector<Sample> &samples) {
  Sample sample;
  sample.name = path.string();
  for (run::Array &array : run::readNpz(path))
    sample.arrays.push_back(toSampleArray(std::move(array)));
  addSamples(std::move(sample), inputs, samples);
}

/// Tensors of a test data set are by position: they get the inputs' names.
static void readTestSet(const fs::path &path,
                        llvm::ArrayRef<SampleInput> inputs,
                        std::vector<Sample> &samples) {
  Sample sample;
  sample.name = path.string();
  std::vector<run::Array> arrays = run::readTestInputs(path);
  for (size_t i = 0; i < arrays.size() && i < inputs.size(); ++i) {
    sample.arrays.push_back(toSampleArray(std::move(arrays[i])));
    sample.arrays.back().name = inputs[i].name;
  }
  samples.push_back(std::move(sample));
}

static void readFolder(const fs::path &path, llvm::ArrayRef<SampleInput> inputs,
                       std::vector<Sample> &samples) {
  std::vector<fs::path> members;
  for (const fs::directory_entry &entry : fs::directory_iterator(path))
    members.push_back(entry.path());
  std::sort(members.begin(), members.end());
  if (fs::exists(path / "input_0.pb"))
    return readTestSet(path, inputs, samples);
  for (const fs::path &member : members) {
    if (member.extension() == ".npz")
      readArchive(member, inputs, samples);
    else if (fs::exists(member / "input_0.pb"))
      readTestSet(member, inputs, samples);
  }
}

llvm::Expected<std::vector<Sample>>
qcc::readSamples(llvm::StringRef path, llvm::ArrayRef<SampleInput> inputs) {
  std::vector<Sample> samples;
  std::string problem;
  Diag diag = Diag::BadCalibration;
  try {
    fs::path file(path.str());
    if (fs::is_directory(file))
      readFolder(file, inputs, samples);
    else
      readArchive(file, inputs, samples);
  } catch (const run::RunError &error) {
    problem = error.what();
    if (error.code() == run::Resources)
      diag = Diag::LimitReached;
  } catch (const std::exception &error) {
    problem = error.what();
  }
  if (!problem.empty()) {
    std::error_code ignored;
    if (!fs::exists(fs::path(path.str()), ignored))
      problem += "; check the path";
    // Readers name the file, which may be one of a folder.
    bool isNamed = llvm::StringRef(problem).starts_with(path);
    return makeError(diag, isNamed ? "" : path, problem);
  }
  if (samples.empty())
    return makeError(Diag::BadCalibration, path,
                     "expected .npz files or test data sets, but got none");
  return std::move(samples);
}

const SampleArray *qcc::findArray(llvm::ArrayRef<SampleArray> arrays,
                                  llvm::StringRef name) {
  const SampleArray *found =
      std::find_if(arrays.begin(), arrays.end(), [&](const SampleArray &array) {
        return array.name == name;
      });
  return found == arrays.end() ? nullptr : found;
}
