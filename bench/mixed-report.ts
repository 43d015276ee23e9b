/** The tables of the mixed scenario. */
import type { MixedSummary } from './mixed.js';
import type { MixedFigures, MixedPart } from './mixed-measure.js';
import { table } from './report.js';
import { CORES, OFFLOAD } from './servers.js';

const TITLES: Record<MixedPart, string> = {
  mixed: 'mixed: 4 heavy clients ask for 16 requests/s of 50 ms CPU, 320 light requests/s beside them',
  'mixed-closed': 'mixed-closed: 16 heavy clients without a pause, 320 light requests/s beside them',
};

function number(value: number, digits: number): string {
  if (Number.isNaN(value)) return '-';
  return Number.isFinite(value) ? value.toFixed(digits) : 'failed';
}

function row({ server, title, median, good, failed, against, part }: MixedSummary): string[] {
  const runs = failed > 0 ? `${good} (${failed} failed)` : `${good}`;
  const share = server === CORES.name ? 1 : against[CORES.name]?.heavyRate;
  const closed = (cell: string) => (part === 'mixed-closed' ? [cell] : []);
  if (!median) return [title, 'failed', ...Array(9 + closed('').length).fill('-'), runs];
  return [
    title,
    number(median.lightP50Ms, 2),
    number(median.lightP99Ms, 1),
    number(median.lightMaxMs, 1),
    number(median.lightRate, 0),
    number(median.heavyRate, 1),
    ...closed(number(share ?? Number.NaN, 3)),
    number(median.heavyP50Ms, 0),
    number(median.heavyP99Ms, 0),
    String(median.lightErrors + median.heavyErrors),
    number(median.cpuSeconds, 2),
    number(median.peakRssBytes / 2 ** 20, 0),
    runs,
  ];
}

/** How tunicorn stands to the cluster, to the offload by hand and to the machine. */
function standing({ median, against }: MixedSummary, part: MixedPart): string | undefined {
  if (!median) return undefined;
  const { cluster, [OFFLOAD]: offload, [CORES.name]: cores } = against;
  const light = [`light p99 ${number(median.lightP99Ms, 1)} ms`];
  // Where a p99 failed there is nothing to compare.
  const compares = (ratio?: number) => ratio !== undefined && ratio > 0 && Number.isFinite(ratio);
  if (compares(cluster?.lightP99)) light.push(`1/${number(1 / cluster.lightP99, 1)} of cluster`);
  if (compares(offload?.lightP99)) light.push(`${number(offload.lightP99, 2)} x of the piscina offload`);
  const heavy = [];
  if (cluster) heavy.push(`${number(cluster.heavyRate, 3)} x cluster`);
  if (offload) heavy.push(`${number(offload.heavyRate, 3)} x the piscina offload`);
  if (part === 'mixed-closed' && cores) heavy.push(`${number(cores.heavyRate, 3)} of what both cores can do`);
  return `  tunicorn: ${light.join(', ')}${heavy.length > 0 ? `; heavy ${heavy.join(', ')}` : ''}`;
}

/** What the figures may owe to the generator and to other work on the machine. */
function doubts(medians: MixedFigures[]): string {
  const most = (key: keyof MixedFigures) => Math.max(...medians.map((figures) => figures[key]));
  const generator = `generator: up to ${number(most('generatorCpu'), 2)} of a core, p99 of its lateness up to ${number(most('generatorLateP99Ms'), 1)} ms`;
  return `  ${generator}; other work took up to ${number(most('othersShare') * 100, 0)}% of the machine`;
}

export function mixedText(part: MixedPart, summaries: MixedSummary[]): string {
  const head = ['server', 'light p50', 'p99 ms', 'max', 'light/s', 'heavy/s'];
  if (part === 'mixed-closed') head.push('of cores');
  head.push('heavy p50', 'p99 ms', 'errors', 'CPU s', 'RSS MB', 'runs');
  const lines = [TITLES[part], table([head, ...summaries.map(row)])];
  for (const { title, reasons, errors, notes } of summaries) {
    if (reasons.length > 0) lines.push(`  ! ${title}: ${reasons[0].replaceAll('\n', '\n      ')}`);
    for (const [reason, count] of Object.entries(errors)) lines.push(`  ! ${title}: ${count} times ${reason}`);
    for (const note of notes) lines.push(`  note, ${title}: ${note}`);
  }
  const medians = summaries.flatMap(({ median }) => median ?? []);
  if (medians.length > 0) lines.push(doubts(medians));
  if (part === 'mixed-closed') {
    lines.push(
      '  of cores: heavy/s over what 2 node processes do of it without a server, the same light load beside them',
    );
  }
  const ours = summaries.find(({ server }) => server === 'tunicorn');
  const text = ours && standing(ours, part);
  if (text) lines.push(text);
  return lines.join('\n');
}
