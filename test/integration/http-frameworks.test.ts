/** req and req.socket as Node has them; what frameworks make of them is tested in frameworks/. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { HttpServer } from '../support/http-server.js';

describe('http, what a (req, res) handler sees', () => {
  let server: HttpServer;
  before(async () => {
    server = await HttpServer.start('http-node.mjs', ['--threads', '2']);
  });
  after(() => server?.stop());

  it('addresses, version, raw and joined headers', async () => {
    const client = await server.connect();
    client.write(
      'GET /request?x HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nx-a: 2\r\nCookie: a=1\r\nCookie: b=2\r\n' +
        'User-Agent: first\r\nUser-Agent: second\r\nSet-Cookie: c=1\r\nSet-Cookie: d=2\r\nX-L: caf\xe9\r\n\r\n',
    );
    const seen = JSON.parse(Buffer.from((await client.response()).body, 'latin1').toString());
    assert.equal(seen.httpVersion, '1.1');
    assert.equal(seen.connection, true);
    assert.deepEqual(seen.peer, {
      remoteAddress: '127.0.0.1',
      remotePort: client.port,
      localPort: server.port,
      remoteFamily: 'IPv4',
    });
    assert.deepEqual(seen.headers, {
      host: 'h',
      'x-a': '1, 2',
      cookie: 'a=1; b=2',
      'user-agent': 'first',
      'set-cookie': ['c=1', 'd=2'],
      'x-l': 'caf\xe9',
    });
    assert.equal(seen.rawHeaders[2], 'X-A');
    assert.equal(seen.rawHeaders.length, 20);
    client.write('GET /request HTTP/1.0\r\n\r\n');
    assert.equal(JSON.parse((await client.response()).body).httpVersion, '1.0');
    client.destroy();
  });
});
