/** A unix datagram socket at which a service manager would listen (NOTIFY_SOCKET). */
import assert from 'node:assert/strict';
import { EAGAIN, native } from '../../src/native/binding.js';
import { ok } from './native.js';
import { until } from './poll.js';

/** One notification: its NAME=VALUE lines. */
export type Notification = Record<string, string>;

export class NotifySocket {
  /** A path, or @name. */
  readonly address: string;
  readonly #fd: number;
  readonly #all: Notification[] = [];

  constructor(address: string) {
    this.address = address;
    this.#fd = ok(native.socket('unix', true));
    ok(native.bind(this.#fd, 'unixDatagram', address), 'bind');
  }

  /** Everything that has arrived so far. */
  get all(): readonly Notification[] {
    const into = new Uint8Array(4096);
    for (let n: number; (n = native.recv(this.#fd, into, 0, into.length)) > 0; ) {
      const lines = Buffer.from(into.subarray(0, n)).toString().split('\n');
      this.#all.push(Object.fromEntries(lines.map((line) => /^([A-Z_]+)=(.*)$/.exec(line)!.slice(1))));
    }
    return this.#all;
  }

  /** Those with this name, in order. */
  of(name: string): Notification[] {
    return this.all.filter((one) => name in one);
  }

  /** Waits until `n` with this name have arrived; returns the n-th. */
  async next(name: string, n = 1): Promise<Notification> {
    const found = await until(() => this.of(name)[n - 1], { what: `${name} for the ${n}. time` }).catch((err) => {
      throw new Error(`${err.message}; there are ${JSON.stringify(this.all)}`);
    });
    return found!;
  }

  /** Sends FILL=1 until there is no room for more. */
  fill(): void {
    const fd = ok(native.socket('unix', true));
    ok(native.connect(fd, 'unixDatagram', this.address), 'connect');
    let result: number;
    do result = native.sendString(fd, 'FILL=1', 1);
    while (result === 0);
    assert.equal(result, EAGAIN);
    native.close(fd);
  }

  close(): void {
    native.close(this.#fd);
  }
}
