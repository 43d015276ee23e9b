/** Tables for the screen; the JSON file holds the same and every single run. */
import { type DispatchHost, type DispatchOutcome, IN_FLIGHT } from './dispatch.js';
import type { Machine } from './machine.js';
import { median, type Summary } from './measure.js';
import type { Scenario } from './scenarios.js';
import { BASE } from './servers.js';

/** Above this the load tool itself may have been the limit. */
const TOOL_BUSY = 0.9;

/** Columns padded to their widest cell; the first to the left, the others to the right. */
export function table(rows: string[][]): string {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  const line = (row: string[]) =>
    row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join('  ');
  return rows.map((row) => `  ${line(row)}`.trimEnd()).join('\n');
}

export function machineText(machine: Machine, settings: string): string {
  const memory = `${(machine.memoryBytes / 2 ** 30).toFixed(1)} GiB`;
  return [
    `${machine.cpu}, ${machine.cores} cores, ${memory}; ${machine.kernel}; node ${machine.node}; load tool ${machine.loadTool}`,
    `${machine.date}, commit ${machine.commit.slice(0, 12)}${machine.commit.endsWith('+') ? '+' : ''}; load average ${machine.loadAverage.toFixed(1)}; ${settings}`,
  ].join('\n');
}

function row(summary: Summary): string[] {
  const { median: figures, good, failed } = summary;
  const runs = failed > 0 ? `${good} (${failed} failed)` : `${good}`;
  if (!figures) return [summary.title, 'failed', '-', '-', '-', '-', '-', '-', runs];
  return [
    summary.title,
    // A busy load tool means that the server could have done more.
    `${figures.toolCpu > TOOL_BUSY ? '>' : ''}${Math.round(figures.rate)}`,
    summary.ratio === undefined ? '-' : summary.ratio.toFixed(2),
    good > 1 ? `${((summary.spread ?? 0) * 100).toFixed(0)}%` : '-',
    figures.p50Ms.toFixed(2),
    figures.p99Ms.toFixed(2),
    (figures.cpuSecondsPerRequest * 1e6).toFixed(1),
    (figures.peakRssBytes / 2 ** 20).toFixed(0),
    runs,
  ];
}

export function scenarioText(scenario: Scenario, summaries: Summary[]): string {
  const head = ['server', 'req/s', `x ${BASE}`, 'spread', 'p50 ms', 'p99 ms', 'CPU us/req', 'RSS MB', 'runs'];
  const lines = [scenario.title, table([head, ...summaries.map(row)])];
  for (const { title, reasons, notes } of summaries) {
    // One is enough on the screen; the file has them all.
    if (reasons.length > 0) lines.push(`  ! ${title}: ${reasons[0].replaceAll('\n', '\n      ')}`);
    for (const note of notes) lines.push(`  note, ${title}: ${note}`);
  }
  if (summaries.some(({ median: figures }) => (figures?.toolCpu ?? 0) > TOOL_BUSY)) {
    lines.push('  > the load tool used more than 90% of a core: the server may be faster than this');
  }
  if (scenario.name === 'cpu') {
    lines.push(
      '  the same PBKDF2 iterations everywhere; other runtimes have other crypto libraries: see their CPU us/req',
    );
  }
  const ours = summaries.find(({ server }) => server === 'tunicorn');
  if (ours?.median) {
    const against = Object.entries(ours.against).map(([server, ratio]) => `${ratio.toFixed(2)} x ${server}`);
    if (against.length > 0) lines.push(`  tunicorn: ${against.join(', ')}`);
  }
  return lines.join('\n');
}

export interface DispatchRun {
  host: DispatchHost;
  round: number;
  outcome: DispatchOutcome;
}

export function dispatchText(runs: DispatchRun[], hosts: readonly DispatchHost[], threads: number): string {
  const rows = [['host', 'alone us', 'CPU us', `${IN_FLIGHT} in flight us`, 'CPU us', 'runs']];
  const lines: string[] = [];
  for (const host of hosts) {
    const good = [];
    for (const run of runs.filter((each) => each.host === host)) {
      if ('missing' in run.outcome) lines.push(`  ! ${host}: ${run.outcome.missing}`);
      else good.push(run.outcome);
    }
    if (good.length === 0) continue;
    rows.push([
      host,
      median(good.map(({ sequential }) => sequential.microsecondsPerTask)).toFixed(1),
      median(good.map(({ sequential }) => sequential.cpuMicrosecondsPerTask)).toFixed(1),
      median(good.map(({ loaded }) => loaded.microsecondsPerTask)).toFixed(1),
      median(good.map(({ loaded }) => loaded.cpuMicrosecondsPerTask)).toFixed(1),
      String(good.length),
    ]);
  }
  return [`dispatch: one empty task on a thread and back, ${threads} threads`, table(rows), ...new Set(lines)].join(
    '\n',
  );
}
