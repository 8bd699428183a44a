//===- NodeContext.h - one ONNX node while it is converted ------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What a converter sees: inputs with their types and known elements,
// attributes, and everything of Emitter to build the outputs with. Converters
// are small functions in files by family; Registry.h names them.
//
//===----------------------------------------------------------------------===//
#ifndef QCC_LIB_IMPORT_ONNX_NODECONTEXT_H
#define QCC_LIB_IMPORT_ONNX_NODECONTEXT_H

#include "Emitter.h"
#include "onnx-ml.pb.h"

namespace qcc::onnx_import {

class Importer;

class NodeContext : public Emitter {
public:
  NodeContext(Importer &importer, mlir::OpBuilder &builder, mlir::Location loc,
              ShapeTable &shapes, SymbolContext &symbols,
              const onnx::NodeProto &node, llvm::ArrayRef<mlir::Value> inputs,
              int64_t opset)
      : Emitter(builder, loc, shapes, symbols), importer(importer), node(node),
        inputs(inputs), opset(opset), outputs(node.output_size()) {}

  Importer &importer;
  const onnx::NodeProto &node;

  llvm::StringRef getOp() const { return node.op_type(); }
  /// The opset of the node's domain that the model imports.
  int64_t getOpset() const { return opset; }

  // Inputs. An optional one that is not given is null.
  unsigned numInputs() const { return inputs.size(); }
  bool has(unsigned i) const { return i < inputs.size() && inputs[i]; }
  mlir::Value in(unsigned i) const {
    return i < inputs.size() ? inputs[i] : mlir::Value();
  }
  llvm::ArrayRef<mlir::Value> getInputs() const { return inputs; }
  Dims inDims(unsigned i) const { return dims(inputs[i]); }
  mlir::Type inElem(unsigned i) const { return elem(inputs[i]); }
  int64_t inRank(unsigned i) const { return rank(inputs[i]); }

  // Outputs.
  unsigned numOutputs() const { return outputs.size(); }
  /// True if output `i` is there and has a name.
  bool wants(unsigned i) const {
    return i < outputs.size() && !node.output(i).empty();
  }
  /// Sets an output; true unless the value is null (a problem was recorded
  /// then).
  mlir::LogicalResult set(unsigned i, mlir::Value value);
  llvm::ArrayRef<mlir::Value> getOutputs() const { return outputs; }
  /// Says that a value that an output may be is another one now.
  void replace(mlir::Value from, mlir::Value to) {
    std::replace(outputs.begin(), outputs.end(), from, to);
  }
  /// The shape that the model states for an output, where all its sizes are
  /// known (constants or names of symbols).
  std::optional<Dims> getDeclaredDims(unsigned output);
  /// The rank that the model states for an output, if it states one.
  std::optional<int64_t> getDeclaredRank(unsigned output);

  // Attributes. A value of the wrong type records BadAttribute and gives the
  // default.
  bool hasAttr(llvm::StringRef name) const { return findAttr(name); }
  int64_t attrInt(llvm::StringRef name, int64_t defaultValue);
  double attrFloat(llvm::StringRef name, double defaultValue);
  std::string attrString(llvm::StringRef name, llvm::StringRef defaultValue);
  std::optional<llvm::SmallVector<int64_t>> attrInts(llvm::StringRef name);
  std::optional<llvm::SmallVector<double>> attrFloats(llvm::StringRef name);
  const onnx::AttributeProto *findAttr(llvm::StringRef name) const;
  /// Element type of an attribute that holds an ONNX data type; null and
  /// UnsupportedType if it is not one of ours.
  mlir::Type attrType(llvm::StringRef name, mlir::Type defaultValue);
  mlir::Type dataType(int64_t onnxType);
  /// A tensor attribute as a constant or parameter; null and BadAttribute if it
  /// is not there.
  mlir::Value getTensorAttr(llvm::StringRef name);
  /// Records BadShape unless all inputs from `first` on have one element type.
  bool requireSameTypes(unsigned first = 0);

  // What is known of inputs.
  std::optional<ShapeElements> getKnown(unsigned i) const {
    return has(i) ? shapes.lookup(inputs[i]) : std::nullopt;
  }
  /// Integers of a small input as expressions, as constants, as one constant.
  std::optional<Dims> getSizes(unsigned i) const;
  std::optional<llvm::SmallVector<int64_t>> getInts(unsigned i) const;
  /// The one element of an integer input as an expression, read at run time if
  /// it is not known; none with a problem recorded for other inputs.
  std::optional<mlir::AffineExpr> getScalarSize(unsigned i,
                                                llvm::StringRef what);
  /// As getSizes, but what is not known is read at run time: integers of an
  /// input of rank 0 or 1 and of static size, at most 64 of them. Negative ones
  /// end the run unless they are allowed; what is beyond 2^40 is taken for that
  /// then. None with a problem recorded for other inputs; `what` names them.
  std::optional<Dims> readSizes(unsigned i, llvm::StringRef what,
                                bool allowNegative = false);
  /// Constant floats (or integers) of an input of any rank.
  std::optional<llvm::SmallVector<double>> getFloats(unsigned i) const;

  /// The axes of an operator that takes them as an input in newer opsets and as
  /// attribute `axes` before: normalised, each once, sorted. `given` tells
  /// whether there are any. None with a problem recorded if they are wrong or
  /// not constant.
  std::optional<llvm::SmallVector<int64_t>> getAxes(unsigned input,
                                                    int64_t rank, bool &given);

  /// Part `index` of a tensor's first dimension, without that dimension; null
  /// for null.
  mlir::Value takePart(mlir::Value tensor, int64_t index);

  /// As concat, of many tensors: few at a time, for each is an operand of a
  /// kernel.
  mlir::Value concatMany(llvm::ArrayRef<mlir::Value> tensors, int64_t axis);

  /// Tells the user of the model what the import cannot know to be meant: a
  /// warning with the node's name.
  void warn(const llvm::Twine &text);

  /// Records that the input must be a constant to be compiled.
  mlir::LogicalResult refuseDynamic(unsigned input, llvm::StringRef what);

private:
  const onnx::AttributeProto *
  findAttr(llvm::StringRef name, onnx::AttributeProto::AttributeType type);

  llvm::ArrayRef<mlir::Value> inputs;
  int64_t opset;
  llvm::SmallVector<mlir::Value> outputs;
};

} // namespace qcc::onnx_import

#endif // QCC_LIB_IMPORT_ONNX_NODECONTEXT_H
