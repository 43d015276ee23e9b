// Outboxes: short responses that a thread holds back while it makes a few more, one outbox for each loop slot
// (process.cc). A send that wakes the client costs as much as the rest of the call; several in a row wake it once.
//
// An outbox acts like a little more of the kernel's buffer: held bytes of an fd leave before anything else that is
// written to it, whoever writes (every call in socket.cc that writes to, shuts down or closes an fd asks here first), and
// bytes that the kernel has no room for stay. Outboxes belong to the process: any thread may flush one, so that neither a
// long handler nor a thread's death keeps a response. Whether to hold, when to flush and whether to have it flushed by the
// sender (below) is decided in TypeScript.
//
//     HoldBack ─> front half ─┬ FlushOutbox ─> send
//                             └ PassOutbox: the halves change places ─> back half ─ the sender thread ─> send
//
// An fd has bytes in one entry at most, of all outboxes: so it does not matter in which order halves leave.
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include "addon.h"

namespace {

constexpr int kEntries = 64;
constexpr size_t kBytes = 256 * 1024;
constexpr size_t kLongest = 16 * 1024;  // longer ones are sent at once: copying them would cost more than it spares
constexpr uint64_t kRetryNs = 50 * 1000 * 1000;  // of the sender, where the kernel had no room

struct Entry {
  int fd;
  size_t at;
  size_t length;
};

// libuv's, as the rest of it for threads: its symbols do not ask for a newer C library than Node does.
class Mutex {
 public:
  Mutex() { uv_mutex_init(&mutex_); }
  void Lock() { uv_mutex_lock(&mutex_); }
  bool TryLock() { return uv_mutex_trylock(&mutex_) == 0; }
  void Unlock() { uv_mutex_unlock(&mutex_); }
  uv_mutex_t* get() { return &mutex_; }

 private:
  uv_mutex_t mutex_;
};

class Locked {
 public:
  explicit Locked(Mutex& mutex) : mutex_(mutex) { mutex_.Lock(); }
  ~Locked() { mutex_.Unlock(); }

 private:
  Mutex& mutex_;
};

struct Half {
  Mutex mutex;
  std::atomic<bool> passed{false};  // the sender has not come to it yet
  int count = 0;
  size_t used = 0;
  Entry entries[kEntries];
  char bytes[kBytes];
};

struct Outbox {
  Half halves[2];
  std::atomic<int> front{0};
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

// Sends what the kernel takes; the rest moves to the front. The caller has the lock.
void Flush(Half* half) {
  int kept = 0;
  size_t used = 0;
  for (int i = 0; i < half->count; i++) {
    Entry e = half->entries[i];
    ssize_t n;
    do n = send(e.fd, half->bytes + e.at, e.length, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    // A broken connection tells of itself when it is next received from.
    if (n < 0 && errno != EAGAIN && errno != ENOBUFS && errno != ENOMEM) n = static_cast<ssize_t>(e.length);
    if (n > 0) {
      e.at += static_cast<size_t>(n);
      e.length -= static_cast<size_t>(n);
    }
    if (e.length == 0) {
      Holders()[e.fd].store(0);
      continue;
    }
    memmove(half->bytes + used, half->bytes + e.at, e.length);
    half->entries[kept++] = {e.fd, used, e.length};
    used += e.length;
  }
  half->count = kept;
  half->used = used;
}

int LockedFlush(Half* half) {
  Locked lock(half->mutex);
  if (half->count > 0) Flush(half);
  half->passed = false;
  return half->count;
}

// The outbox that holds bytes for fd, or null.
Outbox* HolderOf(int fd) {
  if (fd < 0 || fd >= kMaxFds || Holders() == nullptr) return nullptr;
  uint16_t holder = Holders()[fd].load();
  return holder == 0 ? nullptr : boxes[holder - 1].load();
}

// Adds to the entry of fd if that is the last one of the half, or makes one. False: no room. The caller has the lock.
bool Append(Half* half, int fd, bool more, const iovec* parts, int n, size_t length) {
  if (half->used + length > kBytes) return false;
  Entry* last = half->count > 0 ? &half->entries[half->count - 1] : nullptr;
  if (more) {
    if (last == nullptr || last->fd != fd || last->length + length > kLongest) return false;
    last->length += length;
  } else {
    if (half->count == kEntries) return false;
    half->entries[half->count++] = {fd, half->used, length};
  }
  for (int i = 0; i < n; i++) {
    memcpy(half->bytes + half->used, parts[i].iov_base, parts[i].iov_len);
    half->used += parts[i].iov_len;
  }
  return true;
}

// The sender: a thread that sends what busy threads have passed on, so that their next requests do not wait for it. A process
// has one at most, from when something is first passed on until its end; it takes no signals.
class Sender {
 public:
  Sender() { uv_cond_init(&wake_); }

  // The back half of the slot's outbox is to be sent. False: there is no sender.
  bool Pass(int slot) {
    Locked lock(mutex_);
    if (!running_) Start();
    if (!running_) return false;
    Add(slot);
    uv_cond_signal(&wake_);
    return true;
  }

 private:
  void Start() {
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    uv_thread_t thread;
    running_ = uv_thread_create(&thread, [](void* sender) { static_cast<Sender*>(sender)->Run(); }, this) == 0;
    sigprocmask(SIG_SETMASK, &before, nullptr);
  }

  void Add(int slot) {
    if (queued_[slot]) return;
    queued_[slot] = true;
    queue_[(first_ + length_++) % kMaxLoops] = slot;
  }

  int Take() {
    const int slot = queue_[first_];
    first_ = (first_ + 1) % kMaxLoops;
    length_--;
    queued_[slot] = false;
    return slot;
  }

  void Run() {
    prctl(PR_SET_NAME, "tunicorn-send");
    mutex_.Lock();
    for (;;) {
      while (length_ == 0) {
        if (stuck_count_ == 0) uv_cond_wait(&wake_, mutex_.get());
        else if (uv_cond_timedwait(&wake_, mutex_.get(), kRetryNs) != 0) break;
      }
      if (stuck_count_ > 0 && uv_hrtime() - tried_at_ >= kRetryNs) Again();
      if (length_ == 0) continue;
      const int slot = Take();
      mutex_.Unlock();
      Outbox* box = boxes[slot].load();
      const int left = LockedFlush(&box->halves[1 - box->front.load()]);
      mutex_.Lock();
      if (left > 0) Keep(slot);
    }
  }

  // A client takes nothing: its bytes are tried again by and by, and whatever else is done with its fd tries, too.
  void Keep(int slot) {
    if (stuck_[slot]) return;
    if (stuck_count_++ == 0) tried_at_ = uv_hrtime();
    stuck_[slot] = true;
  }

  void Again() {
    for (int slot = 0; slot < kMaxLoops; slot++) {
      if (stuck_[slot]) Add(slot);
      stuck_[slot] = false;
    }
    stuck_count_ = 0;
  }

  Mutex mutex_;
  uv_cond_t wake_;
  bool running_ = false;
  // A ring of slots, each in it once at most.
  int queue_[kMaxLoops];
  bool queued_[kMaxLoops] = {};
  int first_ = 0;
  int length_ = 0;
  // Slots of which something was left, and since when they wait.
  bool stuck_[kMaxLoops] = {};
  int stuck_count_ = 0;
  uint64_t tried_at_ = 0;
};

// Never freed: its thread may run when the process ends.
Sender* TheSender() {
  static auto* sender = new Sender();
  return sender;
}

// Has the sender send what the slot holds: what was left of what it had before stays, and is counted. While it still has that
// to send, the caller sends.
int PassOutbox(int slot) {
  Outbox* box = boxes[slot].load();
  if (box == nullptr) return 0;
  const int front = box->front.load();
  Half* half = &box->halves[front];
  Half* back = &box->halves[1 - front];
  if (!back->mutex.TryLock()) return LockedFlush(half);
  const bool free = !back->passed;
  const int left = back->count;
  if (free) {
    half->passed = true;
    box->front.store(1 - front);
  }
  back->mutex.Unlock();
  if (free && TheSender()->Pass(slot)) return left;
  return LockedFlush(half);
}

// outboxFlush(slot, pass) -> responses for which the kernel has no room yet | -errno; pass (optional) 1: the sender's work, if
// it has none; then 0
napi_value OutboxFlush(napi_env env, napi_callback_info info) {
  Args a(env, info);
  int slot = a.i32(0), pass = a.count() > 1 ? a.i32(1) : 0;
  if (!a.ok() || slot < 0 || slot >= kMaxLoops) return Bad(env);
  return Int(env, pass != 0 ? PassOutbox(slot) : FlushOutbox(slot));
}

}  // namespace

bool HoldBack(EnvState* s, int fd, const iovec* parts, int n) {
  if (s == nullptr || s->loop_slot < 0 || fd < 0 || fd >= kMaxFds || Holders() == nullptr) return false;
  size_t length = 0;
  for (int i = 0; i < n; i++) length += parts[i].iov_len;
  if (length > kLongest) return false;
  Outbox* box = BoxOf(s->loop_slot);
  Half* half = &box->halves[box->front.load()];
  if (HolderOf(fd) == box) {
    Locked lock(half->mutex);
    if (Append(half, fd, true, parts, n, length)) return true;
  }
  if (!FlushHeld(fd)) return false;
  Locked lock(half->mutex);
  if (!Append(half, fd, false, parts, n, length)) {
    Flush(half);
    if (!Append(half, fd, false, parts, n, length)) return false;
  }
  Holders()[fd].store(static_cast<uint16_t>(s->loop_slot + 1));
  return true;
}

bool FlushHeld(int fd) {
  Outbox* box = HolderOf(fd);
  if (box == nullptr) return true;
  for (Half& half : box->halves) LockedFlush(&half);
  return HolderOf(fd) == nullptr;
}

void DropHeld(int fd) {
  Outbox* box = HolderOf(fd);
  if (box == nullptr) return;
  for (Half& half : box->halves) {
    Locked lock(half.mutex);
    Flush(&half);
    // What is left has no reader any more.
    int kept = 0;
    for (int i = 0; i < half.count; i++) {
      if (half.entries[i].fd != fd) half.entries[kept++] = half.entries[i];
    }
    half.count = kept;
  }
  Holders()[fd].store(0);
}

int FlushOutbox(int slot) {
  Outbox* box = slot < 0 || slot >= kMaxLoops ? nullptr : boxes[slot].load();
  if (box == nullptr) return 0;
  return LockedFlush(&box->halves[0]) + LockedFlush(&box->halves[1]);
}

void InitOutbox(napi_env env, napi_value exports) { ExportFunction(env, exports, "outboxFlush", OutboxFlush); }
