//===- Worker.h - how compiler and workers talk -----------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A message is its length in 8 bytes, lowest first, and its bytes. A request is
// the level's key, a zero byte and the module; an answer is '+' and the object,
// or '-' and what is wrong.
//
//===----------------------------------------------------------------------===//
#ifndef QCC_LIB_CODEGEN_COMPILER_WORKER_H
#define QCC_LIB_CODEGEN_COMPILER_WORKER_H

#include "qcc/Codegen/KernelCompiler.h"
#include "qcc/Support/Diagnostics.h"

namespace qcc {

/// Bytes of a message; larger ones are refused.
inline constexpr uint64_t kMaxMessage = uint64_t(1) << 32;
inline constexpr size_t kLengthBytes = 8;

std::string encodeMessage(llvm::StringRef payload);
/// The length that the first kLengthBytes bytes say.
uint64_t decodeLength(const char *bytes);

/// A worker process at the other end of a socket. Moves bytes when the caller
/// finds the socket ready; never blocks.
class WorkerProcess {
public:
  WorkerProcess() = default;
  WorkerProcess(const WorkerProcess &) = delete;
  WorkerProcess &operator=(const WorkerProcess &) = delete;
  /// Ends the process.
  ~WorkerProcess();

  /// Starts `program --worker`. Errors: Internal.
  llvm::Error start(llvm::StringRef program);
  /// Hands it a job; it must be idle.
  void submit(size_t index, const KernelJob &job);

  bool isIdle() const { return !job; }
  size_t getJob() const { return *job; }
  int getSocket() const { return socket; }
  bool wantsToWrite() const { return sent < outgoing.size(); }

  enum class State { Busy, Answered, Died };
  /// Reads and writes what is possible now. With Answered, `answer` holds the
  /// payload and the worker is idle again.
  State advance(std::string &answer);
  /// How it ended, for people; after Died. `id` is LimitReached if it had not
  /// enough memory, else Internal.
  std::string describeEnd(Diag &id);

private:
  int socket = -1, errors = -1;
  pid_t pid = -1;
  std::optional<size_t> job;
  std::string outgoing, incoming;
  size_t sent = 0;
};

} // namespace qcc

#endif // QCC_LIB_CODEGEN_COMPILER_WORKER_H
