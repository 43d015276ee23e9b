// Serves what a factory of this folder returns with node:http alone: node on-node.mjs app.mjs export folder
import { createServer } from 'node:http';
import { pathToFileURL } from 'node:url';

const [, , file, name, folder] = process.argv;
const module = await import(pathToFileURL(file).href);
const server = createServer(await listenerOf(await module[name](folder)));
server.listen(0, '127.0.0.1', () => console.log(`port ${server.address().port}`));
process.on('disconnect', () => process.exit());

/** What each framework's own listen() gives to createServer. */
async function listenerOf(app) {
  if (typeof app === 'function') return app;
  if (typeof app.callback === 'function') return app.callback();
  if (typeof app.routing === 'function') {
    await app.ready();
    return app.routing;
  }
  const { getRequestListener } = await import('@hono/node-server');
  return getRequestListener(app.fetch);
}
