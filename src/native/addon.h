// What the addon's files share: reading arguments, returning numbers, the state of one environment.
// Rules: system calls only, no policy. A call returns its result, or -errno; nothing a caller passes can abort the
// process (wrong types read as -EINVAL). State is per environment (main thread or worker thread) unless it says so.
#pragma once
#include <node_api.h>
#include <uv.h>

#include <cerrno>
#include <cstdint>
#include <ctime>

struct PollHandle;

// One per environment, owned by it, freed by its async cleanup hook.
struct EnvState {
  napi_env env = nullptr;
  uv_loop_t* loop = nullptr;
  PollHandle* polls = nullptr;  // doubly linked
  int next_poll_id = 1;
  int open_handles = 0;  // polls and the prepare handle
  int loop_slot = -1;
  uv_prepare_t prepare;
  bool prepared = false;
  int32_t* inflight = nullptr;  // requests in hand, see loopRegister()
  int64_t cpu_mark = 0;
  int32_t* clock = nullptr;  // Int32Array[2] of the environment, see useClock()
  napi_ref clock_ref = nullptr;
  int32_t* outcomes = nullptr;  // see useOutcomes()
  size_t outcome_words = 0;
  int outcome_stride = 0;
  int outcome_at = 0;
  napi_ref outcomes_ref = nullptr;
  napi_async_cleanup_hook_handle cleanup = nullptr;
  bool closing = false;
};

inline EnvState* State(napi_env env) {
  void* data = nullptr;
  napi_get_instance_data(env, &data);
  return static_cast<EnvState*>(data);
}

// Up to 8 arguments; a missing or mistyped one makes ok() false.
class Args {
 public:
  Args(napi_env env, napi_callback_info info) : env_(env) {
    count_ = 8;
    if (napi_get_cb_info(env, info, &count_, values_, nullptr, nullptr) != napi_ok) count_ = 0;
  }
  napi_value at(size_t i) const { return values_[i]; }
  size_t count() const { return count_; }
  // Only what is an int32 exactly: NaN and 2 ** 32 would otherwise read as file descriptor 0.
  int32_t i32(size_t i) {
    double v = 0;
    if (i >= count_ || napi_get_value_double(env_, values_[i], &v) != napi_ok || !(v >= INT32_MIN && v <= INT32_MAX) ||
        static_cast<double>(static_cast<int32_t>(v)) != v) {
      ok_ = false;
      return 0;
    }
    return static_cast<int32_t>(v);
  }
  // Bytes [off, off + len) of a typed array or Buffer; false if they are not all inside it.
  bool bytes(size_t i, int32_t off, int32_t len, char** out) {
    napi_typedarray_type type;
    size_t length = 0;
    void* data = nullptr;
    if (i >= count_ || napi_get_typedarray_info(env_, values_[i], &type, &length, &data, nullptr, nullptr) != napi_ok ||
        type != napi_uint8_array || off < 0 || len < 0 || static_cast<size_t>(off) + static_cast<size_t>(len) > length) {
      ok_ = false;
      return false;
    }
    *out = static_cast<char*>(data) + off;
    return true;
  }
  // One word of an Int32Array; null if it is outside of it.
  int32_t* word(size_t i, int32_t index) {
    napi_typedarray_type type;
    size_t length = 0;
    void* data = nullptr;
    if (i >= count_ || napi_get_typedarray_info(env_, values_[i], &type, &length, &data, nullptr, nullptr) != napi_ok ||
        type != napi_int32_array || index < 0 || static_cast<size_t>(index) >= length) {
      ok_ = false;
      return nullptr;
    }
    return static_cast<int32_t*>(data) + index;
  }
  bool ok() const { return ok_; }

 private:
  napi_env env_;
  napi_value values_[8];
  size_t count_;
  bool ok_ = true;
};

inline napi_value Int(napi_env env, int64_t v) {
  napi_value out = nullptr;
  napi_create_int64(env, v, &out);
  return out;
}

inline napi_value Errno(napi_env env) { return Int(env, -errno); }
inline napi_value Bad(napi_env env) { return Int(env, -EINVAL); }

// Milliseconds of CLOCK_MONOTONIC_COARSE as a wrapping int32 (one tick of the kernel, 1 to 10 ms; costs no system call).
inline int32_t CoarseMs() {
  timespec ts;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
  return static_cast<int32_t>(static_cast<uint32_t>(static_cast<uint64_t>(ts.tv_sec) * 1000u + ts.tv_nsec / 1000000));
}

// Calls that a request makes anyway also bring the clock of their thread up to date.
inline void Tick(EnvState* s) {
  if (s != nullptr && s->clock != nullptr) *s->clock = CoarseMs();
}

// The last bytes of a response have left: see useOutcomes(). 0 = they are not the last.
inline void NoteOutcome(EnvState* s, int fd, int32_t outcome) {
  if (outcome == 0 || s == nullptr || s->outcomes == nullptr || fd < 0) return;
  const size_t i = static_cast<size_t>(fd) * static_cast<size_t>(s->outcome_stride) + static_cast<size_t>(s->outcome_at);
  if (i < s->outcome_words) __atomic_store_n(s->outcomes + i, outcome, __ATOMIC_SEQ_CST);
}

void ExportFunction(napi_env env, napi_value exports, const char* name, napi_callback fn);
void InitEpoll(napi_env env, napi_value exports);
void InitSocket(napi_env env, napi_value exports);
void InitProcess(napi_env env, napi_value exports);
void InitOutbox(napi_env env, napi_value exports);
void InitHeap(napi_env env, napi_value exports);
void InitTitle(napi_env env, napi_value exports);

// Sizes of the tables that the process keeps by fd and by loop slot.
constexpr int kMaxFds = 1 << 20;
constexpr int kMaxLoops = 1024;

// outbox.cc. HoldBack: false = nothing was held, the caller sends. FlushHeld, before anything else is written to fd: false
// = the kernel has no room yet, writing now would overtake. DropHeld: before fd is closed. FlushOutbox: entries left.
struct iovec;
bool HoldBack(EnvState* s, int fd, const iovec* parts, int n);
bool FlushHeld(int fd);
void DropHeld(int fd);
int FlushOutbox(int slot);

// process.cc: bytes kept for an fd between threads; dropped when the fd is closed.
void DropHead(int fd);
// Keeps the first bytes of a request head for headLine().
void NoteHead(int fd, const char* bytes, size_t length);
void ReleaseLoopSlot(EnvState* s);
