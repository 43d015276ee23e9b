/**
 * The sockets at which an arbiter listens, for requests (bind) and for its state (--status-bind): opened at the start, or inherited from the
 * arbiter that started this one; exchanged at a reload; left to a new arbiter.
 */
import type { Config } from '../config/settings.js';
import type { Logger } from '../log.js';
import { adoptSocket, type Inherited } from './inherited.js';
import { rebind } from './reload.js';
import { closeSockets, createSockets, type Listener } from './sock.js';

export interface ListeningOptions {
  log: Logger;
  /** Waits between two tries; false: give up. */
  pause: (ms: number) => Promise<boolean>;
}

/** A config whose `bind` has all addresses: those for requests, then those for the state. */
const withAll = (config: Config): Config => ({ ...config, bind: [...config.bind, ...config.statusBind] });

export class Listening {
  http: readonly Listener[] = [];
  /** Open until the last worker has gone. */
  status: readonly Listener[] = [];

  get all(): Listener[] {
    return [...this.http, ...this.status];
  }

  /** As in logs: `http://127.0.0.1:8000`. */
  get names(): string[] {
    return this.http.map((l) => l.name);
  }

  /**
   * Opens all, or takes over what is inherited and opens the rest. @returns false if `pause` gave up.
   * @throws {TunicornError} ERR_TUNICORN_LISTEN
   */
  async open(config: Config, inherited: Inherited | null, options: ListeningOptions): Promise<boolean> {
    const wanted = withAll(config);
    if (inherited === null) return this.#take(config, await createSockets({ ...wanted, ...options }));
    const { sockets } = inherited;
    const before = { ...wanted, bind: sockets.map(({ bind }, i) => bind || wanted.bind[i]) };
    const present = sockets.map(({ fd }) => adoptSocket(fd));
    // What is not wanted here is still the other arbiter's.
    return this.#take(config, await rebind(present, before, wanted, { ...options, unlink: false }));
  }

  /**
   * Listens at the addresses of another config. @param options.unlink no other arbiter listens at them.
   * @returns false if `pause` gave up: nothing has changed then.
   * @throws {TunicornError} ERR_TUNICORN_LISTEN: nothing has changed.
   */
  async change(old: Config, config: Config, options: ListeningOptions & { unlink: boolean }): Promise<boolean> {
    return this.#take(config, await rebind(this.all, withAll(old), withAll(config), options));
  }

  #take(config: Config, listeners: readonly Listener[] | null): boolean {
    if (listeners === null) return false;
    this.http = listeners.slice(0, config.bind.length);
    this.status = listeners.slice(config.bind.length);
    return true;
  }

  /** What another arbiter inherits: descriptors, and their addresses as they stand in the config. */
  bequest(config: Config): { fd: number; bind: string }[] {
    const { bind } = withAll(config);
    return this.all.map(({ fd }, i) => ({ fd, bind: bind[i] }));
  }

  /** Closes those for requests; `unlink`: removes unix socket files. Never throws. */
  closeHttp(unlink: boolean): void {
    closeSockets(this.http, unlink);
  }

  closeAll(unlink: boolean): void {
    closeSockets(this.all, unlink);
  }
}
