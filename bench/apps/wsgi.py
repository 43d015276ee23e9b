"""The work of work.ts for gunicorn: the same paths, the same bytes, the same iterations."""

import hashlib
import json
import os

HELLO = b"Hello, world!"
LARGE = b"x" * (64 * 1024)
CPU_ITERATIONS = int(os.environ.get("BENCH_CPU_ITERATIONS", "10000"))
HEAVY_FACTOR = 10


def burn(iterations):
    return hashlib.pbkdf2_hmac("sha256", b"tunicorn", b"bench", iterations, 32).hex().encode()


def app(environ, start_response):
    path = environ["PATH_INFO"]
    status, kind = "200 OK", "text/plain"
    if path == "/":
        body = HELLO
    elif path == "/64k":
        body = LARGE
    elif path == "/cpu":
        body = burn(CPU_ITERATIONS)
    elif path == "/heavy":
        body = burn(HEAVY_FACTOR * CPU_ITERATIONS)
    elif path == "/echo":
        kind = "application/json"
        data = json.loads(environ["wsgi.input"].read())
        body = json.dumps(data, separators=(",", ":"), ensure_ascii=False).encode()
    else:
        status, body = "404 Not Found", b""
    start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
    return [body]
