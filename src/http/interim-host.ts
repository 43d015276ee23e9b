/**
 * Interim responses of a handler (1xx): the request is still owed its answer behind them, so its deadline goes on, and
 * whoever ends it may answer. Frameworks give responses other prototypes, which all lead to ServerResponse's.
 */
import './interim.js';
import { ServerResponse } from '../node-http.js';
import { CONTROL } from '../request.js';
import type { Control } from './control.js';

type Method = (...args: unknown[]) => unknown;

const prototype = ServerResponse.prototype as unknown as Record<string, Method>;

for (const name of ['writeContinue', 'writeProcessing', 'writeEarlyHints', 'writeInformation']) {
  const nodes = prototype[name];
  // The last one is Node 24's.
  if (nodes === undefined) continue;
  prototype[name] = Object.defineProperties(function (this: ServerResponse, ...args: unknown[]): unknown {
    const conn = (this as unknown as { [CONTROL]?: Control })[CONTROL]?.conn;
    const send = () => nodes.apply(this, args);
    return conn?.res === this ? conn.host.interim(conn, send) : send();
  }, Object.getOwnPropertyDescriptors(nodes)) as Method;
}
