//===- Forest.cpp - tree ensembles of ai.onnx.ml ----------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A tree is walked as often as the deepest one has levels: a walk that has come
// to its leaf stays there. Nodes are numbered from 0, leaves are -1, -2, ...
//
//===----------------------------------------------------------------------===//
#include "Learning.h"
#include "Registry.h"
#include "llvm/ADT/DenseMap.h"

using namespace mlir;

namespace qcc::onnx_import {
namespace {

enum Mode : int64_t {
  LessEqual,
  Less,
  GreaterEqual,
  Greater,
  Equal,
  NotEqual,
  Member,
  Leaf
};

constexpr StringLiteral kModes[] = {"BRANCH_LEQ",    "BRANCH_LT", "BRANCH_GTE",
                                    "BRANCH_GT",     "BRANCH_EQ", "BRANCH_NEQ",
                                    "BRANCH_MEMBER", "LEAF"};

enum class Aggregate { Average, Sum, Min, Max };

/// The trees of an ensemble, their nodes in arrays.
struct Forest {
  SmallVector<int64_t> features, modes, yes, no, missing, roots;
  /// Entries of each leaf: those from `leafBegins[i]` to the next.
  SmallVector<int64_t> leafBegins, entryTargets;
  /// A threshold per node, a weight per entry.
  Value splits, weights;
  /// The sets of nodes that test membership, and where each begins.
  Value members;
  SmallVector<int64_t> memberBegins, memberCounts;
  int64_t numTargets = 1, depth = 0;
  Aggregate aggregate = Aggregate::Sum;
};

LogicalResult refuseTree(NodeContext &node, const Twine &what) {
  return node.refuse(Diag::BadAttribute, "expected " + what);
}

/// Finds how deep the trees are; refuses nodes that do not exist, and that are
/// reached more than once.
LogicalResult measure(NodeContext &node, Forest &forest) {
  auto count = static_cast<int64_t>(forest.modes.size()),
       leaves = static_cast<int64_t>(forest.leafBegins.size()) - 1;
  SmallVector<bool> seen(count, false);
  for (int64_t root : forest.roots) {
    SmallVector<std::pair<int64_t, int64_t>> pending = {{root, 0}};
    while (!pending.empty()) {
      auto [place, level] = pending.pop_back_val();
      forest.depth = std::max(forest.depth, level);
      if (place < 0 && -place <= leaves)
        continue;
      if (place < 0 || place >= count || seen[place])
        return refuseTree(node, "each node of a tree once");
      seen[place] = true;
      pending.push_back({forest.yes[place], level + 1});
      pending.push_back({forest.no[place], level + 1});
    }
  }
  return success();
}

/// Whether a feature passes the test of a node.
Value emitTest(Body &body, const Forest &forest, Value mode, Value x,
               Value split, Value isMember) {
  Value results[] = {body.le(x, split), body.lt(x, split), body.le(split, x),
                     body.lt(split, x), body.eq(x, split), body.ne(x, split),
                     isMember};
  Value result = results[0];
  for (int64_t code = 1; code <= Member; ++code)
    if (results[code] && llvm::is_contained(forest.modes, code))
      result =
          body.select(body.eq(mode, body.index(code)), results[code], result);
  return result;
}

/// The leaf of each row in each tree: `[N, trees]`.
Value emitLeaves(NodeContext &node, const Forest &forest, Value rows) {
  Dims in = node.dims(rows);
  Type i64 = node.i64();
  SmallVector<Value> whole = {rows, forest.splits};
  for (ArrayRef<int64_t> table :
       {ArrayRef<int64_t>(forest.features), ArrayRef<int64_t>(forest.modes),
        ArrayRef<int64_t>(forest.yes), ArrayRef<int64_t>(forest.no),
        ArrayRef<int64_t>(forest.missing), ArrayRef<int64_t>(forest.roots)})
    whole.push_back(node.constantInts(table));
  bool hasMembers = llvm::is_contained(forest.modes, Member);
  if (hasMembers) {
    whole.push_back(forest.members);
    whole.push_back(node.constantInts(forest.memberBegins));
    whole.push_back(node.constantInts(forest.memberCounts));
  }
  Dims to = {in[0], node.size(static_cast<int64_t>(forest.roots.size()))};
  return node.generic(to, i64, {}, {}, whole, [&](Body &body, ValueRange x) {
    auto number = [&](unsigned table, Value at) {
      return body.toIndex(body.read(x[table], at));
    };
    Value zero = body.index(0);
    Value leaf = body.loop(
        body.index(forest.depth), number(7, body.dim(1)),
        [&](Value, Value place) {
          Value isLeaf = body.lt(place, zero), at = body.max(place, zero);
          Value feature = body.clampIndex(number(2, at), body.extent(in[1]));
          Value value = body.read(x[0], {body.dim(0), feature}),
                split = body.read(x[1], at), isMember;
          if (hasMembers) {
            Value begin = number(9, at);
            isMember = body.loop(
                number(10, at), body.boolean(false), [&](Value i, Value found) {
                  Value member = body.read(x[8], body.add(begin, i));
                  return body.either(
                      found,
                      body.eq(value, body.convert(member, member.getType(),
                                                  value.getType())));
                });
          }
          Value passes =
              emitTest(body, forest, number(3, at), value, split, isMember);
          Value tracksTrue = body.ne(number(6, at), zero);
          passes =
              body.either(passes, body.both(body.isNaN(value), tracksTrue));
          Value next = body.select(passes, number(4, at), number(5, at));
          return body.select(isLeaf, place, next);
        });
    return body.fromIndex(body.sub(body.index(-1), leaf), i64);
  });
}

/// What the leaves give each target: `[N, targets]`, before base values.
Value emitVotes(NodeContext &node, const Forest &forest, Value leaves) {
  Dims in = node.dims(leaves);
  Type type = node.elem(forest.weights);
  Dims to = {in[0], node.size(forest.numTargets)};
  bool ordered =
      forest.aggregate == Aggregate::Min || forest.aggregate == Aggregate::Max;
  bool isMin = forest.aggregate == Aggregate::Min;
  double inf = std::numeric_limits<double>::infinity();
  double start = !ordered ? 0 : isMin ? inf : -inf;
  Value result = node.reduction(
      !ordered ? Combiner::Sum
      : isMin  ? Combiner::Min
               : Combiner::Max,
      to, type, leaves, node.makeMap(3, {node.d(0), node.d(2)}),
      {node.constantInts(forest.leafBegins),
       node.constantInts(forest.entryTargets), forest.weights},
      {in[1]}, [&](Body &body, ValueRange x) {
        Value leaf = body.toIndex(x[0]), one = body.index(1);
        Value begin = body.toIndex(body.read(x[1], leaf)),
              end = body.toIndex(body.read(x[1], body.add(leaf, one)));
        return body.loop(body.sub(end, begin), body.number(start, type),
                         [&](Value i, Value sum) {
                           Value entry = body.add(begin, i);
                           Value isMine =
                               body.eq(body.toIndex(body.read(x[2], entry)),
                                       body.dim(1));
                           Value weight = body.read(x[3], entry);
                           Value next = !ordered ? body.add(sum, weight)
                                        : isMin  ? body.min(sum, weight)
                                                 : body.max(sum, weight);
                           return body.select(isMine, next, sum);
                         });
      });
  return node.unary(result, [&](Body &body, Value x) {
    if (forest.aggregate == Aggregate::Average)
      return body.div(
          x, body.number(static_cast<double>(forest.roots.size()), type));
    // A target that no leaf votes for has 0.
    return ordered ? body.select(body.eq(x, body.number(start, type)),
                                 body.number(0, type), x)
                   : x;
  });
}

/// The input as rows of the thresholds' type.
Value readRows(NodeContext &node, Type type) {
  Value rows = node.in(0);
  if (node.inRank(0) == 1)
    rows = node.reshape(rows, {node.size(1), node.inDims(0)[0]});
  if (rows && node.rank(rows) != 2) {
    (void)node.refuse(Diag::BadShape, "expected an input of rank 1 or 2");
    return {};
  }
  return node.cast(rows, type);
}

//===----------------------------------------------------------------------===//
// TreeEnsemble of version 5
//===----------------------------------------------------------------------===//

/// The elements of a tensor attribute that is a small constant.
std::optional<SmallVector<double>> readNumbers(NodeContext &node,
                                               StringRef name) {
  Value value = node.getTensorAttr(name);
  auto constant = value ? value.getDefiningOp<ConstantOp>() : ConstantOp();
  auto elements = constant ? dyn_cast<DenseElementsAttr>(constant.getValue())
                           : DenseElementsAttr();
  if (!elements) {
    (void)refuseTree(node, "a small tensor as attribute '" + name + "'");
    return std::nullopt;
  }
  SmallVector<double> result;
  if (isa<FloatType>(elements.getElementType())) {
    for (APFloat element : elements.getValues<APFloat>()) {
      bool losesInfo;
      element.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven,
                      &losesInfo);
      result.push_back(element.convertToDouble());
    }
    return result;
  }
  for (const APInt &element : elements.getValues<APInt>())
    result.push_back(static_cast<double>(element.getZExtValue()));
  return result;
}

/// Divides the members at their NaNs among the nodes that test membership.
LogicalResult readMembers(NodeContext &node, Forest &forest) {
  size_t count = forest.modes.size();
  forest.memberBegins.assign(count, 0);
  forest.memberCounts.assign(count, 0);
  if (!llvm::is_contained(forest.modes, Member))
    return success();
  std::optional<SmallVector<double>> values =
      readNumbers(node, "membership_values");
  if (!values)
    return failure();
  forest.members = node.getTensorAttr("membership_values");
  size_t next = 0;
  for (size_t i = 0; i < count; ++i) {
    if (forest.modes[i] != Member)
      continue;
    forest.memberBegins[i] = static_cast<int64_t>(next);
    while (next < values->size() && !std::isnan((*values)[next]))
      ++next;
    forest.memberCounts[i] =
        static_cast<int64_t>(next) - forest.memberBegins[i];
    ++next;
  }
  return success();
}

/// Children of version 5: the position of a node, or of a leaf by a flag.
std::optional<SmallVector<int64_t>>
readChildren(NodeContext &node, StringRef ids, StringRef flags, size_t count) {
  std::optional<SmallVector<int64_t>> places = node.attrInts(ids),
                                      isLeaf = node.attrInts(flags);
  if (!places || !isLeaf || places->size() != count ||
      isLeaf->size() != count) {
    (void)refuseTree(node, "a child of each node in '" + ids + "'");
    return std::nullopt;
  }
  for (auto [place, leaf] : llvm::zip(*places, *isLeaf)) {
    if (place < 0 || place > (int64_t(1) << 40)) {
      (void)refuseTree(node, "children of 0 or more in '" + ids + "'");
      return std::nullopt;
    }
    if (leaf)
      place = -1 - place;
  }
  return places;
}

LogicalResult convertTreeEnsemble(NodeContext &node) {
  Forest forest;
  std::optional<SmallVector<double>> modes = readNumbers(node, "nodes_modes");
  if (!modes)
    return failure();
  size_t count = modes->size();
  for (double mode : *modes) {
    forest.modes.push_back(static_cast<int64_t>(mode));
    if (forest.modes.back() < 0 || forest.modes.back() > Member)
      return refuseTree(node, "modes from 0 to 6");
  }
  auto yes = readChildren(node, "nodes_truenodeids", "nodes_trueleafs", count),
       no = readChildren(node, "nodes_falsenodeids", "nodes_falseleafs", count);
  auto features = node.attrInts("nodes_featureids"),
       roots = node.attrInts("tree_roots"),
       targets = node.attrInts("leaf_targetids");
  if (!yes || !no || !features || features->size() != count || !roots ||
      roots->empty() || !targets)
    return refuseTree(node, "nodes with features and children, roots, and "
                            "leaves with targets");
  forest.yes = *yes;
  forest.no = *no;
  forest.features = *features;
  forest.roots = *roots;
  forest.entryTargets = *targets;
  forest.missing = node.attrInts("nodes_missing_value_tracks_true")
                       .value_or(SmallVector<int64_t>(count, 0));
  forest.numTargets = node.attrInt("n_targets", 1);
  int64_t aggregate = node.attrInt("aggregate_function", 1);
  forest.splits = node.getTensorAttr("nodes_splits");
  forest.weights = node.getTensorAttr("leaf_weights");
  if (!forest.splits || !forest.weights)
    return failure();
  forest.leafBegins =
      llvm::to_vector(llvm::seq<int64_t>(0, targets->size() + 1));
  auto hasSize = [&](Value tensor, size_t wanted) {
    return node.rank(tensor) == 1 &&
           getConstantSize(node.dims(tensor)[0]) ==
               static_cast<int64_t>(wanted) &&
           isa<FloatType>(node.elem(tensor));
  };
  if (!hasSize(forest.splits, count) ||
      !hasSize(forest.weights, targets->size()) ||
      forest.missing.size() != count || aggregate < 0 || aggregate > 3 ||
      forest.numTargets < 1)
    return refuseTree(node, "a split per node, a weight per leaf, and an "
                            "aggregate from 0 to 3");
  forest.aggregate = static_cast<Aggregate>(aggregate);
  if (failed(readMembers(node, forest)) || failed(measure(node, forest)))
    return failure();
  constexpr StringLiteral kTransforms[] = {"NONE", "SOFTMAX", "LOGISTIC",
                                           "SOFTMAX_ZERO", "PROBIT"};
  int64_t transform = node.attrInt("post_transform", 0);
  if (transform < 0 || transform > 4)
    return refuseTree(node, "post_transform from 0 to 4");
  // What computes as f32 or f64; thresholds stay as they are stored.
  Type type = node.inElem(0), compute = getComputeType(type);
  forest.splits = node.cast(forest.splits, compute);
  forest.weights = node.cast(forest.weights, compute);
  Value rows = readRows(node, compute);
  if (!rows || !isa<FloatType>(type))
    return refuseTree(node, "a float input of rank 1 or 2");
  Value votes = emitVotes(node, forest, emitLeaves(node, forest, rows));
  return node.set(
      0, node.cast(applyTransform(node, votes, kTransforms[transform]), type));
}

//===----------------------------------------------------------------------===//
// TreeEnsembleRegressor of version 1 and 3
//===----------------------------------------------------------------------===//

/// Numbers of an attribute that may be given as floats or, as doubles, by a
/// tensor; null if it is neither.
Value readNumberTensor(NodeContext &node, StringRef name) {
  std::string asTensor = (name + "_as_tensor").str();
  if (node.hasAttr(asTensor))
    return node.getTensorAttr(asTensor);
  std::optional<SmallVector<double>> given = node.attrFloats(name);
  return given ? constantFloats(node, *given) : Value();
}

/// Nodes are named by a tree's and a node's id.
using NodeKey = std::pair<int64_t, int64_t>;

/// Reads nodes, gives leaves their numbers, and finds children by their ids.
std::optional<llvm::DenseMap<NodeKey, int64_t>> readNodes(NodeContext &node,
                                                          Forest &forest) {
  auto trees = node.attrInts("nodes_treeids"),
       ids = node.attrInts("nodes_nodeids"),
       features = node.attrInts("nodes_featureids"),
       yes = node.attrInts("nodes_truenodeids"),
       no = node.attrInts("nodes_falsenodeids");
  std::optional<SmallVector<std::string>> modes =
      readStrings(node, "nodes_modes");
  size_t count = modes ? modes->size() : 0;
  for (auto *list : {&trees, &ids, &features, &yes, &no})
    if (!*list || (*list)->size() != count || count == 0) {
      (void)refuseTree(node, "attributes of nodes of one length");
      return std::nullopt;
    }
  llvm::DenseMap<NodeKey, int64_t> places;
  int64_t numLeaves = 0;
  for (size_t i = 0; i < count; ++i) {
    auto mode = static_cast<int64_t>(
        llvm::find(kModes, StringRef((*modes)[i])) - std::begin(kModes));
    if (mode == Member || mode > Leaf) {
      (void)refuseTree(node, "a known mode, but got '" + (*modes)[i] + "'");
      return std::nullopt;
    }
    int64_t place = mode == Leaf ? -1 - numLeaves++ : static_cast<int64_t>(i);
    if (!places.try_emplace({(*trees)[i], (*ids)[i]}, place).second) {
      (void)refuseTree(node, "each node once");
      return std::nullopt;
    }
    forest.modes.push_back(mode);
    // The first node of a tree is its root.
    if (i == 0 ||
        !llvm::is_contained(ArrayRef(*trees).take_front(i), (*trees)[i]))
      forest.roots.push_back(place);
  }
  forest.yes.assign(count, -1);
  forest.no.assign(count, -1);
  for (size_t i = 0; i < count; ++i) {
    if (forest.modes[i] == Leaf)
      continue;
    auto yesPlace = places.find({(*trees)[i], (*yes)[i]}),
         noPlace = places.find({(*trees)[i], (*no)[i]});
    if (yesPlace == places.end() || noPlace == places.end()) {
      (void)refuseTree(node, "children that exist");
      return std::nullopt;
    }
    forest.yes[i] = yesPlace->second;
    forest.no[i] = noPlace->second;
  }
  forest.features = *features;
  forest.missing = node.attrInts("nodes_missing_value_tracks_true")
                       .value_or(SmallVector<int64_t>(count, 0));
  forest.leafBegins.assign(numLeaves + 1, 0);
  if (forest.missing.size() != count) {
    (void)refuseTree(node, "attributes of nodes of one length");
    return std::nullopt;
  }
  return places;
}

/// Sorts the entries of leaves by leaf.
LogicalResult readEntries(NodeContext &node, Forest &forest,
                          const llvm::DenseMap<NodeKey, int64_t> &places) {
  auto trees = node.attrInts("target_treeids"),
       ids = node.attrInts("target_nodeids"),
       targets = node.attrInts("target_ids");
  Value weights = readNumberTensor(node, "target_weights");
  size_t count = targets ? targets->size() : 0;
  if (!trees || !ids || !weights || trees->size() != count ||
      ids->size() != count || node.rank(weights) != 1 ||
      getConstantSize(node.dims(weights)[0]) != static_cast<int64_t>(count))
    return refuseTree(node, "attributes of targets of one length");
  SmallVector<std::pair<int64_t, int64_t>> order;
  for (size_t i = 0; i < count; ++i) {
    auto place = places.find({(*trees)[i], (*ids)[i]});
    if (place == places.end() || place->second >= 0)
      return refuseTree(node, "targets at leaves");
    order.push_back({-1 - place->second, static_cast<int64_t>(i)});
    ++forest.leafBegins[-place->second];
  }
  llvm::sort(order);
  for (size_t i = 1; i < forest.leafBegins.size(); ++i)
    forest.leafBegins[i] += forest.leafBegins[i - 1];
  SmallVector<int64_t> from;
  for (auto [leaf, entry] : order) {
    from.push_back(entry);
    forest.entryTargets.push_back((*targets)[entry]);
  }
  forest.weights = node.generic(
      node.dims(weights), node.elem(weights), node.constantInts(from),
      node.makeMap(1, node.d(0)), weights, [&](Body &body, ValueRange x) {
        return body.read(x[1], body.toIndex(x[0]));
      });
  return success();
}

LogicalResult convertTreeRegressor(NodeContext &node) {
  Forest forest;
  auto places = readNodes(node, forest);
  if (!places || failed(readEntries(node, forest, *places)))
    return failure();
  forest.splits = readNumberTensor(node, "nodes_values");
  forest.numTargets = node.attrInt("n_targets", 1);
  if (!forest.splits || node.rank(forest.splits) != 1 ||
      getConstantSize(node.dims(forest.splits)[0]) !=
          static_cast<int64_t>(forest.modes.size()) ||
      forest.numTargets < 1 || failed(measure(node, forest)))
    return refuseTree(node, "a value per node and 1 target or more");
  std::string aggregate = node.attrString("aggregate_function", "SUM");
  constexpr StringLiteral kAggregates[] = {"AVERAGE", "SUM", "MIN", "MAX"};
  const auto *found = llvm::find(kAggregates, StringRef(aggregate));
  if (found == std::end(kAggregates))
    return refuseTree(node, "aggregate_function AVERAGE, SUM, MIN or MAX");
  forest.aggregate = static_cast<Aggregate>(found - std::begin(kAggregates));
  Value rows = readRows(node, node.elem(forest.splits));
  if (!rows)
    return failure();
  Value votes = emitVotes(node, forest, emitLeaves(node, forest, rows));
  if (Value base = readNumberTensor(node, "base_values"))
    votes = node.add(votes, node.cast(base, node.elem(forest.weights)));
  votes =
      applyTransform(node, votes, node.attrString("post_transform", "NONE"));
  return node.set(0, node.cast(votes, node.f32()));
}

} // namespace

void registerForest(Registry &registry) {
  constexpr const char *kTransforms = "post_transform SOFTMAX_ZERO and PROBIT";
  registry.add(
      kLearningDomain,
      {
          {"TreeEnsemble", 5, 1, 1, convertTreeEnsemble, kTransforms},
          {"TreeEnsembleRegressor", 1, 1, 1, convertTreeRegressor, kTransforms},
      });
}

} // namespace qcc::onnx_import
