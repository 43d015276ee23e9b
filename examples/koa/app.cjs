// CommonJS on purpose: module.exports = app is all that tunicorn needs.
const Koa = require('koa');

const app = new Koa();

app.use(async (ctx, next) => {
  const start = performance.now();
  await next();
  ctx.set('X-Response-Time', `${(performance.now() - start).toFixed(2)}ms`);
});

app.use((ctx) => {
  if (ctx.path === '/') ctx.body = 'Hello, World!\n';
});

module.exports = app;
