//===- Progress.cpp - what a compile is doing -------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Progress.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/raw_ostream.h"

using namespace llvm;

namespace qcc::driver {

void Progress::clear() {
  if (hasOpenLine)
    errs() << "\r\033[K"; // to the start, erase to the end
  hasOpenLine = false;
}

void Progress::operator()(Stage stage, bool done, StringRef detail) {
  if (mode == Mode::None)
    return;
  auto now = std::chrono::steady_clock::now();
  if (!done && detail.empty())
    begin = now;
  if (!done && mode == Mode::Plain)
    return;
  clear();
  unsigned number = static_cast<unsigned>(stage) + 1;
  std::string label =
      ("[" + Twine(number) + "/" + Twine(numStages) + "]").str();
  errs() << left_justify(label, 8) << left_justify(getStageName(stage), 11);
  // On a terminal, a detail must not wrap: the line is overwritten.
  if (!done) {
    unsigned filled = 20 * (number - 1) / std::max(numStages, 1u);
    for (unsigned i = 0; i < 20; ++i)
      errs() << (i < filled ? "#" : ".");
    errs() << " " << detail.take_front(40);
    hasOpenLine = true;
    return;
  }
  double seconds = std::chrono::duration<double>(now - begin).count();
  errs() << left_justify(detail, 48) << format(" %6.1f s\n", seconds);
}

} // namespace qcc::driver
