/**
 * The sockets at which an arbiter listens, for requests (bind, or what systemd passes) and for its state (--status-bind): opened at the
 * start, or inherited from the arbiter that started this one; exchanged at a reload; left to a new arbiter.
 */
import type { Config } from '../config/settings.js';
import type { Logger } from '../log.js';
import type { Inherited } from './inherited.js';
import { rebind } from './reload.js';
import { adoptSocket, closeSockets, createSockets, type Listener } from './sock.js';
import { type Activated, bindOf, describeActivated, isInherited, passOn, takeActivated } from './systemd.js';

export interface ListeningOptions {
  log: Logger;
  /** Waits between two tries; false: give up. */
  pause: (ms: number) => Promise<boolean>;
}

export class Listening {
  http: readonly Listener[] = [];
  /** Open until the last worker has gone. */
  status: readonly Listener[] = [];
  /** What systemd has passed. */
  #activated: readonly Activated[] = [];
  #secure = false;
  /** Closed here, while another arbiter may have been listening there: their files are still there. */
  #left: Listener[] = [];

  get all(): Listener[] {
    return [...this.http, ...this.status];
  }

  /** As in logs: `http://127.0.0.1:8000`. */
  get names(): string[] {
    return this.http.map(({ name }) => (this.#secure ? name.replace(/^http:/, 'https:') : name));
  }

  /** A config whose `bind` has all addresses: those for requests, then those for the state. */
  #withAll(config: Config): Config {
    return { ...config, bind: [...bindOf(config, this.#activated), ...config.statusBind] };
  }

  /**
   * Opens all, or takes over what is inherited and opens the rest. @returns false if `pause` gave up.
   * @throws {TunicornError} ERR_TUNICORN_LISTEN
   */
  async open(config: Config, inherited: Inherited | null, options: ListeningOptions): Promise<boolean> {
    this.#activated = takeActivated(inherited?.pid);
    if (this.#activated.length > 0) options.log.info(`Sockets from systemd: ${describeActivated(this.#activated)}`);
    const wanted = this.#withAll(config);
    if (inherited === null) return this.#take(config, await createSockets({ ...wanted, ...options }));
    const { sockets } = inherited;
    const before = { ...wanted, bind: sockets.map(({ bind }, i) => bind || wanted.bind[i]) };
    const present = sockets.map(({ fd }, i) => adoptSocket(fd, { ours: !isInherited(before.bind[i]) }));
    // What is not wanted here is still the other arbiter's.
    const listeners = await rebind(present, before, wanted, { ...options, unlink: false });
    return this.#take(config, listeners, present);
  }

  /**
   * Listens at the addresses of another config. @param options.unlink no other arbiter listens at them.
   * @returns false if `pause` gave up: nothing has changed then.
   * @throws {TunicornError} ERR_TUNICORN_LISTEN: nothing has changed.
   */
  async change(old: Config, config: Config, options: ListeningOptions & { unlink: boolean }): Promise<boolean> {
    const before = this.all;
    const listeners = await rebind(before, this.#withAll(old), this.#withAll(config), options);
    return this.#take(config, listeners, options.unlink ? [] : before);
  }

  /** @param before those of which some may be closed now, and their files not removed. */
  #take(config: Config, listeners: readonly Listener[] | null, before: readonly Listener[] = []): boolean {
    if (listeners === null) return false;
    this.#left.push(...before.filter((listener) => !listeners.includes(listener)));
    this.#secure = config.certfile !== null;
    const requests = listeners.length - config.statusBind.length;
    this.http = listeners.slice(0, requests);
    this.status = listeners.slice(requests);
    return true;
  }

  /** What another arbiter inherits: descriptors, and their addresses as they stand in the config. */
  bequest(config: Config): { fd: number; bind: string }[] {
    const { bind } = this.#withAll(config);
    return this.all.map(({ fd }, i) => ({ fd, bind: bind[i] }));
  }

  /** Variables that say which of them are systemd's. */
  get variables(): Record<string, string> {
    return passOn(this.#activated);
  }

  /** Closes those for requests; `unlink`: removes unix socket files. Never throws. */
  closeHttp(unlink: boolean): void {
    closeSockets(this.http, unlink);
  }

  closeAll(unlink: boolean): void {
    closeSockets(this.all, unlink);
    if (unlink) this.cleanUp();
  }

  /** No other arbiter listens any more where this one has ceased to: the files go. */
  cleanUp(): void {
    closeSockets(this.#left.splice(0), true);
  }
}
