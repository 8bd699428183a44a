//===- Kernels.cpp - speed of x86 kernels against ceilings ------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// usage: BenchKernels [PAIRS [TEXT]]
//
// Prints a table in Markdown, of the kernels with TEXT in their name. Each line
// is a kernel at one level; its rate is divided by that of a loop of nothing
// but the instruction it is made of, measured in turns with it. Medians of
// PAIRS (31) pairs.
//
//===----------------------------------------------------------------------===//
#include "Emulation.h"
#include "PeakLoops.h"
#include "X86Kernel.h"
#include "qcc/Scheme/Scheme.h"
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <random>

using namespace qcc;
using namespace qcc::test;

namespace {

int pairs = 31;

/// A kernel to measure: its text, what it reads and writes, its work.
struct Case {
  std::string name, text;
  std::vector<unsigned> constants;
  std::vector<size_t> inputBytes;
  size_t resultBytes;
  double operations;
  bool bytes;            ///< made of products of bytes
  bool pairsFit = false; ///< the bytes of the weight, input 1, fit in pairs
  Bytes last = {};       ///< the last input, if it is not random
};

/// Seconds of processor time of this thread: what others use does not count.
double now() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return double(time.tv_sec) + double(time.tv_nsec) * 1e-9;
}

/// Operations per second of nothing but the loop; 0 where the CPU lacks its
/// instructions.
double measure(qcc::run::PeakLoop loop) {
  if (!qcc::run::canRun(loop))
    return 0;
  double start = now(), operations = qcc::run::runPeakLoop(loop, 1 << 22);
  return operations / (now() - start);
}

void report(const X86 &x86, const std::string &level, const Case &item) {
  std::vector<Capabilities> caps = x86.parse(level);
  LoadedKernel kernel(item.text, x86.target(), caps, item.constants);
  if (!kernel.ok())
    std::exit(1);
  std::vector<Bytes> inputs;
  for (size_t size : item.inputBytes) {
    Random random(size);
    inputs.push_back(toBytes(random.floats(size / 4, -1, 1)));
    inputs.back().resize(size);
  }
  if (item.pairsFit)
    for (char &byte : inputs[1])
      byte = char(byte & 63);
  if (!item.last.empty())
    inputs.back() = item.last;
  auto run = kernel.prepare(inputs, {item.resultBytes}, {});
  bool vnni = item.bytes && caps.back().hasVnni;
  using qcc::run::PeakLoop;
  PeakLoop loop = vnni                            ? PeakLoop::Dot512
                  : caps.back().vectorBits == 512 ? PeakLoop::Fma512
                                                  : PeakLoop::Fma256;
  run();
  std::vector<double> rates, ratios;
  for (int i = 0; i < pairs; ++i) {
    double peak = measure(loop), start = now(), elapsed = 0;
    int runs = 0;
    do {
      run();
      ++runs;
      elapsed = now() - start;
    } while (elapsed < 0.005);
    rates.push_back(item.operations * runs / elapsed);
    ratios.push_back(rates.back() / peak);
  }
  std::sort(rates.begin(), rates.end());
  std::sort(ratios.begin(), ratios.end());
  size_t middle = ratios.size() / 2;
  std::printf("| %s | %s | %s | %.1f | %.0f %% of %s (%.0f to %.0f) |\n",
              item.name.c_str(), level.c_str(), kernel.getEmitter().c_str(),
              rates[middle] / 1e9, 100 * ratios[middle],
              vnni ? "vpdpbusd" : "FMA", 100 * ratios.front(),
              100 * ratios.back());
  std::fflush(stdout);
}

std::string sizes(std::initializer_list<int64_t> values) {
  std::string text;
  for (int64_t value : values)
    text += (text.empty() ? "" : " x ") + std::to_string(value);
  return text;
}

Case makeGemm(int64_t m, int64_t k, int64_t n) {
  std::string a = tensor({m, k}, "f32"), b = tensor({k, n}, "f32"),
              c = tensor({m, n}, "f32");
  std::string body =
      "  %r = qcc.matmul %0, %1 : (" + a + ", " + b + ") -> " + c + "\n";
  return {"f32 product " + sizes({m, k, n}),
          kernelText({a, b}, body, "%r", c),
          {1},
          {size_t(m * k) * 4, size_t(k * n) * 4},
          size_t(m * n) * 4,
          2.0 * m * n * k,
          false};
}

Case makeQuantized(const std::string &key, int64_t m, int64_t k, int64_t n) {
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  mlir::DialectRegistry registry;
  registry.insert<QCCDialect>();
  registerSchemes(registry);
  context.appendDialectRegistry(registry);
  context.loadAllAvailableDialects();
  const Scheme *scheme = getSchemes(&context).lookup(key);
  int64_t group = scheme->getGroup(), groups = group ? k / group : 1;
  int64_t bytes = getEncodedLayout(*scheme, k, n)->totalBytes;
  // Weights are not uniform, and speed may depend on how many are large.
  std::mt19937 generator(1);
  std::normal_distribution<float> normal;
  std::vector<float> weights(k * n);
  for (float &weight : weights)
    weight = normal(generator);
  Bytes encoded(bytes);
  llvm::cantFail(encodeWeight(*scheme, {k, n, toBytes(weights)}, encoded));
  std::string codes = tensor({m, k}, "i8"), scales = tensor({m, groups}, "f32"),
              sums = tensor({m, groups}, "i32"), weight = tensor({bytes}, "i8"),
              result = tensor({m, n}, "f32");
  std::string body = "  %r = qcc.qmatmul (%0, %1, %2), %3 <\"" + key +
                     "\", group = " + std::to_string(group) +
                     ", symmetric = true> {n = " + std::to_string(n) +
                     " : i64} : (" + codes + ", " + scales + ", " + sums +
                     ", " + weight + ") -> " + result + "\n";
  return {key + " product " + sizes({m, k, n}),
          kernelText({codes, scales, sums, weight}, body, "%r", result),
          {3},
          {size_t(m * k), size_t(m * groups) * 4, size_t(m * groups) * 4,
           size_t(bytes)},
          size_t(m * n) * 4,
          2.0 * m * n * k,
          true,
          false,
          encoded};
}

/// Codes times a constant weight of bytes, rounded to codes of another scale;
/// behind a bias and GELU if that is asked for.
Case makeBytes(int64_t m, int64_t k, int64_t n, bool pairsFit,
               bool withGelu = false) {
  std::string a = tensor({m, k}, "ui8"), b = tensor({k, n}, "i8"),
              sums = tensor({m, n}, "i32"), c = tensor({m, n}, "ui8");
  std::string body =
      "  %c = qcc.int_matmul %0, %1" +
      std::string(pairsFit ? " {qcc.pairs_fit}" : "") + " : (" + a + ", " + b +
      ") -> " + sums + "\n  %r = qcc.generic none ins(%c" +
      (withGelu ? ", %2 : " + sums + ", " + tensor({n}, "f32") + ")"
                : " : " + sums + ")") +
      " maps [affine_map<(d0, d1) -> (d0, d1)>" +
      (withGelu ? ", affine_map<(d0, d1) -> (d1)>] {\n"
                  "  ^bb1(%p: i32, %b: f32):\n"
                : "] {\n  ^bb1(%p: i32):\n") +
      "    %f = arith.sitofp %p : i32 to f32\n"
      "    %k = arith.constant 0.0037 : f32\n" +
      (withGelu ? "    %s = arith.mulf %f, %k : f32\n"
                  "    %t = arith.addf %s, %b : f32\n"
                  "    %sqrt = arith.constant 0.70710678 : f32\n"
                  "    %u = arith.mulf %t, %sqrt : f32\n"
                  "    %e = math.erf %u fastmath<afn> : f32\n"
                  "    %half = arith.constant 20.0 : f32\n"
                  "    %h = arith.mulf %t, %half : f32\n"
                  "    %m = math.fma %h, %e, %h : f32\n"
                : "    %m = arith.mulf %f, %k : f32\n") +
      "    %low = arith.constant 0.0 : f32\n"
      "    %high = arith.constant 255.0 : f32\n"
      "    %w = math.roundeven %m : f32\n"
      "    %x = arith.maxnumf %w, %low : f32\n"
      "    %y = arith.minnumf %x, %high : f32\n"
      "    %z = arith.fptosi %y : f32 to i32\n"
      "    %q = arith.trunci %z : i32 to i8\n"
      "    qcc.yield %q : i8\n  } -> " +
      c + "\n";
  std::vector<std::string> operands{a, b};
  std::vector<size_t> bytes{size_t(m * k), size_t(k * n)};
  if (withGelu) {
    operands.push_back(tensor({n}, "f32"));
    bytes.push_back(size_t(n) * 4);
  }
  return {"int8 product to codes " + sizes({m, k, n}) +
              (withGelu ? ", bias and GELU" : "") +
              (pairsFit ? ", pairs fit" : ""),
          kernelText(operands, body, "%r", c),
          withGelu ? std::vector<unsigned>{1, 2} : std::vector<unsigned>{1},
          bytes,
          size_t(m * n),
          2.0 * m * n * k,
          true,
          pairsFit};
}

Case makeConv(int64_t channels, int64_t size, int64_t outputs, int64_t kernel,
              int64_t stride, int64_t groups = 1) {
  int64_t pad = kernel / 2, out = (size + 2 * pad - kernel) / stride + 1;
  std::string x = tensor({1, channels, size, size}, "f32"),
              w = tensor({outputs, channels / groups, kernel, kernel}, "f32"),
              y = tensor({1, outputs, out, out}, "f32");
  auto repeat = [](int64_t value, int times) {
    std::string text = "array<i64: " + std::to_string(value);
    for (int i = 1; i < times; ++i)
      text += ", " + std::to_string(value);
    return text + ">";
  };
  std::string body = "  %r = qcc.conv %0, %1 {strides = " + repeat(stride, 2) +
                     ", pads = " + repeat(pad, 4) +
                     ", dilations = " + repeat(1, 2) +
                     ", groups = " + std::to_string(groups) + " : i64} : (" +
                     x + ", " + w + ") -> " + y + "\n";
  double perOutput = double(channels / groups) * kernel * kernel;
  return {"f32 convolution " + sizes({channels, size, size}) + " to " +
              std::to_string(outputs) + ", window " + std::to_string(kernel) +
              ", stride " + std::to_string(stride) +
              (groups > 1 ? ", groups " + std::to_string(groups) : ""),
          kernelText({x, w}, body, "%r", y),
          {1},
          {size_t(channels * size * size) * 4, size_t(outputs * perOutput) * 4},
          size_t(outputs * out * out) * 4,
          2.0 * outputs * out * out * perOutput,
          false};
}

Case makeAttention(int64_t heads, int64_t length, int64_t depth,
                   bool inBytes = false) {
  std::string type = tensor({1, heads, length, depth}, "f32");
  std::string body = "  %r = qcc.attention %0, %1, %2 {scale = 0.125 : f32" +
                     std::string(inBytes ? ", int8" : "") + "} : (" + type +
                     ", " + type + ", " + type + ") -> " + type + "\n";
  size_t bytes = size_t(heads * length * depth) * 4;
  return {(inBytes ? "int8 attention " : "f32 attention ") +
              sizes({heads, length, depth}),
          kernelText({type, type, type}, body, "%r", type),
          {},
          {bytes, bytes, bytes},
          bytes,
          4.0 * heads * length * length * depth,
          inBytes};
}

} // namespace

int main(int argc, char **argv) {
  if (argc > 1)
    pairs = std::max(std::atoi(argv[1]), 1);
  const std::string wanted = argc > 2 ? argv[2] : "";
  X86 x86;
  std::printf("| kernel | level | emitter | G operations/s | of the ceiling |\n"
              "|---|---|---|---|---|\n");
  std::vector<Case> cases{makeGemm(256, 768, 768),
                          makeGemm(512, 1024, 1024),
                          makeGemm(256, 4096, 4096),
                          makeGemm(16, 768, 768),
                          makeBytes(256, 768, 768, false),
                          makeBytes(256, 768, 768, true),
                          makeBytes(512, 1024, 1024, true),
                          makeBytes(256, 4096, 4096, true),
                          makeBytes(128, 768, 3072, true),
                          makeBytes(128, 768, 3072, true, /*withGelu=*/true),
                          makeQuantized("int8", 1, 4096, 4096),
                          makeQuantized("int8", 4, 768, 768),
                          makeQuantized("int8", 16, 768, 768),
                          makeQuantized("int8", 256, 768, 768),
                          makeQuantized("int8", 512, 1024, 1024),
                          makeQuantized("int8", 256, 4096, 4096),
                          makeQuantized("w4a8", 256, 768, 768),
                          makeQuantized("w4a8", 512, 1024, 1024),
                          makeConv(3, 224, 64, 7, 2),
                          makeConv(64, 56, 64, 3, 1),
                          makeConv(256, 56, 64, 1, 1),
                          makeConv(256, 14, 256, 3, 1),
                          makeConv(512, 7, 512, 3, 1),
                          makeConv(144, 56, 144, 3, 1, 144),
                          makeAttention(12, 128, 64),
                          makeAttention(12, 512, 64),
                          makeAttention(12, 128, 64, true),
                          makeAttention(12, 512, 64, true)};
  for (const std::string &level : x86.levels())
    if (level.find('+') == std::string::npos &&
        !needsEmulation(x86.parse(level).back()))
      for (const Case &item : cases)
        if (item.name.find(wanted) != std::string::npos)
          report(x86, level, item);
  return 0;
}
