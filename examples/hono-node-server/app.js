// Hono as it runs on node:http today: @hono/node-server makes a (req, res) listener of its fetch. ../hono is the shorter way.
import { getRequestListener } from '@hono/node-server';
import { Hono } from 'hono';

const app = new Hono();

app.get('/', (c) => c.text('Hello, World!\n'));
app.post('/json', async (c) => c.json(await c.req.json()));
// What node-server adds: Node's own objects.
app.get('/peer', (c) => c.json({ address: c.env.incoming.socket.remoteAddress }));

export default getRequestListener(app.fetch);
