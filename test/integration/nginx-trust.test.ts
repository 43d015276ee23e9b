/**
 * nginx in front, as it is set up in practice: X-Forwarded-* of its clients over a few shared connections, and the PROXY
 * protocol for whole connections. Forged headers come to nothing, sent through it or past it.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { HttpServer } from '../support/http-server.js';
import { hasNginx, hasStream, Nginx } from '../support/nginx.js';
import { RawClient } from '../support/raw-client.js';

/** Without it the tests are skipped by hand, but not in CI. */
const skip = !hasNginx() && !process.env.CI ? 'nginx is not installed' : false;
const noStream = !hasStream() && !process.env.CI ? "nginx's stream module is not installed" : false;
const LOCATION = `proxy_set_header X-Forwarded-Proto $told_scheme;
  proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header Host $http_host;`;

const get = (path: string, fields = '') => `GET ${path} HTTP/1.1\r\nHost: shop.example\r\n${fields}\r\n`;

async function seen(client: RawClient) {
  const { status, body } = await client.response();
  assert.equal(status, 200, body);
  return JSON.parse(body);
}

describe('behind nginx: X-Forwarded-*', { skip }, () => {
  let server: HttpServer;
  let nginx: Nginx;
  before(async () => {
    server = await HttpServer.start('trust-node.mjs', ['--threads', '2', '--keep-alive', '30']);
    nginx = await Nginx.start(server.port, 2, { location: LOCATION });
  });
  after(async () => {
    await nginx?.stop();
    await server?.stop();
  });

  it('the scheme of each client, over the same few connections', async () => {
    const work = async (port: number, scheme: string, localAddress: string) => {
      const client = await RawClient.connect(port, { localAddress });
      for (let i = 0; i < 15; i++) {
        client.write(get(`/${i}`, 'X-Forwarded-Proto: https\r\nX-Forwarded-For: 203.0.113.9\r\n'));
        const { info, encrypted, rawHeaders } = await seen(client);
        assert.deepEqual([info.scheme, encrypted === true, info.address], [scheme, scheme === 'https', '127.0.0.1']);
        const at = rawHeaders.indexOf('X-Forwarded-For');
        assert.equal(rawHeaders[at + 1], `203.0.113.9, ${localAddress}`);
      }
      client.destroy();
    };
    const { port, httpsPort } = nginx;
    await Promise.all([
      work(port, 'http', '127.0.0.3'),
      work(httpsPort, 'https', '127.0.0.4'),
      work(port, 'http', '127.0.0.5'),
      work(httpsPort, 'https', '127.0.0.6'),
    ]);
  });

  it('past nginx, from an address that is not trusted, it means nothing', async () => {
    const client = await RawClient.connect(server.port, { localAddress: '127.0.0.7' });
    client.write(get('/', 'X-Forwarded-Proto: https\r\n'));
    const { info, encrypted } = await seen(client);
    client.destroy();
    assert.deepEqual([info.scheme, info.trusted, encrypted], ['http', false, undefined]);
  });
});

for (const kind of [
  { name: 'gthread', app: 'trust-node.mjs', args: ['--threads', '2'] },
  { name: 'sync', app: 'trust-node.mjs', args: ['-k', 'sync'] },
]) {
  describe(`behind nginx: PROXY protocol, ${kind.name}`, { skip: skip || noStream }, () => {
    let server: HttpServer;
    let nginx: Nginx;
    before(async () => {
      server = await HttpServer.start(kind.app, ['--proxy-protocol', 'v1', ...kind.args]);
      nginx = await Nginx.start(server.port, 2, { proxyProtocol: true });
    });
    after(async () => {
      await nginx?.stop();
      await server?.stop();
    });

    it('the client and its port on every request', async () => {
      const work = async (localAddress: string) => {
        for (let i = 0; i < 3; i++) {
          const client = await RawClient.connect(nginx.streamPort, { localAddress });
          for (let n = 0; n < (kind.name === 'sync' ? 1 : 4); n++) {
            client.write(`POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nbody${n}`);
            const { info, body } = await seen(client);
            assert.deepEqual([info.address, info.port, body], [localAddress, client.port, `body${n}`]);
            assert.deepEqual(info.proxied, { address: '127.0.0.1', port: nginx.streamPort });
            assert.equal(info.peerAddress, '127.0.0.1');
          }
          client.destroy();
        }
      };
      await Promise.all(['127.0.0.3', '127.0.0.4', '127.0.0.5', '127.0.0.6'].map(work));
    });

    it('one that a client sends behind it is no header', async () => {
      const client = await RawClient.connect(nginx.streamPort);
      client.write(`PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n${get('/')}`);
      assert.match(await client.end(), /^HTTP\/1\.1 501 /);
      client.destroy();
    });
  });
}
