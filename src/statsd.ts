/**
 * Metrics to statsd, in gunicorn's words and under gunicorn's names; what gunicorn has no name for begins with `tunicorn.`.
 * Metrics of requests are collected and leave together at flush(), several lines in a datagram; others leave at once. A server
 * that is not there costs metrics and nothing else: nobody waits, nothing is logged.
 */
import { parseStatsdAddress } from './config/log-address.js';
import type { Config } from './config/settings.js';
import { LogSocket } from './log/log-socket.js';

/** Bytes of a datagram that passes any network whole. */
const DATAGRAM = 1432;

export class Statsd {
  readonly #socket: LogSocket;
  readonly #prefix: string;
  readonly #tags: string;
  #lines = '';

  /** @param tags DogStatsD's, '' = none. */
  constructor(address: string, prefix: string, tags: string) {
    this.#socket = new LogSocket(parseStatsdAddress(address));
    const name = prefix.replace(/\.+$/, '');
    this.#prefix = name === '' ? '' : `${name}.`;
    this.#tags = tags === '' ? '' : `|#${tags}`;
  }

  /** Counts something that happened. */
  increment(name: string, value = 1): void {
    this.#add(name, value, 'c|@1.0');
    this.flush();
  }

  /** How much there is of something now. */
  gauge(name: string, value: number): void {
    this.#add(name, value, 'g');
    this.flush();
  }

  /** One of many values, of which the distribution matters. */
  histogram(name: string, value: number): void {
    this.#add(name, value, 'h');
    this.flush();
  }

  /** A request is over. durationMs, queueMs: -1 = not known. Leaves at flush(). */
  request(status: number, durationMs: number, queueMs: number): void {
    if (durationMs >= 0) this.#add('gunicorn.request.duration', round(durationMs), 'ms');
    this.#add('gunicorn.requests', 1, 'c|@1.0');
    this.#add(`gunicorn.request.status.${status}`, 1, 'c|@1.0');
    if (queueMs >= 0) this.#add('tunicorn.request.queue', round(queueMs), 'ms');
  }

  #add(name: string, value: number, type: string): void {
    const line = `${this.#prefix}${name}:${value}|${type}${this.#tags}`;
    if (this.#lines.length + line.length >= DATAGRAM) this.flush();
    this.#lines += this.#lines === '' ? line : `\n${line}`;
  }

  /** Sends what was collected. Never throws. */
  flush(): void {
    if (this.#lines === '') return;
    const bytes = Buffer.from(this.#lines, 'latin1');
    this.#lines = '';
    // The error may be an earlier datagram's: this one has not been sent then.
    for (let tries = 2; tries > 0 && this.#socket.send(bytes, 0) < 0; tries--);
  }

  /** Later metrics are dropped. */
  close(): void {
    this.flush();
    this.#socket.close();
  }
}

function round(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}

/** Where the config sends metrics; null: nowhere. */
export function openStatsd(config: Pick<Config, 'statsdHost' | 'statsdPrefix' | 'dogstatsdTags'>): Statsd | null {
  const { statsdHost, statsdPrefix, dogstatsdTags } = config;
  return statsdHost === null ? null : new Statsd(statsdHost, statsdPrefix, dogstatsdTags);
}
