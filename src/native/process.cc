// What belongs to the process rather than to one environment: the bytes of request heads that are not complete yet (they
// wait between threads), the idle time of every thread's event loop as another thread reads it, and prctl.
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include "addon.h"

namespace {

// --- heads: fd -> bytes. An fd has one owner at a time (TypeScript's rule), the exchange makes a broken rule harmless.
struct Head {
  int32_t length;
  char bytes[1];
};

std::atomic<Head*>* Heads() {
  // Zero pages: resident only where used.
  static std::atomic<Head*>* table = static_cast<std::atomic<Head*>*>(calloc(kMaxFds, sizeof(std::atomic<Head*>)));
  return table;
}

Head* SwapHead(int fd, Head* head) {
  if (fd < 0 || fd >= kMaxFds || Heads() == nullptr) return head;
  return Heads()[fd].exchange(head);
}

// headPut(fd, Uint8Array, offset, length) -> 0 | -errno: keeps a copy, replacing an earlier one
napi_value HeadPut(napi_env env, napi_callback_info info) {
  Args a(env, info);
  int fd = a.i32(0), off = a.i32(2), len = a.i32(3);
  char* data;
  if (!a.ok() || !a.bytes(1, off, len, &data) || fd < 0 || fd >= kMaxFds) return Bad(env);
  Head* head = static_cast<Head*>(malloc(sizeof(Head) + static_cast<size_t>(len)));
  if (head == nullptr) return Int(env, -ENOMEM);
  head->length = len;
  memcpy(head->bytes, data, static_cast<size_t>(len));
  free(SwapHead(fd, head));
  return Int(env, 0);
}

// headTake(fd, Uint8Array, offset, length) -> n, 0 if there is none | -ENOBUFS (kept) if it is longer than length
napi_value HeadTake(napi_env env, napi_callback_info info) {
  Args a(env, info);
  int fd = a.i32(0), off = a.i32(2), len = a.i32(3);
  char* data;
  if (!a.ok() || !a.bytes(1, off, len, &data) || fd < 0 || fd >= kMaxFds) return Bad(env);
  Head* head = SwapHead(fd, nullptr);
  if (head == nullptr) return Int(env, 0);
  if (head->length > len) {
    free(SwapHead(fd, head));
    return Int(env, -ENOBUFS);
  }
  int32_t n = head->length;
  memcpy(data, head->bytes, static_cast<size_t>(n));
  free(head);
  return Int(env, n);
}

// headLength(fd) -> bytes kept, 0 if none
napi_value HeadLength(napi_env env, napi_callback_info info) {
  Args a(env, info);
  int fd = a.i32(0);
  if (!a.ok() || fd < 0 || fd >= kMaxFds || Heads() == nullptr) return Bad(env);
  // Taken out to be read: nobody can free it meanwhile. It goes back unless somebody has put another one.
  Head* head = SwapHead(fd, nullptr);
  if (head == nullptr) return Int(env, 0);
  int32_t length = head->length;
  Head* none = nullptr;
  if (!Heads()[fd].compare_exchange_strong(none, head)) free(head);
  return Int(env, length);
}

// --- loops: slot -> event loop, so that the supervisor can see whether a thread's loop still turns.
std::mutex loops_mutex;
uv_loop_t* loops[kMaxLoops];
clockid_t loop_clocks[kMaxLoops];

// loopRegister(slot) -> 0 | -errno: this environment's loop is the one of slot until the environment ends
napi_value LoopRegister(napi_env env, napi_callback_info info) {
  Args a(env, info);
  EnvState* s = State(env);
  int slot = a.i32(0);
  if (!a.ok() || s == nullptr || slot < 0 || slot >= kMaxLoops) return Bad(env);
  ReleaseLoopSlot(s);
  std::lock_guard<std::mutex> lock(loops_mutex);
  if (pthread_getcpuclockid(pthread_self(), &loop_clocks[slot]) != 0) return Int(env, -ENOENT);
  loops[slot] = s->loop;
  s->loop_slot = slot;
  return Int(env, 0);
}

// loopIdle(slot) -> microseconds that the loop has spent waiting since it began | -ENOENT
napi_value LoopIdle(napi_env env, napi_callback_info info) {
  Args a(env, info);
  int slot = a.i32(0);
  if (!a.ok() || slot < 0 || slot >= kMaxLoops) return Bad(env);
  std::lock_guard<std::mutex> lock(loops_mutex);
  if (loops[slot] == nullptr) return Int(env, -ENOENT);
  return Int(env, static_cast<int64_t>(uv_metrics_idle_time(loops[slot]) / 1000));
}

// loopCpu(slot) -> microseconds of CPU that the loop's thread has used | -errno
napi_value LoopCpu(napi_env env, napi_callback_info info) {
  Args a(env, info);
  int slot = a.i32(0);
  if (!a.ok() || slot < 0 || slot >= kMaxLoops) return Bad(env);
  std::lock_guard<std::mutex> lock(loops_mutex);
  if (loops[slot] == nullptr) return Int(env, -ENOENT);
  timespec ts;
  if (clock_gettime(loop_clocks[slot], &ts) < 0) return Errno(env);
  return Int(env, static_cast<int64_t>(ts.tv_sec) * 1000000 + ts.tv_nsec / 1000);
}

// setThreadName(name) -> 0 | -errno: as top -H and ps -L show it (15 bytes)
napi_value SetThreadName(napi_env env, napi_callback_info info) {
  Args a(env, info);
  char name[16] = "";
  size_t length;
  if (a.count() < 1 || napi_get_value_string_utf8(env, a.at(0), name, sizeof name, &length) != napi_ok) return Bad(env);
  return prctl(PR_SET_NAME, name) < 0 ? Errno(env) : Int(env, 0);
}

// setParentDeathSignal(signal) -> 0 | -errno: 0 = none
napi_value SetParentDeathSignal(napi_env env, napi_callback_info info) {
  Args a(env, info);
  int sig = a.i32(0);
  if (!a.ok() || sig < 0) return Bad(env);
  return prctl(PR_SET_PDEATHSIG, static_cast<unsigned long>(sig)) < 0 ? Errno(env) : Int(env, 0);
}

// maxFds() -> soft limit of open files, at most the size of the tables kept per fd
napi_value MaxFds(napi_env env, napi_callback_info) {
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return Errno(env);
  return Int(env, limit.rlim_cur > kMaxFds ? kMaxFds : static_cast<int64_t>(limit.rlim_cur));
}

napi_value GetTid(napi_env env, napi_callback_info) { return Int(env, syscall(SYS_gettid)); }

}  // namespace

void DropHead(int fd) {
  if (fd >= 0 && fd < kMaxFds) free(SwapHead(fd, nullptr));
}

void ReleaseLoopSlot(EnvState* s) {
  std::lock_guard<std::mutex> lock(loops_mutex);
  if (s->loop_slot >= 0 && loops[s->loop_slot] == s->loop) loops[s->loop_slot] = nullptr;
  s->loop_slot = -1;
}

void InitProcess(napi_env env, napi_value exports) {
  ExportFunction(env, exports, "headPut", HeadPut);
  ExportFunction(env, exports, "headTake", HeadTake);
  ExportFunction(env, exports, "headLength", HeadLength);
  ExportFunction(env, exports, "loopRegister", LoopRegister);
  ExportFunction(env, exports, "loopIdle", LoopIdle);
  ExportFunction(env, exports, "loopCpu", LoopCpu);
  ExportFunction(env, exports, "setThreadName", SetThreadName);
  ExportFunction(env, exports, "setParentDeathSignal", SetParentDeathSignal);
  ExportFunction(env, exports, "maxFds", MaxFds);
  ExportFunction(env, exports, "gettid", GetTid);
}
