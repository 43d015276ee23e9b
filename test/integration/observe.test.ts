/** Who looks at requests from outside: diagnostics_channel, and OpenTelemetry's instrumentation of node:http. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { HttpServer } from '../support/http-server.js';

const SERVER_SPAN = 1;

interface Span {
  kind: number;
  attributes: Record<string, unknown>;
  status: { code: number };
  parent?: string;
  traceId: string;
}

describe('OpenTelemetry', () => {
  let server: HttpServer;
  before(async () => {
    server = await HttpServer.start('otel.mjs', ['--threads', '1']);
  });
  after(() => server?.stop());

  it('makes a span for each request, in the trace that the client names, and keeps it over an await', async () => {
    const trace = '0af7651916cd43dd8448eb211c80319c';
    const headers = { traceparent: `00-${trace}-b7ad6b7169203331-01` };
    const answer = await fetch(`${server.url}/404`, { headers });
    assert.equal(await answer.text(), 'traced');
    assert.equal(answer.headers.get('x-trace'), `${trace} ${trace}`);
    const spans = (await (await fetch(`${server.url}/spans`)).json()) as Span[];
    assert.equal(spans.length, 1);
    const [{ kind, attributes, parent, traceId }] = spans;
    assert.deepEqual({ kind, parent, traceId }, { kind: SERVER_SPAN, parent: 'b7ad6b7169203331', traceId: trace });
    const values = Object.values(attributes);
    assert.ok(values.includes('GET') && values.includes(404), JSON.stringify(attributes));
    assert.ok(values.includes(server.port), JSON.stringify(attributes));
  });

  it('a handler that rejects is answered with 500 as ever', async () => {
    const answer = await fetch(`${server.url}/fails`);
    assert.equal(answer.status, 500);
    await answer.text();
    await server.stillServes('/hello');
  });
});

describe('diagnostics_channel', () => {
  let server: HttpServer;
  before(async () => {
    server = await HttpServer.start('channels.mjs', ['--threads', '1']);
  });
  after(() => server?.stop());

  const ask = async (path: string) => (await (await fetch(`${server.url}${path}`)).json()) as string[];

  it('publishes the channels of node:http with their fields, and nothing when nobody subscribes', async () => {
    await ask('/one');
    await ask('/off');
    await ask('/two');
    const notes = await ask('/notes');
    assert.deepEqual(notes, [
      'http.server.response.created /one true false false',
      'http.server.request.start /one true true true',
      'handler /one',
      'http.server.response.finish /one true true true',
      'finish /one',
      'http.server.response.created /off true false false',
      'http.server.request.start /off true true true',
      'handler /off',
      'finish /off',
      'handler /two',
      'finish /two',
    ]);
  });
});
