//===- Signals.cpp - how the program ends early -----------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Signals.h"
#include "qcc/Support/Diagnostics.h"
#include "qcc/Support/TemporaryFolder.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/ErrorHandling.h"
#include "llvm/Support/Signals.h"
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <new>
#include <sys/resource.h>
#include <thread>
#include <unistd.h>

using namespace llvm;

namespace qcc::driver {

//===----------------------------------------------------------------------===//
// Interrupts
//===----------------------------------------------------------------------===//

/// Write end of the pipe between the handler and the thread that acts. A
/// handler may call almost nothing; removing a folder takes more.
static int interruptPipe = -1;

static void onInterrupt(int) {
  char byte = 0;
  (void)!write(interruptPipe, &byte, 1);
}

static void waitForInterrupt(int pipe) {
  char byte;
  while (read(pipe, &byte, 1) < 0 && errno == EINTR)
    ;
  TemporaryFolder::removeAll();
  static constexpr char kText[] = "\nqcc: interrupted\n";
  (void)!write(STDERR_FILENO, kText, sizeof(kText) - 1);
  // No destructors: other threads still run.
  _exit(130);
}

void handleInterrupts() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0)
    return; // an interrupt then ends the program at once
  interruptPipe = ends[1];
  std::thread(waitForInterrupt, ends[0]).detach();
  struct sigaction action = {};
  action.sa_handler = onInterrupt;
  action.sa_flags = SA_RESTART;
  for (int signal : {SIGINT, SIGTERM, SIGHUP})
    sigaction(signal, &action, nullptr);
}

//===----------------------------------------------------------------------===//
// Crashes
//===----------------------------------------------------------------------===//

/// Prints `qcc: error: TEXT [CODE]` with nothing but system calls; the text may
/// be in two parts.
static void writeLine(const char *text, const char *code,
                      const char *more = "") {
  for (const char *part : {"qcc: error: ", text, more, " [", code, "]\n"})
    (void)!write(STDERR_FILENO, part, strlen(part));
}

/// What to do about a crash: a text that is written before the handler may need
/// it.
static const char *volatile crashRemedy =
    "please report it with the model and the command";

void notePlugins(ArrayRef<std::string> paths) {
  std::string remedy =
      toPlainText("a plugin (" + join(paths, ", ") +
                  ") may have done it: report it to who wrote it, or without "
                  "--load-plugin with the model and the command");
  // Never freed: a plugin may also crash while the program ends.
  crashRemedy = strdup(remedy.c_str());
}

static void onCrash(int signal) {
  if (signal == SIGBUS) {
    writeLine("crashed: a mapped file became shorter, or the disk is full",
              "QCC-E901");
    _exit(1);
  }
  writeLine(signal == SIGSEGV ? "crashed: invalid memory access; "
                              : "crashed; ",
            "QCC-E901", crashRemedy);
  _exit(1);
}

static void onFatalError(void *, const char *reason, bool) {
  writeLine(reason, "QCC-E901");
  TemporaryFolder::removeAll();
  _exit(1);
}

static void onBadAlloc(void *, const char *, bool) {
  writeLine("out of memory; raise --max-memory, or make the model smaller",
            "QCC-E501");
  _exit(7);
}

static void onNewFailed() { onBadAlloc(nullptr, nullptr, false); }

void handleOutOfMemory() {
  install_bad_alloc_error_handler(onBadAlloc);
  std::set_new_handler(onNewFailed);
}

void handleCrashes() {
  // A file that may not grow any more is an error of writing, told as such.
  ::signal(SIGXFSZ, SIG_IGN);
  install_fatal_error_handler(onFatalError);
  handleOutOfMemory();
  if (getenv("QCC_BACKTRACE")) {
    sys::PrintStackTraceOnErrorSignal("qcc");
    return;
  }
  // A stack of its own, so that the end of the stack is reported too.
  static char alternate[64 << 10];
  stack_t stack = {};
  stack.ss_sp = alternate;
  stack.ss_size = sizeof(alternate);
  sigaltstack(&stack, nullptr);
  struct sigaction action = {};
  action.sa_handler = onCrash;
  action.sa_flags = SA_ONSTACK | SA_RESETHAND;
  for (int signal : {SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE})
    sigaction(signal, &action, nullptr);
}

Error limitMemory(uint64_t mebibytes) {
  // RLIMIT_DATA counts private writable memory, so mapped models are free.
  rlim_t bytes = static_cast<rlim_t>(mebibytes) << 20;
  rlimit limit = {bytes, bytes};
  if (mebibytes >> 40 || setrlimit(RLIMIT_DATA, &limit) != 0)
    return makeError(Diag::Usage, "--max-memory",
                     "the limit cannot be set: " + Twine(strerror(errno)));
  return Error::success();
}

} // namespace qcc::driver

//===----------------------------------------------------------------------===//
// malloc
//===----------------------------------------------------------------------===//

// Parts of MLIR and of the C library use what malloc returns without a look:
// at the end of memory they would write through a null pointer, and the crash
// would hide what is wrong. The program's own malloc ends it with the line of
// `onBadAlloc`; the memory is that of the C library, which also frees it.
// Sanitizers bring an allocator of their own.
#if !__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer)
extern "C" {
void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);

void *malloc(size_t size) {
  void *memory = __libc_malloc(size);
  if (!memory)
    qcc::driver::onNewFailed();
  return memory;
}

void *calloc(size_t count, size_t size) {
  void *memory = __libc_calloc(count, size);
  if (!memory)
    qcc::driver::onNewFailed();
  return memory;
}

void *realloc(void *old, size_t size) {
  void *memory = __libc_realloc(old, size);
  if (!memory && size)
    qcc::driver::onNewFailed();
  return memory;
}
}
#endif
