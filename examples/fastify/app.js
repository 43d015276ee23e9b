// A factory, so that its options can be given on the command line: `tunicorn 'examples/fastify/app.js:build()'`.
import Fastify from 'fastify';

const echo = { schema: { body: { type: 'object', required: ['name'], properties: { name: { type: 'string' } } } } };

export async function build(greeting = 'Hello') {
  const app = Fastify();
  app.get('/', async () => `${greeting}, World!\n`);
  app.post('/json', echo, async (request) => request.body);
  return app;
}
