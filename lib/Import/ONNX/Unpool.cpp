//===- Unpool.cpp - from windows back to images -----------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Program.h"
#include "Registry.h"
#include "Window.h"

using namespace mlir;

namespace qcc::onnx_import {
namespace {

/// Numbers of an attribute with one per spatial dimension, or two.
std::optional<SmallVector<int64_t>> readWindowAttr(NodeContext &node,
                                                   StringRef name, size_t count,
                                                   int64_t low,
                                                   int64_t defaultValue) {
  SmallVector<int64_t> values =
      node.attrInts(name).value_or(SmallVector<int64_t>(count, defaultValue));
  bool isValid = values.size() == count;
  for (int64_t value : values)
    isValid &= value >= low && value <= (1 << 24);
  if (isValid)
    return values;
  (void)node.refuse(Diag::BadAttribute, "expected " + Twine(count) +
                                            " numbers of '" + name +
                                            "', each at least " + Twine(low));
  return std::nullopt;
}

/// Sizes given by an input, or the last dimensions of the stated shape.
std::optional<Dims> readImageDims(NodeContext &node) {
  if (std::optional<Dims> known = node.getSizes(1))
    return known;
  std::optional<Dims> declared = node.getDeclaredDims(0);
  if (node.inRank(1) == 1 && declared && declared->size() > 2 &&
      getConstantSize(node.inDims(1)[0]) ==
          static_cast<int64_t>(declared->size() - 2))
    return Dims(ArrayRef(*declared).drop_front(2));
  (void)node.refuseDynamic(1, "the image's shape");
  return std::nullopt;
}

/// The channels of the image: what the rows of a block leave.
std::optional<AffineExpr> readChannels(NodeContext &node,
                                       std::optional<Dims> block) {
  AffineExpr rows = node.inDims(0)[1];
  if (block) {
    bool exact = false;
    std::optional<AffineExpr> channels =
        divideDims(rows, product(*block, node.b.getContext()), &exact);
    if (channels && exact)
      return channels;
    (void)node.refuse(Diag::BadShape,
                      "expected rows for each element of a block");
    return std::nullopt;
  }
  std::optional<Dims> declared = node.getDeclaredDims(0);
  if (declared && declared->size() > 2 && getConstantSize(rows) &&
      getConstantSize((*declared)[1]).value_or(0) > 0)
    return (*declared)[1];
  (void)node.refuseDynamic(2, "the block's shape");
  return std::nullopt;
}

/// Sums the elements of all blocks that lie over a pixel: each looks at the
/// elements of one block, and at the one block that each can come from.
LogicalResult convertCol2Im(NodeContext &node) {
  Dims in = node.inDims(0);
  if (in.size() != 3 || node.inRank(1) != 1 || node.inRank(2) != 1)
    return node.refuse(Diag::BadShape,
                       "expected columns of rank 3 and two shapes");
  std::optional<Dims> image = readImageDims(node);
  if (!image)
    return failure();
  size_t axes = image->size();
  if (getConstantSize(node.inDims(2)[0]) != static_cast<int64_t>(axes) ||
      axes < 1 || axes > 8)
    return node.refuse(Diag::BadShape,
                       "expected image and block of one rank from 1 to 8");
  auto strides = readWindowAttr(node, "strides", axes, 1, 1),
       dilations = readWindowAttr(node, "dilations", axes, 1, 1),
       pads = readWindowAttr(node, "pads", 2 * axes, 0, 0);
  if (!strides || !dilations || !pads)
    return failure();
  std::optional<Dims> block = node.getSizes(2);
  std::optional<AffineExpr> channels = readChannels(node, block);
  if (!channels)
    return failure();
  AffineExpr elements = block ? product(*block, node.b.getContext())
                              : simplifyDim(in[1].floorDiv(*channels));
  Dims to = {in[0], *channels};
  llvm::append_range(to, *image);
  Type type = node.inElem(0), compute = getComputeType(type);
  unsigned reduced = to.size();
  Value sum = node.reduction(
      Combiner::Sum, to, compute, {}, {}, {node.in(0), node.in(2)}, {elements},
      [&](Body &body, ValueRange x) {
        Value zero = body.index(0), one = body.index(1),
              inside = body.boolean(true), column = zero,
              element = body.dim(reduced), rest = element;
        SmallVector<Value> inBlock(axes), sizes(axes);
        for (size_t i = axes; i-- > 0;) {
          sizes[i] = block ? body.extent((*block)[i])
                           : body.toIndex(body.read(
                                 x[1], body.index(static_cast<int64_t>(i))));
          inBlock[i] = body.rem(rest, sizes[i]);
          rest = body.div(rest, sizes[i]);
        }
        for (size_t i = 0; i < axes; ++i) {
          Value stride = body.index((*strides)[i]),
                dilation = body.index((*dilations)[i]);
          Value room = body.add(body.extent((*image)[i]),
                                body.index((*pads)[i] + (*pads)[i + axes]));
          Value span =
              body.add(body.mul(dilation, body.sub(sizes[i], one)), one);
          Value blocks = body.add(body.div(body.sub(room, span), stride), one);
          Value from =
              body.sub(body.add(body.dim(2 + i), body.index((*pads)[i])),
                       body.mul(inBlock[i], dilation));
          Value index = body.div(from, stride);
          Value fits =
              body.both(body.both(body.le(zero, from), body.lt(index, blocks)),
                        body.eq(body.rem(from, stride), zero));
          inside = body.both(inside, fits);
          column = body.add(body.mul(column, blocks), index);
        }
        Value row =
            body.add(body.mul(body.dim(1), body.extent(elements)), element);
        Value value = body.read(
            x[0], {body.dim(0), body.clampIndex(row, body.extent(in[1])),
                   body.clampIndex(column, body.extent(in[2]))});
        return body.select(inside, value, body.number(0, value.getType()));
      });
  return node.set(0, node.cast(sum, type));
}

/// The sizes before a pooling: the largest that give those of the input.
std::optional<Dims> readUnpooledDims(NodeContext &node) {
  Dims in = node.inDims(0);
  size_t axes = in.size() - 2;
  std::optional<SmallVector<int64_t>> kernel =
      readWindowAttr(node, "kernel_shape", axes, 1, 1);
  auto strides = readWindowAttr(node, "strides", axes, 1, 1),
       pads = readWindowAttr(node, "pads", 2 * axes, 0, 0);
  if (!kernel || !strides || !pads)
    return std::nullopt;
  Dims to = {in[0], in[1]};
  for (size_t i = 0; i < axes; ++i) {
    int64_t added = (*kernel)[i] - (*pads)[i] - (*pads)[i + axes];
    to.push_back(simplifyDim((in[i + 2] - 1) * (*strides)[i] + added));
    if (!node.requireAtLeast(to.back(), node.size(0), "an unpooled dimension"))
      return std::nullopt;
  }
  return to;
}

/// Zeros, and the elements of the input at their places in the whole tensor.
LogicalResult convertMaxUnpool(NodeContext &node) {
  Dims in = node.inDims(0);
  if (in.size() < 3 || node.inRank(1) != node.inRank(0) ||
      !isa<IntegerType>(node.inElem(1)) || !node.hasAttr("kernel_shape"))
    return node.refuse(Diag::BadShape,
                       "expected a tensor of rank 3 or more, a place for each "
                       "element, and attribute 'kernel_shape'");
  std::optional<Dims> whole = readUnpooledDims(node);
  if (!whole)
    return failure();
  MLIRContext *context = node.b.getContext();
  AffineExpr count = product(in, context), size = product(*whole, context);
  if (!node.requireEqual(count, product(node.inDims(1), context), "places"))
    return failure();
  SmallVector<Value> placed = emitProgram(
      node, {makeTensorType({size}, node.inElem(0))},
      {node.reshape(node.in(0), {count}), node.reshape(node.in(1), {count})},
      {}, [&](ProgramBody &body, ValueRange x) {
        Type compute = getComputeType(node.inElem(0));
        body.repeat(body.extent(size), [&](Value i) {
          body.write(body.number(0, compute), x[2], i);
        });
        body.repeat(body.extent(count), [&](Value i) {
          Value place = body.toIndex(body.read(x[1], i));
          Value isInside = body.both(body.le(body.index(0), place),
                                     body.lt(place, body.extent(size)));
          body.when(isInside,
                    [&] { body.write(body.read(x[0], i), x[2], place); });
        });
      });
  if (placed.empty())
    return failure();
  Value result = node.reshape(placed[0], *whole);
  if (!node.has(2))
    return node.set(0, result);
  // A shape that is asked for has it at its start, zeros behind it.
  std::optional<Dims> to = node.readSizes(2, "the output's shape");
  if (!to || !result)
    return failure();
  if (to->size() != whole->size())
    return node.refuse(Diag::BadShape, "expected a size for each dimension");
  return node.set(
      0,
      node.generic(
          *to, node.inElem(0), {}, {}, result, [&](Body &body, ValueRange x) {
            SmallVector<Value> at;
            Value isInside = body.boolean(true);
            for (auto [i, dim] : llvm::enumerate(*whole)) {
              at.push_back(body.dim(i));
              isInside =
                  body.both(isInside, body.lt(at.back(), body.extent(dim)));
            }
            Type compute = getComputeType(node.inElem(0));
            return body.readIf(isInside, x[0], at, body.number(0, compute));
          }));
}

} // namespace

void registerUnpool(Registry &registry) {
  constexpr const char *kStated =
      "sizes that depend on data, unless the model states the output's shape";
  registry.add(kOnnxDomain, {
                                {"Col2Im", 18, 3, 3, convertCol2Im, kStated},
                                {"MaxUnpool", 9, 2, 3, convertMaxUnpool,
                                 "indices out of range place nothing"},
                            });
}

} // namespace qcc::onnx_import
