/** Events of request and response, and the bytes sent, against node:http: the same, once each, in the same order. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Differential, type Scenario } from '../support/differential.js';

const request = (method: string, path: string, fields = '') => `${method} ${path} HTTP/1.1\r\nHost: x\r\n${fields}\r\n`;

/** Sends and takes the response. */
function exchange(text: string, head = false): Scenario {
  return async (client) => {
    client.write(text);
    await client.response({ head });
  };
}

/** Sends, waits until the handler runs (some bytes came, or a while passed), and leaves. */
function leave(text: string, how: 'reset' | 'end', bytes = 0): Scenario {
  return async (client) => {
    await client.send(text);
    if (bytes > 0) await client.when(() => (client.received >= bytes ? true : null), 'the first bytes');
    else await new Promise((resolve) => setTimeout(resolve, 50));
    if (how === 'reset') client.socket.resetAndDestroy();
    else client.destroy();
  };
}

const closed = (log: string[]) => log.some((line) => line.startsWith('res close'));
const bothClosed = (log: string[]) => closed(log) && log.some((line) => line.startsWith('req close'));

const CASES: Array<[string, Scenario, (log: string[]) => boolean]> = [
  ['GET', exchange(request('GET', '/sync')), bothClosed],
  ['HEAD', exchange(request('HEAD', '/sync'), true), bothClosed],
  ['GET, Connection: close', exchange(request('GET', '/sync', 'Connection: close\r\n')), bothClosed],
  ['GET, answered later', exchange(request('GET', '/async')), bothClosed],
  ['GET, written in parts', exchange(request('GET', '/write')), bothClosed],
  ['POST, read by iteration', exchange(`${request('POST', '/read', 'Content-Length: 5\r\n')}hello`), bothClosed],
  ['POST, read by data events', exchange(`${request('POST', '/data', 'Content-Length: 5\r\n')}hello`), bothClosed],
  [
    'POST, chunked, piped back',
    exchange(`${request('POST', '/pipe', 'Transfer-Encoding: chunked\r\n')}2\r\nhi\r\n0\r\n\r\n`),
    bothClosed,
  ],
  ['POST, unread', exchange(`${request('POST', '/unread', 'Content-Length: 5\r\n')}hello`), bothClosed],
  ['POST, resumed', exchange(`${request('POST', '/resume', 'Content-Length: 5\r\n')}hello`), bothClosed],
  [
    'POST, body in a packet of its own',
    async (client) => {
      await client.send(request('POST', '/data', 'Content-Length: 5\r\n'));
      await client.send('he');
      await client.send('llo');
      await client.response();
    },
    bothClosed,
  ],
  [
    'POST, unread, body after the response',
    async (client) => {
      await client.send(request('POST', '/unread', 'Content-Length: 5\r\n'));
      await client.response();
      await client.send('hello');
      client.write(request('GET', '/log'));
      await client.response();
      client.data = Buffer.alloc(0);
    },
    bothClosed,
  ],
  ['the client ends while the handler waits', leave(request('GET', '/wait'), 'end'), closed],
  ['the client resets while the handler waits', leave(request('GET', '/wait'), 'reset'), closed],
  [
    'the client ends, the body read',
    leave(`${request('POST', '/wait-read', 'Content-Length: 2\r\n')}hi`, 'end'),
    closed,
  ],
  ['the client ends in mid-body', leave(`${request('POST', '/wait-body', 'Content-Length: 9\r\n')}hi`, 'end'), closed],
  [
    'the client resets in mid-body',
    leave(`${request('POST', '/wait-body', 'Content-Length: 9\r\n')}hi`, 'reset'),
    closed,
  ],
  ['the client leaves a stream', leave(request('GET', '/stream'), 'end', 300), closed],
  ['the client resets a stream', leave(request('GET', '/stream'), 'reset', 300), closed],
  ['the client resets a response that waits', leave(request('GET', '/blocked'), 'reset', 1000), closed],
  [
    'a handler that writes when the client is gone',
    leave(request('GET', '/late-write'), 'reset'),
    (log) => log.some((l) => l.startsWith('write')),
  ],
  ['res.destroy()', leave(request('GET', '/destroy-res'), 'end'), closed],
  ['req.destroy()', leave(request('GET', '/destroy-req'), 'end'), closed],
  ['socket.destroy() in a response', leave(request('GET', '/destroy-after-write'), 'end', 10), closed],
];

describe('http events and bytes, as node:http', () => {
  let both: Differential;
  before(async () => {
    both = await Differential.start('http-events.mjs');
  });
  after(() => both?.stop());

  for (const [name, scenario, done] of CASES) {
    it(name, async () => {
      const { node, tunicorn } = await both.run(scenario, done);
      assert.deepEqual(tunicorn.log, node.log);
      const { log } = tunicorn;
      assert.equal(new Set(log).size, log.length, 'once each');
      if (
        scenario.name !== 'leaving' &&
        !/leave|reset|ends|destroy|writes when/.test(name) &&
        !name.includes('after the response')
      ) {
        assert.equal(tunicorn.bytes, node.bytes);
      }
    });
  }
});
