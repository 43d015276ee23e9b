/**
 * Starts a command as systemd does with a socket unit: python3 makes the sockets, puts them at descriptors 3, 4, ..., sets the
 * variables (its own pid stays when it becomes the command) and execs.
 */
const LAUNCHER = `
import fcntl, json, os, socket, sys
plan, command = json.loads(sys.argv[1]), sys.argv[2:]
def make(spec):
    kind, _, where = spec.partition(':')
    if kind == 'tcp6': s, address = socket.socket(socket.AF_INET6), ('::1', 0)
    elif kind == 'unix': s, address = socket.socket(socket.AF_UNIX), where
    elif kind == 'abstract': s, address = socket.socket(socket.AF_UNIX), '\\0' + where
    elif kind == 'datagram': return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    elif kind == 'connected': return socket.socketpair()[0]
    else: s, address = socket.socket(), ('127.0.0.1', 0)
    s.bind(address)
    s.listen(5)
    return s
made = [make(spec) for spec in plan['sockets']]
# First out of the way, where no descriptor is written over that is still needed.
high = [fcntl.fcntl(s.fileno(), fcntl.F_DUPFD, 100) for s in made]
for i, fd in enumerate(high):
    os.dup2(fd, 3 + i)
    os.close(fd)
env = dict(os.environ)
for name, value in plan['env'].items():
    env[name] = value.replace('$PID', str(os.getpid()))
os.execve(command[0], command, env)
`;

/**
 * Beginning of a command line.
 * @param sockets tcp, tcp6, unix:PATH, abstract:NAME (all listening, blocking, inheritable), datagram, connected.
 * @param env variables; $PID stands for the pid of the command.
 */
export function passing(sockets: readonly string[], env: Record<string, string> = {}): string[] {
  return ['python3', '-c', LAUNCHER, JSON.stringify({ sockets, env })];
}

/** As systemd passes them: with LISTEN_PID and LISTEN_FDS. */
export function activating(sockets: readonly string[], env: Record<string, string> = {}): string[] {
  return passing(sockets, { LISTEN_PID: '$PID', LISTEN_FDS: String(sockets.length), ...env });
}
