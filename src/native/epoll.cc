// epoll and eventfd. An event's data carries the fd and a generation number, so that an event of a closed and reused fd
// number can be told from a current one.
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "addon.h"

namespace {

constexpr int kMaxEvents = 512;

napi_value EpollCreate(napi_env env, napi_callback_info) {
  int fd = epoll_create1(EPOLL_CLOEXEC);
  return fd < 0 ? Errno(env) : Int(env, fd);
}

// epollCtl(epfd, op, fd, events, generation) -> 0 | -errno
napi_value EpollCtl(napi_env env, napi_callback_info info) {
  Args a(env, info);
  int epfd = a.i32(0), op = a.i32(1), fd = a.i32(2), events = a.i32(3), generation = a.i32(4);
  if (!a.ok()) return Bad(env);
  epoll_event ev;
  ev.events = static_cast<uint32_t>(events);
  ev.data.u64 = static_cast<uint64_t>(static_cast<uint32_t>(generation)) << 32 | static_cast<uint32_t>(fd);
  return epoll_ctl(epfd, op, fd, &ev) < 0 ? Errno(env) : Int(env, 0);
}

// epollWait(epfd, out: Int32Array, max, timeoutMs) -> n | -errno; out gets fd, generation, events for each
napi_value EpollWait(napi_env env, napi_callback_info info) {
  Args a(env, info);
  int epfd = a.i32(0), max = a.i32(2), timeout = a.i32(3);
  napi_typedarray_type type;
  size_t length = 0;
  void* data = nullptr;
  if (!a.ok() || napi_get_typedarray_info(env, a.at(1), &type, &length, &data, nullptr, nullptr) != napi_ok ||
      type != napi_int32_array || max < 1 || static_cast<size_t>(max) * 3 > length) {
    return Bad(env);
  }
  epoll_event events[kMaxEvents];
  if (max > kMaxEvents) max = kMaxEvents;
  int n = epoll_wait(epfd, events, max, timeout);
  if (n < 0) n = -errno;
  Tick(State(env));
  if (n < 0) return Int(env, n);
  int32_t* out = static_cast<int32_t*>(data);
  for (int i = 0; i < n; i++) {
    out[i * 3] = static_cast<int32_t>(events[i].data.u64);
    out[i * 3 + 1] = static_cast<int32_t>(events[i].data.u64 >> 32);
    out[i * 3 + 2] = static_cast<int32_t>(events[i].events);
  }
  return Int(env, n);
}

napi_value EventFd(napi_env env, napi_callback_info) {
  int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  return fd < 0 ? Errno(env) : Int(env, fd);
}

// eventfdWrite(fd) -> 0 | -errno: makes it readable
napi_value EventFdWrite(napi_env env, napi_callback_info info) {
  Args a(env, info);
  int fd = a.i32(0);
  if (!a.ok()) return Bad(env);
  uint64_t one = 1;
  return write(fd, &one, sizeof one) < 0 ? Errno(env) : Int(env, 0);
}

// eventfdRead(fd) -> count since the last read | -errno
napi_value EventFdRead(napi_env env, napi_callback_info info) {
  Args a(env, info);
  int fd = a.i32(0);
  if (!a.ok()) return Bad(env);
  uint64_t n = 0;
  return read(fd, &n, sizeof n) < 0 ? Errno(env) : Int(env, static_cast<int64_t>(n));
}

}  // namespace

void InitEpoll(napi_env env, napi_value exports) {
  ExportFunction(env, exports, "epollCreate", EpollCreate);
  ExportFunction(env, exports, "epollCtl", EpollCtl);
  ExportFunction(env, exports, "epollWait", EpollWait);
  ExportFunction(env, exports, "eventfd", EventFd);
  ExportFunction(env, exports, "eventfdWrite", EventFdWrite);
  ExportFunction(env, exports, "eventfdRead", EventFdRead);
}
