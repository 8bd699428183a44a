//===- Worker.cpp - worker processes, from both sides -----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Worker.h"
#include "KernelCache.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/Support/Errno.h"
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace qcc;

std::string qcc::encodeMessage(llvm::StringRef payload) {
  std::string message(kLengthBytes, '\0');
  for (size_t i = 0; i < kLengthBytes; ++i)
    message[i] = static_cast<char>(payload.size() >> (8 * i) & 0xFF);
  message += payload;
  return message;
}

uint64_t qcc::decodeLength(const char *bytes) {
  uint64_t length = 0;
  for (size_t i = 0; i < kLengthBytes; ++i)
    length |= uint64_t(static_cast<unsigned char>(bytes[i])) << (8 * i);
  return length;
}

//===----------------------------------------------------------------------===//
// The compiler's side
//===----------------------------------------------------------------------===//

llvm::Error WorkerProcess::start(llvm::StringRef program) {
  auto fail = [&](int error) {
    return makeError(Diag::Internal, "",
                     "cannot start a kernel worker: " +
                         llvm::sys::StrError(error));
  };
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
    return fail(errno);
  socket = ends[0];
  if (fcntl(socket, F_SETFL, O_NONBLOCK)) {
    close(ends[1]);
    return fail(errno);
  }
  // What it says on stderr matters only if it dies.
  errors = memfd_create("qcc-worker", MFD_CLOEXEC);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], 0);
  posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  if (errors >= 0)
    posix_spawn_file_actions_adddup2(&actions, errors, 2);
  std::string path = program.str(), flag = "--worker";
  char *words[] = {path.data(), flag.data(), nullptr};
  int error =
      posix_spawn(&pid, path.c_str(), &actions, nullptr, words, environ);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  if (error) {
    pid = -1;
    return fail(error);
  }
  return llvm::Error::success();
}

WorkerProcess::~WorkerProcess() {
  if (socket >= 0)
    close(socket); // the worker ends when it reads this
  if (pid > 0) {
    if (job)
      kill(pid, SIGKILL);
    while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR)
      ;
  }
  if (errors >= 0)
    close(errors);
}

void WorkerProcess::submit(size_t index, const KernelJob &request) {
  job = index;
  outgoing = encodeMessage(getLevelKey(request.caps) + std::string(1, '\0') +
                           request.code);
  sent = 0;
  incoming.clear();
}

WorkerProcess::State WorkerProcess::advance(std::string &answer) {
  while (wantsToWrite()) {
    ssize_t count = send(socket, outgoing.data() + sent, outgoing.size() - sent,
                         MSG_NOSIGNAL);
    if (count < 0 && (errno == EAGAIN || errno == EINTR))
      break;
    if (count < 0)
      return State::Died;
    sent += count;
  }
  char buffer[1 << 16];
  while (true) {
    ssize_t count = recv(socket, buffer, sizeof(buffer), 0);
    if (count < 0 && errno == EINTR)
      continue;
    if (count < 0 && errno == EAGAIN)
      break;
    if (count <= 0)
      return State::Died;
    incoming.append(buffer, count);
  }
  if (incoming.size() < kLengthBytes)
    return State::Busy;
  uint64_t length = decodeLength(incoming.data());
  if (length > kMaxMessage) {
    kill(pid, SIGKILL); // not one of ours
    return State::Died;
  }
  if (incoming.size() < kLengthBytes + length)
    return State::Busy;
  answer = incoming.substr(kLengthBytes, length);
  job.reset();
  return State::Answered;
}

std::string WorkerProcess::describeEnd(Diag &id) {
  id = Diag::Internal;
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
    ;
  pid = -1;
  if (WIFEXITED(status) &&
      WEXITSTATUS(status) == getDiagInfo(Diag::LimitReached).exitCode) {
    id = Diag::LimitReached;
    return "out of memory; raise --max-memory, or make the model smaller";
  }
  std::string text = WIFSIGNALED(status)
                         ? "the kernel worker was ended by signal " +
                               std::to_string(WTERMSIG(status))
                         : "the kernel worker ended with status " +
                               std::to_string(WEXITSTATUS(status));
  // The first line it left, such as LLVM's fatal error.
  char line[512];
  ssize_t count = errors >= 0 ? pread(errors, line, sizeof(line), 0) : 0;
  if (count > 0) {
    llvm::StringRef first =
        llvm::StringRef(line, count).trim().split('\n').first;
    if (!first.empty())
      text += ": " + first.str();
  }
  return text;
}

//===----------------------------------------------------------------------===//
// The worker's side
//===----------------------------------------------------------------------===//

/// Reads exactly `size` bytes; false at the end of the stream.
static bool readAll(char *data, size_t size) {
  while (size > 0) {
    ssize_t count = read(0, data, size);
    if (count < 0 && errno == EINTR)
      continue;
    if (count <= 0)
      return false;
    data += count;
    size -= count;
  }
  return true;
}

static bool writeAll(llvm::StringRef data) {
  while (!data.empty()) {
    ssize_t count = send(0, data.data(), data.size(), MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR)
      continue;
    if (count <= 0)
      return false;
    data = data.drop_front(count);
  }
  return true;
}

/// The answer to a request.
static std::string answer(llvm::StringRef request) {
  auto [key, code] = request.split('\0');
  std::optional<Capabilities> caps = parseLevelKey(key);
  if (!caps)
    return "-expected a level in the request";
  KernelJob job;
  job.code = code.str();
  job.caps = *caps;
  llvm::Expected<std::string> object = compileKernel(job);
  if (object)
    return "+" + *object;
  std::string text;
  llvm::handleAllErrors(
      object.takeError(),
      [&](const CodedError &error) { text = error.getText().str(); },
      [&](const llvm::ErrorInfoBase &error) { text = error.message(); });
  return "-" + text;
}

int qcc::runKernelWorker() {
  char length[kLengthBytes];
  while (readAll(length, kLengthBytes)) {
    uint64_t size = decodeLength(length);
    if (size > kMaxMessage)
      return 1;
    // Grows with what really arrives.
    std::string request;
    while (request.size() < size) {
      size_t at = request.size();
      request.resize(std::min<uint64_t>(size, at + (1 << 20)));
      if (!readAll(request.data() + at, request.size() - at))
        return 1;
    }
    if (!writeAll(encodeMessage(answer(request))))
      return 1;
  }
  return 0;
}
