// Outboxes: short responses that a thread holds back while it makes a few more, one outbox for each loop slot
// (process.cc). A send that wakes the client costs as much as the rest of the call; several in a row wake it once.
//
// An outbox acts like a little more of the kernel's buffer: held bytes of an fd leave before anything else that is
// written to it, whoever writes (every call in socket.cc that writes to, shuts down or closes an fd asks here first), and
// bytes that the kernel has no room for stay. Outboxes belong to the process: any thread may flush one, so that neither a
// long handler nor a thread's death keeps a response. Whether to hold and when to flush is decided in TypeScript.
#include <sys/socket.h>
#include <sys/uio.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include "addon.h"

namespace {

constexpr int kEntries = 64;
constexpr size_t kBytes = 256 * 1024;
constexpr size_t kLongest = 16 * 1024;  // longer ones are sent at once: copying them would cost more than it spares

struct Entry {
  int fd;
  size_t at;
  size_t length;
};

struct Outbox {
  std::mutex mutex;
  int count = 0;
  size_t used = 0;
  Entry entries[kEntries];
  char bytes[kBytes];
};

std::atomic<Outbox*> boxes[kMaxLoops];

// fd -> slot + 1 of the outbox that holds bytes for it, 0 = none; zero pages, resident only where used.
std::atomic<uint16_t>* Holders() {
  static auto* table = static_cast<std::atomic<uint16_t>*>(calloc(kMaxFds, sizeof(std::atomic<uint16_t>)));
  return table;
}

Outbox* BoxOf(int slot) {
  Outbox* box = boxes[slot].load();
  if (box != nullptr) return box;
  Outbox* fresh = new Outbox();
  if (boxes[slot].compare_exchange_strong(box, fresh)) return fresh;
  delete fresh;
  return box;
}

bool Waits(const Outbox* box, int count, int fd) {
  for (int i = 0; i < count; i++) {
    if (box->entries[i].fd == fd) return true;
  }
  return false;
}

// Sends what the kernel takes, in order for each fd; the rest moves to the front. The caller has the lock.
void Flush(Outbox* box) {
  int fds[kEntries];
  int kept = 0;
  size_t used = 0;
  const int count = box->count;
  for (int i = 0; i < count; i++) {
    Entry e = box->entries[i];
    fds[i] = e.fd;
    if (!Waits(box, kept, e.fd)) {
      ssize_t n;
      do n = send(e.fd, box->bytes + e.at, e.length, MSG_NOSIGNAL);
      while (n < 0 && errno == EINTR);
      // A broken connection tells of itself when it is next received from.
      if (n < 0 && errno != EAGAIN && errno != ENOBUFS && errno != ENOMEM) n = static_cast<ssize_t>(e.length);
      if (n > 0) {
        e.at += static_cast<size_t>(n);
        e.length -= static_cast<size_t>(n);
      }
    }
    if (e.length == 0) continue;
    memmove(box->bytes + used, box->bytes + e.at, e.length);
    box->entries[kept++] = {e.fd, used, e.length};
    used += e.length;
  }
  box->count = kept;
  box->used = used;
  for (int i = 0; i < count; i++) {
    if (!Waits(box, kept, fds[i])) Holders()[fds[i]].store(0);
  }
}

// The outbox that holds bytes for fd, or null.
Outbox* HolderOf(int fd) {
  if (fd < 0 || fd >= kMaxFds || Holders() == nullptr) return nullptr;
  uint16_t holder = Holders()[fd].load();
  return holder == 0 ? nullptr : boxes[holder - 1].load();
}

// outboxFlush(slot) -> responses for which the kernel has no room yet | -errno
napi_value OutboxFlush(napi_env env, napi_callback_info info) {
  Args a(env, info);
  int slot = a.i32(0);
  if (!a.ok() || slot < 0 || slot >= kMaxLoops) return Bad(env);
  return Int(env, FlushOutbox(slot));
}

}  // namespace

bool HoldBack(EnvState* s, int fd, const iovec* parts, int n) {
  if (s == nullptr || s->loop_slot < 0 || fd < 0 || fd >= kMaxFds || Holders() == nullptr) return false;
  size_t length = 0;
  for (int i = 0; i < n; i++) length += parts[i].iov_len;
  if (length > kLongest) return false;
  Outbox* box = BoxOf(s->loop_slot);
  Outbox* other = HolderOf(fd);
  if (other != nullptr && other != box && !FlushHeld(fd)) return false;
  std::lock_guard<std::mutex> lock(box->mutex);
  if (box->count == kEntries || box->used + length > kBytes) Flush(box);
  if (box->count == kEntries || box->used + length > kBytes) return false;
  box->entries[box->count++] = {fd, box->used, length};
  for (int i = 0; i < n; i++) {
    memcpy(box->bytes + box->used, parts[i].iov_base, parts[i].iov_len);
    box->used += parts[i].iov_len;
  }
  Holders()[fd].store(static_cast<uint16_t>(s->loop_slot + 1));
  return true;
}

bool FlushHeld(int fd) {
  Outbox* box = HolderOf(fd);
  if (box == nullptr) return true;
  std::lock_guard<std::mutex> lock(box->mutex);
  Flush(box);
  return !Waits(box, box->count, fd);
}

void DropHeld(int fd) {
  Outbox* box = HolderOf(fd);
  if (box == nullptr) return;
  std::lock_guard<std::mutex> lock(box->mutex);
  Flush(box);
  // What is left has no reader any more.
  int kept = 0;
  for (int i = 0; i < box->count; i++) {
    if (box->entries[i].fd != fd) box->entries[kept++] = box->entries[i];
  }
  box->count = kept;
  Holders()[fd].store(0);
}

int FlushOutbox(int slot) {
  Outbox* box = slot < 0 || slot >= kMaxLoops ? nullptr : boxes[slot].load();
  if (box == nullptr) return 0;
  std::lock_guard<std::mutex> lock(box->mutex);
  if (box->count > 0) Flush(box);
  return box->count;
}

void InitOutbox(napi_env env, napi_value exports) { ExportFunction(env, exports, "outboxFlush", OutboxFlush); }
