/**
 * Selector: waits for file descriptors to become readable or writable, with the contract of CPython's selectors module.
 * register() takes an fd once (ERR_TUNICORN_SELECTOR_REGISTERED), unregister() and modify() need a registered one
 * (ERR_TUNICORN_SELECTOR_UNKNOWN), select() returns the keys that are ready with their events and never throws for a
 * signal, close() forgets everything. Bookkeeping is taken back when the system call fails. The fds are the caller's.
 */
import { TunicornError } from '../errors.js';
import { native } from '../native/binding.js';

export const EVENT_READ = 1;
export const EVENT_WRITE = 2;
/** EVENT_READ, EVENT_WRITE or both. */
export type EventMask = 1 | 2 | 3;

export interface SelectorKey<D> {
  readonly fd: number;
  readonly events: EventMask;
  /** Whatever the caller wants back with an event. */
  readonly data: D;
}

/** What a backend does; epoll.ts is the one for Linux. Each call returns 0 or -errno, wait() the number of events. */
export interface SelectorBackend {
  /** The backend's own fd: readable while select(0) would return something. */
  readonly fd: number;
  add(fd: number, events: EventMask): number;
  change(fd: number, events: EventMask): number;
  remove(fd: number): number;
  /** Calls found(fd, events) for each ready fd; timeout in ms, -1 for ever. */
  wait(timeoutMs: number, found: (fd: number, events: EventMask) => void): number;
  close(): void;
}

/** The longest wait that a system call can be told, ms. */
const MAX_TIMEOUT = 0x7fffffff;

export class Selector<D> {
  private readonly backend: SelectorBackend;
  private readonly keys = new Map<number, SelectorKey<D>>();
  private closed = false;

  constructor(backend: SelectorBackend) {
    this.backend = backend;
  }

  /** Readable (for an event loop) while select(0) has something to return. */
  get fd(): number {
    return this.backend.fd;
  }

  get size(): number {
    return this.keys.size;
  }

  has(fd: number): boolean {
    return this.keys.has(fd);
  }

  /** Throws ERR_TUNICORN_SELECTOR_UNKNOWN, or _CLOSED after close(). */
  getKey(fd: number): SelectorKey<D> {
    if (this.closed) throw new TunicornError('ERR_TUNICORN_SELECTOR_CLOSED', 'The selector is closed.');
    const key = this.keys.get(fd);
    if (key === undefined) throw unknown(fd);
    return key;
  }

  register(fd: number, events: EventMask, data: D): SelectorKey<D> {
    this.check(fd, events);
    if (this.keys.has(fd)) {
      throw new TunicornError('ERR_TUNICORN_SELECTOR_REGISTERED', `File descriptor ${fd} is already registered.`);
    }
    const key = { fd, events, data };
    this.keys.set(fd, key);
    const result = this.backend.add(fd, events);
    if (result < 0) {
      this.keys.delete(fd);
      throw failed('register', fd, result);
    }
    return key;
  }

  modify(fd: number, events: EventMask, data: D): SelectorKey<D> {
    this.check(fd, events);
    const before = this.getKey(fd);
    const key = { fd, events, data };
    if (events !== before.events) {
      const result = this.backend.change(fd, events);
      if (result < 0) {
        this.keys.delete(fd);
        this.backend.remove(fd);
        throw failed('modify', fd, result);
      }
    }
    this.keys.set(fd, key);
    return key;
  }

  /** The fd may be closed already: that is no error, as in CPython. A closed selector knows no fd. */
  unregister(fd: number): SelectorKey<D> {
    const key = this.keys.get(fd);
    if (key === undefined) throw unknown(fd);
    this.keys.delete(fd);
    this.backend.remove(fd);
    return key;
  }

  /**
   * Ready keys with their events; timeout in ms, rounded up: 0 looks and returns, below 0 waits for ever (only where that
   * may block). Throws ERR_TUNICORN_SELECTOR_SYSTEM when the selector's own fd is gone.
   */
  select(timeoutMs = 0): Array<[SelectorKey<D>, EventMask]> {
    if (this.closed) throw new TunicornError('ERR_TUNICORN_SELECTOR_CLOSED', 'The selector is closed.');
    const ready: Array<[SelectorKey<D>, EventMask]> = [];
    const timeout = timeoutMs < 0 ? -1 : Math.min(Math.ceil(timeoutMs), MAX_TIMEOUT);
    const result = this.backend.wait(timeout, (fd, events) => {
      const key = this.keys.get(fd);
      if (key === undefined) return;
      const wanted = (events & key.events) as EventMask;
      if (wanted !== (0 as number)) ready.push([key, wanted]);
    });
    if (result < 0) throw failed('select', this.fd, result);
    return ready;
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.keys.clear();
    this.backend.close();
  }

  private check(fd: number, events: number): void {
    if (this.closed) throw new TunicornError('ERR_TUNICORN_SELECTOR_CLOSED', 'The selector is closed.');
    if (!Number.isInteger(fd) || fd < 0) {
      throw new TunicornError('ERR_TUNICORN_SELECTOR_FD', `Not a file descriptor: ${String(fd)}.`);
    }
    if (!Number.isInteger(events) || events < 1 || events > 3) {
      throw new TunicornError('ERR_TUNICORN_SELECTOR_EVENTS', `Not an event mask: ${String(events)}.`);
    }
  }
}

function unknown(fd: number): TunicornError {
  return new TunicornError('ERR_TUNICORN_SELECTOR_UNKNOWN', `File descriptor ${fd} is not registered.`);
}

function failed(what: string, fd: number, errno: number): TunicornError {
  const code = native.errnoName(errno);
  return new TunicornError('ERR_TUNICORN_SELECTOR_SYSTEM', `${what} of file descriptor ${fd} failed: ${code}.`);
}
