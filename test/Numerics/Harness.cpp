//===- Harness.cpp - kernels compiled and run in a test ---------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Harness.h"
#include "Emulation.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Parser/Parser.h"
#include "qcc/Codegen/Lowering.h"
#include "qcc/Dialect/QCC/Pack.h"
#include "qcc/Scheme/Scheme.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Program.h"
#include "gtest/gtest.h"
#include <cmath>
#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>

using namespace mlir;
using namespace qcc;
using namespace qcc::test;

std::vector<Capabilities> test::getRunnableLevels() {
  TargetRegistry registry;
  registerReferenceTarget(registry);
  registerX86Target(registry);
  std::vector<Capabilities> levels;
  auto add = [&](const char *value) {
    auto found = registry.find(value);
    if (found)
      levels.insert(levels.end(), found->second.begin(), found->second.end());
    else
      llvm::consumeError(found.takeError());
  };
  add("reference");
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    add("avx2");
    add("avx512-vnni");
  }
  return levels;
}

GuardedBuffer::GuardedBuffer(size_t size, bool atEnd) : length(size) {
  size_t page = sysconf(_SC_PAGESIZE);
  size_t pages = (size + page - 1) / page * page;
  mapped = pages + 2 * page;
  mapping = static_cast<char *>(
      mmap(nullptr, mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  if (pages)
    mprotect(mapping + page, pages, PROT_READ | PROT_WRITE);
  begin = mapping + page + (atEnd ? pages - size : 0);
}

GuardedBuffer::~GuardedBuffer() { munmap(mapping, mapped); }

/// Links an object to a library and loads it.
static void *loadObject(ArrayRef<char> object) {
  llvm::SmallString<128> input, output;
  int fd;
  if (llvm::sys::fs::createTemporaryFile("qcc-test", "o", fd, input) ||
      llvm::sys::fs::createTemporaryFile("qcc-test", "so", output))
    return nullptr;
  {
    llvm::raw_fd_ostream os(fd, /*shouldClose=*/true);
    os.write(object.data(), object.size());
  }
  auto linker = llvm::sys::findProgramByName(
      "ld.lld", {"/usr/lib/llvm-22/bin", "/usr/bin"});
  std::string error = "no ld.lld";
  int status = 1;
  if (linker)
    status = llvm::sys::ExecuteAndWait(
        *linker, {*linker, "-shared", "-o", output, input}, std::nullopt, {}, 0,
        0, &error);
  void *library = status == 0 ? dlopen(output.c_str(), RTLD_NOW) : nullptr;
  if (!library)
    ADD_FAILURE() << "cannot load the kernel: "
                  << (status ? error.c_str() : dlerror());
  llvm::sys::fs::remove(input);
  llvm::sys::fs::remove(output);
  return library;
}

/// Asks the emitter for the schedules of the kernel's region: its own choice,
/// then others; none if it does not take it.
static std::vector<KernelSchedule> getSchedules(KernelOp kernel,
                                                const KernelEmitter &emitter,
                                                ArrayRef<Capabilities> levels,
                                                ArrayRef<unsigned> constants) {
  OpBuilder b(kernel);
  Block &block = kernel.getBody().front();
  auto dispatch = DispatchOp::create(b, kernel.getLoc(),
                                     block.getTerminator()->getOperandTypes(),
                                     ValueRange());
  IRMapping mapping;
  kernel.getBody().cloneInto(&dispatch.getBody(), mapping);
  auto isConstant = [&](unsigned operand) {
    return llvm::is_contained(constants, operand);
  };
  std::vector<KernelSchedule> schedules;
  if (auto chosen = emitter.match(dispatch, levels, isConstant)) {
    schedules.push_back(std::move(*chosen));
    llvm::append_range(schedules,
                       emitter.getAlternatives(dispatch, levels, isConstant));
  }
  dispatch.erase();
  return schedules;
}

LoadedKernel::LoadedKernel(StringRef text, const KernelEmitter &emitter,
                           const Capabilities &caps)
    : context(MLIRContext::Threading::DISABLED) {
  load(text, &emitter, caps, {}, nullptr);
}

LoadedKernel::LoadedKernel(StringRef text, const Target &target,
                           ArrayRef<Capabilities> levels,
                           ArrayRef<unsigned> constants,
                           void (*extend)(DialectRegistry &), size_t choice)
    : context(MLIRContext::Threading::DISABLED), choice(choice) {
  SmallVector<const KernelEmitter *> emitters;
  for (const auto &emitter : target.getEmitters())
    emitters.push_back(emitter.get());
  load(text, emitters, levels, constants, extend);
}

/// Gives the operands the types of their packed forms.
void LoadedKernel::packOperands(KernelOp kernel,
                                ArrayRef<PackRequest> requests) {
  for (const PackRequest &request : requests) {
    BlockArgument arg = kernel.getBody().front().getArgument(request.operand);
    auto type = cast<RankedTensorType>(arg.getType());
    RankedTensorType packed =
        packedType(type, request.layout, request.nr, request.transposed);
    ASSERT_TRUE(packed) << request.layout;
    packings.push_back({request, type, packed});
    arg.setType(packed);
    for (Operation *user : arg.getUsers())
      user->setAttr(kPackedAttr, UnitAttr::get(&context));
  }
}

void LoadedKernel::load(StringRef text, Emitters emitters,
                        ArrayRef<Capabilities> levels,
                        ArrayRef<unsigned> constants,
                        void (*extend)(DialectRegistry &)) {
  DialectRegistry registry;
  registerCodegenDialects(registry);
  registerSchemes(registry);
  if (extend)
    extend(registry);
  context.appendDialectRegistry(registry);
  context.loadAllAvailableDialects();
  OwningOpRef<ModuleOp> source = parseSourceString<ModuleOp>(text, &context);
  if (!source) {
    ADD_FAILURE() << "cannot parse\n" << text.str();
    return;
  }
  KernelOp kernel = *source->getOps<KernelOp>().begin();
  std::vector<KernelSchedule> schedules;
  const KernelEmitter *emitter = nullptr;
  for (const KernelEmitter *candidate : emitters) {
    emitter = candidate;
    schedules = getSchedules(kernel, *emitter, levels, constants);
    if (!schedules.empty())
      break;
  }
  if (choice >= schedules.size()) {
    ADD_FAILURE() << "no match for\n" << text.str();
    return;
  }
  emitterName = emitter->getName().str();
  numChoices = schedules.size();
  const KernelSchedule *schedule = &schedules[choice];
  scheduleText = describeSchedule(*schedule);
  tasks = schedule->tasks;
  scratchBytes = schedule->scratchBytes;
  kernel.setScheduleAttr(schedule->params);
  packOperands(kernel, schedule->packs);

  Capabilities caps = levels.back();
  OwningOpRef<ModuleOp> code = ModuleOp::create(UnknownLoc::get(&context));
  KernelBuilder builder(*code, "k", kernel, caps);
  if (failed(emitter->emit(builder))) {
    ADD_FAILURE() << "cannot emit\n" << text.str();
    return;
  }
  builder.finish();
  llvm::SmallVector<char> object;
  if ((needsEmulation(caps) && failed(emulateOnAvx2(*code, caps))) ||
      failed(verify(*code)) || failed(lowerKernelModule(*code, caps)) ||
      failed(emitObject(*code, caps, object))) {
    ADD_FAILURE() << "cannot compile\n" << text.str();
    return;
  }
  library = loadObject(object);
  if (library)
    function = reinterpret_cast<Function>(dlsym(library, "k"));
}

/// An operand in the order that the kernel reads.
Bytes LoadedKernel::pack(unsigned operand, const Bytes &bytes) const {
  for (const Packing &packing : packings) {
    const PackRequest &request = packing.request;
    if (request.operand != operand)
      continue;
    Bytes packed(packing.to.getNumElements() *
                 getElementBytes(packing.to.getElementType()));
    EXPECT_TRUE(succeeded(packWeight(bytes, packing.from, request.layout,
                                     request.nr, request.transposed, packed)));
    return packed;
  }
  return bytes;
}

LoadedKernel::~LoadedKernel() {
  if (library)
    dlclose(library);
}

int64_t LoadedKernel::getTasks(const std::vector<int64_t> &dims) const {
  return evaluateSize(tasks, dims).value_or(-1);
}

std::vector<Bytes> LoadedKernel::run(const std::vector<Bytes> &inputs,
                                     const std::vector<size_t> &sizes,
                                     const std::vector<int64_t> &dims,
                                     bool atEnd, int64_t parts) const {
  std::vector<std::unique_ptr<GuardedBuffer>> buffers;
  std::vector<void *> bindings;
  auto add = [&](size_t size) {
    buffers.push_back(std::make_unique<GuardedBuffer>(size, atEnd));
    bindings.push_back(buffers.back()->data());
  };
  for (unsigned i = 0; i < inputs.size(); ++i) {
    Bytes input = pack(i, inputs[i]);
    add(input.size());
    std::memcpy(bindings.back(), input.data(), input.size());
  }
  for (size_t size : sizes) {
    add(size);
    std::memset(bindings.back(), 0xA5, size);
  }
  GuardedBuffer scratch(scratchBytes, atEnd);
  int64_t count = getTasks(dims);
  EXPECT_GE(count, 0);
  for (int64_t part = 0; part < parts; ++part)
    function(bindings.data(), dims.data(), count * part / parts,
             count * (part + 1) / parts, scratch.data());
  std::vector<Bytes> results;
  for (size_t i = 0; i < sizes.size(); ++i) {
    char *data = buffers[inputs.size() + i]->data();
    results.emplace_back(data, data + sizes[i]);
  }
  return results;
}

std::function<void()>
LoadedKernel::prepare(const std::vector<Bytes> &inputs,
                      const std::vector<size_t> &sizes,
                      const std::vector<int64_t> &dims) const {
  struct State {
    std::vector<std::unique_ptr<GuardedBuffer>> buffers;
    std::vector<void *> bindings;
    std::vector<int64_t> dims;
  };
  auto state = std::make_shared<State>();
  state->dims = dims;
  // At the start of a page: as aligned as an arena.
  auto add = [&](size_t size) {
    state->buffers.push_back(std::make_unique<GuardedBuffer>(size, false));
    return state->buffers.back()->data();
  };
  for (unsigned i = 0; i < inputs.size(); ++i) {
    Bytes input = pack(i, inputs[i]);
    state->bindings.push_back(add(input.size()));
    std::memcpy(state->bindings.back(), input.data(), input.size());
  }
  for (size_t size : sizes)
    state->bindings.push_back(add(size));
  char *scratch = add(scratchBytes);
  return [function = function, count = getTasks(dims), state, scratch] {
    function(state->bindings.data(), state->dims.data(), 0, count, scratch);
  };
}

double test::ulpError(float result, double exact) {
  if (std::isnan(exact) || std::isnan(result))
    return std::isnan(exact) == std::isnan(static_cast<double>(result))
               ? 0
               : HUGE_VAL;
  float rounded = static_cast<float>(exact);
  if (std::isinf(rounded) || std::isinf(result)) {
    if (rounded == result)
      return 0;
    // Just beside the largest number either may be right.
    double limit = 0x1.fffffep127;
    if (!std::isinf(result))
      return std::abs(limit - std::abs(result)) / 0x1p104 +
             (std::isinf(exact) ? HUGE_VAL : 0.5);
    return std::abs(exact) > limit ? 0
                                   : (limit - std::abs(exact)) / 0x1p104 + 0.5;
  }
  int exponent = std::max(std::ilogb(exact == 0 ? 0x1p-126 : exact), -126);
  return std::abs(result - exact) / std::ldexp(1.0, exponent - 23);
}
