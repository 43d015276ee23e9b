/**
 * What request and response objects have at CONTROL: the way to their connection, in a private field. Who walks through them (a deep
 * copy, a log line, util.inspect) does not meet the engine there, which is large and full of cycles.
 */
import type { ControlSource, RequestControl } from '../request.js';
import type { Connection } from './connection.js';

export class Control implements ControlSource {
  readonly #conn: Connection;

  constructor(conn: Connection) {
    this.#conn = conn;
  }

  get conn(): Connection {
    return this.#conn;
  }

  controlOf(request: object): RequestControl | null {
    return this.#conn.controlOf(request);
  }

  failed(request: object, error: unknown): void {
    this.#conn.failed(request, error);
  }
}
