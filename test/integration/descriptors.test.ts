/** A process that may open few files: clients that send nothing keep nobody else out, and threads can be replaced all the same. */
import assert from 'node:assert/strict';
import { connect, type Socket } from 'node:net';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { AppFolders } from '../support/app-folders.js';
import { ArbiterProcess } from '../support/arbiter-process.js';
import { ask } from '../support/ask.js';
import { until } from '../support/poll.js';
import { fdCount } from '../support/proc.js';

const CLI = fileURLToPath(new URL('../../src/cli.js', import.meta.url));
const OPEN_FILES = 160;
/** Half of them are for connections. */
const CONNECTIONS = OPEN_FILES / 2;
const APP = `export default (req, res) => res.end('here');`;
const folders = new AppFolders('descriptors', APP);
const started: ArbiterProcess[] = [];
const sockets: Socket[] = [];

after(async () => {
  for (const socket of sockets) socket.destroy();
  for (const one of started) await one.cleanup();
  folders.remove();
});

/** Connections that send nothing, more than there are descriptors. */
function idle(port: number): void {
  for (let i = 0; i < 200; i++) sockets.push(connect(port, '127.0.0.1').on('error', () => {}));
}

describe('few file descriptors', { timeout: 60_000 }, () => {
  it('connections take no more than their part, and unused ones make room', async () => {
    const args = [CLI, '-b', '127.0.0.1:0', '--threads', '1', 'app.mjs'];
    const via = ['sh', '-c', `ulimit -n ${OPEN_FILES}; exec "$@"`, 'sh'];
    const one = new ArbiterProcess(args, {}, folders.make(), false, via);
    started.push(one);
    const port = await one.firstPort();
    assert.equal((await ask(port, '/')).status, 200);
    assert.match(one.log, new RegExp(`\\[WARNING\\] File descriptors are for ${CONNECTIONS} connections only, `));
    const [worker] = one.workers;
    const before = fdCount(worker);
    idle(port);
    await until(() => fdCount(worker) > before + CONNECTIONS / 2, { what: 'many to be open' });
    for (let i = 0; i < 3; i++) assert.equal((await ask(port, '/', { timeout: 20_000 })).status, 200);
    one.kill('SIGHUP');
    await one.waitFor('Reloaded 1 threads');
    assert.doesNotMatch(one.log, /accept failed|\[ERROR\]/);
    one.kill('SIGTERM');
    assert.equal((await one.ended).code, 0);
  });
});
