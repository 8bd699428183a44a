//===- TempFolder.h - a folder for one test ---------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_TEST_UNIT_PACKAGE_TEMPFOLDER_H
#define QCC_TEST_UNIT_PACKAGE_TEMPFOLDER_H

#include "llvm/ADT/SmallString.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include <set>
#include <string>

/// Made when it is needed, removed with everything in it.
class TempFolder {
public:
  TempFolder() {
    llvm::SmallString<128> made;
    if (!llvm::sys::fs::createUniqueDirectory("qcc-test", made))
      path = made.str().str();
  }
  ~TempFolder() { (void)llvm::sys::fs::remove_directories(path); }

  std::string get(llvm::StringRef name) const {
    return path + "/" + name.str();
  }
  const std::string &getPath() const { return path; }

private:
  std::string path;
};

inline std::string readFile(const std::string &path) {
  auto buffer = llvm::MemoryBuffer::getFile(path, /*IsText=*/false,
                                            /*RequiresNullTerminator=*/false);
  return buffer ? (*buffer)->getBuffer().str() : "";
}

inline void writeFile(const std::string &path, llvm::StringRef text) {
  std::error_code error;
  llvm::raw_fd_ostream(path, error) << text;
}

/// Names in a folder.
inline std::set<std::string> list(const std::string &folder) {
  std::set<std::string> names;
  std::error_code error;
  for (llvm::sys::fs::directory_iterator it(folder, error), end;
       !error && it != end; it.increment(error))
    names.insert(llvm::sys::path::filename(it->path()).str());
  return names;
}

#endif // QCC_TEST_UNIT_PACKAGE_TEMPFOLDER_H
