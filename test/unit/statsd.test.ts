/** Metrics on the wire, to real sockets. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { openStatsd, Statsd } from '../../src/statsd.js';
import { udpServer, unixDatagrams } from '../support/log-servers.js';
import { until } from '../support/poll.js';

const dir = mkdtempSync(join(tmpdir(), 'tunicorn-statsd-'));
after(() => rmSync(dir, { recursive: true }));

describe('Statsd', () => {
  it("sends counters, gauges and histograms at once, in gunicorn's form", async () => {
    const server = await udpServer();
    const statsd = new Statsd(`127.0.0.1:${server.port}`, '', '');
    statsd.increment('a');
    statsd.increment('b', 3);
    statsd.gauge('c', 0);
    statsd.histogram('d', 7);
    await until(() => server.messages.length === 4);
    assert.deepEqual(server.messages, ['a:1|c|@1.0', 'b:3|c|@1.0', 'c:0|g', 'd:7|h']);
    statsd.close();
    await server.close();
  });

  it('collects requests until flush, with prefix and tags', async () => {
    const at = join(dir, 'statsd');
    const server = unixDatagrams(at);
    const statsd = new Statsd(`unix://${at}`, 'my.app..', 'env:test,x');
    statsd.request(200, 1.23456, 0);
    statsd.request(404, -1, -1);
    assert.equal(server.messages.length, 0);
    statsd.flush();
    statsd.flush();
    const metric = (text: string) => `my.app.${text}|#env:test,x`;
    await until(() => server.messages.length > 0);
    assert.deepEqual(server.messages.splice(0), [
      [
        metric('gunicorn.request.duration:1.235|ms'),
        metric('gunicorn.requests:1|c|@1.0'),
        metric('gunicorn.request.status.200:1|c|@1.0'),
        metric('tunicorn.request.queue:0|ms'),
        metric('gunicorn.requests:1|c|@1.0'),
        metric('gunicorn.request.status.404:1|c|@1.0'),
      ].join('\n'),
    ]);
    statsd.close();
    await server.close();
  });

  it('sends datagrams that any network takes', async () => {
    const server = await udpServer();
    const statsd = new Statsd(`127.0.0.1:${server.port}`, 'my.app', 'env:test');
    for (let n = 0; n < 100; n++) statsd.request(200, 5, 1);
    statsd.flush();
    await until(() => server.messages.join('\n').split('\n').length === 400);
    assert.ok(server.messages.length > 10 && server.messages.every((text) => text.length <= 1432));
    statsd.close();
    await server.close();
  });

  it('throws nothing and waits for nobody where there is no server', () => {
    const statsd = new Statsd('127.0.0.1:1', 'p', '');
    for (let n = 0; n < 100; n++) statsd.increment('a');
    statsd.close();
    const none = new Statsd(`unix://${dir}/none`, 'p', '');
    none.increment('a');
    none.close();
    none.increment('a');
    assert.equal(openStatsd({ statsdHost: null, statsdPrefix: '', dogstatsdTags: '' }), null);
  });
});
