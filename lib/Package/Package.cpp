//===- Package.cpp - from objects and weights to an artifact ----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Package/Package.h"
#include "DataObject.h"
#include "Html.h"
#include "Weights.h"
#include "Writers.h"
#include "qcc/Package/Link.h"
#include "qcc/Runtime/qcc.h"
#include "qcc/Support/AtomicDirectory.h"
#include "qcc/Support/Diagnostics.h"
#include "qcc/Support/Hash.h"
#include "qcc/Support/Json.h"
#include "qcc/Support/MappedFile.h"
#include "qcc/Support/Resources.h"
#include "qcc/Support/Version.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Object/ArchiveWriter.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"

using namespace llvm;

namespace qcc {

static constexpr StringLiteral kManifest = "manifest.json";
static constexpr StringLiteral kProfile = "profile.json";
static constexpr StringLiteral kWeightsFile = "weights.safetensors";

/// Code reaches data of its library within 2 GiB.
static constexpr uint64_t kMaxEmbedded = 1 << 30;

namespace {

/// One run of the stage: what is found out on the way to the manifest.
class Packager {
public:
  Packager(const PackageRequest &request, AtomicDirectory &directory)
      : request(request), directory(directory), facts{request, {}, {}, {}, {}} {
  }

  Expected<PackageResult> run();

private:
  Error hashSources();
  Error writeWeights();
  Error writeData();
  Error link();
  Error writeTexts();
  Error writeArchive();

  Expected<std::string> addObject(StringRef name, StringRef bytes);
  std::string makeNote() const;

  const PackageRequest &request;
  AtomicDirectory &directory;
  PackageFacts facts;
  WeightsDesc weights;
  Digest sourceDigest = {};
  std::vector<std::string> objectFiles; ///< names below the folder
  FileHashes hashes;
};

} // namespace

/// Hashes the files that were read; the first one is the model's.
Error Packager::hashSources() {
  for (const SourceFile &source : request.sources) {
    Expected<std::shared_ptr<const MappedFile>> file =
        source.mapped ? source.mapped : MappedFile::open(source.path);
    if (!file)
      return file.takeError();
    Digest digest = hashSha256((*file)->getBytes());
    if (facts.sourceHashes.empty())
      sourceDigest = digest;
    facts.sourceHashes.push_back(toText(digest));
  }
  return Error::success();
}

/// Weights in a file of their own; embedded ones are written by writeData.
Error Packager::writeWeights() {
  weights.bytes = getWeightBytes(request.weights);
  weights.alignment = kWeightAlignment;
  facts.result.weightBytes = weights.bytes;
  // A static library has no folder beside it to look for weights in.
  facts.result.weightsEmbedded =
      request.kind != PackageKind::Library ||
      request.recipe.embedWeights.value_or(weights.bytes < kEmbedLimit);
  if (facts.result.weightsEmbedded && weights.bytes > kMaxEmbedded)
    return makeError(
        Diag::LimitReached, request.modelName,
        "expected at most 1 GiB of weights in a library, but got " +
            html::formatBytes(double(weights.bytes)) +
            "; leave them in their own file");
  if (facts.result.weightsEmbedded)
    return Error::success();

  std::string header = makeWeightHeader(request.weights);
  weights.file = kWeightsFile;
  weights.dataOffset = header.size();
  weights.headerSha256 =
      hashSha256(ArrayRef<char>(header.data(), header.size()));
  auto fill = [&](MutableArrayRef<char> bytes) -> Error {
    llvm::copy(header, bytes.begin());
    MutableArrayRef<char> data = bytes.drop_front(header.size());
    if (Error error = fillWeights(request.weights, data))
      return error;
    weights.sha256 = hashSha256(data);
    hashes.emplace_back(kWeightsFile, toText(hashSha256(bytes)));
    return Error::success();
  };
  return directory.writeMapped(kWeightsFile, header.size() + weights.bytes,
                               fill);
}

/// The ELF note that tells what the library is without loading it: version of
/// the C interface, bits of the CPU features that it needs at least, digests of
/// the weights and of the model file.
std::string Packager::makeNote() const {
  std::string desc(16, '\0');
  support::endian::write32le(&desc[0], QCC_ABI_VERSION);
  support::endian::write32le(&desc[4], QCC_PROGRAM_VERSION);
  support::endian::write64le(&desc[8], facts.program.lowestFeatures);
  desc.append(weights.sha256.begin(), weights.sha256.end());
  desc.append(sourceDigest.begin(), sourceDigest.end());
  std::string note(12, '\0');
  support::endian::write32le(&note[0], 4); // the name with its zero byte
  support::endian::write32le(&note[4], desc.size());
  support::endian::write32le(&note[8], 1);
  return note + std::string("QCC\0", 4) + desc;
}

/// The object with embedded weights, the program's blob and the note.
Error Packager::writeData() {
  // Embedded weights are needed first: the blob and the note hold their hash.
  // Both have sizes that do not depend on it.
  ProgramWriter &program = *request.program;
  program.setModel(request.modelName, "qcc " QCC_VERSION_STRING, sourceDigest);
  program.setWeights(weights);
  std::vector<uint8_t> blob = program.finish();
  if (blob.empty())
    return makeError(Diag::LimitReached, request.modelName,
                     "expected a program description below 2 GiB");
  facts.program = describeProgram(blob);

  DataObject object;
  uint64_t embedded = facts.result.weightsEmbedded ? weights.bytes : 0;
  unsigned weightSection =
      object.addSection(".rodata.qcc_embedded_weights", DataObject::Kind::Data,
                        "qcc_embedded_weights", kWeightAlignment,
                        std::max<uint64_t>(embedded, 1));
  unsigned blobSection =
      object.addSection(".rodata.qcc_program_blob", DataObject::Kind::Data,
                        "qcc_program_blob", 8, blob.size());
  unsigned noteSection = object.addSection(".note.qcc", DataObject::Kind::Note,
                                           "", 4, makeNote().size());
  auto fill = [&](MutableArrayRef<char> file) -> Error {
    object.writeFrame(file);
    if (facts.result.weightsEmbedded) {
      MutableArrayRef<char> bytes =
          object.getPayload(file, weightSection).take_front(embedded);
      if (Error error = fillWeights(request.weights, bytes))
        return error;
      weights.sha256 = hashSha256(bytes);
      program.setWeights(weights);
      blob = program.finish();
    }
    llvm::copy(blob, object.getPayload(file, blobSection).begin());
    llvm::copy(makeNote(), object.getPayload(file, noteSection).begin());
    return Error::success();
  };
  objectFiles.push_back("data.o");
  return directory.writeMapped("data.o", object.getFileSize(), fill);
}

/// Writes the objects, links them and removes them.
Error Packager::link() {
  for (auto [index, object] : llvm::enumerate(request.objects)) {
    objectFiles.push_back(("part" + Twine(index) + ".o").str());
    if (Error error = directory.write(objectFiles.back(), object.bytes))
      return error;
  }
  std::vector<std::string> paths;
  paths.reserve(objectFiles.size());
  for (const std::string &file : objectFiles)
    paths.push_back(directory.getPath(file));
  bool isLibrary = request.kind == PackageKind::Library;
  facts.libraryFile = isLibrary ? "libmodel.so" : "model.o";
  std::string output = directory.getPath(facts.libraryFile);
  std::string folder = sys::path::parent_path(output).str();
  if (Error error = isLibrary ? linkLibrary(paths, folder, output)
                              : linkObject(paths, request.symbolPrefix, output))
    return error;
  for (const std::string &file : objectFiles)
    if (Error error = directory.remove(file))
      return error;
  return request.kind == PackageKind::Archive ? writeArchive()
                                              : Error::success();
}

/// Puts the one object in an archive, without times and owners.
Error Packager::writeArchive() {
  std::string object = directory.getPath("model.o");
  Expected<NewArchiveMember> member =
      NewArchiveMember::getFile(object, /*Deterministic=*/true);
  if (!member)
    return member.takeError();
  member->MemberName = "model.o";
  facts.libraryFile = "libmodel.a";
  if (Error error = llvm::writeArchive(directory.getPath(facts.libraryFile),
                                       *member, SymtabWritingMode::NormalSymtab,
                                       object::Archive::K_GNU,
                                       /*Deterministic=*/true, /*Thin=*/false))
    return makeError(Diag::CannotWrite, facts.libraryFile,
                     toString(std::move(error)));
  return directory.remove("model.o");
}

Error Packager::writeTexts() {
  auto add = [&](StringRef name, const std::string &text) -> Error {
    hashes.emplace_back(name, hashBytes(text));
    return directory.write(name, text);
  };
  if (Error error = add("model.h", writeHeader(facts)))
    return error;
  if (Error error = add("recipe.yaml", writeRecipe(request.recipe)))
    return error;
  std::string json = writeReportJson(makeReport(facts));
  if (Error error = add("report.json", json))
    return error;
  // The page shows what anybody reads in the data.
  Expected<Report> report = readReport(json, "report.json");
  if (!report)
    return report.takeError();
  ReportPage page;
  page.artifacts.push_back({"", std::move(*report), std::nullopt});
  if (Error error = add("report.html", writeReportHtml(page)))
    return error;
  if (Error error = directory.write(kProfile, writeProfile(request)))
    return error;
  // Last: a folder with a manifest has everything else.
  return directory.write(kManifest, writeManifest(facts, hashes));
}

Expected<PackageResult> Packager::run() {
  if (Error error = hashSources())
    return std::move(error);
  if (Error error = writeWeights())
    return std::move(error);
  if (Error error = writeData())
    return std::move(error);
  if (Error error = link())
    return std::move(error);
  std::string library = directory.getPath(facts.libraryFile);
  if (std::error_code error =
          sys::fs::file_size(library, facts.result.libraryBytes))
    return makeError(Diag::CannotWrite, facts.libraryFile, error.message());
  Expected<std::string> hash = hashFile(library);
  if (!hash)
    return hash.takeError();
  hashes.insert(hashes.begin(), {facts.libraryFile, *hash});
  if (Error error = writeTexts())
    return std::move(error);
  return facts.result;
}

/// Refuses a folder within an artifact, whose files are verified.
static Error checkOutside(StringRef outputDir) {
  SmallString<256> real;
  // Where a link leads is where the artifact comes to be.
  StringRef path = outputDir.size() > 1 ? outputDir.rtrim('/') : outputDir;
  if (!sys::fs::real_path(path, real))
    path = real;
  StringRef outer = sys::path::parent_path(path);
  if (outer.empty())
    outer = ".";
  if (!isArtifact(outer))
    return Error::success();
  return makeError(Diag::CannotWrite, outputDir,
                   "it would be a part of the artifact '" + outer +
                       "', whose files are verified; expected another folder");
}

Error checkArtifactPath(StringRef outputDir) {
  if (Error error = checkOutside(outputDir))
    return error;
  return AtomicDirectory::create(outputDir, isArtifact).takeError();
}

Expected<PackageResult> writePackage(const PackageRequest &request) {
  if (Error error = checkOutside(request.outputDir))
    return std::move(error);
  Expected<std::unique_ptr<AtomicDirectory>> directory =
      AtomicDirectory::create(request.outputDir, isArtifact);
  if (!directory)
    return directory.takeError();
  Expected<PackageResult> result = Packager(request, **directory).run();
  if (!result)
    return result;
  if (Error error = (*directory)->commit())
    return std::move(error);
  return result;
}

//===----------------------------------------------------------------------===//
// Reading an artifact back
//===----------------------------------------------------------------------===//

static Expected<json::Object> readManifest(StringRef folder) {
  SmallString<256> path(folder);
  sys::path::append(path, kManifest);
  Expected<std::shared_ptr<const MappedFile>> file = MappedFile::open(path);
  if (!file) {
    consumeError(file.takeError());
    return makeError(Diag::BadArtifact, folder,
                     "expected an artifact, but there is no manifest.json");
  }
  ArrayRef<char> bytes = (*file)->getBytes();
  Expected<json::Value> value =
      parseJson(StringRef(bytes.data(), bytes.size()));
  if (!value)
    return makeError(Diag::BadArtifact, path, toString(value.takeError()));
  json::Object *object = value->getAsObject();
  if (!object || object->getString("schema") != StringRef("qcc-manifest/1"))
    return makeError(Diag::BadArtifact, path,
                     "expected the schema qcc-manifest/1");
  return std::move(*object);
}

Error checkArtifact(StringRef folder) {
  return readManifest(folder).takeError();
}

bool isArtifact(StringRef folder) {
  return !errorToBool(checkArtifact(folder));
}

Expected<unsigned> verifyArtifact(StringRef folder, bool allowsOthers) {
  Expected<json::Object> manifest = readManifest(folder);
  if (!manifest)
    return manifest.takeError();
  const json::Object *files = manifest->getObject("files");
  if (!files || files->empty())
    return makeError(Diag::BadArtifact, folder,
                     "expected a list of files in manifest.json");
  Error errors = Error::success();
  auto report = [&](StringRef file, const Twine &text) {
    errors =
        joinErrors(std::move(errors),
                   makeError(Diag::BadArtifact, folder + "/" + file, text));
  };
  for (const auto &[key, value] : *files) {
    StringRef name = key;
    // A manifest is somebody else's text: names, not paths.
    if (name != sys::path::filename(name) || name == "..") {
      report(name, "expected a plain file name in manifest.json");
      continue;
    }
    Expected<std::string> hash = hashFile((folder + "/" + name).str());
    if (!hash) {
      consumeError(hash.takeError());
      report(name, "is missing or cannot be read");
    } else if (value.getAsString() != StringRef(*hash)) {
      report(name, "is not what manifest.json says: its hash differs");
    }
  }
  std::error_code error;
  for (sys::fs::directory_iterator it(folder, error), end;
       !allowsOthers && !error && it != end; it.increment(error)) {
    StringRef name = sys::path::filename(it->path());
    if (name != kManifest && name != kProfile && !files->get(name))
      report(name, "is not in manifest.json");
  }
  if (errors)
    return std::move(errors);
  return files->size();
}

} // namespace qcc
