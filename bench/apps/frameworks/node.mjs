// The same app files on node:http, each by its framework's own way to listen; Hono's is @hono/node-server.
const name = process.env.BENCH_SCENARIO;
const port = Number(process.env.PORT);
const { default: app } = await import(`./${name}.mjs`);

if (name === 'express') app.listen(port, '127.0.0.1');
else if (name === 'fastify') await app.listen({ port, host: '127.0.0.1' });
else {
  const { serve } = await import('@hono/node-server');
  serve({ fetch: app.fetch, port, hostname: '127.0.0.1' });
}
