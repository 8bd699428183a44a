//===- QCCOps.td - operations of the qcc dialect --------------*- tablegen -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_OPS_TD
#define QCC_OPS_TD

include "qcc/Dialect/QCC/QCCDialect.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/ControlFlowInterfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

class QCC_Op<string mnemonic, list<Trait> traits = []> : Op<QCC_Dialect, mnemonic, traits>;
def QCC_Tensor : Type<CPred<"::llvm::isa<::mlir::RankedTensorType>($_self)">, "ranked tensor", "::mlir::RankedTensorType">;

//===----------------------------------------------------------------------===//
// The workhorse and what stands in its body
//===----------------------------------------------------------------------===//

def QCC_GenericOp : QCC_Op<"generic", [Pure, IsolatedFromAbove, AttrSizedOperandSegments, SingleBlock]> {
  let summary = "a value per output element, or a reduction";
  let description = [{
    Iterates over the dimensions of the result and then over the reduction extents `over`. Each operand of `ins` is
    read at the element its affine map gives for the current iteration point and arrives in the body as a scalar; each
    operand of `whole` arrives as a tensor that the body reads with `qcc.read`. The body yields one scalar: the
    result element if the combiner is `none`, else the value to be combined over the reduction dimensions (in
    ascending order, starting from the combiner's neutral element; integer sums wrap).
    Unsigned and boolean elements arrive as signless integers.

    Example, row sums of squares:
    ```mlir
    %r = qcc.generic sum ins(%x : tensor<4x8xf32>) maps [affine_map<(d0, d1) -> (d0, d1)>]
        over affine_map<() -> (8)> {
    ^bb0(%v: f32):
      %q = arith.mulf %v, %v : f32
      qcc.yield %q : f32
    } -> tensor<4xf32>
    ```
  }];
  let arguments = (ins DefaultValuedAttr<QCC_Combiner, "::qcc::Combiner::None">:$combiner,
                       Variadic<QCC_Tensor>:$inputs, AffineMapArrayAttr:$maps,
                       Variadic<QCC_Tensor>:$whole, OptionalAttr<AffineMapAttr>:$over);
  let results = (outs QCC_Tensor:$result);
  let regions = (region SizedRegion<1>:$body);
  let hasCustomAssemblyFormat = 1;
  let hasVerifier = 1;
  let hasCanonicalizer = 1;
  let extraClassDeclaration = [{
    /// Number of parallel iteration dimensions: the rank of the result.
    unsigned getNumParallel() { return getResult().getType().getRank(); }
    /// Number of reduction dimensions; 0 without `over`.
    unsigned getNumReduction() { return getOver() ? getOver()->getNumResults() : 0; }
    unsigned getNumDims() { return getNumParallel() + getNumReduction(); }
    /// Extents of all iteration dimensions as expressions of the module's symbols, parallel ones first.
    ::llvm::SmallVector<::mlir::AffineExpr> getExtents();
    ::mlir::AffineMap getMap(unsigned input) {
      return ::llvm::cast<::mlir::AffineMapAttr>(getMaps()[input]).getValue();
    }
    ::mlir::Block *getBlock() { return &getBody().front(); }
    ::mlir::Value getYielded();
    bool isReduction() { return getCombiner() != ::qcc::Combiner::None; }
    /// True if every input is read at some element by an identity body (transpose, slice, broadcast).
    bool isCopy();
  }];
}

def QCC_YieldOp : QCC_Op<"yield", [Pure, ReturnLike, Terminator,
    ParentOneOf<["GenericOp", "ProgramOp", "DispatchOp", "KernelOp", "IfOp", "LoopOp"]>]> {
  let summary = "ends the body of a generic, program, dispatch, kernel, branch or loop";
  let arguments = (ins Variadic<AnyType>:$values);
  let assemblyFormat = "attr-dict ($values^ `:` type($values))?";
}

def QCC_IndexOp : QCC_Op<"index", [Pure]> {
  let summary = "the current index of an iteration dimension of the enclosing generic";
  let arguments = (ins I64Attr:$dim);
  let results = (outs Index:$result);
  let assemblyFormat = "$dim attr-dict";
}

def QCC_ExtentOp : QCC_Op<"extent", [Pure]> {
  let summary = "a size: an expression of the module's symbols";
  let description = "The map has no dimensions and one result, for example `affine_map<()[s0] -> (s0 floordiv 2)>`.";
  let arguments = (ins AffineMapAttr:$expr);
  let results = (outs Index:$result);
  let assemblyFormat = "$expr attr-dict";
  let hasVerifier = 1;
  let hasFolder = 1;
}

def QCC_ProgramOp : QCC_Op<"program", [Pure, IsolatedFromAbove, SingleBlock]> {
  let summary = "tensors that sequential scalar code computes";
  let description = [{
    For what no formula per element says: sorting, suppression, compaction, recurrences. The body has the operands and
    then the results as arguments, reads elements of either with `qcc.read` and sets elements of results with
    `qcc.write`, in `scf` loops and branches. It runs once for each index of `over` (`qcc.index 0`; once without it), in
    any order and at the same time: runs must not write what another one reads or writes. Elements that are not written
    are undefined.

    Example, running sums of rows:
    ```mlir
    %r = qcc.program (%x) over affine_map<() -> (4)> : (tensor<4x8xf32>) -> tensor<4x8xf32> {
    ^bb0(%in: tensor<4x8xf32>, %out: tensor<4x8xf32>):
      ...
      qcc.write %sum, %out[%row, %i] : f32, tensor<4x8xf32>
      qcc.yield
    }
    ```
  }];
  let arguments = (ins Variadic<QCC_Tensor>:$inputs, OptionalAttr<AffineMapAttr>:$over);
  let results = (outs Variadic<QCC_Tensor>:$results);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{`(` $inputs `)` (`over` $over^)? attr-dict-with-keyword `:`
                         functional-type($inputs, $results) $body}];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    ::mlir::Block *getBlock() { return &getBody().front(); }
    /// The argument that stands for a result.
    ::mlir::BlockArgument getResultArgument(unsigned result) {
      return getBlock()->getArgument(getInputs().size() + result);
    }
  }];
}

def QCC_WriteOp : QCC_Op<"write", [MemoryEffects<[MemWrite]>]> {
  let summary = "sets one element of a program's result";
  let description = "Indices must be within the tensor; the body clamps or selects where they may not be.";
  let arguments = (ins AnyType:$value, QCC_Tensor:$tensor, Variadic<Index>:$indices);
  let assemblyFormat = "$value `,` $tensor `[` $indices `]` attr-dict `:` type($value) `,` type($tensor)";
  let hasVerifier = 1;
}

def QCC_ReadOp : QCC_Op<"read", [DeclareOpInterfaceMethods<MemoryEffectsOpInterface>]> {
  let summary = "reads one element of a whole operand inside a generic or program";
  let description = [{
    Indices must be within the tensor; the body clamps or selects where they may not be. Operands never change; results
    of a program do, and reads of them keep their place.
  }];
  let arguments = (ins QCC_Tensor:$tensor, Variadic<Index>:$indices);
  let results = (outs AnyType:$result);
  let assemblyFormat = "$tensor `[` $indices `]` attr-dict `:` type($tensor) `->` type($result)";
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Constants, parameters, state
//===----------------------------------------------------------------------===//

def QCC_ConstantOp : QCC_Op<"constant", [Pure, ConstantLike]> {
  let summary = "a small constant tensor, kept in the text";
  let arguments = (ins ElementsAttr:$value);
  let results = (outs QCC_Tensor:$result);
  let assemblyFormat = "$value attr-dict `->` type($result)";
  let hasFolder = 1;
  let hasVerifier = 1;
}

def QCC_ParamOp : QCC_Op<"param", [Pure]> {
  let summary = "a weight in the parameter store";
  let description = [{
    Names a range of a mapped model file by its key. Operations on parameters only (transposes, scalings, packings)
    are constant expressions: they stay in the text and are evaluated once, while the artifact is written.
  }];
  let arguments = (ins StrAttr:$key);
  let results = (outs QCC_Tensor:$result);
  let assemblyFormat = "$key attr-dict `:` type($result)";
}

def QCC_StateOp : QCC_Op<"state", [Symbol]> {
  let summary = "a tensor that lives in the context between runs, zero at first";
  let arguments = (ins SymbolNameAttr:$sym_name, TypeAttr:$type);
  let assemblyFormat = "$sym_name `:` $type attr-dict";
}
def QCC_StateReadOp : QCC_Op<"state_read"> {
  let summary = "the value of a state at the start of the run";
  let arguments = (ins FlatSymbolRefAttr:$state);
  let results = (outs QCC_Tensor:$result);
  let assemblyFormat = "$state attr-dict `:` type($result)";
}
def QCC_StateWriteOp : QCC_Op<"state_write"> {
  let summary = "replaces the value of a state at the end of the run";
  let arguments = (ins FlatSymbolRefAttr:$state, QCC_Tensor:$value);
  let assemblyFormat = "$state `,` $value attr-dict `:` type($value)";
}

def QCC_ObserveOp : QCC_Op<"observe"> {
  let summary = "hands a tensor to the calibrator while calibration code runs; removed otherwise";
  let arguments = (ins QCC_Tensor:$value, StrAttr:$name);
  let assemblyFormat = "$name `,` $value attr-dict `:` type($value)";
}

//===----------------------------------------------------------------------===//
// Sizes found at run time, branches and loops
//===----------------------------------------------------------------------===//

def QCC_BindOp : QCC_Op<"bind"> {
  let summary = "gives a run-time symbol its value";
  let description = [{
    The symbol (a position from the module's `qcc.runtime_from` on) gets the value of element `element` of an integer
    tensor, or that of `expr`. What mentions the symbol stands behind it, in its block or in one nested there. In a loop
    the symbol is bound anew by each iteration.
  }];
  let arguments = (ins I64Attr:$symbol, Optional<QCC_Tensor>:$value, DefaultValuedAttr<I64Attr, "0">:$element,
                       OptionalAttr<AffineMapAttr>:$expr);
  let assemblyFormat = "$symbol (`to` $expr^)? (`from` $value^ `:` type($value))? attr-dict";
  let hasVerifier = 1;
}

def QCC_CheckOp : QCC_Op<"check"> {
  let summary = "ends the run if two sizes differ";
  let description = [{
    For sizes that are found at run time, and for what is assumed of others in one branch only; what holds for a whole
    function is its `qcc.checks`.
  }];
  let arguments = (ins AffineMapAttr:$sizes);
  let assemblyFormat = "$sizes attr-dict";
  let hasVerifier = 1;
}

def QCC_IfOp : QCC_Op<"if", [RecursiveMemoryEffects, NoRegionArguments]> {
  let summary = "one of two branches, by a condition that depends on data";
  let description = [{
    Both branches yield values of the result types. Sizes that differ between them are run-time symbols in the result
    types, which each branch binds at its end.
  }];
  let arguments = (ins QCC_Tensor:$condition);
  let results = (outs Variadic<QCC_Tensor>:$results);
  let regions = (region SizedRegion<1>:$thenRegion, SizedRegion<1>:$elseRegion);
  let assemblyFormat = [{$condition attr-dict `:` type($condition) `->` `(` type($results) `)` $thenRegion `else`
                         $elseRegion}];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    ::qcc::YieldOp getYield(unsigned region);
  }];
}

def QCC_LoopOp : QCC_Op<"loop", [RecursiveMemoryEffects, AttrSizedOperandSegments,
    DeclareOpInterfaceMethods<MemoryEffectsOpInterface>]> {
  let summary = "repeats a body with carried values";
  let description = [{
    Runs the body at most `trip` times (any number of times without it), with the symbol `iteration` bound to 0, 1, ...
    With a `condition` the first iteration runs only if it is true, and the first value that the body yields decides
    about the next one. The body's arguments are the carried values, `init` at first; it yields their next values and
    then the elements of the results behind them, each of which becomes one slice `[i, ...]` of a stack over all
    iterations that ran. The symbol `count` is bound to their number after the loop. Sizes of carried values that
    change are run-time symbols, bound before the loop; `next` are the positions and then values that such symbols get
    at the end of an iteration, all computed before the first is set.
  }];
  let arguments = (ins Optional<QCC_Tensor>:$condition, Variadic<QCC_Tensor>:$init, OptionalAttr<AffineMapAttr>:$trip,
                       I64Attr:$iteration, OptionalAttr<I64Attr>:$count,
                       DefaultValuedAttr<DenseI64ArrayAttr, "{}">:$sizes, OptionalAttr<AffineMapAttr>:$next);
  let results = (outs Variadic<QCC_Tensor>:$results);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{(`while` $condition^ `:` type($condition))? `init` `(` $init `)` attr-dict-with-keyword `:`
                         functional-type($init, $results) $body}];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    ::qcc::YieldOp getYield();
    /// Number of carried values; the results behind them are stacks.
    unsigned getNumCarried() { return getInit().size(); }
    /// What the body yields for result `i`.
    ::mlir::Value getYielded(unsigned i);
  }];
}

//===----------------------------------------------------------------------===//
// Shape and movement
//===----------------------------------------------------------------------===//

def QCC_ReshapeOp : QCC_Op<"reshape", [Pure]> {
  let summary = "the same elements in row-major order under another shape; never copies";
  let arguments = (ins QCC_Tensor:$input);
  let results = (outs QCC_Tensor:$result);
  let assemblyFormat = "$input attr-dict `:` type($input) `->` type($result)";
  let hasFolder = 1;
  let hasVerifier = 1;
}

def QCC_ConcatOp : QCC_Op<"concat", [Pure]> {
  let summary = "joins tensors along an axis";
  let arguments = (ins I64Attr:$axis, Variadic<QCC_Tensor>:$inputs);
  let results = (outs QCC_Tensor:$result);
  let assemblyFormat = "$axis `,` $inputs attr-dict `:` functional-type($inputs, $result)";
  let hasFolder = 1;
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Named computations
//===----------------------------------------------------------------------===//

def QCC_MatMulOp : QCC_Op<"matmul", [Pure]> {
  let summary = "matrix product over the last two dimensions";
  let description = [{
    `[..., M, K] x [..., K, N] -> [..., M, N]`; leading dimensions broadcast as in numpy. `trans_a` and `trans_b` say
    that the operand is stored with its last two dimensions swapped. Both operands have rank 2 or more.
    Sums in f32 (i32 for i8 operands, exact).
  }];
  let arguments = (ins QCC_Tensor:$lhs, QCC_Tensor:$rhs, UnitAttr:$trans_a, UnitAttr:$trans_b);
  let results = (outs QCC_Tensor:$result);
  let assemblyFormat = "$lhs `,` $rhs attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def QCC_ConvOp : QCC_Op<"conv", [Pure]> {
  let summary = "convolution, NCHW input, OIHW weights, 1 to 3 spatial dimensions";
  let description = [{
    `[N, C, spatial...] * [O, C/groups, kernel...] -> [N, O, out...]`. `pads` holds the begins and then the ends.
    Bias and activation are epilogues.
  }];
  let arguments = (ins QCC_Tensor:$input, QCC_Tensor:$weight, DenseI64ArrayAttr:$strides, DenseI64ArrayAttr:$pads,
                       DenseI64ArrayAttr:$dilations, I64Attr:$groups);
  let results = (outs QCC_Tensor:$result);
  let assemblyFormat = "$input `,` $weight attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def QCC_ConvTransposeOp : QCC_Op<"conv_transpose", [Pure]> {
  let summary = "transposed convolution, NCHW input, [C, O/groups, kernel...] weights";
  let arguments = (ins QCC_Tensor:$input, QCC_Tensor:$weight, DenseI64ArrayAttr:$strides, DenseI64ArrayAttr:$pads,
                       DenseI64ArrayAttr:$dilations, I64Attr:$groups);
  let results = (outs QCC_Tensor:$result);
  let assemblyFormat = "$input `,` $weight attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def QCC_PoolOp : QCC_Op<"pool", [Pure]> {
  let summary = "window reduction over the spatial dimensions of an NC... tensor";
  let description = [{
    Padding never takes part in a maximum; in an average it counts only with `count_include_pad` (and then only the
    declared padding, not what ceil mode adds). For `lp`, `p` is the exponent. A maximum may have its channels last:
    `[N, spatial..., C]`.
  }];
  let arguments = (ins QCC_PoolKind:$kind, QCC_Tensor:$input, DenseI64ArrayAttr:$kernel, DenseI64ArrayAttr:$strides,
                       DenseI64ArrayAttr:$pads, DenseI64ArrayAttr:$dilations, UnitAttr:$count_include_pad,
                       DefaultValuedAttr<I64Attr, "2">:$p, UnitAttr:$channels_last);
  let results = (outs QCC_Tensor:$result);
  let assemblyFormat = "$kind $input attr-dict `:` functional-type($input, $result)";
  let hasVerifier = 1;
}

def QCC_SoftmaxOp : QCC_Op<"softmax", [Pure]> {
  let summary = "softmax (or its logarithm) along the last dimension";
  let arguments = (ins QCC_Tensor:$input, UnitAttr:$log);
  let results = (outs QCC_Tensor:$result);
  let assemblyFormat = "$input attr-dict `:` type($input) `->` type($result)";
}

def QCC_NormOp : QCC_Op<"norm", [Pure]> {
  let summary = "normalisation of the last dimension by its mean and variance (layer) or mean square (rms)";
  let description = [{
    `(x - mean) / sqrt(var + epsilon)` or `x / sqrt(mean(x^2) + epsilon)`; scale and shift are epilogues.
  }];
  let arguments = (ins QCC_NormKind:$kind, QCC_Tensor:$input, F32Attr:$epsilon);
  let results = (outs QCC_Tensor:$result);
  let assemblyFormat = "$kind $input attr-dict `:` type($input) `->` type($result)";
}

def QCC_AttentionOp : QCC_Op<"attention", [Pure, AttrSizedOperandSegments]> {
  let summary = "scaled dot-product attention";
  let description = [{
    `softmax(scale * Q K^T + mask) V` with `Q [B, H, S, D]`, `K [B, G, T, D]`, `V [B, G, T, E]` (G divides H), and an
    additive mask of rank 4 whose dimensions are 1 or those of `[B, H, S, T]`. `causal`: query i sees key j iff
    `j <= i + T - S`. A row with nothing to see gives zeros. With a `softcap` c > 0 scores s are `c tanh(s / c)` before
    the mask is added (Gemma 2, Gemma Team 2024, section 2). A `sink` `[H]` is one more score of every row, that of a key
    whose value is 0 (gpt-oss; `head_sink` of com.microsoft.GroupQueryAttention).

    `int8`: both products are exact sums of products of codes, over D and over blocks of 128 keys. A query, a key, and a
    column of a block of values have codes `rint(x * (127 / a))`, a their largest magnitude (0 for a < 2^-120); the
    weights of a block are relative to the largest of them and have codes `rint(255 w)`. The blocks' sums, times the
    scales, are added in f32, and the sum of all weights is that of their codes; the weight of a sink is exact.
  }];
  let arguments = (ins QCC_Tensor:$query, QCC_Tensor:$key, QCC_Tensor:$value, Optional<QCC_Tensor>:$mask,
                       Optional<QCC_Tensor>:$sink, F32Attr:$scale, OptionalAttr<F32Attr>:$softcap, UnitAttr:$causal, UnitAttr:$int8);
  let builders = [OpBuilder<(ins "::mlir::Type":$result, "::mlir::Value":$query, "::mlir::Value":$key,
                             "::mlir::Value":$value, "::mlir::Value":$mask, "double":$scale, "bool":$causal,
                             CArg<"double", "0">:$softcap, CArg<"::mlir::Value", "{}">:$sink), [{
    FloatAttr cap = softcap > 0 ? $_builder.getF32FloatAttr(static_cast<float>(softcap)) : FloatAttr();
    build($_builder, $_state, result, query, key, value, mask, sink,
          $_builder.getF32FloatAttr(static_cast<float>(scale)), cap,
          causal ? $_builder.getUnitAttr() : UnitAttr(), /*int8=*/UnitAttr());
  }]>];
  let extraClassDeclaration = [{
    /// Keys of a block of `int8`, and below which magnitude numbers have codes 0 there.
    static constexpr int64_t kBlockKeys = 128;
    static constexpr float kTiny = 0x1p-120f;
  }];
  let results = (outs QCC_Tensor:$result);
  let assemblyFormat = [{$query `,` $key `,` $value (`mask` $mask^)? (`sink` $sink^)? attr-dict `:` functional-type(operands, results)}];
  let hasVerifier = 1;
}

def QCC_ArgReduceOp : QCC_Op<"arg_reduce", [Pure]> {
  let summary = "index of the largest (or smallest) element along an axis";
  let arguments = (ins QCC_Tensor:$input, I64Attr:$axis, UnitAttr:$smallest, UnitAttr:$select_last);
  let results = (outs QCC_Tensor:$result);
  let assemblyFormat = "$input attr-dict `:` type($input) `->` type($result)";
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Quantization
//===----------------------------------------------------------------------===//

def QCC_EncodeOp : QCC_Op<"encode", [Pure, AttrSizedOperandSegments]> {
  let summary = "a weight in the storage format of a scheme (a constant expression)";
  let description = [{
    `weight` is `[K, N]` f32. The result is an array of i8 whose layout the scheme defines (qcc/Scheme/Scheme.h), or, as
    f32 `[K, N]`, the weight that those bytes stand for; it is computed while the artifact is written.

    Each group of rows of a column gets its scale (and zero point) from the scheme, which may weigh the squared error of
    a row by `importance [K]` f32; or those of an algorithm: `scales [groups, N]` f32 and `zeros [groups, N]` i32, with
    `ceil(K / group)` groups (1 if `group` is 0). A symmetric scheme has a zero point of its own and takes no `zeros`.
    Codes then are the nearest ones under these maps: a weight that lies on the grid is stored exactly.
  }];
  let arguments = (ins QCC_Tensor:$weight, Optional<QCC_Tensor>:$importance, Optional<QCC_Tensor>:$scales,
                       Optional<QCC_Tensor>:$zeros, QCC_FormatAttr:$format);
  let results = (outs QCC_Tensor:$result);
  let assemblyFormat = [{$weight (`importance` $importance^)? (`scales` $scales^)? (`zeros` $zeros^)? $format attr-dict
                         `:` functional-type(operands, results)}];
  let hasVerifier = 1;
  let builders = [OpBuilder<(ins "::mlir::Type":$result, "::mlir::Value":$weight, "::qcc::FormatAttr":$format), [{
    build($_builder, $_state, result, weight, {}, {}, {}, format);
  }]>];
}

def QCC_QuantizeRowsOp : QCC_Op<"quantize_rows", [Pure]> {
  let summary = "dynamic symmetric int8 of activations, a scale per row and group";
  let description = [{
    `input [..., K]` float gives `codes [..., K]` i8 in [-127, 127] with `scale = max|x| / 127` per group of `group`
    consecutive elements (0: the whole row), `scales [..., K/group]` f32 and `sums [..., K/group]` i32, the sum of the
    codes of each group (what a weight's zero point is multiplied by). A group of zeros has scale 0.
  }];
  let arguments = (ins QCC_Tensor:$input, I64Attr:$group);
  let results = (outs QCC_Tensor:$codes, QCC_Tensor:$scales, QCC_Tensor:$sums);
  let assemblyFormat = "$input attr-dict `:` functional-type($input, results)";
}

def QCC_QMatMulOp : QCC_Op<"qmatmul", [Pure]> {
  let summary = "matrix product with a weight in a scheme's storage format";
  let description = [{
    `[..., M, K] x encoded [K, N] -> [..., M, N]`. With integer compute the activations are the three results of
    `qcc.quantize_rows`; with float compute a single float tensor. Group sums of products are exact int32 and are
    scaled and added in f32 in ascending order of groups.
  }];
  let arguments = (ins Variadic<QCC_Tensor>:$activations, QCC_Tensor:$weight, QCC_FormatAttr:$format, I64Attr:$n);
  let results = (outs QCC_Tensor:$result);
  let assemblyFormat = "`(` $activations `)` `,` $weight $format attr-dict `:` functional-type(operands, results)";
}

def QCC_QuantizeOp : QCC_Op<"quantize", [Pure]> {
  let summary = "floats as codes of a scale and a zero point";
  let description = [{
    For integers of 2 to 16 bits `saturate(round(input / scale) + zero)`, ties to even; for floats of 8 and 4 bits
    `round(input / scale + zero)`, where what is too large becomes the largest finite value, or infinity or NaN with
    `overflow`. Computed in f32; with `precision` operands and quotient are rounded to that type.

    `scale` (f32, f16, bf16 or f8E8M0FNU) and `zero` (of the result's type, 0 if left out) have rank 0, one element, one
    per index of `axis`, or, with `block` above 0, the input's shape with `ceil(size / block)` along the axis: one element per
    `block` consecutive indices.
  }];
  let arguments = (ins QCC_Tensor:$input, QCC_Tensor:$scale, Optional<QCC_Tensor>:$zero,
                       DefaultValuedAttr<I64Attr, "0">:$axis, DefaultValuedAttr<I64Attr, "0">:$block,
                       OptionalAttr<TypeAttr>:$precision, UnitAttr:$overflow);
  let results = (outs QCC_Tensor:$result);
  let assemblyFormat = "$input `,` $scale (`zero` $zero^)? attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def QCC_DequantizeOp : QCC_Op<"dequantize", [Pure]> {
  let summary = "the floats that codes stand for";
  let description = [{
    `(input - zero) * scale` in f32, rounded to the result's type (f32, f16 or bf16). The input is of integers of 2 to
    16 bits, whose differences are exact, of i32, or of floats of 8 and 4 bits. `scale` and `zero` are as in
    `qcc.quantize`; `zero` may also be of floats.
  }];
  let arguments = (ins QCC_Tensor:$input, QCC_Tensor:$scale, Optional<QCC_Tensor>:$zero,
                       DefaultValuedAttr<I64Attr, "0">:$axis, DefaultValuedAttr<I64Attr, "0">:$block);
  let results = (outs QCC_Tensor:$result);
  let assemblyFormat = "$input `,` $scale (`zero` $zero^)? attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def QCC_IntMatMulOp : QCC_Op<"int_matmul", [Pure, AttrSizedOperandSegments]> {
  let summary = "exact matrix product of integers less their zero points";
  let description = [{
    `[..., M, K] x [..., K, N] -> [..., M, N]` in i32, which wraps; leading dimensions broadcast as in numpy. Operands
    have integers of 2 to 16 bits. A zero point is a scalar, or has its operand's rank with dimensions of 1 or the
    operand's and one element along K: one per row of the first, one per column of the second.
  }];
  let arguments = (ins QCC_Tensor:$lhs, QCC_Tensor:$rhs, Optional<QCC_Tensor>:$lhs_zero, Optional<QCC_Tensor>:$rhs_zero);
  let results = (outs QCC_Tensor:$result);
  let assemblyFormat = [{$lhs `,` $rhs (`lhs_zero` $lhs_zero^)? (`rhs_zero` $rhs_zero^)? attr-dict `:`
                         functional-type(operands, results)}];
  let hasVerifier = 1;
}

def QCC_IntConvOp : QCC_Op<"int_conv", [Pure, AttrSizedOperandSegments]> {
  let summary = "exact convolution of integers less their zero points";
  let description = [{
    As `qcc.conv` in i32, which wraps. Padding counts as the input's zero point. Operands have integers of 2 to 16 bits;
    the input's zero point is a scalar, the weight's a scalar or one per output channel. With `channels_last` the input
    is `[N, spatial..., I]` and the result `[N, spatial..., O]`; the weight is `[O, I/groups, kernel...]` in any case.
  }];
  let arguments = (ins QCC_Tensor:$input, QCC_Tensor:$weight, Optional<QCC_Tensor>:$input_zero,
                       Optional<QCC_Tensor>:$weight_zero, DenseI64ArrayAttr:$strides, DenseI64ArrayAttr:$pads,
                       DenseI64ArrayAttr:$dilations, I64Attr:$groups, UnitAttr:$channels_last);
  let results = (outs QCC_Tensor:$result);
  let assemblyFormat = [{$input `,` $weight (`input_zero` $input_zero^)? (`weight_zero` $weight_zero^)? attr-dict `:`
                         functional-type(operands, results)}];
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Dispatches (after Fuse) and kernels (after Schedule)
//===----------------------------------------------------------------------===//

def QCC_DispatchOp : QCC_Op<"dispatch", [Pure, IsolatedFromAbove, SingleBlock]> {
  let summary = "work that becomes one kernel";
  let description = [{
    The region holds one root and elementwise generics before and after it; operands arrive as block arguments.
  }];
  let arguments = (ins Variadic<QCC_Tensor>:$inputs);
  let results = (outs Variadic<QCC_Tensor>:$results);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "`(` $inputs `)` attr-dict `:` functional-type($inputs, $results) $body";
  let hasVerifier = 1;
}

def QCC_PackOp : QCC_Op<"pack", [Pure]> {
  let summary = "a weight in the order a kernel reads it (a constant expression)";
  let description = [{
    `layout` names it: `panel` turns `[K, N]` (or `[N, K]` with `transposed`) into `[ceil(N/nr), K, nr]` with zero
    padding, `conv_panel:G` turns the `[O, I, kernel...]` of a convolution with G groups into
    `[G, ceil(O/G/nr), I * kernel, nr]`, `conv_taps:G` the same with all I of a place of the window side by side; `dot:G` and `tap` are what exact products of bytes read
    (qcc/Dialect/QCC/Pack.h).
  }];
  let arguments = (ins QCC_Tensor:$weight, StrAttr:$layout, I64Attr:$nr, UnitAttr:$transposed);
  let results = (outs QCC_Tensor:$result);
  let assemblyFormat = "$weight $layout attr-dict `:` type($weight) `->` type($result)";
}

def QCC_KernelOp : QCC_Op<"kernel", [Symbol, IsolatedFromAbove, SingleBlock]> {
  let summary = "a scheduled dispatch, shared by all launches of the same work";
  let description = [{
    The region is that of the dispatch with symbols renumbered from s0. `schedule` is what the target chose: the
    emitter's name under `kernel` and its parameters.
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, DictionaryAttr:$schedule);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$sym_name $schedule $body attr-dict";
}

def QCC_LaunchOp : QCC_Op<"launch", [Pure]> {
  let summary = "runs a kernel";
  let description = [{
    `dims` gives the kernel's symbols as expressions of the module's; `tasks` the number of independent parts.
  }];
  let arguments = (ins FlatSymbolRefAttr:$kernel, Variadic<QCC_Tensor>:$inputs, AffineMapAttr:$dims,
                       AffineMapAttr:$tasks);
  let results = (outs Variadic<QCC_Tensor>:$results);
  let assemblyFormat = [{$kernel `(` $inputs `)` `dims` $dims `tasks` $tasks attr-dict `:`
                         functional-type($inputs, $results)}];
}

#endif // QCC_OPS_TD
