//===- PlannerTest.cpp - budgets that can be met ----------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Precision/Assign/Planner.h"
#include "llvm/Support/Error.h"
#include "gtest/gtest.h"

using namespace qcc;
using namespace qcc::assign;

/// Two layers of 100 bytes and 1 s in f32, or 25 bytes and 0.5 s, whose losses
/// are not known yet, beside 40 bytes and 0.2 s of other work.
static Planner makePlanner(const Budgets &budgets) {
  std::vector<knapsack::Costs> layer = {{0, 100, 1}, {0, 25, 0.5}};
  Planner planner({layer, layer}, /*otherBytes=*/40, /*otherSeconds=*/0.2);
  planner.setFloatCosts(200, 2);
  llvm::cantFail(planner.setBudgets(budgets));
  return planner;
}

static std::string check(const Budgets &budgets) {
  llvm::Error error = makePlanner(budgets).checkLimits();
  return error ? llvm::toString(std::move(error)) : "";
}

TEST(Planner, LimitsThatCanBeMet) {
  EXPECT_EQ(check({}), "");
  EXPECT_EQ(check({"90B", "", ""}), "");
  EXPECT_EQ(check({"0.376x", "", ""}), ""); // 90.24 of 240 bytes
  EXPECT_EQ(check({"", "", "0.55x"}), "");  // 1.21 of 2.2 s
  EXPECT_EQ(check({"0.376x", "0%", "0.55x"}), "");
}

TEST(Planner, LimitsThatCannotBeMet) {
  EXPECT_NE(check({"0.37x", "", ""})
                .find("nearest that can be met: "
                      "--max-size=0.3751x"),
            std::string::npos);
  EXPECT_NE(check({"", "", "0.54x"})
                .find("nearest that can be met: "
                      "--max-latency=0.5455x"),
            std::string::npos);
  // All of the float model, and no more: there is no limit above it.
  std::vector<knapsack::Costs> onlyFloat = {{0, 100, 1}};
  for (auto [budgets, text] : {std::pair(Budgets{"0.9x", "", ""}, "size"),
                               std::pair(Budgets{"", "", "0.9x"}, "latency")}) {
    Planner whole({onlyFloat}, /*otherBytes=*/0, /*otherSeconds=*/0);
    whole.setFloatCosts(100, 1);
    llvm::cantFail(whole.setBudgets(budgets));
    EXPECT_NE(llvm::toString(whole.checkLimits())
                  .find(std::string("nearest that can be met: --max-") + text +
                        "=1.0000x"),
              std::string::npos);
  }
  // Losses are not looked at, so a drop does not matter.
  EXPECT_NE(check({"0.37x", "100%", ""}), "");
}
