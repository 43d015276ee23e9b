{
  "targets": [
    {
      "target_name": "tunicorn",
      "sources": ["addon.cc", "epoll.cc", "socket.cc", "process.cc", "outbox.cc", "heap.cc", "title.cc"],
      "cflags_cc": ["-std=c++17", "-O2", "-Wall", "-Wextra", "-fno-exceptions", "-fno-rtti", "-fvisibility=hidden"],
      "ldflags": ["-s"],
      "defines": ["NAPI_VERSION=8", "_GNU_SOURCE"]
    }
  ]
}
