/** node:cluster with its defaults: what Node's own documentation offers for more than one core. */
import cluster from 'node:cluster';

if (cluster.isPrimary) {
  for (let i = 0; i < Number(process.env.BENCH_PROCESSES ?? 2); i++) cluster.fork();
} else {
  await import('./node-http.js');
}
