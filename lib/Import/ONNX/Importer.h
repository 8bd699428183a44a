//===- Importer.h - walks the graphs of a model -----------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_IMPORT_ONNX_IMPORTER_H
#define QCC_LIB_IMPORT_ONNX_IMPORTER_H

#include "Emitter.h"
#include "TensorData.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/OwningOpRef.h"
#include "qcc/Import/ONNX/Import.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSet.h"
#include <map>

namespace qcc::onnx_import {

class NodeContext;

/// Why a tensor type must not be used; empty if it may. Sizes that overflow
/// stay products of constants, which no symbol explains.
std::string describeExcess(mlir::Type type);

using NodeList = google::protobuf::RepeatedPtrField<onnx::NodeProto>;

/// What a name means in a graph. Subgraphs see the names around them; functions
/// see their own only.
struct Scope {
  const Scope *parent = nullptr;
  /// Values by name; a null value is one that could not be imported.
  llvm::StringMap<mlir::Value> values;
  /// Initializers that have not been used yet.
  llvm::StringMap<const onnx::TensorProto *> initializers;
  llvm::StringMap<const onnx::SparseTensorProto *> sparseInitializers;
  /// Types that the model states.
  llvm::StringMap<const onnx::TypeProto *> types;
  /// Why an output of a node that was imported is not there.
  llvm::StringMap<std::string> missing;
  /// Opset by domain; that of the enclosing graph if empty.
  llvm::StringMap<int64_t> opsets;
  /// Goes before the names of nodes and parameters.
  std::string prefix;
  unsigned depth = 0;
};

/// Imports one model. Faults are collected, since one run may report all of
/// them.
class Importer {
public:
  Importer(const ModelFile &model, TensorReader reader,
           const ImportOptions &options, mlir::MLIRContext &context,
           ParameterStore &parameters, llvm::StringRef path);

  llvm::Expected<mlir::OwningOpRef<mlir::ModuleOp>> run();

  // For converters.
  const ImportOptions &getOptions() const { return options; }
  /// The shape stated for a value of the current graph, where all its sizes are
  /// known.
  std::optional<Dims> getDeclaredDims(llvm::StringRef valueName);
  /// The type stated for it; null if there is none.
  const onnx::TypeProto *getDeclaredType(llvm::StringRef valueName) const;
  /// A tensor of the model as a constant or a parameter; null with a problem
  /// recorded in `emitter`.
  mlir::Value importTensor(const onnx::TensorProto &tensor, llvm::StringRef key,
                           Emitter &emitter);
  mlir::Value importTensor(const onnx::SparseTensorProto &tensor,
                           llvm::StringRef key, Emitter &emitter);
  /// Imports a subgraph of a node at the insertion point and gives its outputs.
  /// `arguments` are the values of the graph's inputs.
  mlir::LogicalResult
  importSubgraph(NodeContext &node, const onnx::GraphProto &graph,
                 llvm::ArrayRef<mlir::Value> arguments,
                 llvm::SmallVectorImpl<mlir::Value> &results);
  /// Warns once of what may be imported more than once.
  void warn(mlir::Location loc, const llvm::Twine &text);
  /// Where nodes are imported.
  mlir::OpBuilder &getBuilder() { return builder; }
  /// Counts products that nodes are taken apart into; false, and nothing is
  /// counted, where a model would have too many: a node names a weight of its
  /// file in some bytes, and each product is compiled.
  bool countParts(int64_t products) {
    constexpr int64_t kMaxParts = 32768;
    if (products > kMaxParts - parts)
      return false;
    parts += products;
    return true;
  }

private:
  struct Fault {
    Diag id;
    std::string where, text;
  };

  mlir::Value importTensor(llvm::Expected<TensorData> data, llvm::StringRef key,
                           Emitter &emitter);

  // Reporting.
  mlir::LogicalResult report(Diag id, const llvm::Twine &where,
                             const llvm::Twine &text);
  mlir::LogicalResult report(llvm::Error error, const llvm::Twine &where);
  llvm::Error takeFaults();
  /// Refuses a `--dim` that names no dimension of the model.
  std::vector<std::string> listDims() const;
  llvm::Error checkFixedDims() const;

  // The model.
  mlir::LogicalResult readOpsets();
  mlir::LogicalResult declareGraph(const onnx::GraphProto &graph, Scope &scope);
  mlir::LogicalResult importInputs(const onnx::GraphProto &graph, Scope &scope);
  mlir::LogicalResult importOutputs(const onnx::GraphProto &graph,
                                    Scope &scope);
  mlir::RankedTensorType importType(const onnx::TypeProto &type,
                                    llvm::StringRef name);
  std::optional<mlir::AffineExpr>
  importDim(const onnx::TensorShapeProto::Dimension &dim,
            llvm::StringRef freshName);
  mlir::AffineExpr getSymbol(llvm::StringRef name);
  void noteDimRules(mlir::ModuleOp module);
  void finish(mlir::ModuleOp module);
  llvm::Error verifyModule(mlir::ModuleOp module);

  // Nodes.
  mlir::LogicalResult importNodes(const NodeList &nodes, Scope &scope);
  mlir::LogicalResult importNode(const onnx::NodeProto &node, size_t index,
                                 Scope &scope);
  /// Reports the operators that are not known inside of a node that is not
  /// imported, and of the functions that it calls, where they have not been
  /// reported.
  void checkUnreached(const onnx::NodeProto &node, llvm::StringRef name,
                      const Scope &scope);
  mlir::LogicalResult gatherInputs(const onnx::NodeProto &node,
                                   const Scope &scope, llvm::StringRef where,
                                   llvm::SmallVectorImpl<mlir::Value> &inputs,
                                   bool &poisoned);
  /// Refuses a node whose operations after `before` give tensors that are too
  /// large, whatever they were made from.
  mlir::LogicalResult checkSizes(mlir::Operation *before, NodeContext &node);
  /// Computes what a node's operations after `before` make of constants.
  void foldConstants(mlir::Operation *before, NodeContext &node);
  mlir::LogicalResult convertNode(NodeContext &context, llvm::StringRef domain,
                                  llvm::StringRef where);
  mlir::LogicalResult inlineFunction(
      const onnx::FunctionProto &function, const onnx::NodeProto &node,
      llvm::ArrayRef<mlir::Value> inputs, llvm::StringRef name,
      const Scope &scope, llvm::SmallVectorImpl<mlir::Value> &outputs);
  mlir::LogicalResult define(llvm::StringRef name, mlir::Value value,
                             Scope &scope, llvm::StringRef where);
  /// The value of a name, importing an initializer on first use; none if the
  /// name is not there.
  std::optional<mlir::Value> lookup(llvm::StringRef name, const Scope &scope);
  int64_t getOpset(llvm::StringRef domain, const Scope &scope) const;
  const onnx::FunctionProto *findFunction(const onnx::NodeProto &node) const;
  /// Reports that functions bring too many nodes.
  mlir::LogicalResult reportInlined();
  /// Nodes that a call of a function brings with those of the functions it
  /// calls, up to just over the limit; those in subgraphs are left out.
  uint64_t countNodes(const onnx::FunctionProto &body, unsigned depth);

  const ModelFile &model;
  TensorReader reader;
  const ImportOptions &options;
  mlir::MLIRContext &context;
  ParameterStore &parameters;
  std::string path;

  mlir::OpBuilder builder;
  int64_t parts = 0; ///< products that nodes were taken apart into
  mlir::func::FuncOp function;
  ShapeTable shapes;
  SymbolContext symbolContext;
  std::vector<Fault> faults;
  llvm::StringSet<> warned;      ///< names of nodes with the texts
  llvm::StringSet<> faultyNodes; ///< where faults are or were
  llvm::StringMap<unsigned> symbolPositions;
  std::vector<DimRule> dimRules;
  llvm::StringSet<> namedDims; ///< names of dimensions in the model
  llvm::StringSet<> fixedDims; ///< names of options.dims that the model has
  std::map<std::string, const onnx::FunctionProto *> functions;
  /// Functions whose nodes checkUnreached has seen.
  llvm::DenseSet<const onnx::FunctionProto *> checkedFunctions;
  /// What countNodes found; 0 while it counts.
  llvm::DenseMap<const onnx::FunctionProto *, uint64_t> functionNodes;
  Scope *current = nullptr;
  uint64_t numNodes = 0, numInlined = 0, numInlinedBytes = 0;
};

} // namespace qcc::onnx_import

#endif // QCC_LIB_IMPORT_ONNX_IMPORTER_H
