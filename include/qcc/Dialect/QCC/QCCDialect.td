//===- QCCDialect.td - the qcc dialect and its attributes ----*- tablegen -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_DIALECT_TD
#define QCC_DIALECT_TD

include "mlir/IR/OpBase.td"
include "mlir/IR/EnumAttr.td"
include "mlir/IR/AttrTypeBase.td"

def QCC_Dialect : Dialect {
  let name = "qcc";
  let cppNamespace = "::qcc";
  let summary = "tensors, quantization and fusion";
  let description = [{
    The dialect that a model lives in from import to code generation. Shapes are symbolic: a ranked tensor type with
    dynamic dimensions carries an affine map `()[s0, ...] -> (dims)` as its encoding, whose symbols are those of the
    module attribute `qcc.symbols`. Everything that can be said per output element is a `qcc.generic`; operations that
    quantization, fusion or a target must recognise have names of their own, and each of those has a decomposition to
    `qcc.generic` that defines its meaning.
  }];
  let useDefaultAttributePrinterParser = 1;
  let hasConstantMaterializer = 1;
  let dependentDialects = ["::mlir::arith::ArithDialect"];
}

class QCC_I32Enum<string name, string summary, list<I32EnumAttrCase> cases>
    : I32EnumAttr<name, summary, cases> {
  let cppNamespace = "::qcc";
  let genSpecializedAttr = 0;
}
class QCC_EnumAttr<I32EnumAttr info, string mnemonic> : EnumAttr<QCC_Dialect, info, mnemonic>;

def QCC_CombinerEnum : QCC_I32Enum<"Combiner", "how a reduction combines elements", [
  I32EnumAttrCase<"None", 0, "none">, I32EnumAttrCase<"Sum", 1, "sum">, I32EnumAttrCase<"Prod", 2, "prod">,
  I32EnumAttrCase<"Max", 3, "max">, I32EnumAttrCase<"Min", 4, "min">, I32EnumAttrCase<"And", 5, "and">,
  I32EnumAttrCase<"Or", 6, "or">]>;
def QCC_Combiner : QCC_EnumAttr<QCC_CombinerEnum, "combiner">;

def QCC_PoolKindEnum : QCC_I32Enum<"PoolKind", "kind of a pooling window", [
  I32EnumAttrCase<"Max", 0, "max">, I32EnumAttrCase<"Average", 1, "average">, I32EnumAttrCase<"Lp", 2, "lp">]>;
def QCC_PoolKind : QCC_EnumAttr<QCC_PoolKindEnum, "pool">;

def QCC_NormKindEnum : QCC_I32Enum<"NormKind", "kind of a row-wise normalisation", [
  I32EnumAttrCase<"Layer", 0, "layer">, I32EnumAttrCase<"RMS", 1, "rms">]>;
def QCC_NormKind : QCC_EnumAttr<QCC_NormKindEnum, "norm">;

def QCC_FormatAttr : AttrDef<QCC_Dialect, "Format"> {
  let mnemonic = "format";
  let summary = "storage and compute format of a quantized tensor";
  let description = [{
    `scheme` is the key of a registered scheme (see `qcc schemes`), `group` the number of consecutive elements along
    the reduction dimension that share a scale (0: the whole channel), `symmetric` whether there is no zero point.
    Formats are attributes, never types: scales and zero points are operands.
  }];
  let parameters = (ins StringRefParameter<"scheme key">:$scheme, "int64_t":$group, "bool":$symmetric);
  let assemblyFormat = "`<` $scheme `,` `group` `=` $group `,` `symmetric` `=` $symmetric `>`";
}

#endif // QCC_DIALECT_TD
