// Sockets: creation and naming for the arbiter, accept4, recv and send for workers and their threads.
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "addon.h"

namespace {

constexpr int kStringBytes = 64 * 1024;  // strings up to this many bytes are sent from the stack
constexpr uint32_t kMaxParts = 64;       // parts that one sendv takes
constexpr double kMaxOffset = 9007199254740991;

enum Family { kTcp4 = 4, kTcp6 = 6, kUnix = 1, kUnixDatagram = 2 };

napi_value Check(napi_env env, int result) { return result < 0 ? Errno(env) : Int(env, result); }

int SetInt(int fd, int level, int option, int value) { return setsockopt(fd, level, option, &value, sizeof value); }

// socket(family, datagram) -> fd | -errno; family 4, 6 or 1 (unix); a stream, or datagrams if not 0; non-blocking, close-on-exec
napi_value Socket(napi_env env, napi_callback_info info) {
  Args a(env, info);
  int family = a.i32(0), datagram = a.i32(1);
  if (!a.ok()) return Bad(env);
  int domain = family == kTcp4 ? AF_INET : family == kTcp6 ? AF_INET6 : family == kUnix ? AF_UNIX : -1;
  if (domain < 0) return Bad(env);
  int type = datagram != 0 ? SOCK_DGRAM : SOCK_STREAM;
  return Check(env, socket(domain, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
}

// socketPair() -> [fd, fd] | -errno: two stream sockets that are connected to each other; non-blocking, close-on-exec
napi_value SocketPair(napi_env env, napi_callback_info) {
  int fds[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0) return Errno(env);
  napi_value pair;
  napi_create_array_with_length(env, 2, &pair);
  for (uint32_t i = 0; i < 2; i++) napi_set_element(env, pair, i, Int(env, fds[i]));
  return pair;
}

// fills addr from (family, address, port); false: not an address of that family
bool FillAddress(napi_env env, Args& a, size_t first, sockaddr_storage* addr, socklen_t* size) {
  int family = a.i32(first);
  int port = a.i32(first + 2);
  char text[sizeof(sockaddr_un::sun_path) + 1];
  size_t length = 0;
  if (!a.ok() || napi_get_value_string_utf8(env, a.at(first + 1), nullptr, 0, &length) != napi_ok ||
      length >= sizeof text || port < 0 || port > 65535) {
    return false;
  }
  napi_get_value_string_utf8(env, a.at(first + 1), text, sizeof text, &length);
  // The system would read an address up to its first NUL and take the rest for granted.
  if (memchr(text, 0, length) != nullptr) return false;
  memset(addr, 0, sizeof *addr);
  if (family == kTcp4) {
    auto* in = reinterpret_cast<sockaddr_in*>(addr);
    in->sin_family = AF_INET;
    in->sin_port = htons(static_cast<uint16_t>(port));
    *size = sizeof *in;
    return inet_pton(AF_INET, text, &in->sin_addr) == 1;
  }
  if (family == kTcp6) {
    auto* in = reinterpret_cast<sockaddr_in6*>(addr);
    in->sin6_family = AF_INET6;
    in->sin6_port = htons(static_cast<uint16_t>(port));
    *size = sizeof *in;
    return inet_pton(AF_INET6, text, &in->sin6_addr) == 1;
  }
  if ((family != kUnix && family != kUnixDatagram) || length == 0 || length >= sizeof(sockaddr_un::sun_path)) return false;
  auto* un = reinterpret_cast<sockaddr_un*>(addr);
  un->sun_family = AF_UNIX;
  memcpy(un->sun_path, text, length);
  // For datagrams a name that begins with @ is an abstract one, which is as long as it is said to be and ends with no NUL.
  const bool abstract = family == kUnixDatagram && text[0] == '@';
  if (abstract) un->sun_path[0] = 0;
  *size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length + (abstract ? 0 : 1));
  return true;
}

// bind(fd, family, address, port) -> 0 | -errno
napi_value Bind(napi_env env, napi_callback_info info) {
  Args a(env, info);
  int fd = a.i32(0);
  sockaddr_storage addr;
  socklen_t size = 0;
  if (!a.ok() || !FillAddress(env, a, 1, &addr, &size)) return Bad(env);
  return Check(env, bind(fd, reinterpret_cast<sockaddr*>(&addr), size));
}

// connect(fd, family, address, port) -> 0 | -errno (-EINPROGRESS where it goes on): tells a stale unix socket from a live one
napi_value Connect(napi_env env, napi_callback_info info) {
  Args a(env, info);
  int fd = a.i32(0);
  sockaddr_storage addr;
  socklen_t size = 0;
  if (!a.ok() || !FillAddress(env, a, 1, &addr, &size)) return Bad(env);
  return Check(env, connect(fd, reinterpret_cast<sockaddr*>(&addr), size));
}

napi_value Listen(napi_env env, napi_callback_info info) {
  Args a(env, info);
  int fd = a.i32(0), backlog = a.i32(1);
  if (!a.ok()) return Bad(env);
  return Check(env, listen(fd, backlog));
}

// adopt(fd) -> 0 | -errno: non-blocking and close-on-exec, as socket() makes them; for a socket that was inherited
napi_value Adopt(napi_env env, napi_callback_info info) {
  Args a(env, info);
  int fd = a.i32(0);
  if (!a.ok()) return Bad(env);
  int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) return Errno(env);
  return Check(env, fcntl(fd, F_SETFD, FD_CLOEXEC));
}

template <int kLevel, int kOption, int kValue>
napi_value SetOption(napi_env env, napi_callback_info info) {
  Args a(env, info);
  int fd = a.i32(0);
  if (!a.ok()) return Bad(env);
  return Check(env, SetInt(fd, kLevel, kOption, kValue));
}

// -> the value of an option that is an int | -errno
template <int kLevel, int kOption>
napi_value GetOption(napi_env env, napi_callback_info info) {
  Args a(env, info);
  int fd = a.i32(0), value = 0;
  if (!a.ok()) return Bad(env);
  socklen_t size = sizeof value;
  return getsockopt(fd, kLevel, kOption, &value, &size) < 0 ? Errno(env) : Int(env, value);
}

// Who an accepted connection comes from, by fd, until it is closed: when the client has reset it, the kernel does not know any more.
// IP only. Zero pages, resident only where used.
sockaddr_in6* Peer(int fd) {
  static auto* table = static_cast<sockaddr_in6*>(calloc(kMaxFds, sizeof(sockaddr_in6)));
  return table == nullptr || fd < 0 || fd >= kMaxFds ? nullptr : &table[fd];
}

void KeepPeer(int fd, const sockaddr_storage& addr, socklen_t size) {
  sockaddr_in6* peer = Peer(fd);
  if (peer != nullptr && size <= sizeof *peer) memcpy(peer, &addr, size);
}

void ForgetPeer(int fd) {
  sockaddr_in6* peer = Peer(fd);
  if (peer != nullptr && peer->sin6_family != 0) peer->sin6_family = 0;
}

// accept(fd) -> fd | -errno; the new one is non-blocking, close-on-exec and, for TCP, without Nagle's delay
napi_value Accept(napi_env env, napi_callback_info info) {
  Args a(env, info);
  int fd = a.i32(0);
  if (!a.ok()) return Bad(env);
  sockaddr_storage addr;
  socklen_t size = sizeof addr;
  int conn = accept4(fd, reinterpret_cast<sockaddr*>(&addr), &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (conn < 0) return Errno(env);
  if (addr.ss_family == AF_INET || addr.ss_family == AF_INET6) {
    SetInt(conn, IPPROTO_TCP, TCP_NODELAY, 1);
    KeepPeer(conn, addr, size);
  }
  return Int(env, conn);
}

napi_value Close(napi_env env, napi_callback_info info) {
  Args a(env, info);
  int fd = a.i32(0);
  if (!a.ok()) return Bad(env);
  DropHead(fd);
  DropHeld(fd);
  ForgetPeer(fd);
  return Check(env, close(fd));
}

// dup(fd) -> another descriptor of the same socket, close-on-exec | -errno
napi_value Dup(napi_env env, napi_callback_info info) {
  Args a(env, info);
  int fd = a.i32(0);
  if (!a.ok()) return Bad(env);
  return Check(env, fcntl(fd, F_DUPFD_CLOEXEC, 0));
}

// dupTo(from, to) -> to | -errno: from now on `to` is what `from` is, close-on-exec, for every thread and at once
napi_value DupTo(napi_env env, napi_callback_info info) {
  Args a(env, info);
  int from = a.i32(0), to = a.i32(1);
  if (!a.ok()) return Bad(env);
  return Check(env, dup3(from, to, O_CLOEXEC));
}

// setNonBlocking(fd) -> 0 | -errno; for whoever shares the open file, too
napi_value SetNonBlocking(napi_env env, napi_callback_info info) {
  Args a(env, info);
  int fd = a.i32(0);
  if (!a.ok()) return Bad(env);
  int flags = fcntl(fd, F_GETFL);
  if (flags < 0) return Errno(env);
  return Check(env, fcntl(fd, F_SETFL, flags | O_NONBLOCK));
}

// acceptQueue(fd) -> connections of a listening TCP socket that wait to be accepted | -errno
napi_value AcceptQueue(napi_env env, napi_callback_info info) {
  Args a(env, info);
  int fd = a.i32(0);
  if (!a.ok()) return Bad(env);
  tcp_info tcp = {};
  socklen_t size = sizeof tcp;
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &tcp, &size) < 0) return Errno(env);
  return Int(env, tcp.tcpi_unacked);
}

// closeEntry(fd, words, index, bit, free, counts, counter) -> words[index] as it was, unsigned | -errno
// Closes fd, sets words[index] to free while it has the bit and free's upper half, and takes one from counts[counter]. One
// call, because a thread may be terminated between any two: nobody could tell then how far it had come.
napi_value CloseEntry(napi_env env, napi_callback_info info) {
  Args a(env, info);
  int fd = a.i32(0), bit = a.i32(3), free = a.i32(4);
  int32_t* word = a.word(1, a.i32(2));
  int32_t* counter = a.word(5, a.i32(6));
  if (!a.ok()) return Bad(env);
  DropHead(fd);
  DropHeld(fd);
  ForgetPeer(fd);
  close(fd);
  int32_t seen = __atomic_load_n(word, __ATOMIC_SEQ_CST), last = seen;
  while ((seen & bit) != 0 && ((seen ^ free) & ~0xffff) == 0) {
    last = seen;
    if (__atomic_compare_exchange_n(word, &seen, free, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) break;
  }
  __atomic_fetch_sub(counter, 1, __ATOMIC_SEQ_CST);
  return Int(env, static_cast<uint32_t>(last));
}

// shutdown(fd, how) -> 0 | -errno; how 0 read, 1 write, 2 both
napi_value Shutdown(napi_env env, napi_callback_info info) {
  Args a(env, info);
  int fd = a.i32(0), how = a.i32(1);
  if (!a.ok()) return Bad(env);
  FlushHeld(fd);
  return Check(env, shutdown(fd, how));
}

// recv(fd, Uint8Array, offset, length) -> n (0: end of stream) | -errno; no room is -EINVAL, as 0 would read as the end
napi_value Recv(napi_env env, napi_callback_info info) {
  Args a(env, info);
  int fd = a.i32(0), off = a.i32(2), len = a.i32(3);
  char* data;
  if (!a.ok() || !a.bytes(1, off, len, &data) || len == 0) return Bad(env);
  ssize_t n;
  do n = recv(fd, data, static_cast<size_t>(len), 0);
  while (n < 0 && errno == EINTR);
  int64_t result = n < 0 ? -errno : n;
  Tick(State(env));
  return Int(env, result);
}

// recvHead(fd, Uint8Array, offset, have, length) -> as recv, behind the first `have` bytes of a request head; its beginning
// is kept for headLine()
napi_value RecvHead(napi_env env, napi_callback_info info) {
  Args a(env, info);
  int fd = a.i32(0), off = a.i32(2), have = a.i32(3), len = a.i32(4);
  char* data;
  if (!a.ok() || have < 0 || len <= 0 || len > INT32_MAX - have || !a.bytes(1, off, have + len, &data)) return Bad(env);
  ssize_t n;
  do n = recv(fd, data + have, static_cast<size_t>(len), 0);
  while (n < 0 && errno == EINTR);
  int64_t result = n < 0 ? -errno : n;
  if (n > 0) NoteHead(fd, data, static_cast<size_t>(have + n));
  Tick(State(env));
  return Int(env, result);
}

// peekBytes(fd, Uint8Array) -> n bytes that wait, copied but left there (0: end of stream) | -errno
napi_value PeekBytes(napi_env env, napi_callback_info info) {
  Args a(env, info);
  int fd = a.i32(0), len = a.i32(2);
  char* data;
  if (!a.ok() || !a.bytes(1, 0, len, &data) || len == 0) return Bad(env);
  return Check(env, static_cast<int>(recv(fd, data, static_cast<size_t>(len), MSG_PEEK | MSG_DONTWAIT)));
}

// hangup(fd) -> 0 the client is there, 1 it has ended its side (or left), 2 the connection is broken | -errno
napi_value Hangup(napi_env env, napi_callback_info info) {
  Args a(env, info);
  int fd = a.i32(0);
  if (!a.ok() || fd < 0) return Bad(env);
  pollfd p = {fd, POLLRDHUP, 0};
  if (poll(&p, 1, 0) < 0) return Errno(env);
  if ((p.revents & (POLLHUP | POLLERR | POLLNVAL)) != 0) return Int(env, 2);
  return Int(env, (p.revents & POLLRDHUP) != 0 ? 1 : 0);
}

// outQueue(fd) -> bytes that were sent and the other side has not taken yet | -errno
napi_value OutQueue(napi_env env, napi_callback_info info) {
  Args a(env, info);
  int fd = a.i32(0), bytes = 0;
  if (!a.ok()) return Bad(env);
  return ioctl(fd, SIOCOUTQ, &bytes) < 0 ? Errno(env) : Int(env, bytes);
}

// peek(fd) -> 1 bytes wait, 0 end of stream | -errno (-EAGAIN: nothing there)
napi_value Peek(napi_env env, napi_callback_info info) {
  Args a(env, info);
  int fd = a.i32(0);
  if (!a.ok()) return Bad(env);
  char byte;
  return Check(env, static_cast<int>(recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT)));
}

// Makes a call that sends, again where a signal has interrupted it, and brings the thread's clock up to date: n | -errno.
template <typename Call>
int64_t Sent(EnvState* s, Call call) {
  ssize_t n;
  do n = call();
  while (n < 0 && errno == EINTR);
  int64_t result = n < 0 ? -errno : n;
  Tick(s);
  return result;
}

// send(fd, Uint8Array, offset, length, outcome) -> n | -errno. This and the next two: what the outbox holds for fd leaves
// before. outcome (optional): see useOutcomes().
napi_value Send(napi_env env, napi_callback_info info) {
  Args a(env, info);
  int fd = a.i32(0), off = a.i32(2), len = a.i32(3), outcome = a.count() > 4 ? a.i32(4) : 0;
  char* data;
  if (!a.ok() || !a.bytes(1, off, len, &data)) return Bad(env);
  if (!FlushHeld(fd)) return Int(env, -EAGAIN);
  EnvState* s = State(env);
  int64_t n = Sent(s, [&] { return send(fd, data, static_cast<size_t>(len), MSG_NOSIGNAL | MSG_DONTWAIT); });
  if (n == len) NoteOutcome(s, fd, outcome);
  return Int(env, n);
}

// sendv(fd, Uint8Array[], outcome) -> n | -errno: as send, the first kMaxParts of the list in one call
napi_value SendV(napi_env env, napi_callback_info info) {
  Args a(env, info);
  int fd = a.i32(0), outcome = a.count() > 2 ? a.i32(2) : 0;
  uint32_t count = 0;
  if (!a.ok() || a.count() < 2 || napi_get_array_length(env, a.at(1), &count) != napi_ok || count == 0) return Bad(env);
  // What stays behind them is not sent.
  if (count > kMaxParts) count = kMaxParts, outcome = 0;
  iovec parts[kMaxParts];
  int64_t total = 0;
  for (uint32_t i = 0; i < count; i++) {
    napi_value part;
    napi_typedarray_type type;
    if (napi_get_element(env, a.at(1), i, &part) != napi_ok ||
        napi_get_typedarray_info(env, part, &type, &parts[i].iov_len, &parts[i].iov_base, nullptr, nullptr) != napi_ok ||
        type != napi_uint8_array) {
      return Bad(env);
    }
    total += static_cast<int64_t>(parts[i].iov_len);
  }
  if (!FlushHeld(fd)) return Int(env, -EAGAIN);
  msghdr msg = {};
  msg.msg_iov = parts;
  msg.msg_iovlen = count;
  EnvState* s = State(env);
  int64_t n = Sent(s, [&] { return sendmsg(fd, &msg, MSG_NOSIGNAL); });
  if (n == total) NoteOutcome(s, fd, outcome);
  return Int(env, n);
}

// writeOut(fd, Uint8Array, offset, length, words, index, socket) -> n | -errno; to any kind of file, a socket if socket is 1.
// words[index] grows by what was written: a thread may be terminated behind any call, and who goes on in its place would
// write that again.
napi_value WriteOut(napi_env env, napi_callback_info info) {
  Args a(env, info);
  int fd = a.i32(0), off = a.i32(2), len = a.i32(3), socket = a.i32(6);
  char* data;
  int32_t* word = a.word(4, a.i32(5));
  if (!a.ok() || !a.bytes(1, off, len, &data)) return Bad(env);
  const size_t size = static_cast<size_t>(len);
  ssize_t n;
  do n = socket != 0 ? send(fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT) : write(fd, data, size);
  while (n < 0 && errno == EINTR);
  if (n < 0) return Errno(env);
  __atomic_fetch_add(word, static_cast<int32_t>(n), __ATOMIC_SEQ_CST);
  return Int(env, n);
}

// fileSize(fd) -> bytes of a regular file, -EINVAL for anything else | -errno
napi_value FileSize(napi_env env, napi_callback_info info) {
  Args a(env, info);
  int fd = a.i32(0);
  if (!a.ok()) return Bad(env);
  struct stat st;
  if (fstat(fd, &st) < 0) return Errno(env);
  return S_ISREG(st.st_mode) ? Int(env, st.st_size) : Bad(env);
}

// sendfile(fd, file, offset, length) -> n (0: the file ends there) | -errno; as send, the bytes come from a file
napi_value SendFile(napi_env env, napi_callback_info info) {
  Args a(env, info);
  int fd = a.i32(0), file = a.i32(1), len = a.i32(3);
  double at = 0;
  if (!a.ok() || napi_get_value_double(env, a.at(2), &at) != napi_ok || !(at >= 0 && at <= kMaxOffset) || len < 0) {
    return Bad(env);
  }
  if (!FlushHeld(fd)) return Int(env, -EAGAIN);
  off_t offset = static_cast<off_t>(at);
  return Int(env, Sent(State(env), [&] { return sendfile(fd, file, &offset, static_cast<size_t>(len)); }));
}

// A string's bytes: on the stack, or in memory of their own where they are many.
class StringBytes {
 public:
  StringBytes(napi_env env, napi_value value, bool utf8) {
    napi_status status = Get(env, value, utf8, stack_, sizeof stack_, &length_);
    data_ = stack_;
    // A full buffer may have cut the string: ask for its length.
    if (status == napi_ok && length_ + 4 >= sizeof stack_) {
      status = Get(env, value, utf8, nullptr, 0, &length_);
      if (status == napi_ok && length_ + 4 >= sizeof stack_) {
        heap_ = static_cast<char*>(malloc(length_ + 1));
        if (heap_ == nullptr) status = napi_generic_failure;
        else status = Get(env, value, utf8, heap_, length_ + 1, &length_);
        data_ = heap_;
      }
    }
    ok_ = status == napi_ok;
  }
  ~StringBytes() { free(heap_); }
  bool ok() const { return ok_; }
  char* data() const { return data_; }
  size_t length() const { return length_; }

 private:
  static napi_status Get(napi_env env, napi_value v, bool utf8, char* out, size_t size, size_t* length) {
    return utf8 ? napi_get_value_string_utf8(env, v, out, size, length)
                : napi_get_value_string_latin1(env, v, out, size, length);
  }
  char stack_[kStringBytes];
  char* heap_ = nullptr;
  char* data_;
  size_t length_ = 0;
  bool ok_;
};

// What a call that sends text returns: bytes left to send, 0 for all. JavaScript does not know a string's bytes.
napi_value Left(napi_env env, int fd, size_t total, ssize_t n, int outcome) {
  int error = errno;
  EnvState* s = State(env);
  Tick(s);
  if (n < 0) return Int(env, -error);
  if (static_cast<size_t>(n) == total) NoteOutcome(s, fd, outcome);
  if (s != nullptr && s->clock != nullptr) s->clock[1] = static_cast<int32_t>(n);
  return Int(env, static_cast<int64_t>(total - static_cast<size_t>(n)));
}

// sendString(fd, string, utf8, hold, outcome) -> bytes left | -errno; hold (optional) 1: the outbox may keep it for now
napi_value SendString(napi_env env, napi_callback_info info) {
  Args a(env, info);
  int fd = a.i32(0), utf8 = a.i32(2), hold = a.count() > 3 ? a.i32(3) : 0, outcome = a.count() > 4 ? a.i32(4) : 0;
  if (!a.ok()) return Bad(env);
  StringBytes text(env, a.at(1), utf8 != 0);
  if (!text.ok()) return Bad(env);
  const size_t total = text.length();
  if (hold != 0) {
    iovec part = {text.data(), total};
    if (HoldBack(State(env), fd, &part, 1)) return Left(env, fd, total, static_cast<ssize_t>(total), outcome);
  }
  if (!FlushHeld(fd)) return Int(env, -EAGAIN);
  ssize_t n;
  do n = send(fd, text.data(), total, MSG_NOSIGNAL);
  while (n < 0 && errno == EINTR);
  return Left(env, fd, total, n, outcome);
}

// sendHead(fd, head string (latin1), body Uint8Array, offset, length, hold, outcome) -> bytes left of both | -errno: one call
// for both
napi_value SendHead(napi_env env, napi_callback_info info) {
  Args a(env, info);
  int fd = a.i32(0), off = a.i32(3), len = a.i32(4), hold = a.count() > 5 ? a.i32(5) : 0;
  int outcome = a.count() > 6 ? a.i32(6) : 0;
  char* body;
  if (!a.ok() || !a.bytes(2, off, len, &body)) return Bad(env);
  StringBytes head(env, a.at(1), false);
  if (!head.ok()) return Bad(env);
  iovec parts[2] = {{head.data(), head.length()}, {body, static_cast<size_t>(len)}};
  const size_t total = head.length() + static_cast<size_t>(len);
  if (hold != 0 && HoldBack(State(env), fd, parts, 2))
    return Left(env, fd, total, static_cast<ssize_t>(total), outcome);
  if (!FlushHeld(fd)) return Int(env, -EAGAIN);
  msghdr msg = {};
  msg.msg_iov = parts;
  msg.msg_iovlen = 2;
  ssize_t n;
  do n = sendmsg(fd, &msg, MSG_NOSIGNAL);
  while (n < 0 && errno == EINTR);
  return Left(env, fd, total, n, outcome);
}

// getSockName, getPeerName(fd) -> {family, address, port} | -errno; -EAFNOSUPPORT for what is neither IP nor unix. An abstract unix
// name has @ before it (and for each NUL in it), as in /proc/net/unix.
template <int (*kCall)(int, sockaddr*, socklen_t*)>
napi_value Name(napi_env env, napi_callback_info info) {
  Args a(env, info);
  int fd = a.i32(0);
  if (!a.ok()) return Bad(env);
  sockaddr_storage addr;
  socklen_t size = sizeof addr;
  if (kCall(fd, reinterpret_cast<sockaddr*>(&addr), &size) < 0) return Errno(env);
  char text[INET6_ADDRSTRLEN + sizeof(sockaddr_un::sun_path)] = "";
  int family = kUnix, port = 0;
  if (addr.ss_family == AF_INET) {
    auto* in = reinterpret_cast<sockaddr_in*>(&addr);
    inet_ntop(AF_INET, &in->sin_addr, text, sizeof text);
    family = kTcp4;
    port = ntohs(in->sin_port);
  } else if (addr.ss_family == AF_INET6) {
    auto* in = reinterpret_cast<sockaddr_in6*>(&addr);
    inet_ntop(AF_INET6, &in->sin6_addr, text, sizeof text);
    family = kTcp6;
    port = ntohs(in->sin6_port);
  } else if (addr.ss_family != AF_UNIX) {
    return Int(env, -EAFNOSUPPORT);
  } else if (size > offsetof(sockaddr_un, sun_path)) {
    auto* un = reinterpret_cast<sockaddr_un*>(&addr);
    const size_t room = size - offsetof(sockaddr_un, sun_path);
    const bool abstract = un->sun_path[0] == 0;
    size_t n = abstract ? room : strnlen(un->sun_path, room);
    memcpy(text, un->sun_path, n);
    text[n] = 0;
    for (size_t i = 0; abstract && i < n; i++) {
      if (text[i] == 0) text[i] = '@';
    }
  }
  napi_value out = nullptr, address = nullptr;
  napi_create_object(env, &out);
  napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &address);
  napi_set_named_property(env, out, "family", Int(env, family));
  napi_set_named_property(env, out, "address", address);
  napi_set_named_property(env, out, "port", Int(env, port));
  return out;
}

int SockName(int fd, sockaddr* addr, socklen_t* size) { return getsockname(fd, addr, size); }
int PeerName(int fd, sockaddr* addr, socklen_t* size) {
  if (getpeername(fd, addr, size) == 0) return 0;
  const sockaddr_in6* peer = Peer(fd);
  if (errno != ENOTCONN || peer == nullptr || peer->sin6_family == 0) return -1;
  *size = sizeof *peer;
  memcpy(addr, peer, sizeof *peer);
  return 0;
}

}  // namespace

void InitSocket(napi_env env, napi_value exports) {
  ExportFunction(env, exports, "socket", Socket);
  ExportFunction(env, exports, "socketPair", SocketPair);
  ExportFunction(env, exports, "bind", Bind);
  ExportFunction(env, exports, "connect", Connect);
  ExportFunction(env, exports, "listen", Listen);
  ExportFunction(env, exports, "setReuseAddr", SetOption<SOL_SOCKET, SO_REUSEADDR, 1>);
  ExportFunction(env, exports, "setReusePort", SetOption<SOL_SOCKET, SO_REUSEPORT, 1>);
  ExportFunction(env, exports, "setV6Only", SetOption<IPPROTO_IPV6, IPV6_V6ONLY, 1>);
  ExportFunction(env, exports, "socketType", GetOption<SOL_SOCKET, SO_TYPE>);
  ExportFunction(env, exports, "accepting", GetOption<SOL_SOCKET, SO_ACCEPTCONN>);
  ExportFunction(env, exports, "adopt", Adopt);
  ExportFunction(env, exports, "accept", Accept);
  ExportFunction(env, exports, "close", Close);
  ExportFunction(env, exports, "dup", Dup);
  ExportFunction(env, exports, "dupTo", DupTo);
  ExportFunction(env, exports, "setNonBlocking", SetNonBlocking);
  ExportFunction(env, exports, "acceptQueue", AcceptQueue);
  ExportFunction(env, exports, "closeEntry", CloseEntry);
  ExportFunction(env, exports, "shutdown", Shutdown);
  ExportFunction(env, exports, "recv", Recv);
  ExportFunction(env, exports, "recvHead", RecvHead);
  ExportFunction(env, exports, "peek", Peek);
  ExportFunction(env, exports, "peekBytes", PeekBytes);
  ExportFunction(env, exports, "hangup", Hangup);
  ExportFunction(env, exports, "outQueue", OutQueue);
  ExportFunction(env, exports, "send", Send);
  ExportFunction(env, exports, "sendv", SendV);
  ExportFunction(env, exports, "sendfile", SendFile);
  ExportFunction(env, exports, "writeOut", WriteOut);
  ExportFunction(env, exports, "fileSize", FileSize);
  ExportFunction(env, exports, "sendString", SendString);
  ExportFunction(env, exports, "sendHead", SendHead);
  ExportFunction(env, exports, "getSockName", Name<SockName>);
  ExportFunction(env, exports, "getPeerName", Name<PeerName>);
}
