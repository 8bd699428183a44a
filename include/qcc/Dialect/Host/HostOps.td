//===- HostOps.td - the host program --------------------------*- tablegen -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_HOST_OPS_TD
#define QCC_HOST_OPS_TD

include "mlir/IR/OpBase.td"
include "mlir/IR/EnumAttr.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/ControlFlowInterfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Host_Dialect : Dialect {
  let name = "qcc_host";
  let cppNamespace = "::qcc::host";
  let summary = "the program that runs kernels in order";
  let description = [{
    What Plan leaves: entries that dispatch kernels on slots (places in the arena, the weights, inputs, outputs, states
    and blocks reserved while the entry runs; never pointers), and the constant expressions whose values are the weights.
    Sizes are maps of the module's symbols. Entries compile to native code that sees the world only through the runtime's table of functions
    (`qcc_exec_table` in qcc/Runtime/Program.h).
  }];
  let useDefaultAttributePrinterParser = 1;
}

def Host_SpaceEnum : I32EnumAttr<"Space", "what a slot's index counts; values of qcc_space in Program.h", [
  I32EnumAttrCase<"Arena", 0, "arena">, I32EnumAttrCase<"Weight", 1, "weight">, I32EnumAttrCase<"Input", 2, "input">,
  I32EnumAttrCase<"Output", 3, "output">, I32EnumAttrCase<"State", 4, "state">,
  I32EnumAttrCase<"Host", 5, "host">]> {
  let cppNamespace = "::qcc::host";
  let genSpecializedAttr = 0;
}
def Host_Space : EnumAttr<Host_Dialect, Host_SpaceEnum, "space"> { let assemblyFormat = "`<` $value `>`"; }

def Host_SlotAttr : AttrDef<Host_Dialect, "Slot"> {
  let mnemonic = "slot";
  let summary = "a place in memory: space, index within it, offset in bytes";
  let parameters = (ins EnumParameter<Host_SpaceEnum>:$space, "uint32_t":$index, "uint64_t":$offset);
  let assemblyFormat = "`<` $space `,` $index `,` $offset `>`";
}
def Host_TensorAttr : AttrDef<Host_Dialect, "Tensor"> {
  let mnemonic = "tensor";
  let summary = "a named tensor at the program's border";
  let parameters = (ins StringRefParameter<"name">:$name, "::mlir::Type":$type);
  let assemblyFormat = "`<` $name `,` $type `>`";
}
def Host_BufferAttr : AttrDef<Host_Dialect, "Buffer"> {
  let mnemonic = "buffer";
  let summary = "a piece of the arena: its size in bytes and the steps in which it is live, both included";
  let parameters = (ins "::mlir::AffineMapAttr":$bytes, "uint32_t":$first, "uint32_t":$last);
  let assemblyFormat = "`<` $bytes `,` $first `,` $last `>`";
}

class Host_Op<string mnemonic, list<Trait> traits = []> : Op<Host_Dialect, mnemonic, traits>;

def Host_EntryOp : Host_Op<"entry", [Symbol, IsolatedFromAbove, NoTerminator, SingleBlock]> {
  let summary = "a function of the model: its signature, its buffers, its steps";
  let arguments = (ins SymbolNameAttr:$sym_name, ArrayAttr:$inputs, ArrayAttr:$outputs, ArrayAttr:$buffers);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$sym_name `inputs` $inputs `outputs` $outputs `buffers` $buffers $body attr-dict";
  let hasVerifier = 1;
}

def Host_DispatchOp : Host_Op<"dispatch"> {
  let summary = "runs a kernel on slots: those of its operands, then those of its results";
  let description = [{
    `results` are the types of the results, which take the last slots. `dims` are the values of the kernel's symbols,
    `tasks` the number of its tasks, all as expressions of the module's symbols.
  }];
  let arguments = (ins FlatSymbolRefAttr:$kernel, ArrayAttr:$slots, TypeArrayAttr:$results, AffineMapAttr:$dims,
                       AffineMapAttr:$tasks);
  let assemblyFormat = "$kernel $slots `results` $results `dims` $dims `tasks` $tasks attr-dict";
}

def Host_CopyOp : Host_Op<"copy"> {
  let summary = "copies bytes from a slot to another";
  let description = "`at` is added to the offset of `to`: where an iteration's slice lies in a stack.";
  let arguments = (ins Host_SlotAttr:$to, Host_SlotAttr:$from, AffineMapAttr:$bytes, OptionalAttr<AffineMapAttr>:$at);
  let assemblyFormat = "$to (`at` $at^)? `from` $from `bytes` $bytes attr-dict";
}

def Host_ReserveOp : Host_Op<"reserve"> {
  let summary = "makes a block of memory hold at least some bytes, for a value whose size is found at run time";
  let description = "With `keep` what it held stays; it then grows in steps that make many small additions cheap.";
  let arguments = (ins Host_SlotAttr:$slot, AffineMapAttr:$bytes, UnitAttr:$keep);
  let assemblyFormat = "$slot `bytes` $bytes attr-dict";
}

def Host_ReleaseOp : Host_Op<"release"> {
  let summary = "frees a block of memory";
  let arguments = (ins Host_SlotAttr:$slot);
  let assemblyFormat = "$slot attr-dict";
}

def Host_PrepareOp : Host_Op<"prepare"> {
  let summary = "gives an output its memory, once the symbols in its type are bound";
  let arguments = (ins Host_SlotAttr:$slot);
  let assemblyFormat = "$slot attr-dict";
}

def Host_BindOp : Host_Op<"bind"> {
  let summary = "gives a run-time symbol the value of an element of an integer tensor";
  let arguments = (ins I64Attr:$symbol, Host_SlotAttr:$slot, I64Attr:$element, TypeAttr:$type);
  let assemblyFormat = "$symbol `from` $slot $type `element` $element attr-dict";
}

def Host_LetOp : Host_Op<"let"> {
  let summary = "gives run-time symbols the values of expressions, all computed before the first is set";
  let arguments = (ins DenseI64ArrayAttr:$symbols, AffineMapAttr:$values);
  let assemblyFormat = "$symbols `to` $values attr-dict";
}

def Host_CheckOp : Host_Op<"check"> {
  let summary = "ends the run if the two results of a map differ";
  let arguments = (ins AffineMapAttr:$sizes);
  let assemblyFormat = "$sizes attr-dict";
}

def Host_IfOp : Host_Op<"if", [NoTerminator, NoRegionArguments]> {
  let summary = "runs one of two lists of steps, by a boolean in memory";
  let arguments = (ins Host_SlotAttr:$condition);
  let regions = (region SizedRegion<1>:$thenRegion, SizedRegion<1>:$elseRegion);
  let assemblyFormat = "$condition $thenRegion `else` $elseRegion attr-dict";
}

def Host_LoopOp : Host_Op<"loop", [NoTerminator, NoRegionArguments]> {
  let summary = "repeats steps while a number of times is not reached and a boolean in memory is true";
  let description = [{
    The symbol `iteration` is bound to 0, 1, ... before the steps. Before each iteration `trip` and then `condition`,
    where given, must allow it. After the last one `count` is bound to the number of iterations.
  }];
  let arguments = (ins I64Attr:$iteration, OptionalAttr<I64Attr>:$count, OptionalAttr<AffineMapAttr>:$trip,
                       OptionalAttr<Host_SlotAttr>:$condition);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{$iteration (`count` $count^)? (`trip` $trip^)? (`while` $condition^)? $body attr-dict}];
}

def Host_ObserveOp : Host_Op<"observe"> {
  let summary = "shows a tensor to the host's observer";
  let arguments = (ins StrAttr:$name, Host_SlotAttr:$slot, TypeAttr:$type);
  let assemblyFormat = "$name $slot $type attr-dict";
}

def Host_WeightsOp : Host_Op<"weights", [IsolatedFromAbove, SingleBlock]> {
  let summary = "the constant expressions whose values are the weights, and where each lies";
  let arguments = (ins DenseI64ArrayAttr:$offsets, I64Attr:$bytes);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$offsets `bytes` $bytes $body attr-dict";
  let hasVerifier = 1;
}

def Host_EndOp : Host_Op<"end", [Terminator, Pure, HasParent<"WeightsOp">]> {
  let summary = "the values of the weights, in the order of the offsets";
  let arguments = (ins Variadic<AnyType>:$values);
  let assemblyFormat = "attr-dict ($values^ `:` type($values))?";
}

#endif // QCC_HOST_OPS_TD
