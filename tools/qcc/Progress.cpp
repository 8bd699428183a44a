//===- Progress.cpp - what a compile is doing -------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Progress.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/raw_ostream.h"

using namespace llvm;

namespace qcc::driver {

/// Twenty characters, as many filled as `done` of `all` are.
static void drawBar(size_t done, size_t all) {
  size_t filled = 20 * done / std::max<size_t>(all, 1);
  for (size_t i = 0; i < 20; ++i)
    errs() << (i < filled ? "#" : ".");
}

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
  bool isPlain = mode == Mode::Plain;
  if (!done && isPlain &&
      (detail.empty() || now - told < std::chrono::seconds(10)))
    return;
  told = now;
  clear();
  unsigned number = getNumber(stage);
  std::string label =
      ("[" + Twine(number) + "/" + Twine(numStages) + "]").str();
  errs() << left_justify(label, 8) << left_justify(getStageName(stage), 11);
  // On a terminal, a detail must not wrap: the line is overwritten.
  if (!done && !isPlain) {
    drawBar(number - 1, numStages);
    errs() << " " << detail.take_front(40);
    hasOpenLine = true;
    return;
  }
  double seconds = std::chrono::duration<double>(now - begin).count();
  std::string text = (done ? detail : detail + " ...").str();
  errs() << left_justify(text, 48) << format(" %6.1f s\n", seconds);
}

void CountProgress::clear() {
  if (hasOpenLine)
    errs() << "\r\033[K";
  hasOpenLine = false;
}

void CountProgress::update(size_t done, size_t all) {
  std::string text = remaining.describe(done, all);
  if (mode == Progress::Mode::Bar) {
    clear();
    errs() << left_justify(what, 11);
    drawBar(done, all);
    errs() << " " << text;
    hasOpenLine = true;
    return;
  }
  size_t now = all ? 10 * done / all : 0;
  if (mode == Progress::Mode::None || now == tenth)
    return;
  tenth = now;
  errs() << what << " " << text << "\n";
}

} // namespace qcc::driver
