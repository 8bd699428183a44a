//===- Learning.cpp - operators of ai.onnx.ml on numbers --------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Learning.h"
#include "Registry.h"

using namespace mlir;

namespace qcc::onnx_import {

std::optional<SmallVector<std::string>> readStrings(NodeContext &node,
                                                    StringRef name) {
  const onnx::AttributeProto *attribute = node.findAttr(name);
  if (!attribute || attribute->strings_size() == 0)
    return std::nullopt;
  return SmallVector<std::string>(attribute->strings().begin(),
                                  attribute->strings().end());
}

Value constantFloats(NodeContext &node, ArrayRef<double> values) {
  SmallVector<float> elements;
  for (double value : values)
    elements.push_back(static_cast<float>(value));
  return node.constant(DenseElementsAttr::get(
      RankedTensorType::get({static_cast<int64_t>(elements.size())},
                            node.f32()),
      ArrayRef<float>(elements)));
}

Value applyTransform(NodeContext &node, Value scores, StringRef name) {
  if (!scores || name == "NONE")
    return scores;
  if (name == "SOFTMAX")
    return node.softmax(scores, node.rank(scores) - 1, false);
  if (name == "LOGISTIC")
    return node.unary(scores,
                      [](Body &body, Value x) { return body.sigmoid(x); });
  (void)node.refuse(Diag::UnsupportedForm,
                    "post_transform '" + name + "' is not supported");
  return {};
}

namespace {

/// An attribute with one number, or one for each element of the last dimension.
Value readVector(NodeContext &node, StringRef name, double otherwise) {
  SmallVector<double> values =
      node.attrFloats(name).value_or(SmallVector<double>{otherwise});
  if (values.size() != 1 &&
      (node.inRank(0) < 1 || getConstantSize(node.inDims(0).back()) !=
                                 static_cast<int64_t>(values.size()))) {
    (void)node.refuse(Diag::BadAttribute, "expected one number of '" + name +
                                              "' or one for each feature");
    return {};
  }
  return constantFloats(node, values);
}

LogicalResult convertScaler(NodeContext &node) {
  Value offset = readVector(node, "offset", 0),
        scale = readVector(node, "scale", 1);
  if (!offset || !scale)
    return failure();
  return node.set(
      0, node.elementwise({node.cast(node.in(0), node.f32()), offset, scale},
                          node.f32(), [](Body &body, ValueRange x) {
                            return body.mul(body.sub(x[0], x[1]), x[2]);
                          }));
}

/// Each row over its largest element, its sum or its length; rows whose divisor
/// is 0 stay.
LogicalResult convertNormalizer(NodeContext &node) {
  std::string norm = node.attrString("norm", "MAX");
  if ((norm != "MAX" && norm != "L1" && norm != "L2") || node.inRank(0) < 1)
    return node.refuse(Diag::BadAttribute,
                       "expected norm MAX, L1 or L2 and rows");
  Value rows = node.cast(node.in(0), node.f32());
  Value divisor = node.reduce(
      norm == "MAX" ? Combiner::Max : Combiner::Sum, rows, {node.inRank(0) - 1},
      true, node.f32(), [&](Body &body, Value x) {
        return norm == "MAX" ? x : norm == "L1" ? body.abs(x) : body.mul(x, x);
      });
  return node.set(
      0, node.elementwise(
             {rows, divisor}, node.f32(), [&](Body &body, ValueRange x) {
               Value d = norm == "L2" ? body.sqrt(x[1]) : x[1];
               Value zero = body.number(0, node.f32());
               return body.select(body.eq(d, zero), x[0], body.div(x[0], d));
             }));
}

LogicalResult convertBinarizer(NodeContext &node) {
  double threshold = node.attrFloat("threshold", 0);
  return node.set(0, node.unary(node.in(0), [&](Body &body, Value x) {
    Type type = x.getType();
    Value isAbove =
        isa<FloatType>(type)
            ? body.lt(body.number(threshold, type), x)
            : body.lt(body.number(threshold, body.b.getF64Type()),
                      body.convert(x, node.inElem(0), body.b.getF64Type()));
    return body.select(isAbove, body.number(1, type), body.number(0, type));
  }));
}

/// Elements of the last dimension at indices; a vector gives one row.
LogicalResult convertFeatureExtractor(NodeContext &node) {
  Dims in = node.inDims(0), to = in;
  AffineExpr count = product(node.inDims(1), node.b.getContext());
  if (in.empty() || !isa<IntegerType>(node.inElem(1)))
    return node.refuse(Diag::BadShape, "expected data and indices");
  to.back() = count;
  unsigned last = to.size() - 1;
  Value indices = node.reshape(node.in(1), {count});
  Value result = node.generic(to, node.inElem(0), indices,
                              node.makeMap(to.size(), node.d(last)), node.in(0),
                              [&](Body &body, ValueRange x) {
                                SmallVector<Value> at;
                                for (unsigned i = 0; i < last; ++i)
                                  at.push_back(body.dim(i));
                                at.push_back(body.clampIndex(
                                    body.toIndex(x[0]), body.extent(in[last])));
                                return body.read(x[1], at);
                              });
  return node.set(0, in.size() == 1 ? node.expandRank(result, 2) : result);
}

/// `X W^T + b`, `[N, rows]`.
Value emitLinear(NodeContext &node, int64_t rows) {
  std::optional<SmallVector<double>> coefficients =
      node.attrFloats("coefficients");
  SmallVector<double> intercepts =
      node.attrFloats("intercepts").value_or(SmallVector<double>());
  Value input = node.cast(node.in(0), node.f32());
  if (node.inRank(0) == 1)
    input = node.expandRank(input, 2);
  std::optional<int64_t> width = input && node.rank(input) == 2
                                     ? getConstantSize(node.dims(input)[1])
                                     : std::nullopt;
  if (!coefficients || !width || rows < 1 ||
      static_cast<int64_t>(coefficients->size()) != rows * *width ||
      (!intercepts.empty() &&
       static_cast<int64_t>(intercepts.size()) != rows)) {
    (void)node.refuse(Diag::BadAttribute,
                      "expected coefficients for each target and feature, and "
                      "an intercept for each target or none");
    return {};
  }
  Value weights = node.reshape(constantFloats(node, *coefficients),
                               {node.size(rows), node.size(*width)});
  Value result = node.matmul(input, weights, false, /*transB=*/true);
  return intercepts.empty()
             ? result
             : node.add(result, constantFloats(node, intercepts));
}

LogicalResult convertLinearRegressor(NodeContext &node) {
  Value scores = emitLinear(node, node.attrInt("targets", 1));
  return node.set(0, applyTransform(node, scores,
                                    node.attrString("post_transform", "NONE")));
}

LogicalResult convertLinearClassifier(NodeContext &node) {
  std::optional<SmallVector<int64_t>> labels =
      node.attrInts("classlabels_ints");
  if (!labels || labels->size() < 3)
    return node.refuse(Diag::UnsupportedForm,
                       "expected three integer labels or more");
  Value scores = emitLinear(node, static_cast<int64_t>(labels->size()));
  if (!scores)
    return failure();
  Dims in = node.dims(scores);
  Value best = ArgReduceOp::create(
      node.b, makeTensorType({in[0], node.size(1)}, node.i64()), scores, 1);
  Value chosen = node.generic(
      {in[0]}, node.i64(), best, node.makeMap(1, {node.d(0), node.size(0)}),
      node.constantInts(*labels), [&](Body &body, ValueRange x) {
        return body.read(
            x[1], body.clampIndex(body.toIndex(x[0]), body.extent(in[1])));
      });
  if (failed(node.set(0, chosen)))
    return failure();
  return node.set(1, applyTransform(node, scores,
                                    node.attrString("post_transform", "NONE")));
}

/// Keys or values of a label encoder, by the kind of attribute they come in.
Value readLabels(NodeContext &node, StringRef name) {
  std::string base = name.str();
  if (node.hasAttr(base + "_tensor"))
    return node.getTensorAttr(base + "_tensor");
  if (std::optional<SmallVector<int64_t>> ints =
          node.attrInts(base + "_int64s"))
    return node.constantInts(*ints);
  if (std::optional<SmallVector<double>> floats =
          node.attrFloats(base + "_floats"))
    return constantFloats(node, *floats);
  (void)node.refuse(Diag::UnsupportedType,
                    "expected " + name + " that are numbers");
  return {};
}

/// The value of the last key that an element is equal to.
LogicalResult convertLabelEncoder(NodeContext &node) {
  Value keys = readLabels(node, "keys"), values = readLabels(node, "values");
  if (!keys || !values)
    return failure();
  Type type = node.elem(values);
  if (node.rank(keys) != 1 || node.rank(values) != 1 ||
      node.dims(keys) != node.dims(values) || node.elem(keys) != node.inElem(0))
    return node.refuse(Diag::BadAttribute,
                       "expected as many keys of the input's type as values");
  Value otherwise;
  if (node.hasAttr("default_tensor")) {
    otherwise = node.getTensorAttr("default_tensor");
    if (!otherwise || getConstantSize(getNumElements(otherwise.getType())) != 1)
      return node.refuse(Diag::BadAttribute, "expected one default value");
    otherwise = node.cast(node.reshape(otherwise, {}), type);
  } else {
    otherwise =
        isa<FloatType>(type)
            ? node.scalar(node.attrFloat("default_float", -0.0), type)
            : node.scalar(
                  static_cast<double>(node.attrInt("default_int64", -1)), type);
  }
  Dims to = node.inDims(0);
  AffineMap identity =
      AffineMap::getMultiDimIdentityMap(to.size(), node.b.getContext());
  AffineExpr count = node.dims(keys)[0];
  return node.set(
      0, node.generic(
             to, type, {node.in(0), otherwise},
             {identity, node.makeMap(to.size(), {})}, {keys, values},
             [&](Body &body, ValueRange x) {
               return body.loop(
                   body.extent(count), x[1], [&](Value i, Value found) {
                     Value key = body.read(x[2], i), isIt = body.eq(key, x[0]);
                     if (isa<FloatType>(key.getType()))
                       isIt = body.either(
                           isIt, body.both(body.isNaN(key), body.isNaN(x[0])));
                     return body.select(isIt, body.read(x[3], i), found);
                   });
             }));
}

/// Replaces one value, or NaN, by a number per feature.
LogicalResult convertImputer(NodeContext &node) {
  bool isFloat = isa<FloatType>(node.inElem(0));
  if (!isFloat)
    return node.refuse(Diag::UnsupportedType, "expected a float tensor");
  double replaced = node.attrFloat("replaced_value_float", 0);
  Value values = readVector(node, "imputed_value_floats", 0);
  if (!values)
    return failure();
  Type type = node.inElem(0);
  return node.set(
      0, node.elementwise(
             {node.in(0), values}, type, [&](Body &body, ValueRange x) {
               Type compute = x[0].getType();
               Value isIt = std::isnan(replaced)
                                ? body.isNaN(x[0])
                                : body.eq(x[0], body.number(replaced, compute));
               return body.select(
                   isIt, body.convert(x[1], x[1].getType(), compute), x[0]);
             }));
}

LogicalResult convertFeatureVectorizer(NodeContext &node) {
  SmallVector<Value> parts;
  for (unsigned i = 0; i < node.numInputs(); ++i) {
    if (!node.has(i) || node.inRank(i) < 1 || node.inRank(i) > 2)
      return node.refuse(Diag::BadShape, "expected inputs of rank 1 or 2");
    parts.push_back(node.expandRank(node.cast(node.in(i), node.f32()), 2));
  }
  return node.set(0, node.concat(parts, 1));
}

//===----------------------------------------------------------------------===//
// Counts of n-grams
//===----------------------------------------------------------------------===//

/// The n-grams that are counted: for each place in the output where one begins
/// in the pool, and how long it is (0: there is none).
struct Grams {
  SmallVector<int64_t> pool, begins, lengths;
  SmallVector<double> weights;
  int64_t longest = 1, skips = 0;
};

std::optional<Grams> readGrams(NodeContext &node) {
  auto pool = node.attrInts("pool_int64s"),
       counts = node.attrInts("ngram_counts"),
       indexes = node.attrInts("ngram_indexes");
  std::optional<SmallVector<double>> weights = node.attrFloats("weights");
  int64_t least = node.attrInt("min_gram_length", 0),
          most = node.attrInt("max_gram_length", 0);
  Grams grams;
  grams.skips = node.attrInt("max_skip_count", 0);
  auto refuse = [&](const Twine &what) -> std::optional<Grams> {
    (void)node.refuse(Diag::BadAttribute, "expected " + what);
    return std::nullopt;
  };
  if (!pool || !counts || !indexes || indexes->empty() || least < 1 ||
      most < least || most > 64 || grams.skips < 0 || grams.skips > (1 << 20) ||
      static_cast<int64_t>(counts->size()) < most)
    return refuse("a pool of integers, n-grams of lengths from 1 to 64, and "
                  "where those of each length begin");
  if (weights && weights->size() != indexes->size())
    return refuse("a weight for each n-gram");
  int64_t largest = *llvm::max_element(*indexes);
  if (*llvm::min_element(*indexes) < 0 || largest >= (1 << 24))
    return refuse("places of n-grams of 0 or more");
  grams.begins.assign(largest + 1, 0);
  grams.lengths.assign(largest + 1, 0);
  grams.weights.assign(largest + 1, 1);
  size_t gram = 0;
  auto size = static_cast<int64_t>(pool->size());
  for (size_t i = 0; i < counts->size(); ++i) {
    auto length = static_cast<int64_t>(i) + 1;
    int64_t begin = (*counts)[i],
            end = i + 1 < counts->size() ? (*counts)[i + 1] : size;
    if (begin < 0 || begin > end || end > size || (end - begin) % length)
      return refuse("n-grams that lie in the pool one after the other");
    for (; begin < end; begin += length, ++gram) {
      if (gram >= indexes->size())
        return refuse("a place for each n-gram");
      int64_t place = (*indexes)[gram];
      if (length < least || length > most)
        continue;
      if (grams.lengths[place]) {
        (void)node.refuse(Diag::UnsupportedForm,
                          "n-grams that share a place are not supported");
        return std::nullopt;
      }
      grams.begins[place] = begin;
      grams.lengths[place] = length;
      if (weights)
        grams.weights[place] = (*weights)[gram];
      grams.longest = std::max(grams.longest, length);
    }
  }
  grams.pool = *pool;
  return grams;
}

LogicalResult convertTfIdf(NodeContext &node) {
  std::optional<Grams> grams = readGrams(node);
  std::string mode = node.attrString("mode", "");
  if (!grams)
    return failure();
  Dims in = node.inDims(0);
  if ((in.size() != 1 && in.size() != 2) || !isa<IntegerType>(node.inElem(0)))
    return node.refuse(Diag::BadShape, "expected integers of rank 1 or 2");
  if (mode != "TF" && mode != "IDF" && mode != "TFIDF")
    return node.refuse(Diag::BadAttribute,
                       "expected mode TF, IDF or TFIDF, but got '" + mode +
                           "'");
  Value rows = node.cast(node.expandRank(node.in(0), 2), node.i64());
  if (!rows)
    return failure();
  Dims from = node.dims(rows),
       to = {from[0], node.size(static_cast<int64_t>(grams->begins.size()))};
  AffineMap perGram = node.makeMap(3, node.d(1));
  Type f32 = node.f32();
  // Each result looks for its n-gram at every start and distance.
  Value counts = node.reduction(
      Combiner::Sum, to, node.i64(),
      {node.constantInts(grams->begins), node.constantInts(grams->lengths)},
      {perGram, perGram}, {rows, node.constantInts(grams->pool)}, {from[1]},
      [&](Body &body, ValueRange x) {
        Value zero = body.integer(0, node.i64()), start = body.dim(2),
              begin = body.toIndex(x[0]), length = body.toIndex(x[1]),
              size = body.extent(from[1]), one = body.index(1);
        // Single elements have no distance.
        Value distances = body.select(body.eq(length, one), one,
                                      body.index(grams->skips + 1));
        return body.loop(distances, zero, [&](Value skip, Value sum) {
          Value distance = body.add(skip, one);
          Value last =
              body.add(start, body.mul(body.sub(length, one), distance));
          Value fits =
              body.both(body.lt(last, size), body.lt(body.index(0), length));
          Value matches = body.loop(length, fits, [&](Value i, Value isEqual) {
            Value at =
                body.clampIndex(body.add(start, body.mul(i, distance)), size);
            Value have = body.read(x[2], {body.dim(0), at}),
                  want = body.read(x[3], body.add(begin, i));
            return body.both(isEqual, body.eq(have, want));
          });
          return body.add(
              sum, body.select(matches, body.integer(1, node.i64()), zero));
        });
      });
  Value weights = constantFloats(node, grams->weights);
  Value result = node.elementwise(
      {node.cast(counts, f32), weights}, f32, [&](Body &body, ValueRange x) {
        if (mode == "TF")
          return x[0];
        Value count =
            mode == "IDF" ? body.min(x[0], body.number(1, f32)) : x[0];
        return body.mul(count, x[1]);
      });
  if (in.size() == 1 && result)
    result = node.reshape(result, {to[1]});
  return node.set(0, result);
}

} // namespace

void registerLearning(Registry &registry) {
  constexpr const char *kTransforms = "post_transform SOFTMAX_ZERO and PROBIT";
  constexpr const char *kStrings = "strings";
  registry.add(kOnnxDomain,
               {{"TfIdfVectorizer", 9, 1, 1, convertTfIdf,
                 "strings, n-grams that share a place in the output"}});
  registry.add(
      kLearningDomain,
      {
          {"Scaler", 1, 1, 1, convertScaler},
          {"Normalizer", 1, 1, 1, convertNormalizer},
          {"Binarizer", 1, 1, 1, convertBinarizer},
          {"ArrayFeatureExtractor", 1, 2, 2, convertFeatureExtractor, kStrings},
          {"FeatureVectorizer", 1, 1, kAnyNumber, convertFeatureVectorizer},
          {"Imputer", 1, 1, 1, convertImputer, "integers"},
          {"LabelEncoder", 2, 1, 1, convertLabelEncoder, kStrings},
          {"LinearRegressor", 1, 1, 1, convertLinearRegressor, kTransforms},
          {"LinearClassifier", 1, 1, 1, convertLinearClassifier,
           "labels that are strings or fewer than three"},
      });
}

} // namespace qcc::onnx_import
