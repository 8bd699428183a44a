//===- ElementTypes.cpp - which types operators take ------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "ElementTypes.h"
#include "Registry.h"
#include "qcc/Dialect/QCC/SmallFloat.h"
#include "llvm/ADT/StringMap.h"

using namespace mlir;

namespace qcc::onnx_import {
namespace {

/// One bit for each type, and the classes that text speaks of.
enum Bit : TypeSet {
  F16 = 1 << 0,
  BF16 = 1 << 1,
  F32 = 1 << 2,
  F64 = 1 << 3,
  I8 = 1 << 4,
  I16 = 1 << 5,
  I32 = 1 << 6,
  I64 = 1 << 7,
  U8 = 1 << 8,
  U16 = 1 << 9,
  U32 = 1 << 10,
  U64 = 1 << 11,
  Bool = 1 << 12,
  I4 = 1 << 13,
  U4 = 1 << 14,
  I2 = 1 << 15,
  U2 = 1 << 16,
  Float8 = 1 << 17, ///< all of them, E8M0 too
  Float4 = 1 << 18,
};
constexpr TypeSet Floats = F16 | BF16 | F32 | F64,
                  Signed = I8 | I16 | I32 | I64,
                  Unsigned = U8 | U16 | U32 | U64, Integers = Signed | Unsigned,
                  Numbers = Floats | Integers, Wide = I32 | I64 | U32 | U64,
                  Packed = I4 | U4 | I2 | U2, SmallFloats = Float8 | Float4,
                  Plain = Numbers | Bool, Any = Plain | Packed | SmallFloats;

struct Name {
  TypeSet types;
  StringLiteral text;
};
/// Classes first: text names the largest ones that fit.
constexpr Name kNames[] = {
    {Any, "any"},
    {Floats, "floats"},
    {Integers, "integers"},
    {Signed, "signed integers"},
    {Unsigned, "unsigned integers"},
    {Packed, "integers of 2 and 4 bits"},
    {SmallFloats, "floats of 4 and 8 bits"},
    {F16, "float16"},
    {BF16, "bfloat16"},
    {F32, "float"},
    {F64, "double"},
    {I8, "int8"},
    {I16, "int16"},
    {I32, "int32"},
    {I64, "int64"},
    {U8, "uint8"},
    {U16, "uint16"},
    {U32, "uint32"},
    {U64, "uint64"},
    {Bool, "bool"},
    {I4, "int4"},
    {U4, "uint4"},
    {I2, "int2"},
    {U2, "uint2"},
    {Float8, "floats of 8 bits"},
    {Float4, "float4e2m1"},
};

/// Operators that take the same types; `input` as in DataTypes.
struct Group {
  TypeSet types;
  unsigned input;
  std::initializer_list<StringLiteral> ops;
};

const Group kOnnx[] = {
    {Floats,
     0,
     {"Acos",
      "Acosh",
      "AffineGrid",
      "Asin",
      "Asinh",
      "Atan",
      "Atanh",
      "Attention",
      "AveragePool",
      "BatchNormalization",
      "Ceil",
      "Celu",
      "Conv",
      "ConvTranspose",
      "Cos",
      "Cosh",
      "DFT",
      "DeformConv",
      "Det",
      "Dropout",
      "Elu",
      "Erf",
      "Exp",
      "Floor",
      "GRU",
      "Gelu",
      "GlobalAveragePool",
      "GlobalLpPool",
      "GlobalMaxPool",
      "GroupNormalization",
      "HardSigmoid",
      "HardSwish",
      "Hardmax",
      "InstanceNormalization",
      "IsInf",
      "IsNaN",
      "LRN",
      "LSTM",
      "LayerNormalization",
      "LeakyRelu",
      "Log",
      "LogSoftmax",
      "LpNormalization",
      "LpPool",
      "MaxRoiPool",
      "MaxUnpool",
      "Mean",
      "MeanVarianceNormalization",
      "Mish",
      "NegativeLogLikelihoodLoss",
      "NonMaxSuppression",
      "RMSNormalization",
      "RNN",
      "Reciprocal",
      "ReduceLogSum",
      "ReduceLogSumExp",
      "RoiAlign",
      "Round",
      "STFT",
      "Selu",
      "Sigmoid",
      "Sin",
      "Sinh",
      "Softmax",
      "SoftmaxCrossEntropyLoss",
      "Softplus",
      "Softsign",
      "Sqrt",
      "Sum",
      "SwiGLU",
      "Swish",
      "Tan",
      "Tanh",
      "ThresholdedRelu",
      "CausalConvWithState",
      "LinearAttention",
      "RotaryEmbedding",
      "Affine",
      "Crop",
      "ImageScaler",
      "SimplifiedLayerNormalization"}},
    {Numbers,
     0,
     {"Abs", "Add", "ArgMax", "ArgMin", "Clip", "Div", "Greater",
      "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Min", "Mod", "Mul",
      "Sign", "Sub", "TopK", "Einsum", "Shrink"}},
    {Numbers, 2, {"OneHot"}},
    {Floats | Signed, 0, {"Neg", "Relu"}},
    {Floats | Wide,
     0,
     {"CumProd", "CumSum", "Gemm", "MatMul", "PRelu", "ReduceL1", "ReduceL2",
      "ReduceMean", "ReduceProd", "ReduceSum", "ReduceSumSquare"}},
    {Plain,
     0,
     {"ReduceMax", "ReduceMin", "Equal", "EyeLike", "CenterCropPad", "Col2Im",
      "NonZero", "Resize", "Upsample", "ScatterElements", "ScatterND",
      "Scatter", "Trilu", "Compress", "ReverseSequence", "Unique",
      "GridSample"}},
    {Any, 0, {"BitCast",        "Cast",     "CastLike", "Concat",
              "DepthToSpace",   "Expand",   "Flatten",  "Gather",
              "GatherElements", "GatherND", "Identity", "Reshape",
              "Shape",          "Size",     "Slice",    "SpaceToDepth",
              "Split",          "Squeeze",  "Tile",     "Transpose",
              "Unsqueeze"}},
    {Plain | Packed, 0, {"Pad", "TensorScatter"}},
    {Plain | Packed, 1, {"Where"}},
    {Any,
     0,
     {"ConcatFromSequence", "SequenceAt", "SequenceConstruct", "SequenceEmpty",
      "SequenceErase", "SequenceLength", "SplitToSequence"}},
    {Any, 1, {"SequenceInsert"}},
    {Any, 2, {"Loop"}},
    {Any, 0, {"Scan"}},
    {Bool, 0, {"And", "If", "Not", "Or", "Xor"}},
    {Integers, 0, {"BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor"}},
    {Unsigned, 0, {"BitShift"}},
    {I32 | I64,
     0,
     {"BlackmanWindow", "HammingWindow", "HannWindow", "MelWeightMatrix",
      "TfIdfVectorizer"}},
    {I64, 0, {"ConstantOfShape"}},
    {Floats | I8 | U8, 0, {"MaxPool"}},
    {Floats | I32 | I64, 0, {"Pow"}},
    {Floats | I16 | I32 | I64, 0, {"Range"}},
    {I8 | U8, 0, {"ConvInteger", "MatMulInteger", "QLinearConv"}},
    {I8 | U8 | Float8, 0, {"QLinearMatMul"}},
    {F32, 0, {"DynamicQuantizeLinear"}},
    {F16 | BF16 | F32 | I32, 0, {"QuantizeLinear"}},
    {I8 | I16 | I32 | U8 | U16 | Packed | SmallFloats, 0, {"DequantizeLinear"}},
};

const Group kLearning[] = {
    {F32 | F64 | I32 | I64,
     0,
     {"ArrayFeatureExtractor", "Binarizer", "FeatureVectorizer",
      "LinearClassifier", "LinearRegressor", "Normalizer", "Scaler",
      "TreeEnsembleRegressor", "LabelEncoder"}},
    {F32 | F64, 0, {"Imputer"}},
    {F16 | F32 | F64, 0, {"TreeEnsemble"}},
};

const Group kMicrosoft[] = {
    {Floats,
     0,
     {"Attention", "BiasGelu", "DynamicQuantizeMatMul", "FastGelu", "FusedConv",
      "FusedGemm", "FusedMatMul", "Gelu", "GemmFastGelu", "GroupNorm",
      "GroupQueryAttention", "Inverse", "MultiHeadAttention", "QuickGelu",
      "RotaryEmbedding", "SkipLayerNormalization",
      "SkipSimplifiedLayerNormalization", "TransposeMatMul"}},
    {F16 | BF16 | F32, 0, {"MatMulBnb4", "MatMulNBits", "MoE", "QMoE"}},
    {F16 | BF16 | F32 | I32, 0, {"QuantizeLinear"}},
    {F32, 0, {"DynamicQuantizeLSTM"}},
    {I32 | I64, 0, {"EmbedLayerNormalization"}},
    {I32, 0, {"QEmbedLayerNormalization"}},
    {I8 | U8,
     0,
     {"MatMulIntegerToFloat", "NhwcMaxPool", "QAttention", "QGemm",
      "QLinearAdd", "QLinearAveragePool", "QLinearConv",
      "QLinearGlobalAveragePool", "QLinearLeakyRelu", "QLinearMul",
      "QLinearReduceMean", "QLinearSigmoid", "QLinearSoftmax"}},
    {I8 | U8, 1, {"QLinearWhere"}},
    {I8 | U8, 2, {"QLinearConcat"}},
    {I8 | I16 | I32 | U8 | U16 | Packed, 0, {"DequantizeLinear"}},
    {U8 | I4 | U4, 0, {"GatherBlockQuantized"}},
};

/// Operators by name, and by domain and name where that is not ONNX's own.
llvm::StringMap<DataTypes> makeTable() {
  llvm::StringMap<DataTypes> table;
  auto add = [&](StringRef domain, ArrayRef<Group> groups) {
    for (const Group &group : groups)
      for (StringRef op : group.ops)
        table[(domain + "\n" + op).str()] = {group.input, group.types};
  };
  add("", kOnnx);
  add("ai.onnx.ml", kLearning);
  add("com.microsoft", kMicrosoft);
  return table;
}

} // namespace

DataTypes getDataTypes(StringRef domain, StringRef op) {
  static const llvm::StringMap<DataTypes> table = makeTable();
  auto found = table.find((domain + "\n" + op).str());
  if (found != table.end())
    return found->second;
  // The rest computes with floats: quantizers of Brevitas, previews.
  return {0, Floats};
}

TypeSet getTypeSet(Type elementType) {
  if (isSmallFloat(elementType))
    return elementType.getIntOrFloatBitWidth() == 4 ? Float4 : Float8;
  if (elementType.isF16())
    return F16;
  if (elementType.isBF16())
    return BF16;
  if (elementType.isF32())
    return F32;
  if (elementType.isF64())
    return F64;
  auto integer = dyn_cast<IntegerType>(elementType);
  if (!integer)
    return 0;
  bool isUnsigned = integer.isUnsigned();
  switch (integer.getWidth()) {
  case 1:
    return Bool;
  case 2:
    return isUnsigned ? U2 : I2;
  case 4:
    return isUnsigned ? U4 : I4;
  case 8:
    return isUnsigned ? U8 : I8;
  case 16:
    return isUnsigned ? U16 : I16;
  case 32:
    return isUnsigned ? U32 : I32;
  case 64:
    return isUnsigned ? U64 : I64;
  default:
    return 0;
  }
}

std::string describeTypes(TypeSet types) {
  std::string text;
  for (const Name &name : kNames)
    if ((types & name.types) == name.types) {
      text += (text.empty() ? "" : ", ") + name.text.str();
      types &= ~name.types;
    }
  return text;
}

} // namespace qcc::onnx_import
