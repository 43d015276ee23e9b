// The title of the process, as ps shows it, over the memory of its command line and, where that is too short, of the environment
// behind it. libuv's own stops at the end of the command line: `node t` leaves room for six characters.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "addon.h"

extern char** environ;

namespace {

// The kernel shows no more than a page.
constexpr size_t kMost = 4095;

struct Room {
  char* start = nullptr;
  size_t args = 0;  // bytes of the command line
  size_t all = 0;   // with the environment
};

// Fields 48 to 51 of /proc/self/stat; what is behind the name in parentheses begins with the third.
Room FindRoom() {
  Room room;
  FILE* file = fopen("/proc/self/stat", "re");
  if (file == nullptr) return room;
  char text[2048];
  size_t length = fread(text, 1, sizeof text - 1, file);
  fclose(file);
  text[length] = 0;
  char* at = strrchr(text, ')');
  for (int field = 2; at != nullptr && field < 48; field++) at = strchr(at + 1, ' ');
  unsigned long arg_start, arg_end, env_start, env_end;
  if (at == nullptr || sscanf(at, "%lu %lu %lu %lu", &arg_start, &arg_end, &env_start, &env_end) != 4) return room;
  if (arg_start == 0 || arg_end <= arg_start) return room;
  room.start = reinterpret_cast<char*>(arg_start);
  room.args = arg_end - arg_start;
  room.all = env_start == arg_end && env_end > env_start ? env_end - arg_start : room.args;
  return room;
}

// Variables that still stand behind the command line move; who was given a pointer to one before has used it by now.
bool MoveEnvironment(const Room& room) {
  for (char** entry = environ; entry != nullptr && *entry != nullptr; entry++) {
    if (*entry < room.start || *entry >= room.start + room.all) continue;
    char* copy = strdup(*entry);
    if (copy == nullptr) return false;
    *entry = copy;
  }
  return true;
}

// setTitle(text) -> bytes shown | -errno. For the main thread, before others are started that read the environment
napi_value SetTitle(napi_env env, napi_callback_info info) {
  static const Room room = FindRoom();
  static bool moved = false;
  Args a(env, info);
  char title[kMost + 1];
  size_t length = 0;
  if (a.count() < 1 || napi_get_value_string_utf8(env, a.at(0), title, sizeof title, &length) != napi_ok) return Bad(env);
  if (room.start == nullptr) return Int(env, -ENOENT);
  if (length >= room.args && !moved) moved = MoveEnvironment(room);
  const size_t most = moved ? room.all : room.args;
  if (length >= most) length = most - 1;
  memcpy(room.start, title, length);
  memset(room.start + length, 0, most - length);
  return Int(env, static_cast<int64_t>(length));
}

}  // namespace

void InitTitle(napi_env env, napi_value exports) { ExportFunction(env, exports, "setTitle", SetTitle); }
