//===- Report.cpp - qcc report ----------------------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Report.h"
#include "Commands.h"
#include "qcc/Package/Package.h"
#include "qcc/Package/Report.h"
#include "qcc/Support/Diagnostics.h"
#include "qcc/Support/MappedFile.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"

using namespace llvm;

namespace qcc::driver {

/// The text of a file; `remedy` says what to give in its place.
static Expected<std::string> readText(StringRef path, StringRef remedy) {
  Expected<std::shared_ptr<const MappedFile>> file = MappedFile::open(path);
  if (!file)
    return handleErrors(file.takeError(), [&](const CodedError &error) {
      // It is no model: what helps with one does not help here.
      std::string text = error.getText().str();
      if (!StringRef(text).contains(';'))
        text += ("; " + remedy).str();
      return makeError(error.getDiag(), path, text);
    });
  ArrayRef<char> bytes = (*file)->getBytes();
  return std::string(bytes.begin(), bytes.end());
}

/// A file of an artifact, which is given by its folder or its library in it.
static SmallString<128> getFile(StringRef artifact, StringRef name) {
  SmallString<128> file(artifact);
  if (artifact.ends_with(".so"))
    sys::path::remove_filename(file);
  sys::path::append(file, name);
  return file;
}

/// The report of an artifact.
static Expected<Report> readArtifact(StringRef path) {
  SmallString<128> file(path);
  if (path.ends_with(".so"))
    sys::path::remove_filename(file);
  if (!file.empty() && !sys::fs::is_directory(file))
    return makeError(Diag::BadArtifact, path,
                     "expected the folder or the library of an artifact, but "
                     "there is none");
  file = getFile(path, "report.json");
  if (!sys::fs::exists(file))
    return makeError(Diag::BadArtifact, path,
                     "expected an artifact, but there is no report.json");
  Expected<std::string> text = readText(file, kReportRemedy);
  if (!text)
    return text.takeError();
  return readReport(*text, file);
}

/// Times of another artifact would be told as this one's.
static Error checkProfile(const Profile &profile, const Report &report,
                          StringRef artifact, StringRef name) {
  SmallString<128> manifest = getFile(artifact, "manifest.json");
  if (!profile.library.empty() && sys::fs::exists(manifest)) {
    Expected<std::string> text = readText(manifest, kReportRemedy);
    if (!text)
      return text.takeError();
    Expected<std::string> hash = readLibraryHash(*text, manifest);
    if (!hash)
      return hash.takeError();
    if (!hash->empty() && *hash != profile.library)
      return makeError(Diag::BadArtifact, name,
                       "expected a profile of '" + artifact +
                           "', whose library is " + *hash +
                           ", but got one of " + profile.library + "; " +
                           kProfileRemedy);
  }
  for (const SiteTime &time : profile.sites)
    for (const OpReport &op : report.ops) {
      if (op.site != time.site ||
          (op.op == time.op && op.kernel == time.kernel))
        continue;
      return makeError(Diag::BadArtifact, name,
                       "expected a profile of this artifact, in which '" +
                           op.node + "' is " + op.op + " in " + op.kernel +
                           ", but got " + time.op + " in " + time.kernel +
                           "; " + kProfileRemedy);
    }
  return Error::success();
}

/// A file of an artifact that is replaced no longer has the hash that its
/// manifest says.
static Error checkOutside(StringRef path, ArrayRef<std::string> artifacts) {
  if (path == "-") // stdout
    return Error::success();
  StringRef folder = sys::path::parent_path(path);
  for (StringRef artifact : artifacts) {
    SmallString<128> own(artifact);
    if (artifact.ends_with(".so"))
      sys::path::remove_filename(own);
    // A library alone is verified by nobody.
    if (isArtifact(own.empty() ? StringRef(".") : StringRef(own)) &&
        sys::fs::equivalent(folder.empty() ? "." : folder,
                            own.empty() ? StringRef(".") : StringRef(own)))
      return makeError(Diag::CannotWrite, path,
                       "it would be a part of the artifact '" + artifact +
                           "', whose files are verified; expected another "
                           "folder");
  }
  return Error::success();
}

Error checkPagePath(const CommandLine &line, StringRef path,
                    ArrayRef<std::string> artifacts) {
  if (Error error = checkOutside(path, artifacts))
    return error;
  return checkResultPath(line, path);
}

Error writeReportPage(const CommandLine &line, StringRef path,
                      ArrayRef<std::string> artifacts,
                      ArrayRef<std::string> profiles,
                      std::pair<std::string, std::string> measurement) {
  ReportPage page;
  for (auto [i, name] : enumerate(artifacts)) {
    Expected<Report> report = readArtifact(name);
    if (!report)
      return report.takeError();
    PageArtifact artifact{name, std::move(*report), std::nullopt};
    if (i < profiles.size()) {
      Expected<std::string> text = readText(profiles[i], kProfileRemedy);
      if (!text)
        return text.takeError();
      Expected<Profile> profile = readProfile(*text, profiles[i]);
      if (!profile)
        return profile.takeError();
      if (Error error =
              checkProfile(*profile, artifact.report, name, profiles[i]))
        return error;
      artifact.profile = std::move(*profile);
    }
    page.artifacts.push_back(std::move(artifact));
  }
  if (!measurement.second.empty()) {
    Expected<Measurement> read =
        readMeasurement(measurement.second, measurement.first, artifacts);
    if (!read)
      return read.takeError();
    page.measurement = std::move(*read);
  }
  std::string html = writeReportHtml(page);
  if (Error error = writeResult(line, path, html))
    return error;
  if (!line.has(OPT_quiet) && path != "-")
    errs() << "wrote " << path << " (" << html.size() << " bytes)\n";
  return Error::success();
}

Error runReport(Session &session) {
  const CommandLine &line = session.line;
  if (line.positionals.empty())
    return makeError(Diag::Usage, "",
                     "expected one or more artifacts; `qcc report --help` "
                     "shows the flags");
  std::vector<std::string> profiles = line.args.getAllArgValues(OPT_profile);
  if (!profiles.empty() && profiles.size() != line.positionals.size())
    return makeError(Diag::Usage, "--profile",
                     "expected one for each of the " +
                         Twine(line.positionals.size()) +
                         " artifacts, but got " + Twine(profiles.size()));
  std::pair<std::string, std::string> measurement;
  if (line.has(OPT_eval_file)) {
    measurement.first = line.get(OPT_eval_file).str();
    Expected<std::string> text =
        readText(measurement.first, "name what `qcc eval --json` printed");
    if (!text)
      return text.takeError();
    if (text->empty())
      return makeError(
          Diag::BadArtifact, measurement.first,
          "expected what `qcc eval --json` prints, but the file is "
          "empty; run it again");
    measurement.second = std::move(*text);
  }
  if (Error error = checkPagePath(line, line.get(OPT_output, "report.html"),
                                  line.positionals))
    return error;
  return writeReportPage(line, line.get(OPT_output, "report.html"),
                         line.positionals, profiles, std::move(measurement));
}

} // namespace qcc::driver
