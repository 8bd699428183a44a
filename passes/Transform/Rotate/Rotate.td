//===- Rotate.td - rotations folded into weights --------------*- tablegen -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
include "mlir/Pass/PassBase.td"

def Rotate : Pass<"qcc-transform-rotate", "::mlir::ModuleOp"> {
  let summary = "rotates residual streams and attention values by Hadamard matrices folded into weights (QuaRot)";
  let description = [{
    A residual stream is what products add to and RMS norms read. It is multiplied by an orthogonal matrix Q in the weights
    that make it (embeddings, products, biases) and by its transpose in those that read it, after the norms' gains have been
    multiplied into the latter: an RMS norm of a rotated row is the rotated norm. The values of an attention are rotated in
    each head, in the weight that makes them and in the one that reads the attention's result. Nothing is computed at run
    time for it. Streams are found from the graph's structure; one that anything else reads or makes stays as it is, and
    `qcc.transform` says why. The model computes the same in float, which is checked.
  }];
  let options = [
    Option<"seed", "seed", "uint64_t", "0", "of the signs of the matrices">,
    Option<"stream", "stream", "bool", "true", "rotate residual streams">,
    Option<"heads", "heads", "bool", "true", "rotate the heads of attention values">,
  ];
  let dependentDialects = ["::qcc::QCCDialect"];
}
