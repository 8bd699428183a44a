//===- StaticInt8.td - int8 with scales from calibration ------*- tablegen -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
include "mlir/Pass/PassBase.td"

def StaticInt8 : Pass<"qcc-quantize-static", "::mlir::ModuleOp"> {
  let summary = "quantizes activations with calibrated scales, or those of convolutions with scales of samples, and weights per channel, as explicit codes";
  let description = [{
    Puts a pair of `qcc.quantize` and `qcc.dequantize` behind each activation that a product or convolution with a
    constant weight reads and whose range is known (`qcc.range`, two floats, on its operation or argument), and behind
    the earlier operand of a sum of two activations. Activations get unsigned codes with a zero point; the other
    elementwise operations, poolings and concatenations that read one read its codes too, so that it is stored once.
    Weights get signed codes with a scale per output channel, `max|w| / 127`. The result is what others call a QDQ
    graph: `qcc-form-integer` makes integer operations of it.

    With `pairs-fit` the codes of one sign in a pair of rows, in the order of kernels, add up to at most 128
    (`qcc.pairs_fit`), so that sums of two products fit the 16 bits of `vpmaddubsw`: scales are larger where the largest
    pair asks for it. Depthwise weights are left as they are.

    With a target, what its figures say is faster in f32 stays there, judged by whole regions: conversions at their
    borders count. With calibration samples (a workspace), the outputs are compared with those in f32. They are near enough
    where the cosine of all outputs of each sample, and of each output of all samples, is `min-cosine` and half of the rest to
    1, and the Kullback-Leibler divergence of a language model's tokens is at most a tenth of that rest, in nats. Until then,
    with `row-scales`, the products whose activations change the outputs most are left to what finds scales of rows at run
    time (`qcc.assigned`), if that helps; until the cosine is that, the activations that change the outputs most for the time
    that they save stay f32. With `row-scales` attentions then get `int8` if the target's figures say that it is faster: all of
    them, or without those that change the outputs most until the cosine holds and they add no more divergence than that.
    With `only-attentions` nothing else is done: where algorithms chose weights.

    With budgets (`max-size`, `max-drop`, `max-latency`, as those of `qcc-precision-assign`), the layers that run in int8 are
    chosen within them instead, by what each does to the outputs alone: with `max-drop` those that take the least time, else
    those with the least loss. With `w4a8` its weights, `int8` if it is among the `formats`, and f32 are chosen between, also
    for products, and with `max-drop` the smallest are taken. `qcc.assignment` on the module has everything that was measured.
    What no range is known of stays f32.

    With samples, weights are those of rounding to nearest, clipped ranges, GPTQ and GPTQ with clipped
    ranges that change the layer's results least.

    The mean of what rounding changes in each output channel of a layer, over the samples, is added to its bias, where means
    over half of the samples lower the layer's squared error on the others.

    With `dynamic`, convolutions whose range is not known get codes whose scale and zero point are found at run time, from the
    least and the largest element of each sample (index of the first dimension), and weights of 8 bits.

    With the scheme `w4a8` weights of convolutions get signed codes of 4 bits, chosen by what they change in the layer's
    results on the samples; without samples they are rounded to nearest with the scale `max|w| / 7`. Depthwise ones keep
    8. Products are left to schemes that find scales of activations at run time. Where all this changes the outputs too
    much, the weights that do so most get 8 bits, products by the scheme `int8` (`qcc.assigned`).

    Each operation with a weight says in `qcc.requested`, `qcc.executed` and `qcc.reason` what became of it. Those with
    no known range are left to schemes that find scales at run time.
  }];
  let options = [
    ListOption<"keep", "keep", "std::string", "regular expressions of node names that stay in f32">,
    Option<"scheme", "scheme", "std::string", "\"int8\"", "a value of --precision: int8 or w4a8">,
    Option<"target", "target", "std::string", "\"\"", "a value of --target, for what is faster in f32; none: nothing is">,
    Option<"minCosine", "min-cosine", "double", "0.99", "least cosine of the outputs with those in f32; 0: any">,
    Option<"formats", "formats", "std::string", "\"\"", "what budgets choose from, joined by commas; none: the scheme and f32">,
    Option<"maxSize", "max-size", "std::string", "\"\"", "largest size of the weights">,
    Option<"maxDrop", "max-drop", "std::string", "\"\"", "largest loss of accuracy">,
    Option<"maxLatency", "max-latency", "std::string", "\"\"", "longest predicted time">,
    Option<"dynamic", "dynamic", "bool", "false", "quantize convolutions of no known range with scales found at run time">,
    Option<"pairsFit", "pairs-fit", "bool", "false", "choose codes that kernels without VNNI multiply fast">,
    Option<"rowScales", "row-scales", "bool", "true", "let products and attentions find scales of rows where known ones change the outputs too much or there are none">,
    Option<"onlyAttentions", "only-attentions", "bool", "false", "leave all but attentions as it is">,
    Option<"correctBias", "correct-bias", "bool", "true", "add the mean of each channel's error to the bias">,
  ];
  let dependentDialects = ["::qcc::QCCDialect", "::mlir::arith::ArithDialect", "::mlir::math::MathDialect"];
}
