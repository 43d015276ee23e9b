// h3, the server of Nuxt and Nitro, as a (req, res) listener. `export default app` would do as well: an h3 app has a fetch.
import { H3, HTTPError, readBody, toNodeHandler } from 'h3';

const app = new H3();

app.get('/', () => 'Hello, World!\n');

app.get('/hello/:name', (event) => ({ hello: event.context.params.name }));

app.post('/json', async (event) => {
  const body = await readBody(event);
  if (typeof body?.name !== 'string') throw new HTTPError({ status: 400, message: 'name is missing' });
  return body;
});

export default toNodeHandler(app);
