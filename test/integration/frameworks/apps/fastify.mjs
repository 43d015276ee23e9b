// Fastify 5: schemas, hooks, streams, multipart, errors.
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import multipart from '@fastify/multipart';
import Fastify from 'fastify';
import { noter } from './notes.mjs';

export async function build(folder) {
  const note = noter(folder);
  const app = Fastify({
    logger: { level: 'info', stream: { write: (line) => note(`log ${line.trim()}`) } },
    bodyLimit: 4096,
  });
  await app.register(multipart, { limits: { fileSize: 32 << 20 } });

  app.get('/', async () => 'hello');

  app.post(
    '/users/:id',
    {
      schema: {
        params: { type: 'object', properties: { id: { type: 'integer' } } },
        querystring: { type: 'object', properties: { dry: { type: 'boolean', default: false } } },
        headers: { type: 'object', required: ['x-key'], properties: { 'x-key': { type: 'string', minLength: 3 } } },
        body: {
          type: 'object',
          required: ['name'],
          additionalProperties: false,
          properties: { name: { type: 'string' }, age: { type: 'integer', minimum: 0 } },
        },
        response: {
          201: {
            type: 'object',
            properties: { id: { type: 'integer' }, dry: { type: 'boolean' }, name: { type: 'string' } },
          },
        },
      },
    },
    async (request, reply) => {
      reply.code(201);
      return { id: request.params.id, dry: request.query.dry, name: request.body.name, secret: 'not in the schema' };
    },
  );

  // Each request of /hooks leaves the names of the hooks that it went through.
  app.register(async (scope) => {
    const seen = (name) => async (request) => note(`hook ${request.query.id} ${name}`);
    for (const name of ['onRequest', 'preValidation', 'preHandler', 'onResponse', 'onError']) {
      scope.addHook(name, seen(name));
    }
    scope.addHook('preParsing', async (request, _reply, payload) => {
      await seen('preParsing')(request);
      return payload;
    });
    scope.addHook('preSerialization', async (request, _reply, payload) => {
      await seen('preSerialization')(request);
      return { ...payload, hooked: true };
    });
    scope.addHook('onSend', async (request, reply, payload) => {
      await seen('onSend')(request);
      reply.header('x-length', Buffer.byteLength(payload));
      return payload;
    });
    scope.addHook('onRequestAbort', async (request) => note(`hook ${request.query.id} onRequestAbort`));
    scope.post('/hooks', async (request) => ({ body: request.body }));
    scope.post('/hooks/fail', async () => {
      throw Object.assign(new Error('teapot'), { statusCode: 418 });
    });
    scope.get('/hooks/never', (request) => {
      note(`hook ${request.query.id} handler`);
      return new Promise(() => {});
    });
  });

  app.get('/file', (_request, reply) => {
    reply.type('application/octet-stream').send(createReadStream(join(folder, 'large.bin')));
  });
  app.get(
    '/web',
    async () => new Response(new Blob(['from the web']).stream(), { status: 202, headers: { 'x-web': '1' } }),
  );
  app.get('/broken', (_request, reply) => {
    const pieces = ['some'];
    const stream = new Readable({
      read() {
        if (pieces.length > 0) this.push(pieces.pop());
        else setImmediate(() => this.destroy(new Error('broken stream')));
      },
    });
    reply.send(stream);
  });
  app.get('/hijack', (_request, reply) => {
    reply.hijack();
    reply.raw.writeHead(200, { 'content-type': 'text/plain', 'x-raw': 'yes' });
    reply.raw.write('raw ');
    reply.raw.end('response');
  });
  app.post('/upload', { bodyLimit: 64 << 20 }, async (request) => {
    const files = [];
    const fields = {};
    for await (const part of request.parts()) {
      if (part.type !== 'file') {
        fields[part.fieldname] = part.value;
        continue;
      }
      const hash = createHash('sha256');
      let size = 0;
      for await (const piece of part.file) {
        size += piece.length;
        hash.update(piece);
      }
      files.push({ name: part.filename, size, digest: hash.digest('hex') });
    }
    return { files, fields };
  });
  app.get('/fail', async () => {
    throw new Error('no good');
  });
  app.setErrorHandler((error, _request, reply) => {
    if (error.message !== 'no good') return reply.send(error);
    return reply.code(503).header('retry-after', '1').send({ custom: error.message });
  });
  app.addHook('onClose', async () => {
    await null;
    note('closed');
  });
  return app;
}

/** With the logger as it is without options: JSON lines to standard output. */
export function logging() {
  const app = Fastify({ logger: true });
  app.get('/', async (request) => {
    request.log.info('in the handler');
    return 'logged';
  });
  return app;
}
