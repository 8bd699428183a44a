//===- QdqWriter.h - a model's graph with codes -----------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_IMPORT_ONNX_QDQWRITER_H
#define QCC_LIB_IMPORT_ONNX_QDQWRITER_H

#include "FloatConstants.h"
#include "qcc/Import/ONNX/WriteQdq.h"
#include "llvm/ADT/StringMap.h"
#include <map>
#include <set>

namespace qcc {

/// Edits a model: the graph and its tables (WriteQdq.cpp), layers and their
/// weights (QdqLayers.cpp), activations (QdqActivations.cpp).
class QdqWriter {
public:
  QdqWriter(onnx::ModelProto model, const ParameterStore &parameters)
      : model(std::move(model)), graph(*this->model.mutable_graph()),
        parameters(parameters), constants(graph, makers, initializers) {}

  llvm::Expected<std::string> run(llvm::ArrayRef<QdqActivation> activations,
                                  llvm::ArrayRef<QdqWeight> weights,
                                  llvm::ArrayRef<QdqCorrection> corrections);

private:
  /// The result of a node that computes in f32 in place of a shorter type.
  struct Narrow {
    std::string wide, output;
    onnx::TensorProto::DataType type;
  };
  void readGraph();
  llvm::Error inlineExternalData();
  llvm::Error quantize(const QdqWeight &weight);
  llvm::Error quantize(const QdqActivation &activation);
  /// The scale and zero point of an activation, and its f32 behind the codes.
  struct Pair {
    std::string tensor, scale, zero, output;
    /// The same of tensors that have the elements in other shapes or orders.
    llvm::StringMap<std::string> behindMoves;
  };
  /// The tensor that becomes codes. Errors: UnsupportedForm: not one of the
  /// main graph.
  llvm::Expected<std::string> findTensor(const QdqActivation &activation) const;
  Pair makePair(const QdqActivation &activation, const std::string &tensor);
  void addPair(std::vector<onnx::NodeProto> &list, const Pair &pair,
               const std::string &input, const std::string &output);
  /// Has a node read `value` in place of the tensor; false if it does not read
  /// that.
  bool readCodes(int node, const QdqActivation &activation,
                 const std::string &tensor, const std::string &value);
  /// Has a node that reads the tensor's elements behind nodes that only move
  /// them read codes there: they are rounded alike before and behind these.
  bool readMovedCodes(int node, Pair &pair);
  std::string multiply(std::vector<onnx::NodeProto> &list,
                       const std::string &value, const llvm::Twine &factor,
                       llvm::ArrayRef<int64_t> shape,
                       llvm::ArrayRef<float> factors);
  llvm::Error foldNormalisation(const QdqWeight &weight, int conv);
  llvm::Error correct(const QdqCorrection &correction);
  /// Makes a node compute in f32 whose operands have a shorter type.
  void widen(int node, onnx::TensorProto::DataType type);
  /// Rounds the results of such nodes to their types.
  void narrow();
  /// Errors: UnsupportedForm: such a node has an input that is not f32.
  llvm::Error checkWide() const;
  void insertNodes();
  void removeUnread();

  llvm::StringRef findRoot(llvm::StringRef tensor) const;
  llvm::StringRef findMoved(llvm::StringRef tensor) const;
  /// The nodes behind what makes a tensor.
  std::vector<onnx::NodeProto> &listBehind(const std::string &tensor);
  /// The only output of a node as the model calls it.
  const std::string &getOutput(int node) const;
  std::string makeName(const llvm::Twine &base);
  onnx::TensorProto &addInitializer(const std::string &name,
                                    onnx::TensorProto::DataType type,
                                    llvm::ArrayRef<int64_t> shape,
                                    const void *bytes, size_t size);
  /// Adds a node of one output to `nodes`.
  onnx::NodeProto &addNode(std::vector<onnx::NodeProto> &nodes, const char *op,
                           llvm::ArrayRef<std::string> inputs,
                           const std::string &output);
  void addCast(std::vector<onnx::NodeProto> &nodes, const std::string &input,
               const std::string &output, onnx::TensorProto::DataType type);
  /// Adds QuantizeLinear or DequantizeLinear to `nodes`.
  void addLinear(std::vector<onnx::NodeProto> &nodes, const char *op,
                 const std::string &input, const std::string &scale,
                 const std::string &zero, const std::string &output,
                 std::optional<int64_t> axis);

  onnx::ModelProto model;
  onnx::GraphProto &graph;
  const ParameterStore &parameters;
  FloatConstants constants;
  int64_t opset = 1;
  llvm::StringMap<int> nodes;          ///< position by name
  llvm::StringMap<int> makers;         ///< position by output
  llvm::StringMap<std::string> copied; ///< what an Identity gives again
  llvm::StringMap<std::string> moved;  ///< whose elements a node moves, all
  llvm::StringMap<std::string> casts;  ///< what a Cast makes f32
  llvm::StringMap<int> initializers;
  std::map<int, std::string> corrected; ///< outputs that an Add gives now
  std::map<int, Narrow> narrowed;       ///< nodes that compute in f32 now
  std::set<int> fed;                    ///< nodes that read codes
  std::set<int> removed;                ///< nodes that are not written
  llvm::StringSet<> names;
  std::vector<onnx::NodeProto> first;               ///< nodes at the start
  std::vector<std::vector<onnx::NodeProto>> behind; ///< behind each node
};

/// An error that says how to go on without the codes of `where`.
llvm::Error refuseQdq(llvm::StringRef where, const llvm::Twine &text);

} // namespace qcc

#endif // QCC_LIB_IMPORT_ONNX_QDQWRITER_H
