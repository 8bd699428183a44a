//===- Stage.cpp - the stages of a compile ----------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Pipeline/Stage.h"
#include "llvm/ADT/STLExtras.h"

using namespace qcc;

static constexpr std::pair<Stage, llvm::StringLiteral> kNames[] = {
    {Stage::Import, "import"},       {Stage::Calibrate, "calibrate"},
    {Stage::Transform, "transform"}, {Stage::Assign, "assign"},
    {Stage::Quantize, "quantize"},   {Stage::Fuse, "fuse"},
    {Stage::Schedule, "schedule"},   {Stage::Plan, "plan"},
    {Stage::Codegen, "codegen"},     {Stage::Emit, "emit"},
    {Stage::Package, "package"}};

llvm::StringRef qcc::getStageName(Stage stage) {
  return kNames[static_cast<size_t>(stage)].second;
}

std::optional<Stage> qcc::parseStage(llvm::StringRef name) {
  for (const auto &[stage, text] : kNames)
    if (text == name)
      return stage;
  return std::nullopt;
}

llvm::ArrayRef<Stage> qcc::getAllStages() {
  static constexpr Stage all[] = {
      Stage::Import,   Stage::Calibrate, Stage::Transform, Stage::Assign,
      Stage::Quantize, Stage::Fuse,      Stage::Schedule,  Stage::Plan,
      Stage::Codegen,  Stage::Emit,      Stage::Package};
  return all;
}
