/**
 * examples/deploy, as far as it can be tried without a cluster, a registry of images or systemd as process 1: each file is
 * read by its own checker, and what it has tunicorn do is done.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { validate } from 'dockerfile-utils';
import { Deployment } from 'kubernetes-models/apps/v1';
import { HorizontalPodAutoscaler } from 'kubernetes-models/autoscaling/v2';
import { PodDisruptionBudget } from 'kubernetes-models/policy/v1';
import { ConfigMap, Service } from 'kubernetes-models/v1';
import { parse, parseAllDocuments } from 'yaml';
import { AppFolders } from '../support/app-folders.js';
import { ArbiterProcess } from '../support/arbiter-process.js';
import { ask } from '../support/ask.js';
import { hasNginx, Nginx } from '../support/nginx.js';
import { until } from '../support/poll.js';
import { RawClient } from '../support/raw-client.js';

const CLI = fileURLToPath(new URL('../../src/cli.js', import.meta.url));
const DEPLOY = fileURLToPath(new URL('../../../examples/deploy/', import.meta.url));
const read = (name: string) => readFileSync(join(DEPLOY, name), 'utf8');

/** What it got, as JSON; /ws is an upgrade that echoes. */
const APP = `
  export default (req, res) => {
    let bytes = 0;
    req.on('data', (piece) => (bytes += piece.length));
    req.on('end', () => res.end(JSON.stringify({ headers: req.headers, bytes })));
  };
  export const upgrade = (req, socket) => {
    socket.write('HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: echo\\r\\nConnection: Upgrade\\r\\n\\r\\n');
    socket.pipe(socket);
  };`;
const folders = new AppFolders('deploy', APP);
const started: ArbiterProcess[] = [];

after(async () => {
  for (const one of started) await one.cleanup();
  folders.remove();
});

function tunicorn(cwd: string, args: string[]): ArbiterProcess {
  const one = new ArbiterProcess([CLI, '--threads', '2', ...args], { TUNICORN_CMD_ARGS: '' }, cwd);
  started.push(one);
  return one;
}

/** Arguments with another address behind a flag, in either form (`--bind X`, `--bind=X`). */
function at(args: string[], flag: string, address: string): string[] {
  const i = args.findIndex((arg) => arg === flag || arg.startsWith(`${flag}=`));
  assert.ok(i >= 0, `${flag} in ${args}`);
  const behind = args[i] === flag ? 2 : 1;
  return [...args.slice(0, i), flag, address, ...args.slice(i + behind)];
}

async function ends(one: ArbiterProcess): Promise<void> {
  one.kill('SIGTERM');
  assert.equal((await one.ended).code, 0, one.log);
}

/**
 * An object that notes which of its fields are read, in all its depth. The schemas take unknown fields for granted; but
 * what they know they read.
 */
function watched<T extends object>(object: T, path: string, unread: Set<string>): T {
  for (const key of Object.keys(object)) unread.add(`${path}.${key}`);
  const inner = new Map<string | symbol, object>();
  return new Proxy(object, {
    get(target, key, receiver) {
      const value = Reflect.get(target, key, receiver);
      unread.delete(`${path}.${String(key)}`);
      if (typeof value !== 'object' || value === null) return value;
      if (!inner.has(key)) inner.set(key, watched(value, `${path}.${String(key)}`, unread));
      return inner.get(key);
    },
  });
}

/** Fields of an object that its schema does not know. @throws what the schema does not allow. */
function unknown(model: { prototype: { validate(): void } }, object: object): string[] {
  const unread = new Set<string>();
  model.prototype.validate.call(watched(object, '', unread));
  return [...unread];
}

describe('Kubernetes', { timeout: 60_000 }, () => {
  // biome-ignore lint/suspicious/noExplicitAny: what is in a YAML file.
  const documents = (name: string): any[] =>
    parseAllDocuments(read(name)).map((document) => {
      assert.deepEqual(document.errors, []);
      return document.toJS();
    });
  const [deployment, config, service, budget] = documents('kubernetes.yaml');
  const [scaler, monitor] = documents('hpa.yaml');
  const [app, exporter] = deployment.spec.template.spec.containers;

  it('every object is what its schema wants', () => {
    for (const [Model, object] of [
      [Deployment, deployment],
      [ConfigMap, config],
      [Service, service],
      [PodDisruptionBudget, budget],
      [HorizontalPodAutoscaler, scaler],
    ] as const) {
      assert.deepEqual([object.apiVersion, object.kind], [Model.apiVersion, Model.kind]);
      assert.deepEqual(unknown(Model, object), []);
    }
  });

  it('the check notices what is wrong', () => {
    const wrong = structuredClone(deployment);
    const [container] = wrong.spec.template.spec.containers;
    container.lifecycle.preStop.exec.comand = ['sleep'];
    assert.deepEqual(unknown(Deployment, wrong), ['.spec.template.spec.containers.0.lifecycle.preStop.exec.comand']);
    container.ports[0].containerPort = 'http';
    assert.throws(() => unknown(Deployment, wrong), /containerPort/);
  });

  it('they fit together', () => {
    const { labels } = deployment.spec.template.metadata;
    assert.deepEqual(deployment.spec.selector.matchLabels, labels);
    assert.deepEqual(service.spec.selector, labels);
    assert.deepEqual(budget.spec.selector.matchLabels, labels);
    assert.deepEqual(monitor.spec.selector.matchLabels, labels);
    assert.equal(scaler.spec.scaleTargetRef.name, deployment.metadata.name);
    assert.ok(app.args.includes('--graceful-timeout=30'));
    const [, seconds] = app.lifecycle.preStop.exec.command;
    assert.ok(deployment.spec.template.spec.terminationGracePeriodSeconds > Number(seconds) + 30);
    const [pods, cpu] = scaler.spec.metrics;
    assert.equal(cpu.containerResource.container, app.name);
    const [rule] = parse(read('prometheus-adapter.yaml')).rules.custom;
    assert.ok(rule.seriesQuery.startsWith(`${pods.pods.metric.name}{`));
    const [endpoint] = monitor.spec.podMetricsEndpoints;
    assert.equal(endpoint.port, exporter.ports[0].name);
    assert.ok(app.args.includes(`--status-bind=${new URL(endpoint.params.target[0]).host}`));
  });

  it('its command serves: probes, and a number for each metric', async () => {
    const dir = folders.make({ 'app.js': APP, 'package.json': '{"type":"module"}' });
    const one = tunicorn(dir, at(at(app.args, '--bind', '127.0.0.1:0'), '--status-bind', '127.0.0.1:0'));
    const port = await one.firstPort();
    assert.equal((await ask(port, '/')).status, 200);
    for (const probe of [app.startupProbe, app.readinessProbe, app.livenessProbe]) {
      assert.equal(probe.httpGet.port, app.ports[0].name);
      const { status, headers } = await ask(port, probe.httpGet.path);
      assert.deepEqual([status, headers['content-type']], [200, 'text/plain; charset=utf-8'], probe.httpGet.path);
    }
    await one.waitFor(/Status at: \S+\n/);
    const status = JSON.parse((await ask(Number(/Status at: .*:(\d+)\n/.exec(one.log)![1]), '/')).body);
    const { metrics } = parse(config.data['config.yml']).modules.default;
    for (const { path } of metrics) {
      const [, field] = /^\{ \.(\w+) \}$/.exec(path)!;
      assert.match(typeof status[field], /^(number|boolean)$/, path);
    }
    assert.ok(metrics.some(({ name }: { name: string }) => name === scaler.spec.metrics[0].pods.metric.name));
    await ends(one);
  });
});

describe('Docker', { timeout: 60_000 }, () => {
  const text = read('Dockerfile');
  const list = (instruction: RegExp): string[] => JSON.parse(instruction.exec(text)![1]);

  it('the Dockerfile has nothing that its checker minds', () => {
    assert.deepEqual(validate(text), []);
    assert.notDeepEqual(validate(text.replace('\nCMD', '\nCMDD')), []);
    assert.match(text, /^USER node$/m);
  });

  it('its command serves, and the health check tells whether it does', async () => {
    assert.deepEqual(list(/^ENTRYPOINT (.*)$/m), ['/app/node_modules/.bin/tunicorn']);
    const dir = folders.make({ 'app.js': APP, 'package.json': '{"type":"module"}' });
    const one = tunicorn(dir, at(list(/^CMD (.*)$/m), '--bind', '127.0.0.1:0'));
    const port = await one.firstPort();
    const [command, ...args] = list(/^HEALTHCHECK .*\\\n\s+CMD (.*)$/m);
    assert.equal(command, 'node');
    const check = () => {
      const here = args.map((arg) => arg.replace(':8000/', `:${port}/`));
      assert.notDeepEqual(here, args);
      return spawnSync(process.execPath, here, { timeout: 20_000 }).status;
    };
    assert.equal(check(), 0);
    await ends(one);
    assert.equal(check(), 1);
  });
});

describe('systemd', { timeout: 60_000 }, () => {
  const found = spawnSync('systemd-analyze', ['--version']).status === 0;

  it('systemd-analyze finds nothing wrong with the units', { skip: !found && !process.env.CI && 'not here' }, () => {
    const dir = folders.make();
    const verify = (change: (unit: string) => string) => {
      for (const name of ['tunicorn.socket', 'tunicorn.service']) {
        // The program has to be there.
        writeFileSync(join(dir, name), change(read(name).replace(/^ExecStart=\S+/m, 'ExecStart=/bin/true')));
      }
      const files = ['tunicorn.socket', 'tunicorn.service'].map((name) => join(dir, name));
      const { stdout, stderr, error } = spawnSync('systemd-analyze', ['verify', '--man=no', ...files], {
        encoding: 'utf8',
      });
      assert.ifError(error);
      return `${stdout}${stderr}`.split('\n').filter((line) => line.includes('tunicorn.'));
    };
    assert.deepEqual(
      verify((unit) => unit),
      [],
    );
    const complaints = verify((unit) => unit.replace('KillMode', 'KillMod'));
    assert.match(complaints.join(), /KillMod/);
  });
});

describe('nginx in front of a unix socket', {
  skip: !hasNginx() && !process.env.CI && 'not here',
  timeout: 60_000,
}, () => {
  let one: ArbiterProcess;
  let nginx: Nginx;
  let socket: string;
  before(async () => {
    const dir = folders.make({ 'app.js': APP, 'package.json': '{"type":"module"}' });
    socket = join(dir, 'app.sock');
    const [, line] = /^ExecStart=\S+ (.*)$/m.exec(read('tunicorn.service'))!;
    const args = line.split(' ').map((word) => word.replace('/srv/app/', ''));
    one = tunicorn(dir, ['--bind', `unix:${socket}`, '--status-bind', '127.0.0.1:0', ...args]);
    await one.waitFor(/Booting worker/);
    nginx = await Nginx.serve(([port]) => {
      const text = read('nginx.conf')
        .replace('/run/tunicorn/app.sock', socket)
        .replace('listen 80;', `listen 127.0.0.1:${port};`);
      assert.ok(text.includes(socket) && text.includes(`:${port};`));
      return text;
    });
    await until(async () => (await ask(nginx.port, '/')).status === 200, { what: 'an answer' });
  });
  after(async () => {
    await nginx?.stop();
    if (one) await ends(one);
  });

  it('what a client says of itself does not arrive; connections are kept', async () => {
    const forged = { 'X-Forwarded-For': '6.6.6.6', 'X-Forwarded-Proto': 'https', 'X-Forwarded-Ssl': 'on' };
    for (let i = 0; i < 10; i++) {
      const { body } = await ask(nginx.port, '/', {
        headers: { Host: 'a.example', ...forged, Forwarded: 'for=6.6.6.6' },
      });
      const { headers } = JSON.parse(body);
      assert.deepEqual(headers, {
        host: 'a.example',
        'x-forwarded-for': '127.0.0.1',
        'x-forwarded-proto': 'http',
        'x-forwarded-host': 'a.example',
      });
    }
    const status = Number(/Status at: .*:(\d+)\n/.exec(one.log)![1]);
    const { connections } = JSON.parse((await ask(status, '/')).body);
    assert.ok(connections >= 1 && connections <= 4, `${connections} connections`);
    assert.equal(nginx.log, '');
  });

  it('uploads and upgrades pass', async () => {
    const sent = Buffer.alloc(1_000_000, 'x');
    const got = await new Promise<string>((resolve, reject) => {
      const req = request({ port: nginx.port, method: 'POST', agent: false }, async (res) => {
        let body = '';
        for await (const piece of res.setEncoding('utf8')) body += piece;
        resolve(body);
      });
      req.on('error', reject).end(sent);
    });
    assert.equal(JSON.parse(got).bytes, sent.length);
    const client = await RawClient.connect(nginx.port);
    client.write('GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n');
    assert.equal((await client.response()).status, 101);
    client.write('hello there');
    await client.when(() => client.data.toString('latin1') === 'hello there' || null, 'the echo');
    client.destroy();
  });
});
