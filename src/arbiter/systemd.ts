/**
 * Socket activation, systemd's protocol (sd_listen_fds): a process whose pid is LISTEN_PID has inherited LISTEN_FDS listening
 * sockets, from descriptor 3 on. As in gunicorn they are used instead of `bind`. The variables are taken out of the environment,
 * so that no child takes them for its own. From then on an activated socket is an address like any other, `fd://N`: opened by
 * sock.ts, kept at HUP by reload.ts, and never unlinked.
 */
import type { Config } from '../config/settings.js';
import { parseAddress } from '../config/validate.js';
import { listenError } from './listener.js';

const FIRST_FD = 3;
const VARIABLES = ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES', 'LISTEN_PIDFDID'] as const;

/** The descriptor of a socket that systemd has passed. */
export interface Activated {
  readonly fd: number;
  /** FileDescriptorName= of the socket unit; '' where there is none. */
  readonly name: string;
}

/**
 * The sockets that were passed to this process; none if they were meant for another one. Takes the variables out of `env`.
 * @param parent pid of the arbiter that has started this one in its place (USR2), which passes them on (see passOn).
 * @throws {TunicornError} ERR_TUNICORN_LISTEN, exit status 1: LISTEN_FDS is no number.
 */
export function takeActivated(parent?: number, env: NodeJS.ProcessEnv = process.env): Activated[] {
  const { LISTEN_PID: pid, LISTEN_FDS: count = '', LISTEN_FDNAMES: names = '' } = env;
  for (const name of VARIABLES) delete env[name];
  if (pid !== String(parent ?? process.pid)) return [];
  if (!/^\d{1,4}$/.test(count)) throw listenError(`LISTEN_FDS is not the number of sockets: ${JSON.stringify(count)}`);
  const written = names.split(':');
  return Array.from({ length: Number(count) }, (_, i) => ({ fd: FIRST_FD + i, name: written[i] ?? '' }));
}

/**
 * The variables for an arbiter that is started in place of this one (USR2): it knows by them which of its addresses are systemd's. Its
 * pid is not known yet, so they name this one's.
 */
export function passOn(activated: readonly Activated[]): Record<string, string> {
  if (activated.length === 0) return {};
  const names = activated.map(({ name }) => name).join(':');
  return { LISTEN_PID: String(process.pid), LISTEN_FDS: String(activated.length), LISTEN_FDNAMES: names };
}

/**
 * The addresses to serve at: `bind`, or, where systemd has passed sockets, these and what else `bind` has of the form fd://N.
 * A socket that `status_bind` names is left to it.
 */
export function bindOf(
  { bind, statusBind }: Pick<Config, 'bind' | 'statusBind'>,
  activated: readonly Activated[],
): string[] {
  const status = new Set(fdsOf(statusBind));
  const passed = activated.map(({ fd }) => fd).filter((fd) => !status.has(fd));
  if (passed.length === 0) return [...bind];
  return [...new Set([...fdsOf(bind), ...passed])].map((fd) => `fd://${fd}`);
}

function fdsOf(addresses: readonly string[]): number[] {
  return addresses.map(parseAddress).flatMap((address) => (address.family === 'fd' ? [address.fd] : []));
}

/** An address of the form fd://N: its socket, and the file of that, belong to whoever made it. */
export function isInherited(address = ''): boolean {
  return /^fd:/i.test(address);
}

/** For the log: `fd 3 (web), fd 4`. */
export function describeActivated(activated: readonly Activated[]): string {
  return activated.map(({ fd, name }) => (name === '' ? `fd ${fd}` : `fd ${fd} (${name})`)).join(', ');
}
