// The addon's entry: state per environment, and the libuv poll handle by which a selector or an eventfd wakes the
// event loop of its thread. Everything else is plain system calls in the files beside this one.
//
// Life: Init() makes the state and registers an async cleanup hook; when the environment ends (exit, terminate() at any
// instant, resource limits) the hook closes every poll handle on the loop and then frees the state. A caller's file
// descriptors are never closed here: they belong to the process, and their owner is decided in TypeScript. A poll
// handle watches a duplicate of its own, because libuv aborts the process when a watched fd turns out to be closed.
#include "addon.h"

#include <fcntl.h>
#include <unistd.h>

struct PollHandle {
  uv_poll_t handle;
  EnvState* state;
  napi_ref callback;
  PollHandle* prev;
  PollHandle* next;
  int id;
  int fd;           // a duplicate, closed with the handle
  int budget;       // how often the callback may ask to be called again in one turn of the loop
  bool drain;       // an eventfd: read it before the call, so that it does not fire again
  bool closing;
};

namespace {

void Unlink(PollHandle* p) {
  EnvState* s = p->state;
  if (p->prev != nullptr) p->prev->next = p->next;
  else s->polls = p->next;
  if (p->next != nullptr) p->next->prev = p->prev;
}

void FinishEnv(EnvState* s) {
  if (s->open_handles > 0) return;
  napi_async_cleanup_hook_handle hook = s->cleanup;
  ReleaseLoopSlot(s);
  delete s;
  napi_remove_async_cleanup_hook(hook);
}

void OnClosed(uv_handle_t* h) {
  PollHandle* p = reinterpret_cast<PollHandle*>(h);
  EnvState* s = p->state;
  close(p->fd);
  delete p;
  s->open_handles--;
  if (s->closing) FinishEnv(s);
}

void ClosePoll(PollHandle* p) {
  if (p->closing) return;
  p->closing = true;
  Unlink(p);
  uv_poll_stop(&p->handle);
  if (!p->state->closing && p->callback != nullptr) napi_delete_reference(p->state->env, p->callback);
  p->callback = nullptr;
  uv_close(reinterpret_cast<uv_handle_t*>(&p->handle), OnClosed);
}

// Calls back, each time in a callback scope of its own (behind which ticks and microtasks run), until the callback
// returns something other than true, the budget is spent, or the handle was stopped.
void OnReadable(uv_poll_t* h, int, int) {
  PollHandle* p = reinterpret_cast<PollHandle*>(h);
  EnvState* s = p->state;
  if (s->closing || p->closing) return;
  napi_env env = s->env;
  if (p->drain) {
    uint64_t n;
    if (read(p->fd, &n, sizeof n) < 0) { /* another wake-up read it: still call back */
    }
  }
  int left = p->budget;
  bool again = true;
  while (again && left-- > 0 && !s->closing && !p->closing) {
    again = false;
    napi_handle_scope scope;
    if (napi_open_handle_scope(env, &scope) != napi_ok) return;
    napi_value fn, global, result;
    if (napi_get_reference_value(env, p->callback, &fn) == napi_ok && fn != nullptr &&
        napi_get_global(env, &global) == napi_ok) {
      napi_status status = napi_make_callback(env, nullptr, global, fn, 0, nullptr, &result);
      if (status == napi_ok) {
        napi_get_value_bool(env, result, &again);
      } else if (status == napi_pending_exception) {
        napi_value error;
        if (napi_get_and_clear_last_exception(env, &error) == napi_ok) napi_fatal_exception(env, error);
      }
    }
    napi_close_handle_scope(env, scope);
  }
}

// pollStart(fd, callback, budget, drain) -> id | -errno
napi_value PollStart(napi_env env, napi_callback_info info) {
  Args a(env, info);
  EnvState* s = State(env);
  int fd = a.i32(0);
  int budget = a.i32(2);
  int drain = a.i32(3);
  napi_valuetype type = napi_undefined;
  if (a.count() > 1) napi_typeof(env, a.at(1), &type);
  if (!a.ok() || s == nullptr || s->closing || type != napi_function || fd < 0 || budget < 1) return Bad(env);
  fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (fd < 0) return Errno(env);
  PollHandle* p = new PollHandle();
  p->state = s;
  p->fd = fd;
  p->budget = budget;
  p->drain = drain != 0;
  p->closing = false;
  int err = uv_poll_init(s->loop, &p->handle, fd);
  if (err != 0) {
    close(fd);
    delete p;
    return Int(env, err);
  }
  p->id = s->next_poll_id++;
  p->prev = nullptr;
  p->next = s->polls;
  if (s->polls != nullptr) s->polls->prev = p;
  s->polls = p;
  s->open_handles++;
  napi_create_reference(env, a.at(1), 1, &p->callback);
  err = uv_poll_start(&p->handle, UV_READABLE, OnReadable);
  if (err != 0) {
    ClosePoll(p);
    return Int(env, err);
  }
  return Int(env, p->id);
}

// uncaught(error): what the event loop does with an error that nobody has caught, for who has called in its place
napi_value Uncaught(napi_env env, napi_callback_info info) {
  Args a(env, info);
  if (a.count() < 1) return Bad(env);
  napi_fatal_exception(env, a.at(0));
  return Int(env, 0);
}

PollHandle* FindPoll(EnvState* s, int id) {
  PollHandle* p = s == nullptr ? nullptr : s->polls;
  while (p != nullptr && p->id != id) p = p->next;
  return p;
}

// pollStop(id) -> 0 | -ENOENT: forgets the handle; the fd stays open
napi_value PollStop(napi_env env, napi_callback_info info) {
  Args a(env, info);
  int id = a.i32(0);
  if (!a.ok()) return Bad(env);
  PollHandle* p = FindPoll(State(env), id);
  if (p == nullptr) return Int(env, -ENOENT);
  ClosePoll(p);
  return Int(env, 0);
}

// pollPause(id, paused) -> 0 | -errno: keeps the handle but stops (1) or resumes (0) watching
napi_value PollPause(napi_env env, napi_callback_info info) {
  Args a(env, info);
  int id = a.i32(0);
  int paused = a.i32(1);
  if (!a.ok()) return Bad(env);
  PollHandle* p = FindPoll(State(env), id);
  if (p == nullptr) return Int(env, -ENOENT);
  return Int(env, paused != 0 ? uv_poll_stop(&p->handle) : uv_poll_start(&p->handle, UV_READABLE, OnReadable));
}

// pollRef(id, ref) -> 0 | -ENOENT: whether the handle keeps its event loop alive
napi_value PollRef(napi_env env, napi_callback_info info) {
  Args a(env, info);
  int id = a.i32(0);
  int ref = a.i32(1);
  if (!a.ok()) return Bad(env);
  PollHandle* p = FindPoll(State(env), id);
  if (p == nullptr) return Int(env, -ENOENT);
  uv_handle_t* h = reinterpret_cast<uv_handle_t*>(&p->handle);
  if (ref != 0) uv_ref(h);
  else uv_unref(h);
  return Int(env, 0);
}

// An Int32Array over shared memory: another buffer could be detached while it is written to.
int32_t* SharedWords(napi_env env, napi_value value, size_t* length) {
  napi_typedarray_type type;
  void* data = nullptr;
  napi_value buffer = nullptr;
  bool detachable = true;
  if (napi_get_typedarray_info(env, value, &type, length, &data, &buffer, nullptr) != napi_ok ||
      type != napi_int32_array || napi_is_arraybuffer(env, buffer, &detachable) != napi_ok || detachable) {
    return nullptr;
  }
  return static_cast<int32_t*>(data);
}

void Keep(napi_env env, napi_value value, napi_ref* ref) {
  if (*ref != nullptr) napi_delete_reference(env, *ref);
  napi_create_reference(env, value, 1, ref);
}

// useClock(Int32Array[2], shared) -> 0: element 0 is the time (coarse ms), brought up to date by recv, send and epollWait of
// this environment; element 1 gets the bytes that the last sendString or sendHead took.
napi_value UseClock(napi_env env, napi_callback_info info) {
  Args a(env, info);
  EnvState* s = State(env);
  size_t length = 0;
  int32_t* words = s == nullptr || a.count() < 1 ? nullptr : SharedWords(env, a.at(0), &length);
  if (words == nullptr || length < 2) return Bad(env);
  Keep(env, a.at(0), &s->clock_ref);
  s->clock = words;
  Tick(s);
  return Int(env, 0);
}

// useOutcomes(Int32Array, stride, at; shared) -> 0: sends of this environment that are given an outcome other than 0 store it
// in element fd * stride + at once all of their bytes have left (or the outbox has them). In the same call, because a thread
// may be terminated between any two: nobody could tell then whether the client has its whole response.
napi_value UseOutcomes(napi_env env, napi_callback_info info) {
  Args a(env, info);
  EnvState* s = State(env);
  int stride = a.i32(1), at = a.i32(2);
  size_t length = 0;
  if (!a.ok() || s == nullptr || stride <= 0 || at < 0 || at >= stride) return Bad(env);
  int32_t* words = SharedWords(env, a.at(0), &length);
  if (words == nullptr) return Bad(env);
  Keep(env, a.at(0), &s->outcomes_ref);
  s->outcomes = words;
  s->outcome_words = length;
  s->outcome_stride = stride;
  s->outcome_at = at;
  return Int(env, 0);
}

// clock() -> coarse monotonic milliseconds, int32 that wraps
napi_value Clock(napi_env env, napi_callback_info) { return Int(env, CoarseMs()); }

void OnEnvEnd(napi_async_cleanup_hook_handle, void* arg) {
  EnvState* s = static_cast<EnvState*>(arg);
  s->closing = true;
  s->clock = nullptr;
  s->outcomes = nullptr;
  FlushOutbox(s->loop_slot);
  napi_set_instance_data(s->env, nullptr, nullptr, nullptr);
  while (s->polls != nullptr) ClosePoll(s->polls);
  if (s->prepared) {
    uv_close(reinterpret_cast<uv_handle_t*>(&s->prepare), [](uv_handle_t* h) {
      EnvState* state = static_cast<EnvState*>(h->data);
      state->open_handles--;
      FinishEnv(state);
    });
  }
  FinishEnv(s);
}

}  // namespace

void ExportFunction(napi_env env, napi_value exports, const char* name, napi_callback fn) {
  napi_value value;
  if (napi_create_function(env, name, NAPI_AUTO_LENGTH, fn, nullptr, &value) == napi_ok) {
    napi_set_named_property(env, exports, name, value);
  }
}

NAPI_MODULE_INIT() {
  EnvState* s = new EnvState();
  s->env = env;
  if (napi_get_uv_event_loop(env, &s->loop) != napi_ok || napi_set_instance_data(env, s, nullptr, nullptr) != napi_ok ||
      napi_add_async_cleanup_hook(env, OnEnvEnd, s, &s->cleanup) != napi_ok) {
    napi_set_instance_data(env, nullptr, nullptr, nullptr);
    delete s;
    napi_throw_error(env, "ERR_TUNICORN_NATIVE", "tunicorn's addon could not be attached to this environment");
    return exports;
  }
  ExportFunction(env, exports, "pollStart", PollStart);
  ExportFunction(env, exports, "pollStop", PollStop);
  ExportFunction(env, exports, "pollPause", PollPause);
  ExportFunction(env, exports, "pollRef", PollRef);
  ExportFunction(env, exports, "uncaught", Uncaught);
  ExportFunction(env, exports, "useClock", UseClock);
  ExportFunction(env, exports, "useOutcomes", UseOutcomes);
  ExportFunction(env, exports, "clock", Clock);
  InitEpoll(env, exports);
  InitSocket(env, exports);
  InitProcess(env, exports);
  InitOutbox(env, exports);
  InitHeap(env, exports);
  InitTitle(env, exports);
  return exports;
}
