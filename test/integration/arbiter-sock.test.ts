/** Listening: what cannot be listened at, and unix socket files in every state. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { native } from '../../src/native/binding.js';
import { type ArbiterProcess, fetchText, startArbiter } from '../support/arbiter-process.js';
import { ok } from '../support/native.js';

const started: ArbiterProcess[] = [];
const servers: Server[] = [];
const dir = mkdtempSync(join(tmpdir(), 'tunicorn-sock-'));

function arbiter(bind: string[], settings: object = {}, behaviour = ''): ArbiterProcess {
  const one = startArbiter({ bind, ...settings }, behaviour);
  started.push(one);
  return one;
}

async function listen(where: string | number): Promise<Server> {
  const server = createServer((socket) => socket.on('error', () => {}).end('other'));
  servers.push(server);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    if (typeof where === 'number') server.listen(where, '127.0.0.1', resolve);
    else server.listen(where, resolve);
  });
  return server;
}

after(async () => {
  for (const one of started) await one.cleanup();
  for (const server of servers) server.close();
  rmSync(dir, { recursive: true, force: true });
});

describe('listening', { concurrency: 3, timeout: 60_000 }, () => {
  it('tells of an address in use after five more tries, exit 1', async () => {
    const port = ((await listen(0)).address() as { port: number }).port;
    const one = arbiter([`127.0.0.1:${port}`]);
    const begin = performance.now();
    assert.equal((await one.ended).code, 1);
    assert.ok(performance.now() - begin > 4500);
    assert.equal(one.log.match(/Connection in use: /g)?.length, 6);
    assert.match(one.log, /Reason: cannot listen at .*: the address is in use by another program \(EADDRINUSE\)/);
    assert.deepEqual(one.spawned, []);
  });

  it('gets the address if it becomes free meanwhile', async () => {
    const server = await listen(0);
    const one = arbiter([`127.0.0.1:${(server.address() as { port: number }).port}`]);
    await one.waitFor('Retrying in 1 second.');
    server.close();
    await fetchText((await one.addresses())[0]);
    one.kill('SIGTERM');
    assert.equal((await one.ended).code, 0);
  });

  it('TERM while it waits for the address ends it with 0, other signals do not hurry it', async () => {
    const server = await listen(0);
    const one = arbiter([`127.0.0.1:${(server.address() as { port: number }).port}`]);
    await one.waitFor('Retrying in 1 second.');
    one.kill('SIGWINCH');
    await one.waitFor(/(Retrying in 1 second.[\s\S]*){2}/);
    one.kill('SIGTERM');
    assert.equal((await one.ended).code, 0);
    assert.deepEqual(one.spawned, []);
  });

  for (const [what, bind, reason] of [
    ['an unknown host', 'no-such-host.invalid:8000', /the host 'no-such-host.invalid' is not known/],
    ['an address of another machine', '192.0.2.1:8000', /this machine does not have that address/],
    ['a folder that does not exist', `unix:${dir}/missing/app.sock`, /its folder does not exist/],
    ['a folder in place of a socket', `unix:${dir}`, /a file that is not a socket is in the way/],
  ] as const) {
    it(`${what}: exit 1 at once`, async () => {
      const socket = join(dir, `first-${what.replaceAll(' ', '-')}.sock`);
      const one = arbiter([`unix:${socket}`, bind]);
      assert.equal((await one.ended).code, 1);
      assert.match(one.log, reason);
      assert.doesNotMatch(one.log, /Retrying|at .*\.js:/);
      assert.equal(existsSync(socket), false, 'the socket file of the other address is left');
    });
  }

  it('an ordinary file in the way is not touched', async () => {
    const path = join(dir, 'file');
    writeFileSync(path, 'precious');
    const one = arbiter([`unix:${path}`]);
    assert.equal((await one.ended).code, 1);
    assert.equal(readFileSync(path, 'utf8'), 'precious');
  });

  it('a unix socket at which somebody listens is in use and stays', async () => {
    const path = join(dir, 'live.sock');
    await listen(path);
    const one = arbiter([`unix:${path}`]);
    await one.waitFor(`Connection in use: unix:${path}`);
    one.kill('SIGTERM');
    assert.equal((await one.ended).code, 0);
    assert.equal(await fetchText(`unix:${path}`), 'other');
  });

  it('a unix socket at which nobody listens any more is replaced, and removed at the end', async () => {
    const path = join(dir, 'stale.sock');
    const fd = ok(native.socket('unix'));
    ok(native.bind(fd, 'unix', path));
    native.close(fd);
    const one = arbiter([`unix:${path}`]);
    assert.ok(await fetchText((await one.addresses())[0]));
    assert.doesNotMatch(one.log, /in use/);
    one.kill('SIGTERM');
    assert.equal((await one.ended).code, 0);
    assert.equal(existsSync(path), false);
  });

  it('backlog: so many connections wait in the kernel, and one more', async () => {
    const path = join(dir, 'backlog.sock');
    const one = arbiter([`unix:${path}`], { backlog: 3 }, 'deaf');
    await one.waitForWorkers(1);
    const clients: number[] = [];
    let result = 0;
    while (result === 0 && clients.length < 50) {
      clients.push(ok(native.socket('unix')));
      result = native.connect(clients.at(-1)!, 'unix', path);
    }
    for (const fd of clients) native.close(fd);
    assert.equal(native.errnoName(result), 'EAGAIN');
    assert.equal(clients.length - 1, 4);
    one.kill('SIGTERM');
    assert.equal((await one.ended).code, 0);
  });

  it('everybody may connect to its unix socket, and a successor keeps its own file', async () => {
    const path = join(dir, 'ours.sock');
    const one = arbiter([`unix:${path}`]);
    await fetchText((await one.addresses())[0]);
    assert.equal(statSync(path).mode & 0o777, 0o777);
    rmSync(path);
    await listen(path);
    one.kill('SIGTERM');
    assert.equal((await one.ended).code, 0);
    assert.equal(await fetchText(`unix:${path}`), 'other');
  });

  it('IPv4 and IPv6 wildcards share a port', async () => {
    const server = await listen(0);
    const { port } = server.address() as { port: number };
    await new Promise((resolve) => server.close(resolve));
    const one = arbiter([`[::]:${port}`, `0.0.0.0:${port}`]);
    await one.addresses();
    await fetchText(`http://[::1]:${port}`);
    await fetchText(`http://127.0.0.1:${port}`);
    one.kill('SIGTERM');
    assert.equal((await one.ended).code, 0);
  });

  it('several addresses, in order: a host name, IPv6, a unix socket', async () => {
    const one = arbiter(['localhost:0', '[::1]:0', `unix:${dir}/several.sock`]);
    const addresses = await one.addresses();
    assert.match(addresses.join(' '), /^http:\/\/\S+:\d+ http:\/\/\[::1\]:\d+ unix:\S+\/several\.sock$/);
    for (const address of addresses) assert.ok(await fetchText(address));
    one.kill('SIGTERM');
    assert.equal((await one.ended).code, 0);
  });
});
