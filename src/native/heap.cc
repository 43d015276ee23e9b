// The heap limit of a thread. Node's own answer to a heap that reaches resourceLimits is to grant 16 MB and to end the
// thread; an allocation that needs more than that (an array, map or string that doubles) then aborts the process. V8 asks
// the callback that was added last, so this one comes before Node's: it tells main and grants enough for anything that
// may be under way, and main ends the thread.
//
// V8's API is not part of Node-API, so its functions are looked up by name and may be missing: then Node's answer stands.
#include "addon.h"

#include <dlfcn.h>
#include <unistd.h>

namespace {

using NearHeapLimit = size_t (*)(void* data, size_t current, size_t initial);

// No single object is larger than 1 GB; V8 asks again if this is not enough either.
constexpr size_t kGrant = static_cast<size_t>(2) << 30;

struct Guard {
  void* isolate;
  int32_t* word;
  int wake_fd;
};

struct V8 {
  void* (*current)();
  void (*add)(void* isolate, NearHeapLimit callback, void* data);
  void (*remove)(void* isolate, NearHeapLimit callback, size_t limit);
};

const V8& Api() {
  static const V8 api = [] {
    V8 v;
    *reinterpret_cast<void**>(&v.current) = dlsym(RTLD_DEFAULT, "_ZN2v87Isolate10GetCurrentEv");
    *reinterpret_cast<void**>(&v.add) = dlsym(RTLD_DEFAULT, "_ZN2v87Isolate24AddNearHeapLimitCallbackEPFmPvmmES1_");
    *reinterpret_cast<void**>(&v.remove) = dlsym(RTLD_DEFAULT, "_ZN2v87Isolate27RemoveNearHeapLimitCallbackEPFmPvmmEm");
    return v;
  }();
  return api;
}

// Within a collection: no JavaScript, nothing of V8.
size_t OnLimit(void* data, size_t current, size_t) {
  Guard* g = static_cast<Guard*>(data);
  __atomic_store_n(g->word, 1, __ATOMIC_SEQ_CST);
  uint64_t one = 1;
  if (write(g->wake_fd, &one, sizeof one) < 0) { /* the counter is full: main is being woken already */
  }
  return current + kGrant;
}

void Drop(void* data) {
  Guard* g = static_cast<Guard*>(data);
  Api().remove(g->isolate, OnLimit, 0);
  delete g;
}

// heapGuard(Int32Array, index, eventfd) -> 0 | -ENOSYS: the word becomes 1 and the eventfd is written when this thread's
// heap reaches its limit. To be called once in a thread. The memory and the eventfd have to outlive it.
napi_value HeapGuard(napi_env env, napi_callback_info info) {
  Args a(env, info);
  int32_t* word = a.word(0, a.i32(1));
  int fd = a.i32(2);
  if (!a.ok() || fd < 0) return Bad(env);
  const V8& v8 = Api();
  if (v8.current == nullptr || v8.add == nullptr || v8.remove == nullptr) return Int(env, -ENOSYS);
  Guard* g = new Guard{v8.current(), word, fd};
  if (napi_add_env_cleanup_hook(env, Drop, g) != napi_ok) {
    delete g;
    return Bad(env);
  }
  v8.add(g->isolate, OnLimit, g);
  return Int(env, 0);
}

}  // namespace

void InitHeap(napi_env env, napi_value exports) { ExportFunction(env, exports, "heapGuard", HeapGuard); }
