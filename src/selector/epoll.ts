/** The epoll backend of Selector: the calls and nothing else. Level-triggered, as CPython's EpollSelector. */
import { TunicornError } from '../errors.js';
import { EINTR, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, EPOLLIN, EPOLLOUT, native } from '../native/binding.js';
import { EVENT_READ, EVENT_WRITE, type EventMask, Selector, type SelectorBackend } from './selector.js';

const MAX_EVENTS = 128;

class EpollBackend implements SelectorBackend {
  readonly fd: number;
  private readonly events = new Int32Array(MAX_EVENTS * 3);

  constructor() {
    this.fd = native.epollCreate();
    if (this.fd < 0) {
      throw new TunicornError('ERR_TUNICORN_SELECTOR_SYSTEM', `epoll_create1 failed: ${native.errnoName(this.fd)}.`);
    }
  }

  add(fd: number, events: EventMask): number {
    return native.epollCtl(this.fd, EPOLL_CTL_ADD, fd, mask(events), 0);
  }

  change(fd: number, events: EventMask): number {
    return native.epollCtl(this.fd, EPOLL_CTL_MOD, fd, mask(events), 0);
  }

  remove(fd: number): number {
    return native.epollCtl(this.fd, EPOLL_CTL_DEL, fd, 0, 0);
  }

  wait(timeoutMs: number, found: (fd: number, events: EventMask) => void): number {
    const events = this.events;
    const n = native.epollWait(this.fd, events, MAX_EVENTS, timeoutMs);
    if (n === EINTR) return 0;
    for (let i = 0; i < n; i++) {
      const bits = events[i * 3 + 2];
      // As CPython: everything but "writable" may be met by reading, everything but "readable" by writing.
      const ready = ((bits & ~EPOLLIN) !== 0 ? EVENT_WRITE : 0) | ((bits & ~EPOLLOUT) !== 0 ? EVENT_READ : 0);
      found(events[i * 3], ready as EventMask);
    }
    return n;
  }

  close(): void {
    native.close(this.fd);
  }
}

function mask(events: EventMask): number {
  return ((events & EVENT_READ) !== 0 ? EPOLLIN : 0) | ((events & EVENT_WRITE) !== 0 ? EPOLLOUT : 0);
}

/** The selector of this system: epoll on Linux. Throws ERR_TUNICORN_SELECTOR_SYSTEM without file descriptors left. */
export function defaultSelector<D>(): Selector<D> {
  return new Selector<D>(new EpollBackend());
}
