//===- AssignReport.cpp - what was measured and chosen, as JSON -*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "AssignReport.h"
#include "qcc/Scheme/Scheme.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/Support/JSON.h"

using namespace llvm;
using namespace qcc;
using namespace qcc::assign;

static double getBits(const Candidate &candidate, const Choice &layer) {
  if (candidate.key == "f32")
    return 32;
  // Codes of activations alone have no weight.
  if (layer.n && !candidate.bytes && candidate.scheme) // stored with another's
    return candidate.scheme->getWeightBits();
  return layer.n
             ? double(candidate.bytes) * 8 / (double(layer.k) * double(layer.n))
             : 8;
}

static void writeLayer(json::OStream &json, const Choice &layer) {
  json.object([&] {
    json.attribute("node", json::fixUTF8(layer.node));
    json.attribute("rows", layer.k);
    json.attribute("columns", layer.n);
    json.attribute("format", layer.getChosen().key);
    if (!layer.rule.empty())
      json.attribute("rule", json::fixUTF8(layer.rule));
    json.attributeArray("candidates", [&] {
      for (const Candidate &candidate : layer.candidates)
        json.object([&] {
          json.attribute("format", candidate.key);
          json.attribute("bits", getBits(candidate, layer));
          json.attribute("bytes", candidate.bytes);
          json.attribute("error", candidate.loss);
          json.attribute("seconds", candidate.seconds);
        });
    });
  });
}

/// Totals with one format wherever a layer may have it, else the next one that
/// it may.
static void writeUniform(json::OStream &json, const AssignmentFacts &facts) {
  SmallVector<StringRef> keys;
  for (const Choice *layer : facts.layers)
    for (const Candidate &candidate : layer->candidates)
      if (!layer->isFixed() && !is_contained(keys, candidate.key))
        keys.push_back(candidate.key);
  json.attributeArray("uniform", [&] {
    for (StringRef key : keys) {
      std::vector<std::vector<knapsack::Costs>> costs;
      std::vector<unsigned> picks;
      for (const Choice *layer : facts.layers) {
        costs.push_back(layer->getCosts());
        picks.push_back(0);
        for (auto [i, candidate] : enumerate(layer->candidates))
          if (candidate.key == key)
            picks.back() = unsigned(i);
      }
      knapsack::Assignment all = {picks, knapsack::addCosts(costs, picks)};
      json.object([&] {
        json.attribute("format", key);
        json.attribute("bytes", facts.planner.getBytes(all));
        json.attribute("error", all.totals[knapsack::Loss]);
      });
    }
  });
}

std::string assign::writeAssignment(const AssignmentFacts &facts) {
  const Planner &planner = facts.planner;
  std::string text;
  raw_string_ostream os(text);
  json::OStream json(os);
  json.object([&] {
    json.attribute("formats", facts.formats);
    json.attribute("metric", facts.metric);
    json.attribute("sensitivity", facts.isMeasured ? "measured" : "estimated");
    json.attribute("samples", facts.samples);
    json.attribute("positions", facts.positions);
    json.attributeObject("budgets", [&] {
      if (!facts.budgets.size.empty())
        json.attribute("size", facts.budgets.size);
      if (!facts.budgets.drop.empty())
        json.attribute("drop", facts.budgets.drop);
      if (!facts.budgets.latency.empty())
        json.attribute("latency", facts.budgets.latency);
    });
    json.attributeObject("float", [&] {
      json.attribute("bytes", planner.getFloatBytes());
      json.attribute("predicted_seconds", planner.getFloatSeconds());
    });
    json.attributeObject("chosen", [&] {
      json.attribute("bytes", planner.getBytes(facts.assignment));
      json.attribute("predicted_seconds", planner.getSeconds(facts.assignment));
      json.attribute("predicted_error",
                     facts.assignment.totals[knapsack::Loss]);
      json.attribute("error", facts.score.divergence);
      json.attribute("error_metric", facts.scoreMetric);
      json.attribute("drop", facts.score.drop);
      json.attribute("drop_metric", facts.dropMetric);
    });
    json.attributeArray("layers", [&] {
      for (const Choice *layer : facts.layers)
        writeLayer(json, *layer);
    });
    json.attributeArray("front", [&] {
      for (const FrontPoint &point : planner.getFront())
        json.object([&] {
          json.attribute("bytes", point.bytes);
          json.attribute("error", point.loss);
        });
    });
    writeUniform(json, facts);
  });
  return text;
}
