/**
 * Big bodies, tunicorn against node:http with the same app: an upload through busboy, createReadStream().pipe(res) with a length
 * and chunked. One client on one connection; the hash of every byte is checked. Within a round both servers do each kind
 * once, in turn; medians of the rounds.
 *
 *     node dist/bench/transfers.js [MiB, default 1024] [rounds, default 5] [tunicorn's options...]
 */
import { type Measured, median, TRANSFERS, TransferServers } from '../test/support/transfer-servers.js';

const [mib = '1024', rounds = '5', ...args] = process.argv.slice(2);
const servers = await TransferServers.start(Number(mib) * 2 ** 20, args);
try {
  console.log(`${mib} MiB, ${rounds} rounds      node MiB/s  tunicorn MiB/s  ratio    CPU s/GiB      peak growth MiB`);
  for (const kind of TRANSFERS) {
    await servers.warmUp(kind);
    const node: Measured[] = [];
    const tunicorn: Measured[] = [];
    for (let round = 0; round < Number(rounds); round++) {
      for (const turn of [round % 2, (round + 1) % 2]) {
        if (turn === 0) node.push(await servers.measure('node', kind));
        else tunicorn.push(await servers.measure('tunicorn', kind));
      }
    }
    const of = (runs: Measured[], key: keyof Measured) => median(runs.map((run) => run[key]));
    const ratio = median(tunicorn.map((run, i) => run.rate / node[i].rate));
    const cpu = (runs: Measured[]) => ((of(runs, 'cpu') * 1024) / Number(mib)).toFixed(2);
    const growth = (runs: Measured[]) => Math.max(...runs.map((run) => run.growth)).toFixed(0);
    console.log(
      `${kind.padEnd(24)} ${of(node, 'rate').toFixed(0).padStart(10)} ${of(tunicorn, 'rate').toFixed(0).padStart(15)}` +
        `  ${ratio.toFixed(2)}   node ${cpu(node)} ours ${cpu(tunicorn)}   node ${growth(node)} ours ${growth(tunicorn)}`,
    );
  }
} finally {
  await servers.stop();
}
