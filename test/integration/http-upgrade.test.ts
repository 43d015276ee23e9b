/** Upgrades: the socket that a listener gets against node:http's, WebSocket by way of `ws`, and what containment means for both. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { after, before, describe, it } from 'node:test';
import { WebSocket } from 'ws';
import { Differential, type Scenario } from '../support/differential.js';
import { HttpServer } from '../support/http-server.js';
import { until } from '../support/poll.js';
import { fdCount } from '../support/proc.js';
import type { RawClient } from '../support/raw-client.js';

const upgradeTo = (path: string, fields = '') =>
  `GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: raw\r\n${fields}\r\n`;
const SWITCHED = /^HTTP\/1\.1 101 /;

/** Waits until the server has sent this. */
const receives = (client: RawClient, text: string) =>
  client.when(() => (client.data.includes(text) ? true : null), JSON.stringify(text));

const CASES: Array<[string, Scenario]> = [
  [
    'echo, then half-closed by the client',
    async (client) => {
      await client.send(upgradeTo('/raw'));
      await receives(client, '\r\n\r\n');
      await client.send('one');
      await receives(client, 'one');
      client.socket.end();
      await client.closed();
    },
  ],
  [
    'bytes behind the head',
    async (client) => {
      await client.send(`${upgradeTo('/raw')}behind`);
      await receives(client, '\r\n\r\n');
      client.socket.end();
      await client.closed();
    },
  ],
  [
    'after another request on the same connection',
    async (client) => {
      await client.send('GET /x HTTP/1.1\r\nHost: x\r\n\r\n');
      await receives(client, 'plain');
      await client.send(upgradeTo('/raw'));
      await receives(client, '101');
      client.socket.end();
      await client.closed();
    },
  ],
  [
    'the client resets',
    async (client) => {
      await client.send(upgradeTo('/raw'));
      await receives(client, '\r\n\r\n');
      client.socket.resetAndDestroy();
    },
  ],
  ...['destroy', 'error', 'timeout'].map((how): [string, Scenario] => [
    `the listener: ${how}`,
    async (client) => {
      await client.send(upgradeTo(`/raw?${how}`));
      await client.closed();
    },
  ]),
  [
    'the listener ends its side, the client goes on',
    async (client) => {
      await client.send(upgradeTo('/raw?end'));
      await receives(client, 'bye');
      await client.send('more');
      client.socket.end();
      await client.closed();
    },
  ],
  [
    'the listener resets',
    async (client) => {
      await client.send(upgradeTo('/raw?reset'));
      await receives(client, '\r\n\r\n');
      await client.send('x');
      await until(() => client.error !== null, { what: 'the reset' });
    },
  ],
  [
    'read() in pieces',
    async (client) => {
      await client.send(upgradeTo('/raw?read'));
      await receives(client, '\r\n\r\n');
      await client.send('abcdefgh');
      await receives(client, '[abcd][efgh]');
      client.socket.end();
      await client.closed();
    },
  ],
  [
    'nobody reads',
    async (client) => {
      await client.send(upgradeTo('/raw?unread'));
      await client.closed();
    },
  ],
  [
    'unshift',
    async (client) => {
      await client.send(upgradeTo('/raw?unshift'));
      await receives(client, 'before ');
      client.socket.end('after');
      await client.closed();
    },
  ],
  [
    'corked writes',
    async (client) => {
      await client.send(upgradeTo('/raw?cork'));
      await receives(client, 'abc');
      client.socket.end('x');
      await client.closed();
    },
  ],
];

describe('upgrade, the socket against node:http', () => {
  let both: Differential;
  before(async () => {
    both = await Differential.start('upgrade.mjs', ['--threads', '1', '--keep-alive', '5'], { listens: true });
  });
  after(() => both?.stop());

  for (const [name, scenario] of CASES) {
    it(name, async () => {
      const { node, tunicorn } = await both.run(scenario, (log) => log.some((line) => line.startsWith('close')));
      assert.ok(
        node.log.some((line) => line.startsWith('close')),
        `node:http: ${node.log}`,
      );
      assert.deepEqual(tunicorn, node);
    });
  }
});

describe('upgrade, what the server takes', { skip: !('shouldUpgradeCallback' in createServer()) }, () => {
  let both: Differential;
  before(async () => {
    both = await Differential.start('upgrade-decides.mjs', ['--threads', '1', '--keep-alive', '5'], { listens: true });
  });
  after(() => both?.stop());

  it('is what its shouldUpgradeCallback says; the request is the same one', async () => {
    const offer = (path: string, protocol: string) => upgradeTo(path).replace('Upgrade: raw', `Upgrade: ${protocol}`);
    const { node, tunicorn } = await both.run(
      async (client) => {
        await client.send(offer('/one', 'h2c'));
        await receives(client, '/one');
        await client.send('GET /two HTTP/1.1\r\nHost: x\r\n\r\n');
        await receives(client, '/two');
        await client.send(offer('/three', 'raw'));
        await receives(client, 'bye');
        client.socket.end();
        await client.closed();
      },
      (log) => log.includes('close'),
    );
    assert.equal(node.log.length, 6, `${node.log}`);
    assert.deepEqual(tunicorn, node);
  });
});

/** A WebSocket that is open. */
async function open(server: HttpServer, path: string, options = {}): Promise<WebSocket> {
  const ws = new WebSocket(`ws://127.0.0.1:${server.port}${path}`, options);
  await once(ws, 'open');
  return ws;
}

/** Sends, and gives the next message. */
function ask(ws: WebSocket, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const left = (code: number) => reject(new Error(`closed with ${code} before the answer to ${text}`));
    ws.once('close', left);
    ws.once('message', (data) => {
      ws.off('close', left);
      resolve(String(data));
    });
    ws.send(text);
  });
}

/** Two that are on different threads. */
async function openTwo(server: HttpServer): Promise<[WebSocket, WebSocket]> {
  const first = await open(server, '/echo');
  const thread = await ask(first, 'thread');
  return until(
    async () => {
      const second = await open(server, '/echo');
      if ((await ask(second, 'thread')) !== thread) return [first, second] as [WebSocket, WebSocket];
      second.terminate();
      return null;
    },
    { what: 'a connection on another thread' },
  ) as Promise<[WebSocket, WebSocket]>;
}

async function closed(ws: WebSocket): Promise<number> {
  if (ws.readyState === WebSocket.CLOSED) return -1;
  const [code] = await once(ws, 'close');
  return code;
}

async function logOf(server: HttpServer): Promise<string[]> {
  return JSON.parse(
    (await server.talk('GET /log HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')).split('\r\n\r\n')[1],
  );
}

describe('upgrade, WebSocket by way of ws', () => {
  let server: HttpServer;
  before(async () => {
    server = await HttpServer.start('upgrade.mjs', ['--threads', '2', '--timeout', '2']);
  });
  after(() => server?.stop());

  it('10,000 messages each way, in order', { timeout: 60_000 }, async () => {
    for (const path of ['/echo', '/packed']) {
      const ws = await open(server, path);
      const total = path === '/echo' ? 10_000 : 1000;
      let next = 0;
      const done = new Promise<void>((resolve, reject) => {
        ws.on('message', (data) => {
          if (String(data) !== `message ${next}`) reject(new Error(`${data} in place of ${next}`));
          if (++next === total) resolve();
        });
        ws.on('close', () => reject(new Error(`closed after ${next}`)));
      });
      for (let i = 0; i < total; i++) ws.send(`message ${i}`);
      await done;
      ws.removeAllListeners('close');
      ws.close();
      assert.equal(await closed(ws), 1005);
    }
  });

  it('permessage-deflate is agreed on; big binary messages', async () => {
    const ws = await open(server, '/packed');
    assert.equal(await ask(ws, 'extensions'), 'permessage-deflate');
    const plain = await open(server, '/echo');
    const big = Buffer.alloc(20 << 20, 'tunicorn');
    for (const each of [ws, plain]) {
      const answer = once(each, 'message');
      each.send(big);
      const [data, isBinary] = await answer;
      assert.ok(isBinary && big.equals(data as Buffer));
      each.close();
    }
  });

  it('ping and pong, both ways; addresses', async () => {
    const ws = await open(server, '/echo');
    const pong = once(ws, 'pong');
    ws.ping('are you there');
    assert.equal(String((await pong)[0]), 'are you there');
    assert.equal(await ask(ws, 'ping'), 'pong hello');
    const { localPort } = (ws as unknown as { _socket: { localPort: number } })._socket;
    assert.equal(await ask(ws, 'address'), `127.0.0.1 ${localPort}`);
    ws.close();
  });

  it('close codes, and the ends without one', async () => {
    const asked = await open(server, '/echo');
    asked.send('close');
    assert.equal(await closed(asked), 4001);
    const terminated = await open(server, '/echo');
    terminated.send('terminate');
    assert.equal(await closed(terminated), 1006);
    const own = await open(server, '/echo');
    own.close(4002);
    assert.equal(await closed(own), 4002);
    const vanishing = await open(server, '/echo');
    vanishing.terminate();
    // Each thread has a log of its own.
    const seen = new Set<string>();
    await until(
      async () => {
        for (const line of await logOf(server)) seen.add(line);
        return seen.has('ws close 4002') && seen.has('ws close 1006');
      },
      { what: 'the close events in the app' },
    );
  });

  it('a client that does not read holds the sender back', { timeout: 30_000 }, async () => {
    const ws = await open(server, '/echo');
    let received = 0;
    let most = '';
    ws.on('message', (data, isBinary) => {
      if (isBinary) received += (data as Buffer).length;
      else most = String(data);
    });
    ws.pause();
    ws.send('flood');
    await logOf(server);
    ws.resume();
    await until(() => most !== '', { what: 'the end of the flood' });
    assert.equal(received, 64 << 20);
    assert.ok(Number(/most (\d+)/.exec(most)?.[1]) < 3 << 20, most);
    ws.close();
  });

  it('nobody listens for what is no upgrade, or is refused: an ordinary answer', async () => {
    const client = await server.connect();
    client.write('GET /x HTTP/1.1\r\nHost: x\r\nUpgrade: raw\r\n\r\n');
    assert.equal((await client.response()).body, 'plain raw');
    client.write('GET /x HTTP/1.0\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n');
    assert.equal((await client.response()).body, 'plain raw');
    const refused = await server.talk(upgradeTo('/refuse'));
    assert.match(refused, /^HTTP\/1\.1 401 /);
    // With a body it is an ordinary request, whatever comes behind.
    const text = await server.talk(`${upgradeTo('/raw', 'Content-Length: 2\r\nConnection: close\r\n')}hi`);
    assert.match(text, /^HTTP\/1\.1 200 .*plain raw$/s);
    const connect = await server.talk('CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n');
    assert.match(connect, /^HTTP\/1\.1 405 /);
  });

  it('a listener that throws: 500, and nothing else suffers', async () => {
    const ws = await open(server, '/echo');
    assert.match(await server.talk(upgradeTo('/throw')), /^HTTP\/1\.1 500 /);
    await server.waitFor('Error in the upgrade listener for GET /throw');
    assert.equal(await ask(ws, 'still here'), 'still here');
    ws.close();
  });

  it('--timeout ends no upgraded connection, nor one whose listener takes its time', { timeout: 20_000 }, async () => {
    const ws = await open(server, '/echo');
    const silent = await server.connect();
    silent.write(upgradeTo('/silent'));
    const late = await server.connect();
    late.write(upgradeTo('/later'));
    await receives(late, 'late');
    await new Promise((resolve) => setTimeout(resolve, 2500));
    assert.equal(await ask(ws, 'still here'), 'still here');
    assert.equal(silent.ended, false);
    assert.equal(silent.received, 0);
    for (const each of [silent, late]) each.destroy();
    ws.close();
    assert.doesNotMatch(server.log, /timed out|ended|replaced/);
  });

  it('they spread over the threads, and a busy thread holds up nobody else', async () => {
    const sockets = await Promise.all(Array.from({ length: 8 }, () => open(server, '/echo')));
    const spin = server.connect().then(async (client) => {
      client.write('GET /spin HTTP/1.1\r\nHost: x\r\n\r\n');
      await client.response();
      client.destroy();
    });
    assert.deepEqual(
      await Promise.all(sockets.map((ws, i) => ask(ws, `n${i}`))),
      sockets.map((_, i) => `n${i}`),
    );
    await spin;
    for (const ws of sockets) ws.close();
    await Promise.all(sockets.map(closed));
  });
});

it('upgrade, listeners on the server that an exported handler finds at its socket', async () => {
  const server = await HttpServer.start('upgrade-found.mjs', ['--threads', '1']);
  try {
    assert.match(await server.talk('GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'), /plain$/);
    const client = await server.connect();
    client.write(`${upgradeTo('/')}early `);
    await receives(client, 'true early ');
    client.write('late');
    await receives(client, 'true early late');
    client.socket.end();
    await client.closed();
  } finally {
    await server.stop();
  }
});

describe('upgrade, an exported upgrade()', () => {
  let server: HttpServer;
  before(async () => {
    server = await HttpServer.start('upgrade-export.mjs', ['--threads', '1', '--access-logfile', '-']);
  });
  after(() => server?.stop());

  it('gets the socket and the bytes behind the head; the access log has the switch', async () => {
    const client = await server.connect();
    client.write(`${upgradeTo('/up')}early `);
    await receives(client, 'early ');
    client.write('late');
    await receives(client, 'early late');
    assert.match(client.data.toString(), SWITCHED);
    client.socket.end();
    await client.closed();
    await until(() => /"GET \/up HTTP\/1\.1" 101 0 /.test(server.stdout), { what: 'the access line' });
    assert.equal(
      (await server.talk('GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')).split('\r\n\r\n')[1],
      'plain',
    );
  });

  it('one that rejects: 500', async () => {
    assert.match(await server.talk(upgradeTo('/reject')), /^HTTP\/1\.1 500 /);
    await server.waitFor('rejected, as asked');
    await until(() => /"GET \/reject HTTP\/1\.1" 500 /.test(server.stdout), { what: 'the access line' });
  });
});

describe('upgrade, the end of threads', () => {
  async function withServer(args: string[], use: (server: HttpServer) => Promise<void>): Promise<void> {
    const server = await HttpServer.start('upgrade.mjs', args);
    try {
      await use(server);
      await server.stop();
    } finally {
      await server.cleanup();
    }
  }

  it('a thread that is stuck in a message is ended with its connections, the other one goes on', () =>
    withServer(['--threads', '2', '--timeout', '1'], async (server) => {
      const [stuck, other] = await openTwo(server);
      const fds = fdCount(server.worker);
      const gone = closed(stuck);
      stuck.send('spin');
      assert.equal(await ask(other, 'n'), 'n');
      assert.equal(await gone, 1006);
      await server.waitFor(/Request timed out: no request; thread \d+ was stuck in it and is ended/);
      assert.equal(await ask(other, 'm'), 'm');
      other.close();
      await closed(other);
      await until(async () => (await logOf(server)) && fdCount(server.worker) <= fds, { what: 'the fds' });
    }));

  it('an error in a message: the thread is replaced, its connections stay until a second before --graceful-timeout', () =>
    withServer(['--threads', '1', '--graceful-timeout', '3'], async (server) => {
      const [throwing, other] = [await open(server, '/echo'), await open(server, '/echo')];
      throwing.send('throw');
      await server.waitFor(/Thread 1 replaced by 2/);
      assert.equal(await ask(other, 'n'), 'n');
      assert.equal(await closed(other), 1006);
      assert.doesNotMatch(server.log, /has not finished|has ended/);
      const fresh = await open(server, '/echo');
      assert.equal(await ask(fresh, 'n'), 'n');
      fresh.terminate();
    }));

  it('HUP and TERM: they stay until a second before --graceful-timeout, then are closed in peace', () =>
    withServer(['--threads', '2', '--graceful-timeout', '3'], async (server) => {
      const reloaded = await open(server, '/echo');
      server.kill('SIGHUP');
      await server.waitFor('Reloaded 2 threads');
      assert.equal(await ask(reloaded, 'n'), 'n');
      assert.equal(await closed(reloaded), 1006);
      const stopped = await open(server, '/echo');
      server.kill('SIGTERM');
      await server.waitFor('Handling signal: term');
      assert.equal(await ask(stopped, 'n'), 'n');
      assert.equal(await closed(stopped), 1006);
      assert.deepEqual(await server.ended, { code: 0, signal: null });
      assert.doesNotMatch(server.log, /has not finished|has ended|SIGKILL/);
    }));

  it('without a file descriptor left an upgrade is refused, and the connection is all that ends', () =>
    withServer(['--threads', '1'], async (server) => {
      const other = await server.connect();
      other.write('GET /x HTTP/1.1\r\nHost: x\r\n\r\n');
      assert.equal((await other.response()).status, 200);
      const client = await server.connect();
      client.write('GET /x HTTP/1.1\r\nHost: x\r\n\r\n');
      assert.equal((await client.response()).status, 200);
      const limit = (soft: number) => execFileSync('prlimit', ['--pid', `${server.worker}`, `--nofile=${soft}:`]);
      limit(1);
      client.write(upgradeTo('/raw'));
      const { status, headers } = await client.response();
      limit(1024);
      assert.deepEqual([status, headers.connection], [503, 'close']);
      assert.doesNotMatch(server.log, /ERROR.*dup|at .*upgrade/);
      other.write('GET /x HTTP/1.1\r\nHost: x\r\n\r\n');
      assert.equal((await other.response()).status, 200);
      client.destroy();
      other.destroy();
    }));

  it('they count as connections of the worker', () =>
    withServer(['--threads', '1', '--worker-connections', '2'], async (server) => {
      const [first, second] = [await open(server, '/echo'), await open(server, '/echo')];
      const third = await server.connect();
      third.write('GET /x HTTP/1.1\r\nHost: x\r\n\r\n');
      assert.equal(await ask(first, 'n'), 'n');
      assert.equal(third.received, 0);
      second.terminate();
      assert.equal((await third.response()).status, 200);
      third.destroy();
      first.terminate();
    }));
});
