// What belongs to the process rather than to one environment: the bytes of request heads that are not complete yet (they
// wait between threads), the idle time of every thread's event loop as another thread reads it, prctl and waitpid.
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
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

// --- the first bytes of the last request head of each fd: what main knows of a request whose thread says nothing any more.
constexpr int kLine = 512;
struct Line {
  uint16_t length;
  char bytes[kLine - sizeof(uint16_t)];
};

Line* Lines() {
  // Zero pages: resident only where used.
  static Line* table = static_cast<Line*>(calloc(kMaxFds, sizeof(Line)));
  return table;
}

// headLine(fd) -> the first bytes of the request head that was last received from fd, as latin1 text; '' if there is none
napi_value HeadLine(napi_env env, napi_callback_info info) {
  Args a(env, info);
  int fd = a.i32(0);
  if (!a.ok() || fd < 0 || fd >= kMaxFds || Lines() == nullptr) return Bad(env);
  const Line& line = Lines()[fd];
  napi_value out = nullptr;
  size_t length = line.length < sizeof line.bytes ? line.length : sizeof line.bytes;
  napi_create_string_latin1(env, line.bytes, length, &out);
  return out;
}

// headNote(fd, Uint8Array, offset, length): keeps the first bytes of a head that did not come by recvHead
napi_value HeadNote(napi_env env, napi_callback_info info) {
  Args a(env, info);
  int fd = a.i32(0), off = a.i32(2), len = a.i32(3);
  char* data;
  if (!a.ok() || !a.bytes(1, off, len, &data)) return Bad(env);
  NoteHead(fd, data, static_cast<size_t>(len));
  return Int(env, 0);
}

// --- loops: slot -> event loop, so that the supervisor can see whether a thread's loop still turns.
std::mutex loops_mutex;
uv_loop_t* loops[kMaxLoops];
clockid_t loop_clocks[kMaxLoops];
std::atomic<int64_t> loop_turns[kMaxLoops];

int64_t CpuUs(clockid_t clock) {
  timespec ts;
  if (clock_gettime(clock, &ts) < 0) return -1;
  return static_cast<int64_t>(ts.tv_sec) * 1000000 + ts.tv_nsec / 1000;
}

// Each time round: the supervisor sees that the loop turns, and stretchCpu() has where to count from.
void OnPrepare(uv_prepare_t* handle) {
  EnvState* s = static_cast<EnvState*>(handle->data);
  if (s->loop_slot >= 0) loop_turns[s->loop_slot].fetch_add(1, std::memory_order_relaxed);
  s->cpu_mark = s->inflight != nullptr && *s->inflight > 0 ? CpuUs(CLOCK_THREAD_CPUTIME_ID) : 0;
}

// loopRegister(slot, words, index) -> 0 | -errno: this environment's loop is the one of slot until the environment ends.
// words[index] (optional, in shared memory): requests in hand; only while there are any does the loop mark its CPU time.
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
  s->inflight = a.count() > 2 ? a.word(1, a.i32(2)) : nullptr;
  if (!s->prepared && uv_prepare_init(s->loop, &s->prepare) == 0) {
    s->prepare.data = s;
    uv_prepare_start(&s->prepare, OnPrepare);
    uv_unref(reinterpret_cast<uv_handle_t*>(&s->prepare));
    s->prepared = true;
    s->open_handles++;
  }
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
  int64_t us = CpuUs(loop_clocks[slot]);
  return us < 0 ? Errno(env) : Int(env, us);
}

// loopTurns(slot) -> how often the loop has come round to wait for events | -ENOENT
napi_value LoopTurns(napi_env env, napi_callback_info info) {
  Args a(env, info);
  int slot = a.i32(0);
  if (!a.ok() || slot < 0 || slot >= kMaxLoops) return Bad(env);
  return Int(env, loop_turns[slot].load(std::memory_order_relaxed));
}

// threadCpu() -> microseconds of CPU that the calling thread has used; stretchCpu() counts from here
napi_value ThreadCpu(napi_env env, napi_callback_info) {
  int64_t now = CpuUs(CLOCK_THREAD_CPUTIME_ID);
  if (EnvState* s = State(env)) s->cpu_mark = now;
  return Int(env, now);
}

// stretchCpu() -> microseconds of CPU of the calling thread since its loop last waited for events, or since the last call of
// this or threadCpu(): about what the callback that runs now has used. 0 where the loop took no mark (nothing was in hand then).
napi_value StretchCpu(napi_env env, napi_callback_info) {
  EnvState* s = State(env);
  if (s == nullptr || s->cpu_mark == 0) return Int(env, 0);
  int64_t now = CpuUs(CLOCK_THREAD_CPUTIME_ID);
  int64_t used = now - s->cpu_mark;
  s->cpu_mark = now;
  return Int(env, used);
}

// setPolicy(tid, policy) -> 0 | -errno: the scheduler's class of a thread of this process, 0 = the calling one; policy
// 0 SCHED_OTHER, 3 SCHED_BATCH, 5 SCHED_IDLE
napi_value SetPolicy(napi_env env, napi_callback_info info) {
  Args a(env, info);
  int tid = a.i32(0), policy = a.i32(1);
  if (!a.ok() || (policy != SCHED_OTHER && policy != SCHED_BATCH && policy != SCHED_IDLE)) return Bad(env);
  sched_param none = {};
  return sched_setscheduler(tid, policy, &none) < 0 ? Errno(env) : Int(env, 0);
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

// reap(pid) -> pid if that child had ended and is gone now, 0 if it lives | -errno
napi_value Reap(napi_env env, napi_callback_info info) {
  Args a(env, info);
  int pid = a.i32(0);
  if (!a.ok() || pid <= 0) return Bad(env);
  pid_t gone = waitpid(pid, nullptr, WNOHANG);
  return gone < 0 ? Errno(env) : Int(env, gone);
}

struct End {
  int status;
  int ms;
};

void* EndLate(void* arg) {
  End* end = static_cast<End*>(arg);
  timespec rest = {end->ms / 1000, end->ms % 1000 * 1000000L};
  while (nanosleep(&rest, &rest) < 0 && errno == EINTR) {
  }
  _exit(end->status);
}

// exitWithin(status, ms) -> 0 | -errno: if the process is there after ms still, it ends with that status. Node's own end waits for each
// of its threads, and nothing ends one that is in a system call.
napi_value ExitWithin(napi_env env, napi_callback_info info) {
  Args a(env, info);
  int status = a.i32(0), ms = a.i32(1);
  if (!a.ok() || ms < 0) return Bad(env);
  End* end = new End{status, ms};
  pthread_t thread;
  const int error = pthread_create(&thread, nullptr, EndLate, end);
  if (error != 0) {
    delete end;
    return Int(env, -error);
  }
  pthread_detach(thread);
  return Int(env, 0);
}

// maxFds() -> soft limit of open files, at most the size of the tables kept per fd
napi_value MaxFds(napi_env env, napi_callback_info) {
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return Errno(env);
  return Int(env, limit.rlim_cur > kMaxFds ? kMaxFds : static_cast<int64_t>(limit.rlim_cur));
}

napi_value GetTid(napi_env env, napi_callback_info) { return Int(env, syscall(SYS_gettid)); }

}  // namespace

void NoteHead(int fd, const char* bytes, size_t length) {
  if (fd < 0 || fd >= kMaxFds || Lines() == nullptr) return;
  Line& line = Lines()[fd];
  if (length > sizeof line.bytes) length = sizeof line.bytes;
  memcpy(line.bytes, bytes, length);
  line.length = static_cast<uint16_t>(length);
}

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
  ExportFunction(env, exports, "loopTurns", LoopTurns);
  ExportFunction(env, exports, "threadCpu", ThreadCpu);
  ExportFunction(env, exports, "stretchCpu", StretchCpu);
  ExportFunction(env, exports, "setPolicy", SetPolicy);
  ExportFunction(env, exports, "headLine", HeadLine);
  ExportFunction(env, exports, "headNote", HeadNote);
  ExportFunction(env, exports, "setThreadName", SetThreadName);
  ExportFunction(env, exports, "setParentDeathSignal", SetParentDeathSignal);
  ExportFunction(env, exports, "reap", Reap);
  ExportFunction(env, exports, "exitWithin", ExitWithin);
  ExportFunction(env, exports, "maxFds", MaxFds);
  ExportFunction(env, exports, "gettid", GetTid);
}
