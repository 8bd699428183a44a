//===- RandomGeneric.cpp - random kernels and their oracle ------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "RandomGeneric.h"
#include <algorithm>
#include <cmath>
#include <sstream>

using namespace qcc::test;

//===----------------------------------------------------------------------===//
// Making
//===----------------------------------------------------------------------===//

RandomGeneric::RandomGeneric(uint64_t seed) {
  Random random(seed + 1000);
  for (int i = 0; i < 8; ++i)
    random.next();
  const char *types[] = {"f32", "f32", "f32", "i32", "i8", "i64"};
  element = types[random.range(0, 5)];
  const int64_t sizes[] = {0, 1, 2, 3, 5, 8, 16, 17, 33, 64, 100, 257};
  numParallel = random.range(0, 4);
  size_t numReduction = random.range(0, 2);
  int64_t total = 1;
  for (size_t i = 0; i < numParallel + numReduction; ++i) {
    int64_t size = sizes[random.range(random.range(0, 9) == 0 ? 0 : 1, 11)];
    if (total * size > 60000)
      size = 2;
    total *= std::max<int64_t>(size, 1);
    extents.push_back(size);
    symbols.push_back(-1);
    if (random.range(0, 3) == 0) {
      symbols.back() = static_cast<int>(dims.size());
      dims.push_back(size);
    }
  }
  if (numReduction) {
    const char *combiners[] = {"sum", "sum", "max", "min", "prod", "and", "or"};
    combiner = combiners[random.range(0, isFloat() ? 3 : 6)];
    if (element == "i64" && combiner == "prod")
      combiner = "sum"; // the oracle holds 53 bits
  }
  size_t numInputs = random.range(1, 3);
  for (size_t i = 0; i < numInputs; ++i)
    makeOperand(random, /*identity=*/random.range(0, 2) == 0);
  makeBody(random);
  hasEpilogue = isFloat() && numParallel > 0 && random.range(0, 1);
  if (hasEpilogue)
    for (int64_t i = 0; i < extents[numParallel - 1]; ++i)
      bias.push_back(random.uniform(-2, 2));
}

void RandomGeneric::makeOperand(Random &random, bool identity) {
  Operand operand;
  std::vector<int> order;
  for (size_t i = 0; i < extents.size(); ++i)
    if (identity || random.range(0, 3) != 0)
      order.push_back(static_cast<int>(i));
  if (!identity)
    for (size_t i = order.size(); i > 1; --i)
      std::swap(order[i - 1], order[random.range(0, i - 1)]);
  for (int dim : order) {
    Access access{dim, 1, 0};
    // Dimensions that grow by a stride or start later have static sizes.
    if (!identity && symbols[dim] < 0 && random.range(0, 4) == 0) {
      access.coefficient = random.range(1, 3);
      access.constant = random.range(0, 2);
      int other = static_cast<int>(random.range(0, extents.size() - 1));
      if (symbols[other] < 0 && random.range(0, 1))
        access.second = other;
    }
    operand.accesses.push_back(access);
  }
  if (!identity && random.range(0, 3) == 0)
    operand.accesses.push_back({-1, 0, 0}); // a dimension of size 1
  size_t count = 1;
  for (const Access &access : operand.accesses) {
    int64_t size = access.constant + 1;
    if (access.dim >= 0)
      size += access.coefficient * (extents[access.dim] - 1);
    if (access.second >= 0)
      size += extents[access.second] - 1;
    operand.shape.push_back(std::max<int64_t>(size, 0));
    count *= operand.shape.back();
  }
  for (size_t i = 0; i < count; ++i)
    operand.values.push_back(isFloat() ? random.uniform(-2, 2)
                                       : random.range(-128, 127));
  operands.push_back(std::move(operand));
}

void RandomGeneric::makeBody(Random &random) {
  for (size_t i = 0; i < operands.size(); ++i)
    steps.push_back({"input", static_cast<int>(i)});
  steps.push_back({"constant", 0, 0, static_cast<double>(random.range(-3, 3))});
  if (!extents.empty() && random.range(0, 3) == 0)
    steps.push_back(
        {"index", static_cast<int>(random.range(0, extents.size() - 1))});
  const char *floatOps[] = {"arith.addf",     "arith.mulf", "arith.subf",
                            "arith.maximumf", "math.tanh",  "math.absf"};
  const char *intOps[] = {"arith.addi",  "arith.muli", "arith.subi",
                          "arith.maxsi", "arith.xori", "arith.andi"};
  int64_t count = random.range(1, 5);
  for (int64_t i = 0; i < count; ++i) {
    int last = static_cast<int>(steps.size()) - 1;
    Step step;
    step.op =
        isFloat() ? floatOps[random.range(0, 5)] : intOps[random.range(0, 5)];
    step.a = static_cast<int>(random.range(0, last));
    step.b = i + 1 == count ? last : static_cast<int>(random.range(0, last));
    steps.push_back(step);
  }
}

//===----------------------------------------------------------------------===//
// Text
//===----------------------------------------------------------------------===//

std::string RandomGeneric::sizeText(size_t dim) const {
  return symbols[dim] < 0 ? std::to_string(extents[dim])
                          : "s" + std::to_string(symbols[dim]);
}

/// A tensor type whose dimension i is extent `fromDims[i]`, or static where
/// that is negative.
std::string RandomGeneric::typeText(const std::vector<int64_t> &shape,
                                    const std::vector<int> &fromDims) const {
  std::string text = "tensor<", sizes;
  int highest = -1;
  for (size_t i = 0; i < shape.size(); ++i) {
    bool dynamic = fromDims[i] >= 0 && symbols[fromDims[i]] >= 0;
    text += dynamic ? "?x" : std::to_string(shape[i]) + "x";
    sizes += (i ? ", " : "") +
             (dynamic ? sizeText(fromDims[i]) : std::to_string(shape[i]));
    if (dynamic)
      highest = std::max(highest, symbols[fromDims[i]]);
  }
  text += element;
  if (highest >= 0) {
    text += ", affine_map<()[";
    for (int i = 0; i <= highest; ++i)
      text += (i ? ", s" : "s") + std::to_string(i);
    text += "] -> (" + sizes + ")>";
  }
  return text + ">";
}

std::string RandomGeneric::operandType(const Operand &operand) const {
  std::vector<int> from;
  for (const Access &access : operand.accesses)
    from.push_back(access.dim);
  return typeText(operand.shape, from);
}

std::string RandomGeneric::mapText(const Operand &operand) const {
  std::string text = "affine_map<(";
  for (size_t i = 0; i < extents.size(); ++i)
    text += (i ? ", d" : "d") + std::to_string(i);
  text += ") -> (";
  for (size_t i = 0; i < operand.accesses.size(); ++i) {
    const Access &access = operand.accesses[i];
    text += i ? ", " : "";
    text += access.dim < 0 ? "0"
                           : "d" + std::to_string(access.dim) + " * " +
                                 std::to_string(access.coefficient) + " + " +
                                 std::to_string(access.constant);
    if (access.second >= 0)
      text += " + d" + std::to_string(access.second);
  }
  return text + ")>";
}

std::string RandomGeneric::bodyText() const {
  std::ostringstream os;
  for (size_t i = operands.size(); i < steps.size(); ++i) {
    const Step &step = steps[i];
    if (step.op == "constant") {
      os << "    %v" << i << " = arith.constant " << step.constant
         << (isFloat() ? ".0 : " : " : ") << element << "\n";
    } else if (step.op == "index") {
      std::string integer = isFloat() ? "i32" : element;
      os << "    %x" << i << " = qcc.index " << step.a << "\n    %"
         << (isFloat() ? "w" : "v") << i << " = arith.index_cast %x" << i
         << " : index to " << integer << "\n";
      if (isFloat())
        os << "    %v" << i << " = arith.sitofp %w" << i << " : i32 to f32\n";
    } else {
      bool unary = step.op.starts_with("math.");
      os << "    %v" << i << " = " << step.op << " %v" << step.a;
      if (!unary)
        os << ", %v" << step.b;
      os << " : " << element << "\n";
    }
  }
  os << "    qcc.yield %v" << steps.size() - 1 << " : " << element << "\n";
  return os.str();
}

std::string RandomGeneric::getText() const {
  std::ostringstream os;
  std::vector<int> identity;
  std::vector<int64_t> shape(extents.begin(), extents.begin() + numParallel);
  for (size_t i = 0; i < numParallel; ++i)
    identity.push_back(static_cast<int>(i));
  std::string result = typeText(shape, identity);
  std::string args, names, types, maps, scalars;
  for (size_t i = 0; i < operands.size(); ++i) {
    std::string comma = i ? ", " : "", n = std::to_string(i),
                type = operandType(operands[i]);
    args += comma + "%a" + n + ": " + type;
    names += comma + "%a" + n;
    types += comma + type;
    maps += comma + mapText(operands[i]);
    scalars += comma + "%v" + n + ": " + element;
  }
  std::string biasType;
  if (hasEpilogue) {
    biasType = typeText({extents[numParallel - 1]},
                        {static_cast<int>(numParallel) - 1});
    args += ", %bias: " + biasType;
  }
  os << "qcc.kernel @k {} {\n^bb0(" << args << "):\n  %r = qcc.generic "
     << combiner << " ins(" << names << " : " << types << ") maps [" << maps
     << "]";
  if (combiner != "none") {
    os << " over affine_map<()[";
    for (size_t i = 0; i < dims.size(); ++i)
      os << (i ? ", s" : "s") << i;
    os << "] -> (";
    for (size_t i = numParallel; i < extents.size(); ++i)
      os << (i > numParallel ? ", " : "") << sizeText(i);
    os << ")>";
  }
  os << " {\n  ^bb1(" << scalars << "):\n"
     << bodyText() << "  } -> " << result << "\n";
  if (hasEpilogue) {
    std::string all;
    for (size_t i = 0; i < numParallel; ++i)
      all += (i ? ", d" : "d") + std::to_string(i);
    os << "  %e = qcc.generic none ins(%r, %bias : " << result << ", "
       << biasType << ") maps [affine_map<(" << all << ") -> (" << all
       << ")>, affine_map<(" << all << ") -> (d" << numParallel - 1
       << ")>] {\n  ^bb1(%x: f32, %y: f32):\n    %z = arith.addf %x, %y : "
          "f32\n    qcc.yield %z : f32\n  } -> "
       << result << "\n";
  }
  os << "  qcc.yield " << (hasEpilogue ? "%e" : "%r") << " : " << result
     << "\n}\n";
  return os.str();
}

//===----------------------------------------------------------------------===//
// Bytes
//===----------------------------------------------------------------------===//

template <typename T> static Bytes convert(const std::vector<double> &values) {
  std::vector<T> typed;
  for (double value : values)
    typed.push_back(static_cast<T>(value));
  return toBytes(typed);
}

template <typename T>
static std::vector<double> convertBack(const Bytes &bytes) {
  std::vector<T> typed = fromBytes<T>(bytes);
  return {typed.begin(), typed.end()};
}

std::vector<Bytes> RandomGeneric::getInputs() const {
  std::vector<Bytes> inputs;
  for (const Operand &operand : operands)
    inputs.push_back(element == "f32"   ? convert<float>(operand.values)
                     : element == "i32" ? convert<int32_t>(operand.values)
                     : element == "i8"  ? convert<int8_t>(operand.values)
                                        : convert<int64_t>(operand.values));
  if (hasEpilogue)
    inputs.push_back(convert<float>(bias));
  return inputs;
}

size_t RandomGeneric::getResultBytes() const {
  size_t bytes = element == "i8" ? 1 : element == "i64" ? 8 : 4;
  for (size_t i = 0; i < numParallel; ++i)
    bytes *= extents[i];
  return bytes;
}

//===----------------------------------------------------------------------===//
// The oracle
//===----------------------------------------------------------------------===//

/// Integers are kept in doubles; products of wide ones would not fit, so they
/// are computed as 64-bit integers first.
double RandomGeneric::wrap(double value) const {
  auto integer = static_cast<int64_t>(value);
  if (element == "i8")
    return static_cast<int8_t>(integer);
  if (element == "i32")
    return static_cast<int32_t>(integer);
  return value;
}

double RandomGeneric::read(const Operand &operand,
                           const std::vector<int64_t> &at) const {
  int64_t offset = 0;
  for (size_t i = 0; i < operand.shape.size(); ++i) {
    const Access &access = operand.accesses[i];
    int64_t index = access.constant;
    if (access.dim >= 0)
      index += access.coefficient * at[access.dim];
    if (access.second >= 0)
      index += at[access.second];
    offset = offset * operand.shape[i] + index;
  }
  return isFloat() ? static_cast<float>(operand.values[offset])
                   : operand.values[offset];
}

double RandomGeneric::evaluateBody(const std::vector<int64_t> &at,
                                   double &magnitude) const {
  std::vector<double> values;
  magnitude = 0;
  for (const Step &step : steps) {
    double a = step.a < static_cast<int>(values.size()) ? values[step.a] : 0,
           b = step.b < static_cast<int>(values.size()) ? values[step.b] : 0;
    auto ia = static_cast<int64_t>(a), ib = static_cast<int64_t>(b);
    double value = 0;
    if (step.op == "input")
      value = read(operands[step.a], at);
    else if (step.op == "constant")
      value = step.constant;
    else if (step.op == "index")
      value = wrap(at[step.a]);
    else if (step.op == "math.tanh")
      value = std::tanh(a);
    else if (step.op == "math.absf")
      value = std::abs(a);
    else if (step.op == "arith.maximumf" || step.op == "arith.maxsi")
      value = std::max(a, b);
    else if (step.op == "arith.xori")
      value = ia ^ ib;
    else if (step.op == "arith.andi")
      value = ia & ib;
    else if (step.op.starts_with("arith.add"))
      value = wrap(a + b);
    else if (step.op.starts_with("arith.sub"))
      value = wrap(a - b);
    else
      value = isFloat()
                  ? a * b
                  : wrap(static_cast<int64_t>(static_cast<uint64_t>(ia) * ib));
    magnitude = std::max(magnitude, std::abs(value));
    values.push_back(value);
  }
  return values.back();
}

double RandomGeneric::combine(double a, double b) const {
  auto ia = static_cast<int64_t>(a), ib = static_cast<int64_t>(b);
  if (combiner == "sum")
    return isFloat() ? a + b : wrap(a + b);
  if (combiner == "prod")
    return wrap(static_cast<int64_t>(static_cast<uint64_t>(ia) * ib));
  if (combiner == "max")
    return std::max(a, b);
  if (combiner == "min")
    return std::min(a, b);
  return combiner == "and" ? ia & ib : ia | ib;
}

std::string RandomGeneric::check(const Bytes &result) const {
  std::vector<double> got = element == "f32"   ? convertBack<float>(result)
                            : element == "i32" ? convertBack<int32_t>(result)
                            : element == "i8"  ? convertBack<int8_t>(result)
                                               : convertBack<int64_t>(result);
  int64_t inner = 1;
  for (size_t i = numParallel; i < extents.size(); ++i)
    inner *= extents[i];
  for (size_t linear = 0; linear < got.size(); ++linear) {
    std::vector<int64_t> at(extents.size());
    size_t rest = linear;
    for (size_t i = numParallel; i-- > 0; rest /= extents[i])
      at[i] = rest % extents[i];
    double infinity = HUGE_VAL, sum = 0, scale = 0;
    bool first = true;
    for (int64_t r = 0; r < (combiner == "none" ? 1 : inner); ++r) {
      int64_t left = r;
      for (size_t i = extents.size(); i-- > numParallel; left /= extents[i])
        at[i] = left % extents[i];
      double magnitude, value = evaluateBody(at, magnitude);
      sum = first ? value : combine(sum, value);
      scale =
          combiner == "sum" ? scale + magnitude : std::max(scale, magnitude);
      first = false;
    }
    if (first) { // nothing to combine
      if (!isFloat() && (combiner == "max" || combiner == "min"))
        continue; // the extreme integer of the type
      sum = combiner == "max"    ? -infinity
            : combiner == "min"  ? infinity
            : combiner == "prod" ? 1
            : combiner == "and"  ? -1
                                 : 0;
    }
    if (hasEpilogue)
      sum += static_cast<float>(bias[at[numParallel - 1]]);
    // A few roundings per operation, and one per step of a sum.
    double bound = isFloat() ? 0x1p-23 * (scale * (8 + inner / 8.0) + 4) : 0;
    if (got[linear] != sum && !(std::abs(got[linear] - sum) <= bound)) {
      std::ostringstream os;
      os << "element " << linear << ": got " << got[linear] << ", expected "
         << sum << " within " << bound;
      return os.str();
    }
  }
  return "";
}
